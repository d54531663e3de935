//! A client's connection: requests in, answers out, on hyper.
//!
//! - `h1` HTTP/1.1.
//! - `h2` HTTP/2.
//! - `idle` the deadlines of a connection without a request.

mod h1;
mod h2;
mod idle;
mod stream;
mod streams;
mod wakes;

use crate::body::BackendFailed;
use crate::client::Client;
use crate::stream::{HyperStream, HyperWire};
use crate::worker::HttpWorker;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, Side};
use weir_core::conn::Conn;
use weir_core::plan::{Http, StreamSettings};
use weir_core::relay::OnTruncation;

/// Serves the requests of a connection whose TLS handshake is done, until it ends.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes the connection and those to backends that serve its requests.
pub async fn serve(
    conn: &mut Conn,
    http: Arc<Http>,
    settings: Arc<StreamSettings>,
    truncation: OnTruncation,
    worker: Rc<HttpWorker>,
) -> Result<Finished, ConnError> {
    let client = Rc::new(Client::of(conn, http, settings, truncation, worker));
    let session = conn.take_session();
    match client.speaks_h2() {
        true => Box::pin(h2::serve(session, &client)).await,
        false => Box::pin(h1::serve(session, &client)).await,
    }
}

/// Why the connection must end, once it must: its requests without an answer then get 503, for which `last_moment` leaves
/// some time.
fn cancelled(client: &Client, cx: &Context<'_>, last_moment: impl FnOnce()) -> Option<ConnError> {
    let Poll::Ready(why) = client.handle.poll_cancelled(cx) else { return None };
    client.worker.cut_unanswered(client);
    last_moment();
    Some(why.into())
}

/// How long the end of a connection may take after weir has decided on it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ends a connection that hyper does not own, and resets it if the other side does not take its end in time.
async fn orderly_end<W: HyperWire>(stream: &mut HyperStream<W>, client: &Client) {
    client.counts.linger();
    let late = client.worker.clock.deadline();
    late.set(FAREWELL);
    poll_fn(|cx| match stream.poll_close(cx) {
        Poll::Ready(_ended_or_gone) => Poll::Ready(()),
        Poll::Pending => late.poll_over(cx),
    })
    .await;
    stream.reset();
}

/// Why hyper ended a connection.
pub(crate) fn ended(error: &hyper::Error) -> ConnError {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(failed) = inner.downcast_ref::<BackendFailed>() {
            return backend_failed(*failed);
        }
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            // A long answer moves inside of the client's stream.
            let failed = error.get_ref().and_then(|inner| inner.downcast_ref::<BackendFailed>());
            if let Some(failed) = failed {
                return backend_failed(*failed);
            }
            return ConnError::Broken(Side::Client, error.kind());
        }
        source = inner.source();
    }
    // A request that cannot be read, or one that was cut.
    ConnError::Broken(Side::Client, io::ErrorKind::InvalidInput)
}

fn backend_failed(failed: BackendFailed) -> ConnError {
    match failed {
        BackendFailed::Broken(io::ErrorKind::UnexpectedEof) => ConnError::Truncated(Side::Backend),
        BackendFailed::Broken(kind) => ConnError::Broken(Side::Backend, kind),
        BackendFailed::Stalled => ConnError::IdleTimeout,
    }
}

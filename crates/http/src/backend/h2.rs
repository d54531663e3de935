//! An HTTP/2 connection to a backend. Many requests share it; a task of its own drives it.

use super::lease::{SendError, Sent};
use crate::body::upload::UploadBody;
use crate::stream::{BackendWire, HyperStream};
use crate::worker::{HttpWorker, Tasks};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper::{Request, Response};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

/// A connection with HTTP/2. Clones share it.
#[derive(Clone, Debug)]
pub struct H2 {
    sender: SendRequest<UploadBody>,
    streams: Rc<Cell<usize>>,
    used: Rc<Cell<bool>>,
    /// The streams at once that the backend allows.
    limit: Rc<Cell<usize>>,
}

/// One request's stream on a connection, counted until it is dropped.
#[derive(Debug)]
pub struct Stream {
    connection: H2,
    /// The connection has carried another one before.
    reused: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.set(streams.get().saturating_sub(1));
    }
}

/// The most streams on a connection, whatever the backend allows.
const MOST_STREAMS: usize = 256;
/// What a stream, and a connection, may send ahead of what is read here (RFC 9113 §6.9).
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What one request's body may hold inside of h2.
const SEND_BUFFER: usize = 64 << 10;

impl H2 {
    /// Takes over a connection. `header` bounds the head of an answer, in bytes.
    ///
    /// # Errors
    /// The preface could not be sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn begin(wire: BackendWire, worker: &Rc<HttpWorker>, header: u32) -> hyper::Result<Self> {
        let (stream, _) = HyperStream::new(wire, Rc::clone(&worker.local));
        let tasks = Tasks(Rc::clone(worker));
        let (sender, connection) = Builder::new(tasks.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(header)
            .handshake(stream)
            .await?;
        let limit = Rc::new(Cell::new(connection.current_max_send_streams()));
        let told = Rc::clone(&limit);
        tasks.execute(async move {
            let mut connection = pin!(connection);
            let ended = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                // The peer's SETTINGS may have come.
                told.set(connection.current_max_send_streams());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "an HTTP/2 connection with a backend ended");
            }
        });
        Ok(Self { sender, streams: Rc::default(), used: Rc::default(), limit })
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether no request uses it.
    pub fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// A stream on it; `None` at the limit of the peer, or if it has ended.
    pub fn stream(&self) -> Option<Stream> {
        let most = self.limit.get().min(MOST_STREAMS);
        if self.sender.is_closed() || self.streams.get() >= most {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Stream { connection: self.clone(), reused: self.used.replace(true) })
    }
}

impl Stream {
    /// Whether the connection has carried another request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// See [`SendError`].
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> {
        // At once, so that the future has no place for the request.
        let answer = self.connection.sender.try_send_request(request);
        let reused = self.reused;
        async move { answer.await.map_err(|error| refused(error, reused)) }
    }
}

fn refused(mut error: TrySendError<Request<UploadBody>>, reused: bool) -> SendError {
    let sent = match (error.take_message(), of_h2(error.error())) {
        (Some(request), _) => Sent::Nothing(Some(Box::new(request))),
        (None, Some(error)) if is_unprocessed(error) => Sent::Unprocessed,
        // The connection itself has ended, while the stream waited for its answer.
        (None, None) if reused => Sent::Unanswered,
        (None, _) => Sent::Some,
    };
    SendError { sent, error: error.into_error() }
}

/// The error of the protocol behind hyper's; none where the connection broke.
fn of_h2(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the backend has said that it did not look at the request: it refused the stream, or its GOAWAY left it out
/// (RFC 9113 §8.7). h2 ends only the streams above the last one that a GOAWAY names with that frame's error.
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

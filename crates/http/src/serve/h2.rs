//! A client that speaks HTTP/2.

use crate::client::Client;
use crate::request;
use crate::stream::{Counts, HyperStream};
use crate::worker::Tasks;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::relay::Tls;
use weir_metrics::labels::Limit;
use weir_tls::AsServer;

/// What a stream, and a connection, may send ahead of what is read here (RFC 9113 §6.9).
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The largest frame; larger ones gain nothing.
const FRAME: u32 = 16 << 10;
/// What one stream's answer may hold inside of h2.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the client has reset and that have not been forgotten yet (CVE-2023-44487).
const RESET_STREAMS: usize = 20;

/// How long a client that floods weir may take to read that its connection ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// The flood for which a connection was ended with ENHANCE_YOUR_CALM: by the meter, or by h2, which has ceilings of its own.
fn flooded(error: &hyper::Error, counts: &Counts) -> Option<Limit> {
    if let Some(flood) = counts.flood.get() {
        return Some(flood.limit());
    }
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    if !error.is_library() || error.reason() != Some(h2::Reason::ENHANCE_YOUR_CALM) {
        return None;
    }
    // h2 tells the kinds apart in words alone.
    let words = error.to_string();
    Some(match words {
        words if words.contains("continuation") => Limit::H2Continuation,
        words if words.contains("data_frames") => Limit::H2EmptyData,
        _ => Limit::H2Resets,
    })
}

/// Counts a request until its answer's head is there.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves requests, many at once.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(super) async fn serve(session: Tls<AsServer>, client: &Rc<Client>) -> Result<Finished, ConnError> {
    let (stream, counts) = HyperStream::new(session, Rc::clone(&client.worker.local));
    let stream = stream.metered();
    let limits = client.http.limits;
    let (shared, open) = (Rc::clone(client), Rc::new(Cell::new(0_usize)));
    let seen = Rc::clone(&open);
    let connection = Builder::new(Tasks(Rc::clone(&client.worker)))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .auto_date_header(false)
        .serve_connection(
            stream,
            service_fn(move |request| {
                let client = Rc::clone(&shared);
                seen.set(seen.get() + 1);
                let counted = Counted(Rc::clone(&seen));
                async move {
                    // Boxed: hyper moves it.
                    let answer = Box::pin(request::serve(client, request)).await;
                    drop(counted);
                    answer
                }
            }),
        );
    let mut connection = pin!(connection);
    let idle = client.worker.clock.deadline();
    idle.set(client.http.timeouts.headers);
    let (mut leaving, mut told, mut read) = (false, false, 0);
    poll_fn(|cx| {
        if let Poll::Ready(why) = client.handle.poll_cancelled(cx) {
            return Poll::Ready(Err(why.into()));
        }
        if client.handle.is_leaving() && !leaving {
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Finished { first: Side::Client, how: How::CloseNotify })),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a connection with requests ended");
                Poll::Ready(Err(match flooded(&error, &counts) {
                    Some(limit) => ConnError::Flood(limit),
                    None => super::ended(&error),
                }))
            }
            Poll::Pending => {
                // A client that is silent while no request waits for an answer is idle; one that reads a long answer
                // sends window updates.
                let now = counts.read.get() + counts.written.get();
                if counts.flood.get().is_some() {
                    // A client that does not read need not be told.
                    if !std::mem::replace(&mut told, true) {
                        idle.set(FAREWELL);
                    }
                } else if open.get() > 0 || now != read {
                    read = now;
                    idle.set(client.http.timeouts.keep_alive);
                }
                idle.poll_over(cx).map(|()| {
                    let flood = counts.flood.get();
                    Err(flood.map_or(ConnError::IdleTimeout, |flood| ConnError::Flood(flood.limit())))
                })
            }
        }
    })
    .await
}

//! A client that speaks HTTP/2. Its connection's task polls all its requests: see `streams`.

use super::stream;
use super::streams::Streams;
use super::wakes::{NumberWaker, Wakes};
use crate::body::raw::Chunk;
use crate::client::Client;
use crate::clock::{Deadline, TICK};
use crate::meter::UnderWay;
use crate::stream::{Counts, Ending, HyperStream};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::plan::http::HttpTimeouts;
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
/// Streams that the client has opened and reset before they were looked at (CVE-2023-44487). With h2's own 20, a client
/// that cancels many requests at once is ended where its bytes come together; the meter bounds resets over time.
const RESET_STREAMS: usize = 250;
/// Requests that are polled in one go: then the worker's other tasks have their turn.
const POLLS: usize = 64;

/// How long a client that floods weir may take to read that its connection ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// The flood for which a connection was ended with ENHANCE_YOUR_CALM: by the meter, or by h2, which has ceilings of its own.
fn flooded(error: &h2::Error, counts: &Counts) -> Option<Limit> {
    if let Some(flood) = counts.flood.get() {
        return Some(flood.limit());
    }
    if !error.is_library() || error.reason() != Some(Reason::ENHANCE_YOUR_CALM) {
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

/// Whether the client takes too long to send a frame, or a block of fields, that it has begun.
fn is_slow(
    deadline: &Deadline,
    under_way: Option<UnderWay>,
    timeouts: &HttpTimeouts,
    cx: &Context<'_>,
) -> bool {
    let (begun, most) = match under_way {
        None => {
            deadline.clear();
            return false;
        }
        Some(UnderWay::Data(begun)) => (begun, timeouts.body),
        Some(UnderWay::Other(begun)) => (begun, timeouts.headers),
    };
    deadline.set_within(most, Some(begun + most));
    deadline.poll_over(cx).is_ready()
}

/// The number of the connection itself among the wakers.
const CONNECTION: usize = usize::MAX;

/// A connection and its requests.
struct Serving<F, B> {
    connection: Connection<HyperStream<Tls<AsServer>>, Chunk>,
    waker: Waker,
    own: Arc<NumberWaker>,
    streams: Streams<F>,
    wakes: Arc<Wakes>,
    woken: Vec<usize>,
    begin: B,
    counts: Rc<Counts>,
}

impl<F, B> Serving<F, B>
where
    F: Future<Output = ()>,
    B: FnMut(Request<RecvStream>, SendResponse<Chunk>) -> F,
{
    /// Moves all that can be moved. Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.wakes.run(cx);
        let mut polls = 0;
        loop {
            self.wakes.take(&mut self.woken);
            if self.woken.is_empty() {
                break;
            }
            let mut connection = false;
            polls += self.woken.len();
            for number in self.woken.drain(..) {
                match number {
                    CONNECTION => connection = true,
                    number => self.streams.poll(number),
                }
            }
            // After the requests, so that their answers leave together.
            if connection {
                if let Poll::Ready(ended) = self.poll_connection() {
                    self.poll_woken();
                    return Poll::Ready(ended);
                }
                self.counts.settle();
            }
            if polls > POLLS {
                break;
            }
        }
        self.wakes.rest();
        Poll::Pending
    }

    /// Polls the requests that the end of the connection has woken, so that each knows its own end.
    fn poll_woken(&mut self) {
        self.wakes.take(&mut self.woken);
        for number in self.woken.drain(..).filter(|number| *number != CONNECTION) {
            self.streams.poll(number);
        }
    }

    fn poll_connection(&mut self) -> Poll<Result<(), h2::Error>> {
        self.own.polled();
        loop {
            match self.connection.poll_accept(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let begin = &mut self.begin;
                    self.streams.begin(|| begin(request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// h2's server, with weir's settings.
fn server(client: &Client) -> Builder {
    let limits = client.http.limits;
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .enable_connect_protocol();
    builder
}

/// Serves requests, many at once.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(super) async fn serve(session: Tls<AsServer>, client: &Rc<Client>) -> Result<Finished, ConnError> {
    let (io, counts) = HyperStream::new(session, Rc::clone(&client.worker.local));
    // Boxed, because its memory is needed for a moment only.
    let mut handshake =
        Some(Box::pin(server(client).handshake::<_, Chunk>(io.metered().paced(&client.handle))));
    let idle = client.worker.clock.deadline();
    idle.set(client.http.timeouts.headers);
    let slow = client.worker.clock.deadline();
    let (shared, open) = (Rc::clone(client), Rc::new(Cell::new(0_usize)));
    let seen = Rc::clone(&open);
    let of_connection = Rc::clone(&counts);
    let mut begin = Some(move |request, respond| {
        let counts = (stream::Counted::of(&seen), Rc::clone(&of_connection));
        stream::serve(Rc::clone(&shared), request, respond, counts)
    });
    let mut serving = None;
    let (mut leaving, mut told, mut read) = (false, false, 0);
    let mut ends: Option<ConnError> = None;
    poll_fn(|cx| {
        if ends.is_none() {
            // They hear so at the next tick, and answer.
            ends = super::cancelled(client, cx, || idle.set(2 * TICK));
        }
        loop {
            if let Some(Poll::Ready(made)) = handshake.as_mut().map(|handshake| handshake.as_mut().poll(cx)) {
                handshake = None;
                match (made, begin.take()) {
                    (Ok(connection), Some(begin)) => {
                        serving = Some(Serving::new(connection, begin, Rc::clone(&counts)));
                    }
                    (Err(error), _) => {
                        return Poll::Ready(Err(ends.take().unwrap_or_else(|| failed(&error, &counts))));
                    }
                    (Ok(_), None) => {}
                }
            }
            if let Some(serving) = &mut serving {
                let goes = client.handle.is_leaving() || ends.is_some();
                if goes && !mem::replace(&mut leaving, true) {
                    serving.connection.graceful_shutdown();
                    Waker::wake_by_ref(&serving.waker);
                }
                if let Poll::Ready(ended) = serving.poll(cx) {
                    let clean = Finished { first: Side::Client, how: How::CloseNotify };
                    let ended = ended.map_err(|error| failed(&error, &counts)).map(|()| clean);
                    return Poll::Ready(ends.take().map_or(ended, Err));
                }
            }
            // A client that is silent while no request waits for an answer is idle; one that reads a long answer sends
            // window updates.
            let now = counts.read.get() + counts.written.get();
            if counts.flood.get().is_some() {
                // A client that does not read need not be told.
                if !mem::replace(&mut told, true) {
                    idle.set(FAREWELL);
                }
            } else if ends.is_none() && (open.get() > 0 || now != read) {
                read = now;
                idle.set(client.http.timeouts.keep_alive);
            }
            // While weir does not read, the rest may be there.
            let under_way = counts.under_way.get().filter(|_| counts.starved.get());
            let watched = ends.is_none() && counts.flood.get().is_none();
            if watched && is_slow(&slow, under_way, &client.http.timeouts, cx) {
                ends = Some(ConnError::IdleTimeout);
                idle.set(Duration::ZERO);
            }
            ready!(idle.poll_over(cx));
            if let Some(flood) = counts.flood.get() {
                return Poll::Ready(Err(ConnError::Flood(flood.limit())));
            }
            match counts.ending.get() {
                // RFC 9113 §6.8: GOAWAY first, because a request may be on its way.
                Ending::None if ends.is_none() => ends = Some(ConnError::IdleTimeout),
                Ending::None => counts.end(),
                Ending::Orderly => counts.ending.set(Ending::Reset),
                Ending::Reset => return Poll::Ready(Err(ends.take().unwrap_or(ConnError::IdleTimeout))),
            }
            idle.set(super::FAREWELL);
            if let Some(serving) = &serving {
                Waker::wake_by_ref(&serving.waker);
            }
        }
    })
    .await
}

fn failed(error: &h2::Error, counts: &Counts) -> ConnError {
    tracing::debug!(%error, "a connection with requests ended");
    match flooded(error, counts) {
        Some(limit) => ConnError::Flood(limit),
        None => ConnError::Broken(
            Side::Client,
            error.get_io().map_or(std::io::ErrorKind::InvalidInput, std::io::Error::kind),
        ),
    }
}

impl<F, B> Serving<F, B>
where
    F: Future<Output = ()>,
    B: FnMut(Request<RecvStream>, SendResponse<Chunk>) -> F,
{
    fn new(connection: Connection<HyperStream<Tls<AsServer>>, Chunk>, begin: B, counts: Rc<Counts>) -> Self {
        let wakes = Arc::new(Wakes::default());
        let own = wakes.waker(CONNECTION);
        let waker = Waker::from(Arc::clone(&own));
        waker.wake_by_ref();
        Self {
            connection,
            waker,
            own,
            streams: Streams::new(&wakes),
            wakes,
            woken: Vec::new(),
            begin,
            counts,
        }
    }
}

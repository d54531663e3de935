//! An HTTP/2 connection to a backend. Many requests share it; a task of its own drives it.

use super::lease::{Failure, SendError, Sent};
use crate::body::feed::{Fed, Feed};
use crate::body::received::{Received, StreamBody};
use crate::body::upload::UploadBody;
use crate::headers;
use crate::stream::{BackendWire, Counts, HyperStream, Tunnel};
use crate::worker::{HttpWorker, Tasks};
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use http_body::Body;
use hyper::rt::Executor;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A connection with HTTP/2. Clones share it.
#[derive(Clone)]
pub struct H2 {
    sender: SendRequest<Bytes>,
    tasks: Tasks,
    streams: Rc<Cell<usize>>,
    used: Rc<Cell<bool>>,
    peer: Rc<Peer>,
}

impl fmt::Debug for H2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2").field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// What is known of the backend's end.
#[derive(Debug)]
struct Peer {
    counts: Rc<Counts>,
    /// Its SETTINGS have come, which are its first frame (RFC 9113 §3.4), or the connection has ended.
    known: Cell<bool>,
    ended: Cell<bool>,
    changed: Notify,
}

impl Peer {
    fn of(counts: Rc<Counts>) -> Self {
        Self { counts, known: Cell::default(), ended: Cell::default(), changed: Notify::default() }
    }

    /// The connection has been polled.
    fn polled(&self, ended: bool) {
        self.counts.settle();
        if !self.known.get() && (ended || self.counts.read.get() >= FRAME_HEAD) {
            self.known.set(true);
            self.changed.notify_waiters();
        }
    }
}

/// One request's stream on a connection, counted until it is dropped.
#[derive(Debug)]
pub struct Stream {
    connection: H2,
    /// The connection has carried another one before.
    reused: bool,
    /// Where bytes for the backend go once HTTP is left.
    tunnel: Option<SendStream<Bytes>>,
    /// Ends the sending of the request's body, which may outlast its answer's head.
    upload: Option<DropGuard>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.set(streams.get().saturating_sub(1));
    }
}

/// The most streams on a connection, whatever the backend allows.
const MOST_STREAMS: usize = 256;
/// Those before the backend has said how many it allows.
const FIRST_STREAMS: usize = 100;
/// What a stream, and a connection, may send ahead of what is read here (RFC 9113 §6.9).
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What one request's body may hold inside of h2.
const SEND_BUFFER: usize = 64 << 10;
/// The bytes of a frame's head.
const FRAME_HEAD: u64 = 9;
/// Interim answers to one request: more than any backend has a reason for.
const MOST_INTERIM: u32 = 16;

impl H2 {
    /// Takes over a connection. `header` bounds the head of an answer, in bytes.
    ///
    /// # Errors
    /// The preface could not be sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn begin(wire: BackendWire, worker: &Rc<HttpWorker>, header: u32) -> Result<Self, h2::Error> {
        let (stream, counts) = HyperStream::new(wire, Rc::clone(&worker.local));
        let tasks = Tasks(Rc::clone(worker));
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(FIRST_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(header)
            .handshake::<_, Bytes>(stream)
            .await?;
        let peer = Rc::new(Peer::of(counts));
        let told = Rc::clone(&peer);
        tasks.execute(async move {
            let ended = poll_fn(|cx| {
                let polled = pin!(&mut connection).poll(cx);
                told.polled(polled.is_ready());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "an HTTP/2 connection with a backend ended");
            }
            told.ended.set(true);
        });
        Ok(Self { sender, tasks, streams: Rc::default(), used: Rc::default(), peer })
    }

    /// Whether it carries no new requests any more: it has ended, or the backend has said GOAWAY.
    pub fn is_closed(&self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        self.peer.ended.get() || matches!(self.sender.clone().poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// Whether no request uses it.
    pub fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// A stream on it; `None` at the limit of the peer, or if it has ended.
    pub fn stream(&self) -> Option<Stream> {
        let most = self.sender.current_max_send_streams().min(MOST_STREAMS);
        if self.streams.get() >= most || self.is_closed() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let (connection, reused) = (self.clone(), self.used.replace(true));
        Some(Stream { connection, reused, tunnel: None, upload: None })
    }
}

impl Stream {
    /// Whether the connection has carried another request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the backend takes an extended CONNECT (RFC 8441 §3), once its SETTINGS have come.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn takes_connect(&self) -> bool {
        let peer = &self.connection.peer;
        while !peer.known.get() {
            peer.changed.notified().await;
        }
        self.connection.sender.is_extended_connect_protocol_enabled()
    }

    /// The stream as a side of a relay, after an extended CONNECT; once.
    pub fn tunnel(&mut self, from: RecvStream) -> Option<Tunnel<Bytes>> {
        let to = self.tunnel.take()?;
        Some(Tunnel::new(from, to, Rc::clone(&self.connection.peer.counts)))
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
    ) -> impl Future<Output = Result<Response<Received>, SendError>> {
        // At once, so that the future has no place for the request.
        let sent = self.begin(request);
        async move {
            let (answer, upload) = sent?;
            let answer = self.answer(answer, upload).await;
            answer.map_err(|error| SendError { sent: self.lost(&error), error })
        }
    }

    #[allow(clippy::type_complexity, reason = "two parts of one exchange")]
    fn begin(
        &mut self,
        request: Request<UploadBody>,
    ) -> Result<(ResponseFuture, Option<Feed<UploadBody>>), SendError> {
        let sender = &mut self.connection.sender;
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            let sent = Sent::Nothing(Some(Box::new(request)));
            return Err(SendError { sent, error: error.into() });
        }
        let (mut head, body) = request.into_parts();
        headers::compact(&mut head.headers);
        let (leaves_http, ends) = (head.method == Method::CONNECT, body.is_end_stream());
        let sent = sender.send_request(Request::from_parts(head, ()), ends && !leaves_http);
        let (answer, to) = sent.map_err(|error| {
            let sent = if ends { Sent::Nothing(None) } else { Sent::Some };
            SendError { sent, error: error.into() }
        })?;
        if leaves_http {
            self.tunnel = Some(to);
            return Ok((answer, None));
        }
        Ok((answer, (!ends).then(|| Feed::new(body, to))))
    }

    async fn answer(
        &mut self,
        mut answer: ResponseFuture,
        mut upload: Option<Feed<UploadBody>>,
    ) -> Result<Response<Received>, Failure> {
        let mut interim = 0;
        let answer = poll_fn(|cx| {
            if let Some(feed) = &mut upload
                && fed(feed, cx).is_ready()
            {
                upload = None;
            }
            while let Poll::Ready(Some(Ok(_skipped))) = answer.poll_informational(cx) {
                interim += 1;
                if interim > MOST_INTERIM {
                    return Poll::Ready(Err(Failure::TooManyInterim));
                }
            }
            pin!(&mut answer).poll(cx).map_err(Failure::from)
        })
        .await?;
        if let Some(mut feed) = upload {
            // A backend may answer before it has read all, and a call of gRPC goes both ways at once.
            let stop = CancellationToken::new();
            self.upload = Some(stop.clone().drop_guard());
            self.connection.tasks.execute(async move {
                let sending = pin!(poll_fn(|cx| fed(&mut feed, cx)));
                let _stopped: Option<()> = stop.run_until_cancelled(sending).await;
            });
        }
        let length = headers::length(answer.headers());
        Ok(answer.map(|stream| Received::H2(StreamBody::new(stream, length))))
    }

    /// How much of a request the backend may have seen that got no answer.
    fn lost(&self, error: &Failure) -> Sent {
        match error {
            Failure::H2(error) if is_unprocessed(error) => Sent::Unprocessed,
            // The connection itself has ended, while the stream waited for its answer.
            Failure::H2(ended) if self.reused && !ended.is_reset() && !ended.is_library() => Sent::Unanswered,
            error if error.is_reset() && self.connection.peer.counts.read.get() == 0 => Sent::Unanswered,
            _ => Sent::Some,
        }
    }
}

/// Sends a request's body as far as the backend takes it. Ready when nothing is left to do.
fn fed(feed: &mut Feed<UploadBody>, cx: &mut Context<'_>) -> Poll<()> {
    feed.poll(cx).map(|fed| match fed {
        Fed::Whole | Fed::Refused => {}
        Fed::Broken(error) => {
            tracing::debug!(%error, "the body of a request ends in the middle");
            feed.reset(Reason::CANCEL);
        }
    })
}

/// Whether the backend has said that it did not look at the request: it refused the stream, or its GOAWAY left it out
/// (RFC 9113 §8.7). h2 ends only the streams above the last one that a GOAWAY names with that frame's error.
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

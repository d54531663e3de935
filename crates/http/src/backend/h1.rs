//! An HTTP/1.1 connection to a backend. It carries one request at a time, and is driven by the task of that request.

use super::interim::Interim;
use super::lease::{Failure, SendError, Sent};
use crate::body::received::Received;
use crate::body::upload::UploadBody;
use crate::stream::{BackendWire, Counts, HyperStream};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use weir_core::local::Local;
use weir_core::socket::Socket;

/// A connection with HTTP/1.1.
#[derive(Debug)]
pub struct H1 {
    sender: SendRequest<UploadBody>,
    connection: Connection<HyperStream<BackendWire>, UploadBody>,
    counts: Rc<Counts>,
    /// The connection has ended.
    closed: bool,
    /// It has carried a request before this one.
    reused: bool,
    /// No TLS is between it and its socket.
    plain: bool,
}

/// What one body may hold inside of hyper.
const BUFFER: usize = 64 << 10;

impl H1 {
    /// Takes over a connection. `header` bounds the head of an answer, in bytes.
    ///
    /// # Errors
    /// hyper refuses it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn begin(wire: BackendWire, local: &Rc<Local>, header: usize) -> hyper::Result<Self> {
        let plain = matches!(wire, BackendWire::Plain(_));
        let (stream, counts) = HyperStream::new(wire, Rc::clone(local));
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER.max(2 * header))
            .max_header_size(header)
            // RFC 9112 §5.2: a proxy replaces obs-fold in answers with spaces.
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(stream)
            .await?;
        Ok(Self { sender, connection, counts, closed: false, reused: false, plain })
    }

    /// Takes over the socket of a connection that carried requests before. `None` never comes: hyper's handshake for
    /// HTTP/1.1 sends nothing and waits for nothing.
    pub fn again(socket: Socket, local: &Rc<Local>, header: usize) -> Option<Self> {
        let begun = pin!(Self::begin(BackendWire::Plain(socket), local, header));
        match begun.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(connection)) => Some(Self { reused: true, ..connection }),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    /// Whether no TLS is between it and its socket.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The connection without hyper, and the bytes that hyper had read ahead.
    pub fn into_wire(self) -> (BackendWire, Bytes) {
        let parts = self.connection.into_parts();
        let (wire, kept) = parts.io.into_parts();
        let ahead =
            if kept.is_empty() { parts.read_buf } else { [&parts.read_buf[..], &kept].concat().into() };
        (wire, ahead)
    }

    /// The connection without hyper, and the bytes that came after an answer with 101. `None` if it has not left HTTP.
    pub fn upgraded(mut self) -> Option<(BackendWire, Bytes)> {
        // hyper gives it up once it is polled after that answer. It reads nothing more then.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.closed.then(|| self.into_wire())
    }

    /// Whether it carried a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Moves what can be moved.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.closed = true;
        }
    }

    /// As [`Self::drive`], and acknowledges what has come: a backend with Nagle's algorithm on (RFC 9293 §3.7.4) holds the
    /// rest of an answer back until then.
    pub fn drive_on(&mut self, cx: &mut Context<'_>) {
        self.counts.expects.set(true);
        self.drive(cx);
        self.counts.expects.set(false);
    }

    /// Whether it may carry another request: the last exchange is over, and the backend has neither closed it nor sent
    /// anything since.
    pub fn is_ready(&mut self) -> bool {
        // Sees what has come in the meantime. It costs no system call if nothing has: readiness is edge-triggered.
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// See [`SendError`].
    ///
    /// # Cancel safety
    /// Not cancel safe: after a drop the connection must be dropped too.
    pub fn send(
        &mut self,
        request: Request<UploadBody>,
    ) -> impl Future<Output = Result<Response<Received>, SendError>> {
        let before = (self.counts.written.get(), self.counts.read.get());
        self.counts.interim.set(Interim::awaited());
        // At once, so that the future has no place for the request.
        let answer = self.sender.try_send_request(request);
        self.answer(answer, before)
    }

    async fn answer(
        &mut self,
        answer: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<UploadBody>>>>,
        before: (u64, u64),
    ) -> Result<Response<Received>, SendError> {
        let mut answer = pin!(answer);
        let (connection, closed) = (&mut self.connection, &mut self.closed);
        let sent = poll_fn(|cx| {
            for _ in 0..2 {
                if !*closed && Pin::new(&mut *connection).poll(cx).is_ready() {
                    *closed = true;
                }
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
            }
            Poll::Pending
        });
        let answer = sent.await;
        let reused = std::mem::replace(&mut self.reused, true);
        answer.map(|answer| answer.map(Received::H1)).map_err(|mut error| {
            let request = error.take_message();
            let error = Failure::from(error.into_error());
            let unanswered = self.counts.read.get() == before.1 && (reused || error.is_reset());
            let sent = match (request, self.counts.written.get() == before.0) {
                (Some(request), _) => Sent::Nothing(Some(Box::new(request))),
                (None, true) => Sent::Nothing(None),
                (None, false) if unanswered => Sent::Unanswered,
                (None, false) => Sent::Some,
            };
            SendError { sent, error }
        })
    }
}

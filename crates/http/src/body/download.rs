//! An answer's body on its way to the client. It owns what the answer needs of its backend: the connection, the place.

use super::received::Received;
use super::{BackendFailed, BodyError};
use crate::backend::lease::Lease;
use crate::exchange::{Exchange, unanswered};
use crate::headers;
use crate::worker::{Seat, Tasks};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use weir_core::account::request::RequestOutcome;

/// An answer's body.
#[derive(Debug)]
pub struct Download {
    incoming: Received,
    lease: Option<Lease>,
    held: Held,
    /// What came first was acknowledged at once.
    acknowledged: bool,
}

/// What an answer holds until its last byte has gone, or until it is cut.
#[derive(Debug)]
pub struct Held {
    /// The exchange.
    pub exchange: Rc<Exchange>,
    /// The place at the backend.
    _seat: Seat,
}

impl Held {
    /// For an answer whose head has arrived.
    pub fn new(exchange: &Rc<Exchange>, seat: Seat) -> Self {
        exchange.answered();
        Self { exchange: Rc::clone(exchange), _seat: seat }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.exchange.finish();
        // Unless it was complete, the client left, or something that is known better came first.
        self.exchange.abandon();
    }
}

/// How long the end of an answer's stream may take, once its last byte has come.
const END: Duration = Duration::from_secs(1);

impl Download {
    /// The body of an answer whose head has arrived over `lease`.
    pub fn new(incoming: Received, lease: Lease, held: Held) -> Self {
        let mut body = Self { incoming, lease: Some(lease), held, acknowledged: false };
        body.look_for_end();
        body
    }

    /// The exchange.
    pub fn exchange(&self) -> &Rc<Exchange> {
        &self.held.exchange
    }

    /// Whether nothing follows.
    pub fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// How much follows.
    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// The next part.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.held.exchange.client.worker.runs(&self.held.exchange);
        let frame = match self.poll_incoming(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.held.exchange.poll_overdue(cx).is_ready() => {
                self.lease = None;
                self.held.exchange.ends(self.held.exchange.overdue());
                return Poll::Ready(Some(Err(BackendFailed::Stalled.into())));
            }
            Poll::Pending => return Poll::Pending,
        };
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::scrub(trailers);
                }
                if let Some(data) = frame.data_ref() {
                    self.held.exchange.record().down(data.len());
                    self.held.exchange.moved();
                }
                self.look_for_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.lease = None;
                self.held.exchange.ends(unanswered(&error));
                Poll::Ready(Some(Err(BackendFailed::of(&error).into())))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    /// The connection is polled before the body, which it feeds, and once more after it: the body may just have asked for
    /// more.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(lease) = &mut self.lease else { return Pin::new(&mut self.incoming).poll_frame(cx) };
        lease.drive(cx);
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending() && !std::mem::replace(&mut self.acknowledged, true) {
            // Once: later segments are acknowledged as they come.
            lease.drive_on(cx);
            return Pin::new(&mut self.incoming).poll_frame(cx);
        }
        frame
    }

    /// Ends the body if nothing follows that matters.
    fn look_for_end(&mut self) {
        if self.incoming.is_end_stream() {
            return self.end();
        }
        let is_whole = self.incoming.size_hint().exact() == Some(0);
        let client = &self.held.exchange.client;
        // An HTTP/1.1 client gets no trailers after a Content-Length, and hyper asks for no more. A stream that is dropped
        // before its END_STREAM is reset, and backends end connections with too many resets.
        if is_whole && !client.speaks_h2() && self.lease.as_ref().is_some_and(Lease::is_h2) {
            let mut incoming = mem::replace(&mut self.incoming, Received::None);
            let lease = self.lease.take();
            let late = client.worker.clock.deadline();
            late.set(END);
            let mut ended = move |cx: &mut Context<'_>| {
                while let Poll::Ready(frame) = Pin::new(&mut incoming).poll_frame(cx) {
                    if !matches!(frame, Some(Ok(_))) {
                        return Poll::Ready(());
                    }
                }
                late.poll_over(cx)
            };
            // It has come already, most of the time.
            if ended(&mut Context::from_waker(Waker::noop())).is_pending() {
                Tasks(Rc::clone(&client.worker)).execute(async move {
                    poll_fn(ended).await;
                    drop(lease);
                });
            }
            self.end();
        }
    }

    /// The body is complete: the connection may carry another request.
    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        self.held.exchange.close(RequestOutcome::Ok);
    }
}

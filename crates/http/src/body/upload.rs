//! A request's body on its way to a backend: counted, bounded, watched.

use super::BodyError;
use super::received::Received;
use crate::exchange::{Exchange, Upload};
use crate::headers;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A request's body.
#[derive(Debug)]
pub struct UploadBody {
    /// What the client sends; `None` = there is no body.
    incoming: Option<Received>,
    exchange: Rc<Exchange>,
    /// The bytes that may still come.
    left: Option<u64>,
}

/// The body ended in the middle.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body was not received to its end")]
struct Incomplete;

impl UploadBody {
    /// The body that the client sends.
    pub fn new(incoming: Received, exchange: &Rc<Exchange>) -> Self {
        let left = exchange.client.http.limits.body;
        if incoming.is_end_stream() {
            return Self::none(exchange);
        }
        exchange.moved();
        Self { incoming: Some(incoming), exchange: Rc::clone(exchange), left }
    }

    /// No body.
    pub fn none(exchange: &Rc<Exchange>) -> Self {
        exchange.uploaded(Upload::Complete);
        Self { incoming: None, exchange: Rc::clone(exchange), left: None }
    }

    /// The client may still send what is not read here: it must not be reset before it has its answer.
    fn leave_unread(&self) {
        if !self.exchange.client.speaks_h2() {
            self.exchange.client.counts.linger();
        }
    }

    fn end(&mut self, how: Upload) {
        self.incoming = None;
        self.exchange.uploaded(how);
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        this.exchange.starves(polled.is_pending());
        let frame = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::scrub(trailers);
                }
                frame
            }
            Poll::Ready(Some(Err(error))) => {
                this.end(Upload::Broken);
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Ready(None) => {
                this.end(Upload::Complete);
                return Poll::Ready(None);
            }
        };
        if let Some(data) = frame.data_ref() {
            let n = data.len();
            if let Some(left) = &mut this.left {
                match left.checked_sub(n as u64) {
                    Some(rest) => *left = rest,
                    None => {
                        this.leave_unread();
                        this.end(Upload::TooLarge);
                        return Poll::Ready(Some(Err(Incomplete.into())));
                    }
                }
            }
            this.exchange.record().up(n);
            this.exchange.moved();
        }
        if this.incoming.as_ref().is_some_and(Body::is_end_stream) {
            this.end(Upload::Complete);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A body that is dropped early is not read to its end. Towards HTTP/1.1 hyper drops one whose last byte has come, also if
/// the end of the client's stream has not.
impl Drop for UploadBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if incoming.size_hint().exact() == Some(0) {
            self.exchange.uploaded(Upload::Complete);
            return;
        }
        self.leave_unread();
        if self.exchange.upload() == Upload::Open {
            self.exchange.uploaded(Upload::Unwanted);
        }
    }
}

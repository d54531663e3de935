//! A body on its way into a stream of HTTP/2, as fast as the other side takes it.

use crate::headers;
use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body, and the stream that it goes to.
#[derive(Debug)]
pub struct Feed<B: Body>
where
    B::Data: Buf,
{
    body: B,
    to: SendStream<B::Data>,
    /// Waits for the other side's window; and whether it is the last.
    next: Option<(B::Data, bool)>,
}

/// How the sending of a body ended.
#[derive(Debug)]
pub enum Fed<E> {
    /// All of it was sent.
    Whole,
    /// The other side has reset the stream.
    Refused,
    /// The body itself ended in the middle.
    Broken(E),
}

impl<B: Body + Unpin> Feed<B>
where
    B::Data: Buf + From<Bytes>,
{
    /// Nothing is sent yet.
    pub fn new(body: B, to: SendStream<B::Data>) -> Self {
        Self { body, to, next: None }
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// Ends the stream at once.
    pub fn reset(&mut self, reason: Reason) {
        self.to.send_reset(reason);
    }

    /// Sends what can be sent. Ready when nothing is left to do.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fed<B::Error>> {
        loop {
            if let Some((data, last)) = self.next.take() {
                while data.has_remaining() && self.to.capacity() == 0 {
                    match self.to.poll_capacity(cx) {
                        Poll::Pending => {
                            self.next = Some((data, last));
                            return Poll::Pending;
                        }
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Fed::Refused),
                    }
                }
                if self.to.send_data(data, last).is_err() {
                    return Poll::Ready(Fed::Refused);
                }
                if last {
                    return Poll::Ready(Fed::Whole);
                }
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return self.to.poll_reset(cx).map(|_reset| Fed::Refused),
                Poll::Ready(None) => {
                    let sent = self.to.send_data(Bytes::new().into(), true);
                    return Poll::Ready(sent.map_or(Fed::Refused, |()| Fed::Whole));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Fed::Broken(error)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if data.has_remaining() {
                            self.to.reserve_capacity(1);
                        }
                        self.next = Some((data, self.body.is_end_stream()));
                    }
                    Err(frame) => {
                        if let Ok(mut trailers) = frame.into_trailers() {
                            headers::compact(&mut trailers);
                            self.to.reserve_capacity(0);
                            let sent = self.to.send_trailers(trailers);
                            return Poll::Ready(sent.map_or(Fed::Refused, |()| Fed::Whole));
                        }
                    }
                },
            }
        }
    }
}

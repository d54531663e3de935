//! One request over HTTP/2, on its stream: the answer's head, then its body as fast as the client takes it.

use crate::body::AnswerBody;
use crate::body::raw::Chunk;
use crate::body::received::{Received, StreamBody};
use crate::client::Client;
use crate::request;
use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use weir_core::account::outcome::Side;

/// Counts a request until its answer's head is there.
pub(super) struct Counted(Rc<Cell<usize>>);

impl Counted {
    /// One more.
    pub(super) fn of(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves the request of a stream.
///
/// # Cancel safety
/// Dropping the future resets the stream, unless its answer was complete.
pub(super) async fn serve(
    client: Rc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Chunk>,
    counted: Counted,
) {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let request = request.map(|stream| Received::H2(StreamBody::new(stream, length)));
    let answer = {
        let mut answer = pin!(request::serve(client, request));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer.ok());
            }
            // The client may reset the stream.
            respond.poll_reset(cx).map(|_reset| None)
        })
        .await
    };
    let Some(answer) = answer else { return };
    drop(counted);
    let (mut head, body) = answer.into_parts();
    let ends = body.is_end_stream();
    if !ends && let Some(length) = body.size_hint().exact() && !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    match respond.send_response(Response::from_parts(head, ()), ends) {
        Ok(to) if !ends => {
            let mut sending = Sending { body, to, next: None };
            poll_fn(|cx| sending.poll(cx)).await;
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, "an answer could not be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// A body on its way to the client.
struct Sending {
    body: AnswerBody,
    to: SendStream<Chunk>,
    /// Waits for the client's window; and whether it is the last.
    next: Option<(Chunk, bool)>,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_parts(cx);
        if polled.is_pending()
            && let Some(exchange) = self.body.exchange()
            && exchange.poll_stalled(cx).is_ready()
        {
            // The silence of the backend is noticed by the body.
            exchange.ends(exchange.overdue().by(Side::Client));
            return Poll::Ready(());
        }
        polled
    }

    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some((chunk, last)) = self.next.take() {
                while chunk.has_remaining() && self.to.capacity() == 0 {
                    match self.to.poll_capacity(cx) {
                        Poll::Pending => {
                            self.next = Some((chunk, last));
                            return Poll::Pending;
                        }
                        Poll::Ready(Some(Ok(_))) => {}
                        // The client has reset the stream.
                        Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    }
                }
                if self.to.send_data(chunk, last).is_err() || last {
                    return Poll::Ready(());
                }
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return self.to.poll_reset(cx).map(|_reset| ()),
                Poll::Ready(None) => {
                    let _reset: Result<(), h2::Error> = self.to.send_data(Chunk::Bytes(Bytes::new()), true);
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "an answer ends in the middle");
                    self.to.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        if chunk.has_remaining() {
                            self.to.reserve_capacity(1);
                        }
                        self.next = Some((chunk, self.body.is_end_stream()));
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.to.reserve_capacity(0);
                            let _reset: Result<(), h2::Error> = self.to.send_trailers(trailers);
                            return Poll::Ready(());
                        }
                    }
                },
            }
        }
    }
}

//! One request over HTTP/2, on its stream: the answer's head, then its body as fast as the client takes it.

use crate::body::AnswerBody;
use crate::body::feed::{Fed, Feed};
use crate::body::raw::Chunk;
use crate::body::received::{Received, StreamBody};
use crate::client::Client;
use crate::headers;
use crate::request;
use crate::stream::{Counts, Tunnel};
use crate::upgrade;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use weir_core::account::outcome::Side;

/// Counts a request until its answer's head is there, or until the end if it has left HTTP.
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
    (counted, counts): (Counted, Rc<Counts>),
) {
    let length = headers::length(request.headers());
    let (head, data) = request.into_parts();
    // What follows an extended CONNECT is no body.
    let (body, data) = match head.extensions.get::<Protocol>() {
        Some(_) => (Received::None, Some(data)),
        None => (Received::H2(StreamBody::new(data, length)), None),
    };
    let request = Request::from_parts(head, body);
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
    let (mut head, body) = answer.into_parts();
    headers::compact(&mut head.headers);
    let body = match (body, data) {
        (AnswerBody::Handover(Some(handover)), Some(data)) => {
            match respond.send_response(Response::from_parts(head, ()), false) {
                Ok(to) => {
                    let tunnel = Tunnel::new(data, to, counts);
                    Box::pin(upgrade::relay_stream(tunnel, *handover)).await;
                }
                Err(error) => tracing::debug!(%error, "a change of protocol could not be told"),
            }
            return;
        }
        (body, _) => body,
    };
    drop(counted);
    let ends = body.is_end_stream();
    if !ends
        && let Some(length) = body.size_hint().exact()
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    match respond.send_response(Response::from_parts(head, ()), ends) {
        Ok(to) if !ends => {
            let mut sending = Feed::new(body, to);
            poll_fn(|cx| poll(&mut sending, cx)).await;
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, "an answer could not be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// A body on its way to the client. Ready when nothing is left to do.
fn poll(sending: &mut Feed<AnswerBody>, cx: &mut Context<'_>) -> Poll<()> {
    match sending.poll(cx) {
        Poll::Ready(Fed::Whole | Fed::Refused) => Poll::Ready(()),
        Poll::Ready(Fed::Broken(error)) => {
            tracing::debug!(%error, "an answer ends in the middle");
            sending.reset(Reason::INTERNAL_ERROR);
            Poll::Ready(())
        }
        Poll::Pending => match sending.body().exchange() {
            Some(exchange) if exchange.poll_stalled(cx).is_ready() => {
                // The silence of the backend is noticed by the body.
                exchange.ends(exchange.overdue().by(Side::Client));
                Poll::Ready(())
            }
            _ => Poll::Pending,
        },
    }
}

//! A request's way to a backend and back: pick, reach, send, and try again where that is safe.

use crate::backend::lease::{Lease, Sent};
use crate::backend::{keep, open};
use crate::body::AnswerBody;
use crate::body::download::Held;
use crate::body::raw;
use crate::body::received::Received;
use crate::body::upload::UploadBody;
use crate::exchange::Exchange;
use crate::headers::{self, Admitted, Towards};
use crate::request::{Refusal, failed};
use crate::spare::Spare;
use crate::sticky::{self, Choice};
use crate::upgrade::Handover;
use crate::worker::Seat;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::request::{RequestEnd, RequestOutcome};
use weir_core::connect::{Dialling, Reached, Tries};
use weir_core::plan::Destination;
use weir_metrics::StickyResult;
use weir_metrics::labels::DialResult;
use weir_pool::selector::ClientKey;
use weir_pool::{Backend, HttpVersion};

/// Sends a request to a backend of the destination, and gives its answer.
///
/// # Errors
/// No backend could be reached, or none has answered.
///
/// # Cancel safety
/// Dropping the future closes the connection to the backend, or resets its stream there.
pub async fn forward(
    exchange: &Rc<Exchange>,
    mut request: Request<UploadBody>,
    admitted: &Admitted,
    destination: &Arc<Destination>,
) -> Result<Response<AnswerBody>, Refusal> {
    let choice = sticky::before(&destination.pool, request.headers_mut());
    let mut course = Course::default();
    loop {
        let Reached { stream: mut lease, reserved } =
            reach(exchange, admitted, destination, &choice, &mut course).await?;
        let seat = Seat::of(exchange, reserved);
        let (again, reused) = (spare(&request), lease.is_reused());
        let towards = match &lease {
            Lease::H1 { .. } => Towards::Http1,
            Lease::H2(stream) => {
                let connect = match &admitted.upgrade {
                    // Boxed, so that other requests do not carry its size.
                    Some(_) => within(exchange, Box::pin(stream.takes_connect())).await,
                    None => Some(false),
                };
                let connect = connect.ok_or_else(|| overdue(exchange, &seat, destination))?;
                Towards::Http2 { secure: seat.backend().tls.is_some(), connect }
            }
        };
        if admitted.upgrade.as_ref().is_some_and(|upgrade| upgrade.needs(towards)) {
            exchange.ends(RequestEnd::from(RequestOutcome::BadResponse).because(NO_CONNECT));
            return Err(Refusal(StatusCode::BAD_GATEWAY));
        }
        let chunked = request.body().size_hint().exact().is_none();
        headers::shape(&mut request, admitted, towards, chunked);
        let sent = match &mut lease {
            Lease::H1 { connection, .. } => within(exchange, connection.send(request)).await,
            Lease::H2(stream) => within(exchange, stream.send(request)).await,
        };
        let error = match sent {
            Some(Ok(answer)) => {
                return answered(
                    exchange,
                    admitted,
                    (answer, towards),
                    (lease, seat, destination),
                    |headers, backend| sticky::after(&choice, &destination.pool, backend, headers),
                );
            }
            Some(Err(error)) => error,
            None => return Err(overdue(exchange, &seat, destination)),
        };
        tracing::debug!(error = %error.error, "a backend gave no answer");
        // A kept connection that the backend has closed is no fault of the backend.
        let stale = reused && !matches!(error.sent, Sent::Some);
        if !stale && exchange.is_sound() && !matches!(error.sent, Sent::Unprocessed) {
            destination.pool.failed(seat.backend(), DialResult::Failed);
        }
        request = match (error.sent, again) {
            (Sent::Nothing(Some(request)), _) => *request,
            (Sent::Nothing(None) | Sent::Unprocessed, Some(head)) => {
                head.restored(UploadBody::none(exchange))
            }
            (Sent::Unanswered, Some(head)) if head.is_idempotent() && course.may_repeat(reused) => {
                head.restored(UploadBody::none(exchange))
            }
            _ => {
                let refusal = failed(exchange, StatusCode::BAD_GATEWAY);
                exchange.ends(error.error.outcome());
                return Err(refusal);
            }
        };
        course.lost = true;
        if stale && !std::mem::replace(&mut course.fresh, true) {
            // Others are probably closed too. A new connection may do, also one to the same backend.
            let place = keep::Place::of(seat.backend(), &exchange.client, destination.pool.settings.http);
            exchange.client.worker.keep.forget(&place);
            course.tries = Tries::default();
        }
    }
}

/// The reason in records: the backend does not take an extended CONNECT, and the client asked by one.
const NO_CONNECT: &str = "no_extended_connect";

/// The answer whose head has arrived.
fn answered(
    exchange: &Rc<Exchange>,
    admitted: &Admitted,
    (answer, towards): (Response<Received>, Towards),
    (lease, seat, destination): (Lease, Seat, &Arc<Destination>),
    stick: impl FnOnce(&mut HeaderMap, &Arc<Backend>) -> Option<StickyResult>,
) -> Result<Response<AnswerBody>, Refusal> {
    let (mut head, incoming) = answer.into_parts();
    // Without its lease, a connection is closed.
    let leaves = headers::to_client(&mut head, admitted.upgrade.as_ref(), towards);
    let leaves = leaves.map_err(|refusal| Refusal::of_head(refusal, exchange))?;
    let stuck = stick(&mut head.headers, seat.backend());
    stuck.into_iter().for_each(|result| exchange.record().stuck(result));
    exchange.record().answered(head.status);
    if leaves {
        let handover = Handover::of(exchange, incoming, lease, seat, destination).ok_or_else(|| {
            exchange.ends(RequestOutcome::BadResponse);
            Refusal(StatusCode::BAD_GATEWAY)
        })?;
        exchange.leaves_http();
        return Ok(Response::from_parts(head, AnswerBody::Handover(Some(Box::new(handover)))));
    }
    let held = Held::new(exchange, seat);
    Ok(Response::from_parts(head, raw::body(incoming, lease, held)))
}

/// The exchange was ended before the answer's head: for its client's sake, its backend's, or because the backend drains.
fn overdue(exchange: &Exchange, seat: &Seat, destination: &Destination) -> Refusal {
    let refusal = if exchange.is_cut() {
        Refusal(StatusCode::SERVICE_UNAVAILABLE)
    } else if exchange.waits_for_client() {
        Refusal(StatusCode::REQUEST_TIMEOUT)
    } else {
        if exchange.is_sound() {
            destination.pool.failed(seat.backend(), DialResult::Timeout);
        }
        failed(exchange, StatusCode::GATEWAY_TIMEOUT)
    };
    exchange.ends(exchange.overdue());
    refusal
}

/// How far the search for a backend is.
#[derive(Default)]
struct Course {
    /// The backends tried.
    tries: Tries,
    /// A kept connection was lost: only new ones are used.
    fresh: bool,
    /// A backend took the request's connection, and gave no answer.
    lost: bool,
    /// A new connection was lost behind the request, which was sent again.
    repeated: bool,
}

impl Course {
    /// Whether a request that got no answer may be sent again: after a kept connection, because only new ones follow it;
    /// after a new one once, because it may be the request that its backends fall by.
    fn may_repeat(&mut self, reused: bool) -> bool {
        reused || !std::mem::replace(&mut self.repeated, true)
    }
}

/// Reaches a backend: over a kept connection, unless it must be a fresh one.
async fn reach(
    exchange: &Rc<Exchange>,
    admitted: &Admitted,
    destination: &Destination,
    choice: &Choice,
    course: &mut Course,
) -> Result<Reached<Lease>, Refusal> {
    let client = &exchange.client;
    let Destination { pool, settings, .. } = destination;
    let sni = client.asked().sni;
    let (fresh, lost) = (course.fresh, course.lost);
    let mut dialling = Dialling {
        pool,
        client: choice.key(ClientKey { source: admitted.client, sni, field: None }),
        from: client.opening.client.ip(),
        deadline: settings.timeouts.connect,
        options: &settings.options,
        preamble: client.preamble(pool),
        selector: &client.worker.local.selector,
        failed: &|_, _| (),
        tries: &mut course.tries,
        preferred: choice.preferred(pool),
    };
    let mut http = pool.settings.http;
    if admitted.upgrade.is_some() && http.version == HttpVersion::Auto {
        // Servers that speak both leave HTTP by HTTP/1.1 as a rule, and not all by HTTP/2.
        http.version = HttpVersion::Http1;
    }
    let reached = dialling
        .reach_kept(
            |backend| if fresh { None } else { open::kept(client, backend, http) },
            // Boxed, so that a request does not carry the size of a dial.
            async |socket, backend| Box::pin(open::secure(client, socket, backend, http)).await,
        )
        .await;
    exchange.tried(dialling.tries, reached.as_ref().is_ok_and(|reached| reached.stream.is_reused()));
    reached.map_err(|error| {
        // None is left to try: the loss is the reason.
        if lost && matches!(error, ConnError::NoBackend) {
            exchange.ends(RequestOutcome::BackendReset);
            return Refusal(StatusCode::BAD_GATEWAY);
        }
        exchange.ends(&error);
        Refusal(match error {
            ConnError::Connect(ConnectError::TimedOut | ConnectError::TlsTimedOut) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            ConnError::Connect(_) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        })
    })
}

/// The head of a request without a body, which may be sent once more: if the backend did not look at it, or if it is
/// idempotent (RFC 9110 §9.2.2) and its connection may have been closed before it came.
fn spare(request: &Request<UploadBody>) -> Option<Spare> {
    request.body().is_end_stream().then(|| Spare::of(request))
}

/// Waits for the head of an answer until the exchange is overdue.
async fn within<T>(exchange: &Exchange, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => exchange.poll_overdue(cx).map(|()| None),
    })
    .await
}

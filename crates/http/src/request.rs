//! Main street of a request: admit → route → forward → answer.

use crate::body::AnswerBody;
use crate::body::received::Received;
use crate::body::upload::UploadBody;
use crate::client::Client;
use crate::exchange::{Exchange, Upload, usual};
use crate::forward;
use crate::headers::{self, Admitted, RequestId};
use crate::limit;
use crate::respond::{self, Question};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::request::{RequestEnd, RequestOutcome};
use weir_core::plan::Destination;
use weir_core::plan::http::{Action, RequestRoute};
use weir_core::route::requests::Wanted;

/// Why a request gets an answer of weir's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub StatusCode);

impl Refusal {
    /// Of a head, whose reason only the record tells.
    pub fn of_head(refusal: headers::Refusal, exchange: &Exchange) -> Self {
        exchange.ends(RequestEnd::from(usual(refusal.status)).because(refusal.reason.label()));
        Self(refusal.status)
    }
}

/// Serves one request. There is always an answer: without one hyper would close the connection.
///
/// # Errors
/// Never.
///
/// # Cancel safety
/// Dropping the future drops the request, and its connection to a backend.
pub async fn serve(
    client: Rc<Client>,
    request: Request<Received>,
) -> Result<Response<AnswerBody>, Infallible> {
    let exchange = Exchange::begin(&client, &request);
    client.worker.runs(&exchange);
    let is_head = *request.method() == Method::HEAD;
    let id = RequestId::of(request.headers(), client.opening.id, exchange.record().number());
    exchange.record().identified(&id);
    // Decided by a plain function, because a future keeps a place for everything that stands in it.
    let answer = match decide(&exchange, request, &id) {
        Ok(Onward { request, admitted, destination }) => {
            forward::forward(&exchange, request, &admitted, &destination).await
        }
        Err(Stop::Answer(answer)) => {
            // Whatever its status: it is what the route is for.
            exchange.ends(RequestOutcome::Ok);
            exchange.finish();
            Ok(own(*answer, is_head))
        }
        Err(Stop::Refusal(refusal)) => Err(refusal),
    };
    let mut answer = answer.unwrap_or_else(|refusal| {
        exchange.finish();
        own(refusal_of(refusal, Some(&id), client.speaks_h2()), is_head)
    });
    limit::tell(&mut answer, exchange.wait());
    if let AnswerBody::Own(bytes) = answer.body() {
        exchange.answered_itself(answer.status(), bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
    }
    Ok(answer)
}

/// A request on its way to a backend.
struct Onward {
    request: Request<UploadBody>,
    admitted: Admitted,
    destination: Arc<Destination>,
}

/// Why a request goes to no backend.
enum Stop {
    /// It must not.
    Refusal(Refusal),
    /// Its route has an answer.
    Answer(Box<Response<Bytes>>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

fn decide(exchange: &Rc<Exchange>, request: Request<Received>, id: &RequestId) -> Result<Onward, Stop> {
    let (mut parts, body) = request.into_parts();
    // At once, so that what a refusal leaves of it is discarded.
    let body = UploadBody::new(body, exchange);
    let client = &exchange.client;
    let (facts, forwarding) = (&client.facts, &client.http.forwarding);
    let admitted = headers::admit(&mut parts, facts, forwarding);
    let admitted = admitted.map_err(|refusal| Refusal::of_head(refusal, exchange))?;
    if client.is_misdirected(admitted.authority.host()) {
        return Err(Refusal(StatusCode::MISDIRECTED_REQUEST).into());
    }
    let route = route(client, &parts, &admitted)?;
    limit::count(exchange, &route, admitted.client)?;
    if route.requires_certificate && !client.has_certificate() {
        return Err(Refusal(StatusCode::FORBIDDEN).into());
    }
    if client.http.limits.body.is_some_and(|most| too_large(&body, most)) {
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE).into());
    }
    let answer = match &route.action {
        Action::Forward(destination) => {
            exchange.routed(destination);
            headers::complete(&mut parts.headers, &admitted, facts, forwarding, id);
            let request = Request::from_parts(parts, body);
            return Ok(Onward { request, admitted, destination: Arc::clone(destination) });
        }
        Action::Respond(answer) => respond::fixed(answer),
        Action::Redirect(redirect) => {
            let question =
                Question { target: &parts.uri, authority: &admitted.authority, secure: facts.is_secure() };
            respond::redirect(redirect, &question).ok_or(Refusal(StatusCode::BAD_REQUEST))?
        }
    };
    Err(Stop::Answer(Box::new(answer)))
}

fn route(client: &Client, parts: &Parts, admitted: &Admitted) -> Result<Arc<RequestRoute>, Refusal> {
    let wanted = Wanted {
        host: Some(admitted.authority.host()),
        path: parts.uri.path(),
        method: &parts.method,
        headers: &parts.headers,
        offers: &client.offers,
        source: admitted.client,
    };
    // A path that backends may read in another way could walk around a route.
    let found = client.http.routes.lookup(&wanted).map_err(|_unclear| Refusal(StatusCode::BAD_REQUEST))?;
    let route = found.or(client.http.default.as_ref());
    route.cloned().ok_or(Refusal(StatusCode::NOT_FOUND))
}

/// An answer of weir's own as hyper takes it.
fn own(answer: Response<Bytes>, is_head: bool) -> Response<AnswerBody> {
    let answer = if is_head { respond::without_body(answer) } else { answer };
    answer.map(|body| AnswerBody::Own((!body.is_empty()).then_some(body)))
}

fn too_large(body: &UploadBody, most: u64) -> bool {
    body.size_hint().lower() > most
}

/// What a failed exchange means for the client.
pub fn failed(exchange: &Exchange, otherwise: StatusCode) -> Refusal {
    match exchange.upload() {
        Upload::TooLarge => {
            exchange.ends(RequestOutcome::TooLarge);
            Refusal(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Upload::Broken => {
            exchange.ends(RequestOutcome::ClientGone);
            Refusal(StatusCode::BAD_REQUEST)
        }
        Upload::Open | Upload::Complete | Upload::Unwanted => Refusal(otherwise),
    }
}

pub(crate) fn refused(refusal: Refusal, h2: bool) -> Response<AnswerBody> {
    own(refusal_of(refusal, None, h2), false)
}

fn refusal_of(Refusal(status): Refusal, id: Option<&RequestId>, h2: bool) -> Response<Bytes> {
    let is_malformed = matches!(status.as_u16(), 400 | 405 | 417 | 501);
    // What follows a malformed request may have been meant as a part of it (RFC 9112 §11.2).
    respond::error(status, id.map(|id| id as &dyn fmt::Display), is_malformed && !h2)
}

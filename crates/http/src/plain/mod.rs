//! Plain HTTP/1.1 beside a listener: each connection has one request, which is sent to the listener's own address, or
//! answered as a challenge of a certificate authority.
//!
//! - `location` pure: where a request is sent.
//! - `challenge` pure: which token a path asks for.
//! - `folder` files that answer challenges.

mod challenge;
mod folder;
mod location;

use crate::body::AnswerBody;
use crate::body::raw::RawGuard;
use crate::body::upload::UploadBody;
use crate::client::Client;
use crate::exchange::{Exchange, Upload};
use crate::forward;
use crate::headers::{self, RequestId};
use crate::request::{Refusal, refused};
use crate::stream::HyperStream;
use crate::worker::{HttpWorker, Watched};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::conn::Conn;
use weir_core::plan::http::{Challenges, RedirectFrom};
use weir_core::plan::{Http, StreamSettings};
use weir_core::relay::OnTruncation;

/// Serves the one request of a connection without TLS. Nothing but challenges is ever sent to a backend.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn serve(
    conn: &mut Conn,
    http: Arc<Http>,
    settings: Arc<StreamSettings>,
    worker: Rc<HttpWorker>,
) -> Result<Finished, ConnError> {
    let client = Rc::new(Client::of(conn, http, settings, OnTruncation::PassOn, worker));
    Box::pin(answer(conn, &client)).await
}

async fn answer(conn: &mut Conn, client: &Rc<Client>) -> Result<Finished, ConnError> {
    let (stream, _counts) = HyperStream::new(conn.take_socket(), Rc::clone(&client.worker.local));
    let stream = stream.paced(&client.handle);
    let stream = stream.with_raw(client.raw.clone());
    let _left = RawGuard(client.raw.clone());
    let begun = Rc::new(Cell::new(false));
    let (shared, seen, header) = (Rc::clone(client), Rc::clone(&begun), client.http.limits.header);
    let service = service_fn(move |request| {
        seen.set(true);
        respond(Rc::clone(&shared), request)
    });
    let connection = Builder::new()
        .header_read_timeout(None)
        .half_close(true)
        .keep_alive(false)
        .max_header_size(header)
        .max_buf_size((2 * header).max(8 << 10))
        .serve_connection(stream, service);
    let mut serving =
        Watched { task: Box::pin(connection), worker: Rc::clone(&client.worker), exchange: None };
    // One deadline for the request, and one for the whole answer: it is short.
    let (deadline, timeouts) = (client.worker.clock.deadline(), client.http.timeouts);
    deadline.set(timeouts.headers);
    let mut answering = false;
    let end = poll_fn(|cx| {
        if let Poll::Ready(why) = client.handle.poll_cancelled(cx) {
            return Poll::Ready(Err(why.into()));
        }
        let polled = Pin::new(&mut serving).poll(cx);
        if begun.get() && !answering {
            answering = true;
            conn.release_pending();
            deadline.set(timeouts.response + timeouts.body);
        }
        match polled {
            Poll::Ready(Ok(Ok(()))) => Poll::Ready(Ok(Finished { first: Side::Client, how: How::Fin })),
            Poll::Ready(Ok(Err(error))) => {
                tracing::debug!(%error, "a connection with plain HTTP ended");
                Poll::Ready(Err(crate::serve::ended(&error)))
            }
            Poll::Ready(Err(_overdue)) => Poll::Ready(Err(ConnError::IdleTimeout)),
            Poll::Pending => deadline.poll_over(cx).map(|()| Err(ConnError::IdleTimeout)),
        }
    })
    .await;
    // hyper ends well what came without a byte of a request, or after its answer.
    if begun.get() || end.is_err() {
        conn.record.hears();
    }
    end
}

async fn respond(client: Rc<Client>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible> {
    let exchange = Exchange::begin(&client, &request);
    client.worker.runs(&exchange);
    let http = Arc::clone(&client.http);
    let answer = match &http.redirect_from {
        Some(from) => choose(from, &exchange, request).await,
        None => Err(Refusal(StatusCode::NOT_FOUND)),
    };
    let answer = answer.unwrap_or_else(|refusal| refused(refusal, false));
    if let AnswerBody::Own(bytes) = answer.body() {
        exchange.finish();
        exchange.answered_itself(answer.status(), bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
    }
    Ok(answer)
}

async fn choose(
    from: &RedirectFrom,
    exchange: &Rc<Exchange>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Refusal> {
    let (mut parts, body) = request.into_parts();
    let location = location::of(&parts.uri, &parts.headers, from.port);
    let client = &exchange.client;
    let (facts, forwarding) = (&client.facts, &client.http.forwarding);
    if body.is_end_stream() {
        exchange.uploaded(Upload::Complete);
    }
    let id = RequestId::of(&parts.headers, client.opening.id, exchange.record().number());
    exchange.record().identified(&id);
    let admitted = headers::admit(&mut parts, facts, forwarding);
    let mut admitted = admitted.map_err(|refusal| Refusal::of_head(refusal, exchange))?;
    admitted.upgrade = None;
    let location = location.ok_or(Refusal(StatusCode::BAD_REQUEST))?;
    if matches!(from.challenges, Challenges::Redirected) || !challenge::is_meant(parts.uri.path()) {
        return Ok(redirected(location));
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let mut answer = refused(Refusal(StatusCode::METHOD_NOT_ALLOWED), false);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(answer);
    }
    let token = challenge::token(parts.uri.path()).ok_or(Refusal(StatusCode::NOT_FOUND))?;
    match &from.challenges {
        Challenges::Redirected => Ok(redirected(location)),
        Challenges::Folder(folder) => {
            let answered = folder::read(folder, token).await;
            answered.map(found).ok_or(Refusal(StatusCode::NOT_FOUND))
        }
        Challenges::Pool(destination) => {
            exchange.routed(destination);
            headers::complete(&mut parts.headers, &admitted, facts, forwarding, &id);
            let request = Request::from_parts(parts, UploadBody::new(body.into(), exchange));
            forward::forward(exchange, request, &admitted, destination).await
        }
    }
}

fn redirected(location: HeaderValue) -> Response<AnswerBody> {
    let mut answer = refused(Refusal(StatusCode::PERMANENT_REDIRECT), false);
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// RFC 8555 §8.3.
fn found(bytes: Vec<u8>) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Own(Some(Bytes::from(bytes))));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer
}

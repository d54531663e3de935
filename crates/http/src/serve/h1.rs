//! A client that speaks HTTP/1.1: parked while it is idle, a burst of hyper's while there are requests.

use super::idle::Idle;
use crate::body::raw::RawGuard;
use crate::body::received::Received;
use crate::body::{AnswerBody, BodyError};
use crate::client::Client;
use crate::exchange::Upload;
use crate::request;
use crate::stream::HyperStream;
use crate::upgrade::{self, Handover};
use crate::worker::Watched;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::{HttpService, service_fn};
use hyper::upgrade::OnUpgrade;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::account::request::{Asks, RequestEnd, RequestOutcome};
use weir_core::relay::Tls;
use weir_metrics::labels::Limit;
use weir_tls::AsServer;

/// Fields that fit hyper's arrays: more cost two allocations a request.
const FIELDS: usize = 100;

/// The client's stream.
type Stream = HyperStream<Tls<AsServer>>;

/// Serves requests one after the other.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(super) async fn serve(session: Tls<AsServer>, client: &Rc<Client>) -> Result<Finished, ConnError> {
    let counts = Rc::clone(&client.counts);
    let stream = HyperStream::counted(session, Rc::clone(&client.worker.local), Rc::clone(&counts));
    let mut stream = stream.with_raw(client.raw.clone()).paced(&client.handle);
    let _left = RawGuard(client.raw.clone());
    let mut idle = Idle::new(client, counts);
    loop {
        match parked(&mut stream, client, &mut idle).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                farewell(&mut stream, client, &error).await;
                return Err(error);
            }
        }
        // Boxed, so that a parked connection does not carry its size.
        match Box::pin(burst(stream, client, &mut idle)).await? {
            Next::Parked(back) => stream = back,
            Next::Relay(stream, handover) => {
                return Box::pin(upgrade::relay_connection(stream, *handover)).await;
            }
            Next::End(mut stream) => {
                let ended = end(&mut stream, client, &mut idle).await;
                if let Err(error) = ended {
                    farewell(&mut stream, client, &error).await;
                    return Err(error);
                }
                break;
            }
            Next::Ended => break,
        }
    }
    Ok(Finished { first: Side::Client, how: How::CloseNotify })
}

/// What follows a burst of requests.
enum Next {
    /// None has come for a while.
    Parked(Stream),
    /// A backend has changed the protocol.
    Relay(Stream, Box<Handover>),
    /// The client must be told of the end.
    End(Stream),
    /// Nothing.
    Ended,
}

/// Whether the requests of a burst leave HTTP.
#[derive(Debug, Default)]
struct LeavingHttp {
    /// Any of them has asked for it.
    asked: Cell<bool>,
    /// What the backend has handed over.
    handover: RefCell<Option<Box<Handover>>>,
}

/// Waits for the first bytes of a request, with nothing but the stream. False if the connection has ended instead: at a
/// drain one that waits for another request, but not one that was made just now and has had none. Its client could not
/// tell whether the request that is on its way was taken, and need not expect an end.
async fn parked(stream: &mut Stream, client: &Client, idle: &mut Idle) -> Result<bool, ConnError> {
    let more = poll_fn(|cx| {
        if let Poll::Ready(why) = client.handle.poll_cancelled(cx) {
            return Poll::Ready(Err(why.into()));
        }
        if client.handle.is_leaving() && idle.has_begun() {
            return Poll::Ready(Ok(false));
        }
        match stream.poll_more(cx) {
            Poll::Ready(Ok(more)) => Poll::Ready(Ok(more)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(ConnError::Broken(Side::Client, error.kind()))),
            Poll::Pending => idle.poll(false, cx, client).map(Err),
        }
    })
    .await?;
    if !more {
        end(stream, client, idle).await?;
    }
    Ok(more)
}

/// Ends the connection towards the client.
async fn end(stream: &mut Stream, client: &Client, idle: &mut Idle) -> Result<(), ConnError> {
    poll_fn(|cx| {
        if let Poll::Ready(why) = client.handle.poll_cancelled(cx) {
            return Poll::Ready(Err(ConnError::from(why)));
        }
        match stream.poll_end(cx) {
            Poll::Ready(_sent_or_gone) => Poll::Ready(Ok(())),
            Poll::Pending => idle.poll(false, cx, client).map(Err),
        }
    })
    .await
}

/// Ends a connection in an orderly way whose time is over; others have ended already.
async fn farewell(stream: &mut Stream, client: &Client, error: &ConnError) {
    if let ConnError::Stopped(_) | ConnError::IdleTimeout = error {
        // Boxed, so that a connection does not carry the size of its end.
        Box::pin(super::orderly_end(stream, client)).await;
    }
}

/// Ends the connection of an interrupted burst, unless only a cut shows that its answer is not whole.
async fn part<S>(serving: Watched<Connection<Stream, S>>, client: &Client, error: ConnError) -> ConnError
where
    S: HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<BodyError>,
{
    if !serving.exchange.as_ref().is_some_and(|exchange| exchange.ends_by_close()) {
        farewell(&mut taken_apart(serving), client, &error).await;
    }
    error
}

/// hyper's server, with weir's settings; `header` bounds a head, in bytes.
fn server(header: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        // The deadlines of `Idle` stand for hyper's: those run while a connection is idle too, and need a timer each.
        .header_read_timeout(None)
        .half_close(true)
        .max_header_size(header)
        .max_buf_size((2 * header).max(8 << 10))
        .max_headers(FIELDS)
        // A proxy passes Date on.
        .auto_date_header(false);
    builder
}

/// Serves requests until none has come for a while, or until the connection ends or leaves HTTP.
#[allow(clippy::large_futures, reason = "hyper keeps the future of a request in a place that it makes once")]
async fn burst(stream: Stream, client: &Rc<Client>, idle: &mut Idle) -> Result<Next, ConnError> {
    let begun = idle.begun();
    let (shared, leaving_http) = (Rc::clone(client), Rc::new(LeavingHttp::default()));
    let seen = Rc::clone(&leaving_http);
    let service = service_fn(move |request: Request<Incoming>| {
        begun.set(begun.get() + 1);
        if request.extensions().get::<OnUpgrade>().is_some() {
            seen.asked.set(true);
        }
        let (client, seen) = (Rc::clone(&shared), Rc::clone(&seen));
        async move {
            let mut answer = request::serve(client, request.map(Received::H1)).await;
            if let Ok(answer) = &mut answer
                && let AnswerBody::Handover(handover) = answer.body_mut()
            {
                seen.handover.replace(handover.take());
            }
            answer
        }
    });
    let connection = server(client.http.limits.header).serve_connection(stream, service);
    let warm = client.worker.warm.enter();
    let mut serving =
        Watched { task: Box::pin(connection), worker: Rc::clone(&client.worker), exchange: None };
    let mut leaving = false;
    let mut stopped: Option<ConnError> = None;
    let parks = poll_fn(|cx| {
        if stopped.is_none() {
            stopped = super::cancelled(client, cx, || idle.last_moment());
        }
        // hyper would close a connection that it has read nothing of.
        let leaves = client.handle.is_leaving() && idle.has_begun();
        if (leaves || stopped.is_some()) && !mem::replace(&mut leaving, true) {
            serving.task.as_mut().graceful_shutdown();
        }
        match Pin::new(&mut serving).poll(cx) {
            Poll::Ready(Ok(Ok(()))) => return Poll::Ready(stopped.take().map_or(Ok(false), Err)),
            Poll::Ready(Ok(Err(error))) => {
                tracing::debug!(%error, "a connection with requests ended");
                if error.is_parse() {
                    unread(&error, client);
                    return Poll::Ready(Ok(false));
                }
                return Poll::Ready(Err(stopped.take().unwrap_or_else(|| super::ended(&error))));
            }
            Poll::Ready(Err(_overdue)) => return Poll::Ready(Err(ConnError::IdleTimeout)),
            Poll::Pending if stopped.is_some() => {
                return idle.poll_over(cx).map(|()| stopped.take().map_or(Ok(false), Err));
            }
            Poll::Pending => {}
        }
        let last = serving.exchange.as_ref();
        let busy = last.is_some_and(|exchange| !exchange.is_over());
        if let Poll::Ready(error) = idle.poll(busy, cx, client) {
            return Poll::Ready(Err(error));
        }
        let read_whole = last.is_some_and(|exchange| exchange.upload() == Upload::Complete);
        if idle.waits() && read_whole && !leaving {
            if warm.idle(client.worker.clock.now(), cx) {
                return Poll::Ready(Ok(true));
            }
        } else {
            warm.busy();
        }
        Poll::Pending
    })
    .await;
    let parks = match parks {
        Ok(parks) => parks,
        Err(error) => return Err(part(serving, client, error).await),
    };
    if parks {
        return Ok(Next::Parked(taken_apart(serving)));
    }
    if let Some(handover) = leaving_http.handover.take() {
        return Ok(Next::Relay(taken_apart(serving), handover));
    }
    // hyper leaves the end of a connection on which any request has asked for an upgrade to others, also if none came of it.
    Ok(if leaving_http.asked.get() { Next::End(taken_apart(serving)) } else { Next::Ended })
}

/// The stream of a connection that waits for its next request, with what hyper had read of it.
fn taken_apart<S>(serving: Watched<Connection<Stream, S>>) -> Stream
where
    S: HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<BodyError>,
{
    let parts = Pin::into_inner(serving.task).into_parts();
    let mut stream = parts.io;
    stream.put_in_front(&parts.read_buf);
    stream
}

/// hyper has answered a request whose head it cannot read, before weir saw it.
fn unread(error: &hyper::Error, client: &Client) {
    let mut record = client.account.open(Asks { method: "", host: None, path: "" });
    if error.is_parse_too_large() {
        client.settings.metrics.limited(Limit::HeadTooLarge);
        record.answered(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        record.close(RequestOutcome::TooLarge);
    } else {
        record.answered(StatusCode::BAD_REQUEST);
        record.close(RequestEnd::from(RequestOutcome::BadRequest).because("malformed"));
    }
}

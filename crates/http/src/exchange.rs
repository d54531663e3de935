//! One request and its answer, from the head of the request to the last byte of the answer.

use crate::body::BodyError;
use crate::client::Client;
use crate::clock::Deadline;
use http::{Request, StatusCode, Version};
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;
use weir_core::account::outcome::Side;
use weir_core::account::request::{Asks, RequestEnd, RequestOutcome, RequestRecord};
use weir_core::connect::Tries;
use weir_core::plan::Destination;
use weir_metrics::labels::Limit;

/// What has become of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// More may come.
    Open,
    /// It was read to its end, or there is none.
    Complete,
    /// It is longer than `max_body`.
    TooLarge,
    /// The client ended in the middle of it.
    Broken,
    /// Its rest is not wanted, by its backend or by weir.
    Unwanted,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Its head is not there.
    Awaited,
    /// Its body is on the way.
    Flows,
    /// It was handed to hyper as a whole, or is cut.
    Over,
}

/// The state of an exchange, shared by the bodies in both directions and by the task that carries them.
#[derive(Debug)]
pub struct Exchange {
    /// The client's connection.
    pub client: Rc<Client>,
    /// When something must have moved.
    deadline: Deadline,
    /// When all must be over.
    ends: Option<Instant>,
    /// The version of the request's head.
    version: Version,
    upload: Cell<Upload>,
    /// The backend takes more of the request's body than the client has sent.
    starves: Cell<bool>,
    answer: Cell<Answer>,
    record: RefCell<RequestRecord>,
    /// How it ends, where that is known before it is closed.
    end: Cell<Option<RequestEnd>>,
    /// When the client may ask again.
    wait: Cell<Option<Duration>>,
    /// It must end, because its backend takes no requests any more and the time to finish is over.
    cut: Cell<bool>,
}

impl Exchange {
    /// An exchange whose request's head has arrived.
    pub fn begin<B>(client: &Rc<Client>, request: &Request<B>) -> Rc<Self> {
        let clock = &client.worker.clock;
        let ends = client.http.timeouts.request.map(|whole| clock.now() + whole);
        Rc::new(Self {
            deadline: clock.deadline(),
            ends,
            version: request.version(),
            upload: Cell::new(Upload::Open),
            starves: Cell::new(false),
            answer: Cell::new(Answer::Awaited),
            record: RefCell::new(client.account.open(asks(request))),
            end: Cell::new(None),
            wait: Cell::new(None),
            cut: Cell::new(false),
            client: Rc::clone(client),
        })
    }

    /// Its record. Not to be held over a call that may use it too.
    pub fn record(&self) -> RefMut<'_, RequestRecord> {
        self.record.borrow_mut()
    }

    /// Records its pool.
    pub fn routed(&self, destination: &Destination) {
        self.record().routed(&destination.pool.name, destination.requests());
    }

    /// Records the backends that were tried, the last of them over a connection that was kept, or was made for it.
    pub fn tried(&self, tries: &Tries, kept: bool) {
        let mut record = self.record();
        if let Some(last) = tries.last() {
            record.tried(&last.backend, tries.count());
        }
        if let (Some(took), false) = (tries.took(), kept) {
            record.connected(took);
        }
    }

    /// Records how long the client must wait before it asks again.
    pub fn wait_before_retry(&self, wait: Duration) {
        self.wait.set(Some(wait));
    }

    /// How long the client must wait before it asks again; `None` if it need not.
    pub fn wait(&self) -> Option<Duration> {
        self.wait.get()
    }

    /// Says how it ends; the first word counts, because later ones only follow from it.
    pub fn ends(&self, end: impl Into<RequestEnd>) {
        if self.end.get().is_none() {
            self.end.set(Some(end.into()));
        }
    }

    /// Closes its record: so, unless [`Self::ends`] knows better. Only the first call of this counts.
    pub fn close(&self, end: impl Into<RequestEnd>) {
        self.record().close(self.end.get().unwrap_or_else(|| end.into()));
    }

    /// Closes its record, because the client is gone, or the connection's time is over.
    pub fn abandon(&self) {
        let drained = self.client.handle.is_cancelled();
        self.close(if drained { RequestOutcome::Drained } else { RequestOutcome::ClientGone });
    }

    /// Closes its record after an answer of weir's own with this status and length, which says why, unless [`Self::ends`] knows better.
    pub fn answered_itself(&self, status: StatusCode, body: u64) {
        self.record().answered(status);
        self.record().down(usize::try_from(body).unwrap_or(usize::MAX));
        self.close(usual(status));
        let limit = match status {
            StatusCode::TOO_MANY_REQUESTS => Limit::RequestRate,
            StatusCode::PAYLOAD_TOO_LARGE => Limit::BodyTooLarge,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Limit::HeadTooLarge,
            _ => return,
        };
        self.client.settings.metrics.limited(limit);
    }

    /// The end of an exchange whose deadline is over.
    pub fn overdue(&self) -> RequestEnd {
        match (self.answer.get(), self.upload.get()) {
            _ if self.is_cut() => RequestOutcome::Drained.into(),
            _ if self.ends.is_some_and(|ends| self.client.worker.clock.now() >= ends) => {
                RequestOutcome::RequestTimeout.into()
            }
            (Answer::Awaited, Upload::Open) if self.waits_for_client() => {
                RequestEnd::from(RequestOutcome::BodyTimeout).by(Side::Client)
            }
            (Answer::Awaited, Upload::Open) => {
                RequestEnd::from(RequestOutcome::BodyTimeout).by(Side::Backend)
            }
            (Answer::Awaited, _) => RequestOutcome::ResponseTimeout.into(),
            _ => RequestEnd::from(RequestOutcome::BodyTimeout).by(Side::Backend),
        }
    }

    /// What has become of the request's body.
    pub fn upload(&self) -> Upload {
        self.upload.get()
    }

    /// The request's body has come to an end.
    pub fn uploaded(&self, how: Upload) {
        self.upload.set(how);
        self.client.counts.watch(how == Upload::Complete);
        if self.answer.get() == Answer::Awaited {
            self.set(self.client.http.timeouts.response);
        }
    }

    /// The backend waits for the client, or does not.
    pub fn starves(&self, starves: bool) {
        self.starves.set(starves);
    }

    /// Whether it is the client that makes no progress.
    pub fn waits_for_client(&self) -> bool {
        self.upload.get() == Upload::Open && self.starves.get()
    }

    /// Whether the client has done its part so far.
    pub fn is_sound(&self) -> bool {
        matches!(self.upload.get(), Upload::Open | Upload::Complete | Upload::Unwanted)
    }

    /// Ends it, at the next tick: its backend's time is over.
    pub fn cut(&self) {
        self.cut.set(true);
        self.deadline.expire();
    }

    /// Whether it was told to end.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    fn set(&self, after: Duration) {
        if !self.cut.get() {
            self.deadline.set_within(after, self.ends);
        }
    }

    /// Bytes of a body have moved.
    pub fn moved(&self) {
        if self.answer.get() == Answer::Flows || self.upload.get() == Upload::Open {
            self.set(self.client.http.timeouts.body);
        }
    }

    /// The head of the answer has arrived.
    pub fn answered(&self) {
        self.answer.set(Answer::Flows);
        self.moved();
    }

    /// Client and backend leave HTTP: deadlines of requests do not count any more.
    pub fn leaves_http(&self) {
        self.record().changed_protocol();
        self.finish();
    }

    /// Nothing of it is left to do.
    pub fn finish(&self) {
        self.answer.set(Answer::Over);
        self.client.counts.watch(false);
        self.deadline.clear();
    }

    /// Whether the head of its answer is still awaited.
    pub fn is_unanswered(&self) -> bool {
        self.answer.get() == Answer::Awaited
    }

    /// Whether an answer is under way whose end the client may know by the connection's end alone (RFC 9112 §6.3).
    pub fn ends_by_close(&self) -> bool {
        self.version < Version::HTTP_11 && self.answer.get() == Answer::Flows
    }

    /// Whether nothing of it is left to do.
    pub fn is_over(&self) -> bool {
        self.answer.get() == Answer::Over
    }

    /// Ready once its deadline is over.
    pub fn poll_overdue(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_deadline(cx)
    }

    /// Ready once its deadline is over, unless it is weir that moves nothing.
    fn poll_deadline(&self, cx: &Context<'_>) -> Poll<()> {
        ready!(self.deadline.poll_over(cx));
        if !self.client.is_held_back() {
            return Poll::Ready(());
        }
        self.moved();
        self.deadline.poll_over(cx)
    }

    /// Ready once its answer has begun and its deadline is over.
    pub fn poll_stalled(&self, cx: &Context<'_>) -> Poll<()> {
        match self.answer.get() {
            Answer::Flows => self.poll_deadline(cx),
            Answer::Awaited | Answer::Over => Poll::Pending,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.abandon();
        }
    }
}

/// What a request asks for, as the client wrote it.
fn asks<B>(request: &Request<B>) -> Asks<'_> {
    let field = || request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or_else(field);
    Asks { method: request.method().as_str(), host: host.map(without_port), path: request.uri().path() }
}

/// The host of an authority, with the brackets of an IPv6 address.
fn without_port(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// How a request ends that weir answers itself with this status.
pub fn usual(status: StatusCode) -> RequestOutcome {
    match status {
        StatusCode::FORBIDDEN => RequestOutcome::Denied,
        StatusCode::NOT_FOUND => RequestOutcome::NoRoute,
        StatusCode::REQUEST_TIMEOUT => RequestOutcome::BodyTimeout,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            RequestOutcome::TooLarge
        }
        StatusCode::MISDIRECTED_REQUEST => RequestOutcome::Misdirected,
        StatusCode::TOO_MANY_REQUESTS => RequestOutcome::Limited,
        StatusCode::NOT_IMPLEMENTED => RequestOutcome::BadRequest,
        StatusCode::BAD_GATEWAY => RequestOutcome::BadResponse,
        StatusCode::SERVICE_UNAVAILABLE => RequestOutcome::NoBackend,
        StatusCode::GATEWAY_TIMEOUT => RequestOutcome::ResponseTimeout,
        status if status.is_client_error() => RequestOutcome::BadRequest,
        status if status.is_server_error() => RequestOutcome::Internal,
        _ => RequestOutcome::Ok,
    }
}

/// Why a backend's answer did not come to its end.
pub fn unanswered(error: &BodyError) -> RequestOutcome {
    let malformed = match error.downcast_ref::<hyper::Error>() {
        Some(error) => error.is_parse(),
        None => error.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library),
    };
    if malformed { RequestOutcome::BadResponse } else { RequestOutcome::BackendReset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_shown_without_ports() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:443", "a.example"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("user@a.example:1", "a.example"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}

//! The record of a request: opened with its head, closed with the last byte of its answer.
//!
//! A connection's [`Requests`] open a [`RequestRecord`] for each. What the records of all its requests share stands in
//! [`Connection`], made once. The record of the connection itself is written too, at its end: with the sum of its requests'
//! bytes, and also if it had no request.
//!
//! Dropping a record unclosed closes it as `client_gone`: the service of a request is dropped where the client's
//! connection ends or its stream is reset. If the task panics, it is `internal`.

pub mod outcome;

pub use outcome::RequestOutcome;

use crate::account::error::ConnError;
use crate::account::outcome::{Finished, How, Reason, Side};
use crate::account::queue::{Entry, Opening, TEXT_MAX, printable};
use crate::account::record::{Sums, Traffic};
use crate::account::sinks::Sinks;
use crate::hello::Ja4;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use weir_metrics::{Exemplar, HttpMethod, HttpMetrics, ListenerMetrics, StickyResult};
use weir_tls::Session;

/// The facts about a client's connection that the records of its requests have in common.
#[derive(Debug)]
pub struct Connection {
    /// The facts at its accept.
    pub opening: Opening,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The mode, in the configuration's word.
    pub mode: &'static str,
    /// The server name in its hello.
    pub sni: Option<Box<str>>,
    /// The agreed protocol, escaped and cut.
    pub alpn: Option<Box<str>>,
    /// Whether its hello had an extension for Encrypted Client Hello.
    pub ech: bool,
    /// The JA4 of its hello.
    pub ja4: Option<Ja4>,
    /// Its TLS session with the client.
    pub tls: Option<Session>,
    /// The duration of the TLS handshake with the client.
    pub handshake: Option<Duration>,
    /// Bytes of the bodies of its requests and answers, and of what followed them where they left HTTP.
    pub(crate) sums: Arc<Sums>,
    /// Requests so far.
    pub(crate) requests: AtomicU64,
}

/// Opens the records of one connection's requests.
#[derive(Debug)]
pub struct Requests {
    connection: Arc<Connection>,
    opened: Instant,
    metrics: Arc<ListenerMetrics>,
    sinks: Rc<Sinks>,
    recorded: bool,
}

/// What a request asks for: texts from a client.
#[derive(Clone, Copy, Debug)]
pub struct Asks<'a> {
    /// Its method.
    pub method: &'a str,
    /// The host of its authority.
    pub host: Option<&'a str>,
    /// Its path, without the query, which may hold secrets.
    pub path: &'a str,
}

impl Requests {
    pub(crate) fn new(
        connection: Arc<Connection>,
        opened: Instant,
        metrics: Arc<ListenerMetrics>,
        (sinks, recorded): (Rc<Sinks>, bool),
    ) -> Self {
        let recorded = recorded && sinks.records.is_some();
        Self { connection, opened, metrics, sinks, recorded }
    }

    /// The facts about the connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Opens the record of a request whose head has come. Until [`RequestRecord::routed`] it counts as one that weir
    /// answers itself.
    pub fn open(self: &Rc<Self>, asks: Asks<'_>) -> RequestRecord {
        let number = self.connection.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let method = HttpMethod::of(asks.method);
        let text = |text: &str| printable(text.as_bytes(), TEXT_MAX);
        let texts = self.recorded.then(|| Texts {
            other_method: (method == HttpMethod::Other).then(|| text(asks.method)),
            host: asks.host.map(text),
            path: printable(asks.path.as_bytes(), PATH_MAX),
        });
        RequestRecord {
            of: Rc::clone(self),
            number,
            opened: Instant::now(),
            method,
            texts,
            id: None,
            series: None,
            pool: None,
            backend: None,
            tries: 0,
            connect: None,
            status: None,
            sticky: None,
            took: None,
            up: 0,
            down: 0,
            closed: false,
        }
    }
}

/// The texts of a request as its record shows them: escaped and cut.
#[derive(Debug)]
struct Texts {
    /// The method, if it is none of the known ones.
    other_method: Option<Box<str>>,
    host: Option<Box<str>>,
    path: Box<str>,
}

/// Most characters of a path in a record.
const PATH_MAX: usize = 1024;

/// One request's account.
#[derive(Debug)]
pub struct RequestRecord {
    of: Rc<Requests>,
    number: u64,
    opened: Instant,
    method: HttpMethod,
    /// `None` if requests are not recorded.
    texts: Option<Texts>,
    id: Option<Box<str>>,
    series: Option<Arc<HttpMetrics>>,
    pool: Option<Arc<str>>,
    backend: Option<Arc<str>>,
    tries: u32,
    connect: Option<Duration>,
    status: Option<u16>,
    sticky: Option<StickyResult>,
    /// Its duration as metrics have it, if that is not the whole.
    took: Option<Duration>,
    up: u64,
    down: u64,
    closed: bool,
}

/// The end of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnd {
    /// How it ended.
    pub outcome: RequestOutcome,
    /// The side that caused it.
    pub side: Side,
    /// How it ended on the wire.
    pub how: How,
    /// A detail: a word of a closed set.
    pub reason: Option<&'static str>,
}

impl From<RequestOutcome> for RequestEnd {
    fn from(outcome: RequestOutcome) -> Self {
        let (side, how) = outcome.usual();
        Self { outcome, side, how, reason: None }
    }
}

impl From<&ConnError> for RequestEnd {
    fn from(error: &ConnError) -> Self {
        let end = error.end();
        Self {
            outcome: end.outcome.into(),
            side: end.side,
            how: end.how,
            reason: end.reason.map(Reason::label),
        }
    }
}

/// The end of a relay after an upgrade.
impl From<&Result<Finished, ConnError>> for RequestEnd {
    fn from(end: &Result<Finished, ConnError>) -> Self {
        match end {
            Ok(Finished { first, how }) => {
                Self { outcome: RequestOutcome::Ok, side: *first, how: *how, reason: None }
            }
            Err(error) => error.into(),
        }
    }
}

impl RequestEnd {
    /// The same end, with a detail.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The same end, caused by this side.
    #[must_use]
    pub fn by(self, side: Side) -> Self {
        Self { side, ..self }
    }
}

impl RequestRecord {
    /// Its number among the requests of its connection, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When its head had come, from which its deadlines count.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Records the identifier that backends get in X-Request-Id.
    pub fn identified(&mut self, id: &impl Display) {
        if self.texts.is_some() {
            let id = id.to_string();
            let is_plain = id.len() <= TEXT_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
            self.id = Some(if is_plain { id.into() } else { printable(id.as_bytes(), TEXT_MAX) });
        }
    }

    /// Records the pool of its route; `series` are the counters of the listener's requests to that pool.
    pub fn routed(&mut self, pool: &Arc<str>, series: &Arc<HttpMetrics>) {
        (self.pool, self.series) = (Some(Arc::clone(pool)), Some(Arc::clone(series)));
    }

    /// Records the backend tried last, and how many were tried.
    pub fn tried(&mut self, backend: &Arc<str>, tries: u32) {
        self.tries = tries;
        self.backend = Some(Arc::clone(backend));
    }

    /// Records that a new connection to the backend took this long, with all tries. A kept one takes no time.
    pub fn connected(&mut self, took: Duration) {
        self.connect = Some(took);
    }

    /// Records what its stickiness was worth. Counting is [`weir_metrics::PoolMetrics::stuck`].
    pub fn stuck(&mut self, result: StickyResult) {
        self.sticky = Some(result);
    }

    /// Records the status of the answer that the client gets.
    pub fn answered(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
    }

    /// Counts `n` bytes of its body that the backend's connection took.
    pub fn up(&mut self, n: usize) {
        if n > 0 {
            self.up += n as u64;
            self.of.metrics.up.inc_by(n as u64);
            self.of.connection.sums.up(n as u64);
        }
    }

    /// Counts `n` bytes of its answer's body that the client's connection took.
    pub fn down(&mut self, n: usize) {
        if n > 0 {
            self.down += n as u64;
            self.of.metrics.down.inc_by(n as u64);
            self.of.connection.sums.down(n as u64);
        }
    }

    /// Counts the bytes of a relay, for the listener and the connection.
    pub fn traffic(&self) -> Traffic {
        Traffic::new(Arc::clone(&self.of.metrics)).within(&self.of.connection.sums)
    }

    /// Adds the bytes of a relay, which has counted them for the listener and the connection.
    pub fn relayed(&mut self, traffic: &Traffic) {
        let (up, down) = traffic.sums();
        self.up += up;
        self.down += down;
    }

    /// Its connection leaves HTTP now: what follows is no part of the request's duration in the metrics.
    pub fn changed_protocol(&mut self) {
        self.took = Some(self.opened.elapsed());
    }

    /// Closes the account. Only the first call counts.
    pub fn close(&mut self, end: impl Into<RequestEnd>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let lasted = self.opened.elapsed();
        let seconds = self.took.unwrap_or(lasted).as_secs_f64();
        let series = self.series.as_ref().unwrap_or_else(|| self.of.metrics.own_requests());
        let (Some(records), Some(texts)) = (&self.of.sinks.records, self.texts.take()) else {
            return series.ended(self.method, self.status, seconds, None);
        };
        let end = end.into();
        let at = SystemTime::now();
        let exemplar = Exemplar { id: self.of.connection.opening.id, request: self.number, at };
        series.ended(self.method, self.status, seconds, Some(exemplar));
        records.push(Entry::Request(Box::new(RequestEntry {
            connection: Arc::clone(&self.of.connection),
            number: self.number,
            id: self.id.take(),
            method: self.method,
            other_method: texts.other_method,
            host: texts.host,
            path: texts.path,
            pool: self.pool.take(),
            backend: self.backend.take(),
            tries: self.tries,
            connect: self.connect,
            status: self.status,
            sticky: self.sticky,
            ended: at,
            lasted,
            age: self.of.opened.elapsed(),
            up: self.up,
            down: self.down,
            end,
        })));
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let panics = std::thread::panicking();
        self.close(if panics { RequestOutcome::Internal } else { RequestOutcome::ClientGone });
    }
}

/// One request's record on its way to the writer.
#[derive(Debug)]
pub struct RequestEntry {
    /// What it shares with other requests of its connection.
    pub connection: Arc<Connection>,
    /// Its number among them, from 1.
    pub number: u64,
    /// Its X-Request-Id, escaped and cut.
    pub id: Option<Box<str>>,
    /// Its method.
    pub method: HttpMethod,
    /// Its method, if it is none of the known ones: escaped and cut.
    pub other_method: Option<Box<str>>,
    /// The host of its authority, escaped and cut.
    pub host: Option<Box<str>>,
    /// Its path without the query, escaped and cut.
    pub path: Box<str>,
    /// The pool of its route.
    pub pool: Option<Arc<str>>,
    /// The backend tried last.
    pub backend: Option<Arc<str>>,
    /// The number of backends tried.
    pub tries: u32,
    /// The time to reach the backend on a new connection.
    pub connect: Option<Duration>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What its stickiness was worth.
    pub sticky: Option<StickyResult>,
    /// When it ended.
    pub ended: SystemTime,
    /// From its head to its end.
    pub lasted: Duration,
    /// From the accept of its connection to its end.
    pub age: Duration,
    /// Bytes of its body, to the backend.
    pub up: u64,
    /// Bytes of the answer's body, to the client.
    pub down: u64,
    /// How it ended.
    pub end: RequestEnd,
}

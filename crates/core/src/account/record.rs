//! The record: all facts about one connection.
//!
//! A [`Record`] is opened at accept, filled on the connection's way, and closed with its outcome. It holds
//! the same facts whether connections are recorded or not. Dropping it unclosed closes it as `internal`, so
//! that a task that panics or is cancelled is counted too.

use crate::account::error::{ConnError, ConnectError};
use crate::account::failures::{Cause, Failure};
use crate::account::live::Live;
use crate::account::outcome::{AlertBy, Finished, How, Outcome, Reason, Side, Stage};
use crate::account::queue::{Entry, Event, Opening, RecordEnd, RecordEntry, listed};
use crate::account::request::{Connection, Requests};
use crate::account::sinks::Sinks;
use crate::address::{ClientAddr, LocalAddr};
use crate::alert::Alert;
use crate::connect::Tries;
use crate::hello::Hello;
use crate::plan::{ModeName, Recording};
use crate::proxy_protocol::preamble::preamble;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use weir_metrics::labels::HandshakeSide;
use weir_metrics::{Exemplar, ListenerMetrics};
use weir_pool::{Backend, SendProxyProtocol};
use weir_tls::Session;

/// The client's wishes that a session with the backend may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name in its hello.
    pub sni: Option<&'a str>,
    /// The protocol agreed on with it by ALPN.
    pub alpn: Option<&'a [u8]>,
}

/// Payload moved, counted here and in the listener's metrics in one step.
#[derive(Debug)]
pub struct Traffic {
    metrics: Arc<ListenerMetrics>,
    up: u64,
    down: u64,
    /// Counted there too.
    sums: Option<Arc<Sums>>,
}

/// Payload moved so far, read by others while it moves.
#[derive(Debug, Default)]
pub struct Sums {
    up: AtomicU64,
    down: AtomicU64,
}

impl Sums {
    /// The bytes so far: to the backend, to the client.
    pub fn now(&self) -> (u64, u64) {
        (load(&self.up), load(&self.down))
    }

    pub(crate) fn up(&self, n: u64) {
        self.up.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn down(&self, n: u64) {
        self.down.fetch_add(n, Ordering::Relaxed);
    }
}

impl Traffic {
    /// No payload yet.
    pub fn new(metrics: Arc<ListenerMetrics>) -> Self {
        Self { metrics, up: 0, down: 0, sums: None }
    }

    /// The same, counted in these sums too.
    #[must_use]
    pub(crate) fn within(self, sums: &Arc<Sums>) -> Self {
        Self { sums: Some(Arc::clone(sums)), ..self }
    }

    /// Counts `n` bytes to the backend.
    pub fn up(&mut self, n: usize) {
        if n > 0 {
            self.up += n as u64;
            self.metrics.up.inc_by(n as u64);
            if let Some(sums) = &self.sums {
                sums.up(n as u64);
            }
        }
    }

    /// Counts `n` bytes to the client.
    pub fn down(&mut self, n: usize) {
        if n > 0 {
            self.down += n as u64;
            self.metrics.down.inc_by(n as u64);
            if let Some(sums) = &self.sums {
                sums.down(n as u64);
            }
        }
    }

    /// The bytes so far: to the backend, to the client.
    pub fn sums(&self) -> (u64, u64) {
        (self.up, self.down)
    }

    /// Takes back `n` bytes counted as sent to the backend, which never got them.
    pub(crate) fn take_back_up(&mut self, n: usize) {
        let n = self.up.min(n as u64);
        self.up -= n;
        self.metrics.up.take_back(n);
        if let Some(sums) = &self.sums {
            sums.up.fetch_sub(n, Ordering::Relaxed);
        }
    }

    /// Takes back `n` bytes counted as sent to the client, which never got them.
    pub(crate) fn take_back_down(&mut self, n: usize) {
        let n = self.down.min(n as u64);
        self.down -= n;
        self.metrics.down.take_back(n);
        if let Some(sums) = &self.sums {
            sums.down.fetch_sub(n, Ordering::Relaxed);
        }
    }
}

/// One connection's account.
#[derive(Debug)]
pub struct Record {
    /// Payload moved so far.
    pub traffic: Traffic,
    /// The client's hello; `None` if nothing was peeked at, or the client does not speak TLS.
    pub hello: Option<Box<Hello>>,
    /// The backends that were tried.
    pub tries: Tries,
    /// The stage that the connection has come to.
    pub(crate) stage: Stage,
    opening: Opening,
    opened: Instant,
    mode: ModeName,
    pool: Option<Arc<str>>,
    session: Option<Session>,
    handshake: Option<Duration>,
    sinks: Rc<Sinks>,
    /// What the records of its requests share, if it is one of requests.
    requests: Option<Arc<Connection>>,
    /// Which records of it are written.
    recording: Recording,
    /// Whether a byte of the client's own has come, apart from payload.
    heard: bool,
    /// Whether its beginning has been recorded.
    told: bool,
    closed: bool,
}

/// Notes the tries of a connection that fail, while its tries are borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness<'a> {
    opening: &'a Opening,
    listener: &'a Arc<str>,
    sni: Option<&'a str>,
    pool: &'a Option<Arc<str>>,
    sinks: &'a Sinks,
}

impl Witness<'_> {
    /// Keeps a failed try, whether or not another backend is tried.
    pub(crate) fn failed(&self, backend: &Backend, error: &ConnectError) {
        self.sinks.failures.push(Failure {
            at: SystemTime::now(),
            listener: Some(Arc::clone(self.listener)),
            sni: self.sni.map(Into::into),
            pool: self.pool.clone(),
            backend: Some((Arc::clone(&backend.name), backend.address.clone())),
            client: Some(self.opening.client),
            cause: error.end().into(),
        });
    }
}

impl Record {
    /// Opens the account, and counts the connection. `mode` is the listener's; a route may change it later. `recording`
    /// says which records of it are written.
    pub fn open(
        opening: Opening,
        mode: ModeName,
        metrics: Arc<ListenerMetrics>,
        (sinks, recording): (Rc<Sinks>, Recording),
    ) -> Self {
        metrics.opened();
        Self {
            traffic: Traffic::new(metrics),
            hello: None,
            tries: Tries::default(),
            stage: Stage::Peek,
            opening,
            opened: Instant::now(),
            mode,
            pool: None,
            session: None,
            handshake: None,
            sinks,
            requests: None,
            recording,
            heard: false,
            told: false,
            closed: false,
        }
    }

    /// The time of the accept, from which its deadlines count.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The TLS session with the client, once there is one.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Its number, its addresses, and the plan at its accept.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Its mode: the route's, once it has one.
    pub fn mode(&self) -> ModeName {
        self.mode
    }

    /// Which records of it are written.
    pub fn recording(&self) -> Recording {
        self.recording
    }

    /// Records that a byte of the client's own has come: it is more than a probe.
    pub fn hears(&mut self) {
        self.heard = true;
    }

    /// Records the client that a proxy in front of weir speaks for, and what that client reached.
    pub fn comes_from(&mut self, client: ClientAddr, reached: LocalAddr) {
        (self.opening.client, self.opening.local) = (client, reached);
    }

    /// Records the route: its mode, and its pool unless the connection carries requests.
    pub fn routed(&mut self, mode: ModeName, pool: Option<&Arc<str>>) {
        (self.mode, self.pool) = (mode, pool.cloned());
        if let Some(hello) = &mut self.hello {
            // A client may offer 16 KiB of protocol names; a record shows only their beginning.
            hello.offers.shorten();
        }
    }

    /// Records a finished handshake with the client, and its duration.
    pub fn secured(&mut self, session: Session, took: Duration) {
        let metrics = &self.traffic.metrics;
        metrics.handshake(HandshakeSide::Client, session.version, session.resumed, took.as_secs_f64());
        (self.session, self.handshake) = (Some(session), Some(took));
    }

    /// Opens the records of its requests, once its handshake is done. The bytes of their bodies count for it too.
    pub fn requests(&mut self) -> Rc<Requests> {
        let connection = self.requests.get_or_insert_with(|| {
            let alpn = self.session.as_ref().and_then(|session| session.alpn.as_deref());
            Arc::new(Connection {
                opening: self.opening,
                listener: Arc::clone(self.traffic.metrics.name()),
                mode: self.mode.label(),
                sni: self.hello.as_ref().and_then(|hello| hello.sni.clone()),
                alpn: listed(alpn),
                ech: self.hello.as_ref().is_some_and(|hello| hello.ech),
                ja4: self.hello.as_ref().and_then(|hello| hello.ja4.clone()),
                tls: self.session.clone(),
                handshake: self.handshake,
                sums: Arc::default(),
                requests: 0.into(),
            })
        });
        let to = (Rc::clone(&self.sinks), self.recording.on);
        let metrics = Arc::clone(&self.traffic.metrics);
        Rc::new(Requests::new(Arc::clone(connection), self.opened, metrics, to))
    }

    /// The PROXY header for its connections to backends.
    pub(crate) fn preamble(&self, send: SendProxyProtocol) -> Option<Vec<u8>> {
        let sni = self.hello.as_ref().and_then(|hello| hello.sni.as_deref());
        preamble(send, &self.opening, sni, self.session.as_ref())
    }

    /// The client's wishes, and apart from them the backends that were tried, and what takes note of failed tries.
    pub(crate) fn asked(&mut self) -> (Asked<'_>, &mut Tries, Witness<'_>) {
        let sni = self.hello.as_ref().and_then(|hello| hello.sni.as_deref());
        let alpn = self.session.as_ref().and_then(|session| session.alpn.as_deref());
        let witness = Witness {
            opening: &self.opening,
            listener: self.traffic.metrics.name(),
            sni,
            pool: &self.pool,
            sinks: &self.sinks,
        };
        (Asked { sni, alpn }, &mut self.tries, witness)
    }

    /// Closes the account of a clean end. Only the first call of this or [`Self::close_early`] counts.
    pub fn close(&mut self, finished: Finished) {
        self.commit((Outcome::Ok, finished.first, finished.how), (None, None));
    }

    /// Closes the account of a connection that ended early. `said` is the alert that weir itself told the client for it.
    pub fn close_early(&mut self, error: &ConnError, said: Option<Alert>) {
        if self.closed {
            return;
        }
        let mut end = error.end();
        if let Some(limit) = end.limit {
            self.traffic.metrics.limited(limit);
        }
        end.alert = end.alert.or(said.map(|alert| AlertBy { alert: alert.among_all(), by: Side::Weir }));
        // The tries of a dial are kept one by one. Clients that must not come in would displace all others.
        let is_kept = match error {
            ConnError::Connect(_) => self.stage != Stage::Connect,
            ConnError::Denied | ConnError::OverLimit(_) => false,
            _ => true,
        };
        if is_kept {
            self.keep(end.into());
        }
        self.commit((end.outcome, end.side, end.how), (end.reason, end.alert));
    }

    fn keep(&self, cause: Cause) {
        let sni = self.hello.as_ref().and_then(|hello| hello.sni.clone());
        let tried = self.tries.last();
        self.sinks.failures.push(Failure {
            at: SystemTime::now(),
            listener: Some(Arc::clone(self.traffic.metrics.name())),
            sni,
            pool: self.pool.clone(),
            backend: tried.map(|state| (Arc::clone(&state.backend), state.address.clone())),
            client: Some(self.opening.client),
            cause,
        });
    }

    fn commit(
        &mut self,
        (outcome, side, how): (Outcome, Side, How),
        (reason, alert): (Option<Reason>, Option<AlertBy>),
    ) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let lasted = self.opened.elapsed();
        let metrics = &self.traffic.metrics;
        metrics.closed(self.mode, outcome, side, lasted.as_secs_f64());
        let end = RecordEnd { outcome, side, how, reason: reason.map(Reason::label), alert };
        if !self.recording.on || self.is_left_out(&end, lasted) {
            return;
        }
        let sinks = Rc::clone(&self.sinks);
        let Some(records) = &sinks.records else { return };
        let at = SystemTime::now();
        metrics.example(lasted.as_secs_f64(), Exemplar { id: self.opening.id, request: 0, at });
        let (hello, session) = (self.hello.take(), self.session.take());
        let entry = self.entry((Event::Close, at, lasted), hello, session);
        records.push(Entry::Connection(Box::new(RecordEntry { end: Some(end), ..entry })));
    }

    /// Whether it is a probe, and those are not recorded. If it was recorded while it was open, its end is recorded too.
    fn is_left_out(&self, end: &RecordEnd, lasted: Duration) -> bool {
        let silent = !self.heard && self.traffic.up == 0;
        let left = end.side == Side::Client && matches!(end.how, How::Fin | How::Rst);
        let told = self.told || self.recording.interval().is_some_and(|interval| lasted >= interval);
        silent && left && !self.recording.probes && !told
    }

    /// Writes the record of the connection's beginning, if the configuration wants one. Gives the data that records of the
    /// open connection start from, if the configuration wants those.
    pub(crate) fn begins(&mut self) -> Option<Box<Live>> {
        let is_told = self.recording.on && self.recording.open;
        if is_told && let Some(records) = &self.sinks.records {
            records.push(Entry::Connection(Box::new(self.so_far(Event::Open))));
            self.told = true;
        }
        self.recording.interval()?;
        let sums = Arc::default();
        self.traffic.sums = Some(Arc::clone(&sums));
        Some(Box::new(Live::new(self.so_far(Event::Alive), self.opened, sums)))
    }

    /// Updates the data of an open connection's next record.
    pub(crate) fn update(&self, live: &Live) {
        live.update(self.so_far(Event::Alive), self.requests.as_ref());
    }

    /// A record of it while it is open.
    fn so_far(&self, event: Event) -> RecordEntry {
        let now = (event, SystemTime::now(), self.opened.elapsed());
        self.entry(now, self.hello.clone(), self.session.clone())
    }

    fn entry(
        &self,
        (event, at, lasted): (Event, SystemTime, Duration),
        hello: Option<Box<Hello>>,
        tls: Option<Session>,
    ) -> RecordEntry {
        let ((up, down), requests) = match &self.requests {
            Some(all) => (all.sums.now(), Some(load(&all.requests))),
            None => ((0, 0), None),
        };
        let alpn = match (&tls, &hello) {
            (Some(session), _) => listed(session.alpn.as_deref()),
            (None, Some(hello)) => listed(hello.offers.iter()),
            (None, None) => None,
        };
        let (ech, sni, ja4) = hello.map_or((false, None, None), |hello| (hello.ech, hello.sni, hello.ja4));
        RecordEntry {
            event,
            opening: self.opening,
            listener: Arc::clone(self.traffic.metrics.name()),
            mode: self.mode.label(),
            ech,
            ja4,
            sni,
            alpn,
            tls,
            pool: self.pool.clone(),
            backend: self.tries.last().map(|backend| Arc::clone(&backend.backend)),
            tries: self.tries.count(),
            connect: self.tries.took(),
            handshake: self.handshake,
            at,
            lasted,
            up: self.traffic.up + up,
            down: self.traffic.down + down,
            requests,
            end: None,
        }
    }
}

fn load(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let (outcome, side) = (Outcome::Internal, Side::Weir);
        self.keep(Cause { stage: self.stage, outcome, side, reason: None, alert: None });
        self.commit((outcome, side, How::Error), (None, None));
    }
}

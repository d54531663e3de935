//! What the data path holds: counters resolved once per listener, pool, backend or worker.
//!
//! A label look-up costs ten times a held counter. So counters of each read are fields here; only events that happen
//! once in a connection's life are looked up by their labels.

use crate::bytes::Moved;
use crate::exemplars::{self, Exemplar, Slots};
use crate::families::Families;
use crate::labels::{
    AcceptError, CertificateSource, CheckResult, DialResult, Direction, HandshakeResult, HandshakeSide,
    HelloOutcome, Label, Limit, Loss,
};
use crate::requests::{HttpMetrics, Sticky, StickyResult};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The counters of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    all: Arc<Families>,
    name: Arc<str>,
    opened: IntCounter,
    duration: Histogram,
    /// Payload bytes from clients to backends.
    pub up: Moved,
    /// Payload bytes from backends to clients.
    pub down: Moved,
    hello_bytes: Histogram,
    hello_records: Histogram,
    hello_segments: Histogram,
    exemplars: Arc<Slots>,
    own_requests: OnceLock<Arc<HttpMetrics>>,
}

impl ListenerMetrics {
    /// The listener's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn new(all: &Arc<Families>, listener: &str) -> Self {
        Self {
            all: Arc::clone(all),
            name: Arc::from(listener),
            opened: all.connections.opened.with_label_values(&[listener]),
            duration: all.duration.with_label_values(&[listener]),
            up: all.bytes.of(listener, Direction::Up),
            down: all.bytes.of(listener, Direction::Down),
            hello_bytes: all.hello_bytes.with_label_values(&[listener]),
            hello_records: all.hello_records.with_label_values(&[listener]),
            hello_segments: all.hello_segments.with_label_values(&[listener]),
            exemplars: all.exemplars.of(exemplars::CONNECTIONS, &[listener]),
            own_requests: OnceLock::new(),
        }
    }

    /// Counts an accepted connection.
    pub fn opened(&self) {
        self.opened.inc();
    }

    /// Counts an ended connection that lasted `seconds`.
    pub fn closed(&self, mode: impl Label, outcome: impl Label, side: impl Label, seconds: f64) {
        self.duration.observe(seconds);
        let labels = [&*self.name, mode.label(), outcome.label(), side.label()];
        self.all.connections.closed.with_label_values(&labels).inc();
    }

    /// Shows the record of a connection that lasted `seconds` as an example.
    pub fn example(&self, seconds: f64, exemplar: Exemplar) {
        self.exemplars.note(seconds, exemplar);
    }

    /// The counters of its requests to a pool. To be resolved once a plan, not once a request.
    pub fn requests(&self, pool: &str) -> Arc<HttpMetrics> {
        Arc::new(HttpMetrics::new(&self.all, &self.all.exemplars, &self.name, pool))
    }

    /// The counters of its requests that weir answers itself: their pool is empty.
    pub fn own_requests(&self) -> &Arc<HttpMetrics> {
        self.own_requests.get_or_init(|| self.requests(""))
    }

    /// Connections accepted so far, and those open now.
    pub fn connections(&self) -> (u64, u64) {
        self.all.connections.of(&self.name)
    }

    /// Counts what the first bytes of a connection were.
    pub fn hello(&self, outcome: HelloOutcome) {
        self.all.hello.with_label_values(&[&*self.name, outcome.label()]).inc();
    }

    /// Notes the shape of a complete hello: its handshake bytes, TLS records, and reads.
    pub fn hello_shape(&self, bytes: usize, records: u32, segments: u32) {
        #[allow(clippy::cast_precision_loss, reason = "a hello is at most some KiB")]
        self.hello_bytes.observe(bytes as f64);
        self.hello_records.observe(f64::from(records));
        self.hello_segments.observe(f64::from(segments));
    }

    /// Counts a finished handshake with `side` that took `seconds`.
    pub fn handshake(&self, side: HandshakeSide, version: impl Label, resumed: impl Label, seconds: f64) {
        let result = HandshakeResult::Ok.label();
        let labels = [&*self.name, side.label(), version.label(), resumed.label(), result];
        self.all.handshakes.with_label_values(&labels).inc();
        self.all.handshake_duration.with_label_values(&[&*self.name, side.label()]).observe(seconds);
    }

    /// Counts a failed handshake with `side`. The version stays empty: it was not agreed on. `alert` is the registered
    /// name of the alert by which that side refused.
    pub fn handshake_failed(&self, side: HandshakeSide, reason: impl Label, alert: Option<&'static str>) {
        let failed = HandshakeResult::Failed.label();
        self.all.handshakes.with_label_values(&[&*self.name, side.label(), "", "no", failed]).inc();
        let labels = [&*self.name, side.label(), reason.label(), alert.unwrap_or_default()];
        self.all.handshake_failures.with_label_values(&labels).inc();
    }

    /// Counts a connection or request that a limit turned away or made wait.
    pub fn limited(&self, limit: Limit) {
        self.all.limited.with_label_values(&[&*self.name, limit.label()]).inc();
    }

    /// Counts a connection that a limit would have turned away, did it act.
    pub fn limited_in_shadow(&self, limit: Limit) {
        self.all.limited_in_shadow.with_label_values(&[&*self.name, limit.label()]).inc();
    }

    /// Counts an error of accept(2).
    pub fn accept_error(&self, error: AcceptError) {
        self.all.accept_errors.with_label_values(&[&*self.name, error.label()]).inc();
    }
}

/// The counters of one pool.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    /// Backends that may take connections now.
    pub usable: IntGauge,
    /// 1 while health is ignored.
    pub panic: IntGauge,
    /// Hellos given to another backend.
    pub replays: IntCounter,
    /// Idle connections closed because their backend had more than its share.
    pub rebalanced: IntCounter,
    /// Further backends tried.
    pub retries: IntCounter,
    /// Seconds until a backend accepted.
    pub connect_duration: Histogram,
    /// 1 if backend certificates are not verified.
    pub verify_disabled: IntGauge,
    all: Arc<Families>,
    name: Arc<str>,
    sticky: Sticky,
}

impl PoolMetrics {
    pub(crate) fn new(all: &Arc<Families>, pool: &str) -> Self {
        Self {
            usable: all.usable.with_label_values(&[pool]),
            panic: all.panic.with_label_values(&[pool]),
            replays: all.replays.with_label_values(&[pool]),
            rebalanced: all.rebalanced.with_label_values(&[pool]),
            retries: all.retries.with_label_values(&[pool]),
            connect_duration: all.connect_duration.with_label_values(&[pool]),
            verify_disabled: all.verify_disabled.with_label_values(&[pool]),
            all: Arc::clone(all),
            name: Arc::from(pool),
            sticky: Sticky::default(),
        }
    }

    /// Counts a request of a sticky pool.
    pub fn stuck(&self, result: StickyResult) {
        self.sticky.count(&self.all, &self.name, result);
    }
}

/// A backend's certificate, as a check saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// When it ends, in seconds since 1970; `None` where that could not be read.
    pub not_after: Option<i64>,
    /// The verdict's word; `None` without an authority to judge by.
    pub verdict: Option<&'static str>,
}

/// The counters of one backend in one pool.
#[derive(Clone, Debug)]
pub struct BackendMetrics {
    /// 1 while it is healthy, 0 while it fails its checks or is ejected.
    pub up: IntGauge,
    /// Connections that it serves now.
    pub active: IntGauge,
    /// Its weight.
    pub weight: IntGauge,
    reached: IntCounter,
    connections: prometheus::IntCounterVec,
    health_checks: prometheus::IntCounterVec,
    ejections: prometheus::IntCounterVec,
    not_after: prometheus::GaugeVec,
    verdict: prometheus::IntGaugeVec,
    certificate: Arc<Mutex<Option<Certificate>>>,
    kept: prometheus::IntGaugeVec,
    kept_here: OnceLock<IntGauge>,
    pool: Arc<str>,
    backend: Arc<str>,
}

impl BackendMetrics {
    pub(crate) fn new(all: &Families, pool: &str, backend: &str) -> Self {
        let labels = &[pool, backend];
        Self {
            up: all.up.with_label_values(labels),
            active: all.active.with_label_values(labels),
            weight: all.weight.with_label_values(labels),
            reached: all.backend_connections.with_label_values(&[pool, backend, DialResult::Ok.label()]),
            connections: all.backend_connections.clone(),
            health_checks: all.health_checks.clone(),
            ejections: all.ejections.clone(),
            not_after: all.not_after.clone(),
            verdict: all.verdict.clone(),
            certificate: Arc::default(),
            kept: all.kept.clone(),
            kept_here: OnceLock::new(),
            pool: Arc::from(pool),
            backend: Arc::from(backend),
        }
    }

    /// Counts an attempt to reach the backend, by its result.
    pub fn connection(&self, result: DialResult) {
        match result {
            DialResult::Ok => self.reached.inc(),
            failed => {
                self.connections.with_label_values(&[&*self.pool, &*self.backend, failed.label()]).inc()
            }
        }
    }

    /// Idle connections to it that are kept for further requests. The series begins with the first use.
    pub fn kept(&self) -> &IntGauge {
        self.kept_here.get_or_init(|| self.kept.with_label_values(&[&*self.pool, &*self.backend]))
    }

    /// Connections that reached the backend so far.
    pub fn reached(&self) -> u64 {
        self.reached.get()
    }

    /// Counts an ejection, by what became of the last attempt to reach the backend.
    pub fn ejected(&self, reason: DialResult) {
        self.ejections.with_label_values(&[&*self.pool, &*self.backend, reason.label()]).inc();
    }

    /// Counts a health check, by its result.
    pub fn health_check(&self, result: CheckResult) {
        self.health_checks.with_label_values(&[&*self.pool, &*self.backend, result.label()]).inc();
    }

    /// Notes the certificate that a check saw: when it ends, in seconds since 1970, and what was said of it. The series
    /// of all other verdicts are removed, even those of a namesake at another address.
    pub fn record_certificate<V: Label>(&self, not_after: Option<i64>, verdict: Option<V>) {
        self.note::<V>(Some(Certificate { not_after, verdict: verdict.map(V::label) }));
    }

    /// The certificate is not known, or no longer known: removes its series, even those of a namesake at another
    /// address.
    pub fn clear_certificate<V: Label>(&self) {
        self.note::<V>(None);
    }

    fn note<V: Label>(&self, seen: Option<Certificate>) {
        let mut last = self.last_certificate();
        *last = seen;
        let certificate = seen.unwrap_or_default();
        let name = format!("{}/{}", self.pool, self.backend);
        let labels = ["", &name, CertificateSource::Backend.label()];
        match certificate.not_after {
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages")]
            Some(end) => self.not_after.with_label_values(&labels).set(end as f64),
            // An error means that the series does not exist.
            None => drop(self.not_after.remove_label_values(&labels)),
        }
        for verdict in V::ALL.iter().map(|verdict| verdict.label()) {
            let labels = [&*self.pool, &*self.backend, verdict];
            if certificate.verdict == Some(verdict) {
                self.verdict.with_label_values(&labels).set(1);
            } else {
                drop(self.verdict.remove_label_values(&labels));
            }
        }
    }

    /// The certificate as the last check saw it.
    pub fn certificate(&self) -> Option<Certificate> {
        *self.last_certificate()
    }

    fn last_certificate(&self) -> MutexGuard<'_, Option<Certificate>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters of one data-plane worker.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    /// Connections that it accepted.
    pub connections: IntCounter,
    /// Bytes of its read buffer and pipes.
    pub relay_buffer: IntGauge,
    /// Pipes that it holds.
    pub pipes: IntGauge,
    /// Handshakes with clients that wait for their turn.
    pub handshakes_waiting: IntGauge,
}

impl WorkerMetrics {
    pub(crate) fn new(all: &Families, worker: usize) -> Self {
        let worker = worker.to_string();
        Self {
            connections: all.worker_connections.with_label_values(&[&worker]),
            relay_buffer: all.relay_buffer.with_label_values(&[&worker]),
            pipes: all.pipes.with_label_values(&[&worker]),
            handshakes_waiting: all.handshakes_waiting.with_label_values(&[&worker]),
        }
    }
}

/// The counters of the table of clients whose rates are limited.
#[derive(Clone, Debug)]
pub struct RateMetrics {
    /// Clients in the table.
    pub clients: IntGauge,
    /// Clients that were forgotten because the table was full.
    pub forgotten: IntCounter,
}

/// The size of the table of clients with open connections.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    /// Clients in the table.
    pub clients: IntGauge,
}

impl ClientMetrics {
    pub(crate) fn new(all: &Families) -> Self {
        Self { clients: all.clients.clone() }
    }
}

impl RateMetrics {
    pub(crate) fn new(all: &Families) -> Self {
        Self { clients: all.rate_clients.clone(), forgotten: all.rate_forgotten.clone() }
    }
}

/// The counters of lines that were lost on their way out: of the log, or of the access records.
#[derive(Clone, Debug)]
pub struct LostLines {
    /// Too many were waiting to be written.
    pub queue_full: IntCounter,
    /// The system refused to write them.
    pub write_failed: IntCounter,
}

impl LostLines {
    pub(crate) fn new(family: &IntCounterVec) -> Self {
        let of = |loss: Loss| family.with_label_values(&[loss.label()]);
        Self { queue_full: of(Loss::QueueFull), write_failed: of(Loss::WriteFailed) }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full.get() + self.write_failed.get()
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    crate::closed_set! {
        /// A test's own.
        Verdict {
            Good = "ok",
            Expired = "expired",
            UnknownCa = "unknown_ca",
        }
    }

    #[test]
    fn only_the_last_verdict_has_a_series() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = metrics.scrape().unwrap();
            let lines = text.lines().filter(|l| l.starts_with("weir_") && l.contains("b1"));
            let seen = lines.filter(|l| l.contains("verdict") || l.contains("not_after"));
            seen.map(str::to_owned).collect::<Vec<_>>()
        };
        let (backend, namesake) = (metrics.backend("p", "b1"), metrics.backend("p", "b1"));
        backend.record_certificate(Some(1), Some(Verdict::Expired));
        assert_eq!(series().len(), 2);
        namesake.record_certificate(Some(1), Some(Verdict::Good));
        assert_eq!(series().len(), 2);
        assert!(series().iter().any(|line| line.ends_with("verdict=\"ok\"} 1")), "{:?}", series());
        assert_eq!(backend.certificate().unwrap().verdict, Some("expired"), "each its own");
        backend.record_certificate::<Verdict>(None, None);
        assert!(series().is_empty());
        backend.record_certificate(Some(1), Some(Verdict::Good));
        backend.clear_certificate::<Verdict>();
        assert!(series().is_empty() && backend.certificate().is_none());
        backend.record_certificate(Some(1), Some(Verdict::Good));
        metrics.backend("p", "b1").clear_certificate::<Verdict>();
        assert!(series().is_empty(), "also what it saw at its former address");
        backend.record_certificate(Some(1), Some(Verdict::Good));
        metrics.forget_backends(&[("p", "b1")].into());
        assert!(series().is_empty());
    }
}

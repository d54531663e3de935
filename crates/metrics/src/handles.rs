//! What the data path holds: counters resolved once per listener, pool, backend or worker.
//!
//! A label look-up costs ten times a held counter. So counters of each read are fields here; only events that happen
//! once in a connection's life are looked up by their labels.

use crate::bytes::Moved;
use crate::families::Families;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
            up: all.bytes.of(listener, "up"),
            down: all.bytes.of(listener, "down"),
            hello_bytes: all.hello_bytes.with_label_values(&[listener]),
            hello_records: all.hello_records.with_label_values(&[listener]),
            hello_segments: all.hello_segments.with_label_values(&[listener]),
        }
    }

    /// Counts an accepted connection.
    pub fn opened(&self) {
        self.opened.inc();
    }

    /// Counts an ended connection that lasted `seconds`.
    pub fn closed(&self, mode: &str, outcome: &str, side: &str, seconds: f64) {
        self.duration.observe(seconds);
        self.all.connections.closed.with_label_values(&[&self.name, mode, outcome, side]).inc();
    }

    /// Connections accepted so far, and those open now.
    pub fn connections(&self) -> (u64, u64) {
        self.all.connections.of(&self.name)
    }

    /// Counts what the first bytes of a connection were.
    pub fn hello(&self, outcome: &str) {
        self.all.hello.with_label_values(&[&self.name, outcome]).inc();
    }

    /// Notes the shape of a complete hello: its handshake bytes, TLS records, and reads.
    pub fn hello_shape(&self, bytes: usize, records: u32, segments: u32) {
        #[allow(clippy::cast_precision_loss, reason = "a hello is at most some KiB")]
        self.hello_bytes.observe(bytes as f64);
        self.hello_records.observe(f64::from(records));
        self.hello_segments.observe(f64::from(segments));
    }

    /// Counts a finished handshake of `side` (client or backend) that took `seconds`.
    pub fn handshake(&self, side: &str, version: &str, resumed: &str, seconds: f64) {
        self.all.handshakes.with_label_values(&[&self.name, side, version, resumed, "ok"]).inc();
        self.all.handshake_duration.with_label_values(&[&self.name, side]).observe(seconds);
    }

    /// Counts a failed handshake of `side`. The version stays empty: it was not agreed on.
    /// `alert` is the name of the alert by which that side refused.
    pub fn handshake_failed(&self, side: &str, reason: &str, alert: Option<&str>) {
        self.all.handshakes.with_label_values(&[&self.name, side, "", "no", "failed"]).inc();
        let alert = alert.unwrap_or_default();
        self.all.handshake_failures.with_label_values(&[&self.name, side, reason, alert]).inc();
    }

    /// Counts a connection that a limit turned away or made wait.
    pub fn limited(&self, reason: &str) {
        self.all.limited.with_label_values(&[&self.name, reason]).inc();
    }

    /// Counts an error of accept(2).
    pub fn accept_error(&self, error: &str) {
        self.all.accept_errors.with_label_values(&[&self.name, error]).inc();
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
    /// Further backends tried.
    pub retries: IntCounter,
    /// Seconds until a backend accepted.
    pub connect_duration: Histogram,
    /// 1 where backend certificates are not verified.
    pub verify_disabled: IntGauge,
}

impl PoolMetrics {
    pub(crate) fn new(all: &Families, pool: &str) -> Self {
        Self {
            usable: all.usable.with_label_values(&[pool]),
            panic: all.panic.with_label_values(&[pool]),
            replays: all.replays.with_label_values(&[pool]),
            retries: all.retries.with_label_values(&[pool]),
            connect_duration: all.connect_duration.with_label_values(&[pool]),
            verify_disabled: all.verify_disabled.with_label_values(&[pool]),
        }
    }
}

/// What a check saw of a backend's certificate.
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
            reached: all.backend_connections.with_label_values(&[pool, backend, "ok"]),
            connections: all.backend_connections.clone(),
            health_checks: all.health_checks.clone(),
            ejections: all.ejections.clone(),
            not_after: all.not_after.clone(),
            verdict: all.verdict.clone(),
            certificate: Arc::default(),
            pool: Arc::from(pool),
            backend: Arc::from(backend),
        }
    }

    /// Counts an attempt to reach the backend, by its result; `ok` is the one that worked.
    pub fn connection(&self, result: &str) {
        if result == "ok" {
            self.reached.inc();
        } else {
            self.connections.with_label_values(&[&self.pool, &self.backend, result]).inc();
        }
    }

    /// Connections that reached the backend so far.
    pub fn reached(&self) -> u64 {
        self.reached.get()
    }

    /// Counts an ejection, by what made it.
    pub fn ejected(&self, reason: &str) {
        self.ejections.with_label_values(&[&self.pool, &self.backend, reason]).inc();
    }

    /// Counts a health check, by its result.
    pub fn health_check(&self, result: &str) {
        self.health_checks.with_label_values(&[&self.pool, &self.backend, result]).inc();
    }

    /// Notes the certificate that a check saw. `verdicts` is the full set: the series of all other verdicts are removed,
    /// even those of a namesake at another address.
    pub fn saw(&self, certificate: Certificate, verdicts: impl IntoIterator<Item = &'static str>) {
        self.note(Some(certificate), verdicts);
    }

    /// The certificate is not known, or not any more: removes its series, even those of a namesake at another address.
    pub fn looks_away(&self, verdicts: impl IntoIterator<Item = &'static str>) {
        self.note(None, verdicts);
    }

    fn note(&self, seen: Option<Certificate>, verdicts: impl IntoIterator<Item = &'static str>) {
        let mut last = self.last_certificate();
        *last = seen;
        let certificate = seen.unwrap_or_default();
        let name = format!("{}/{}", self.pool, self.backend);
        let labels = ["", &name, "backend"];
        match certificate.not_after {
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages")]
            Some(end) => self.not_after.with_label_values(&labels).set(end as f64),
            // An error says that there is none.
            None => drop(self.not_after.remove_label_values(&labels)),
        }
        for verdict in verdicts {
            let labels = [&*self.pool, &*self.backend, verdict];
            if certificate.verdict == Some(verdict) {
                self.verdict.with_label_values(&labels).set(1);
            } else {
                drop(self.verdict.remove_label_values(&labels));
            }
        }
    }

    /// What the last check that saw its certificate saw of it.
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
}

impl WorkerMetrics {
    pub(crate) fn new(all: &Families, worker: usize) -> Self {
        let worker = worker.to_string();
        Self {
            connections: all.worker_connections.with_label_values(&[&worker]),
            relay_buffer: all.relay_buffer.with_label_values(&[&worker]),
            pipes: all.pipes.with_label_values(&[&worker]),
        }
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
        let of = |reason| family.with_label_values(&[reason]);
        Self { queue_full: of("queue_full"), write_failed: of("write_failed") }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full.get() + self.write_failed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    const ALL: [&str; 3] = ["ok", "expired", "unknown_ca"];

    fn saw(backend: &BackendMetrics, not_after: Option<i64>, verdict: Option<&'static str>) {
        backend.saw(Certificate { not_after, verdict }, ALL);
    }

    #[test]
    fn the_last_verdict_alone_has_a_series_whoever_noted_it() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = metrics.scrape().unwrap();
            let lines = text.lines().filter(|l| l.starts_with("weir_") && l.contains("b1"));
            let seen = lines.filter(|l| l.contains("verdict") || l.contains("not_after"));
            seen.map(str::to_owned).collect::<Vec<_>>()
        };
        let (backend, namesake) = (metrics.backend("p", "b1"), metrics.backend("p", "b1"));
        saw(&backend, Some(1), Some("expired"));
        assert_eq!(series().len(), 2);
        saw(&namesake, Some(1), Some("ok"));
        assert_eq!(series().len(), 2);
        assert!(series().iter().any(|line| line.ends_with("verdict=\"ok\"} 1")), "{:?}", series());
        assert_eq!(backend.certificate().unwrap().verdict, Some("expired"), "each its own");
        saw(&backend, None, None);
        assert!(series().is_empty());
        saw(&backend, Some(1), Some("ok"));
        backend.looks_away(ALL);
        assert!(series().is_empty() && backend.certificate().is_none());
        saw(&backend, Some(1), Some("ok"));
        metrics.backend("p", "b1").looks_away(ALL);
        assert!(series().is_empty(), "also what it saw at its former address");
        saw(&backend, Some(1), Some("ok"));
        metrics.forget_backend("p", "b1");
        assert!(series().is_empty());
    }
}

//! The process's metrics: every family, registered once, and the text of a scrape.
//!
//! Families live as long as the process; what a plan names (a listener, a pool, a backend) asks for its
//! handles when the plan is compiled, and [`Metrics::forget_backend`] drops the series of what has gone.

use crate::connections::Connections;
use crate::handles::{BackendMetrics, ListenerMetrics, PoolMetrics, WorkerMetrics};
use crate::names;
use crate::process::Process;
use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::sync::Arc;

/// Every metric of the process. One per process, shared by all threads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) connections: Connections,
    pub(crate) duration: HistogramVec,
    pub(crate) bytes: IntCounterVec,
    pub(crate) hello: IntCounterVec,
    pub(crate) hello_bytes: HistogramVec,
    pub(crate) hello_records: HistogramVec,
    pub(crate) hello_segments: HistogramVec,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) handshake_duration: HistogramVec,
    pub(crate) handshake_failures: IntCounterVec,
    pub(crate) not_after: GaugeVec,
    pub(crate) verify_disabled: IntGaugeVec,
    pub(crate) up: IntGaugeVec,
    pub(crate) active: IntGaugeVec,
    pub(crate) weight: IntGaugeVec,
    pub(crate) backend_connections: IntCounterVec,
    pub(crate) connect_duration: HistogramVec,
    pub(crate) health_checks: IntCounterVec,
    pub(crate) usable: IntGaugeVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) limited: IntCounterVec,
    pub(crate) accept_errors: IntCounterVec,
    access_dropped: IntCounter,
    panics: IntCounter,
    reload_successful: IntGauge,
    reload_timestamp: prometheus::Gauge,
    generation: IntGauge,
    pub(crate) worker_connections: IntCounterVec,
    pub(crate) relay_buffer: IntGaugeVec,
    pub(crate) pipes: IntGaugeVec,
}

impl Metrics {
    /// Registers every family.
    ///
    /// `version`, `rustc` and `crypto` are the labels of `weir_build_info`.
    ///
    /// # Errors
    /// When two families share a name or a name is not valid: a mistake in this crate, which its test finds.
    #[allow(clippy::too_many_lines, reason = "a list: a family each")]
    pub fn new(version: &str, rustc: &str, crypto: &str) -> Result<Arc<Self>, prometheus::Error> {
        let r = Registry::new();
        let build = gauges(
            &r,
            names::BUILD_INFO,
            "Always 1; the labels say what runs.",
            &["version", "rustc", "crypto"],
        )?;
        build.with_label_values(&[version, rustc, crypto]).set(1);
        register(&r, Process::new()?)?;
        let connections = Connections::new()?;
        register(&r, connections.clone())?;
        Ok(Arc::new(Self {
            connections,
            duration: histograms(
                &r,
                names::CONNECTION_DURATION,
                "How long connections lasted.",
                &["listener"],
                LIFETIMES,
            )?,
            bytes: counters(
                &r,
                names::BYTES,
                "Payload moved; up is client to backend.",
                &["listener", "direction"],
            )?,
            hello: counters(
                &r,
                names::CLIENT_HELLO,
                "First bytes of connections, by outcome.",
                &["listener", "outcome"],
            )?,
            hello_bytes: histograms(
                &r,
                names::CLIENT_HELLO_BYTES,
                "Handshake bytes of complete hellos.",
                &["listener"],
                SIZES,
            )?,
            hello_records: histograms(
                &r,
                names::CLIENT_HELLO_RECORDS,
                "TLS records of complete hellos.",
                &["listener"],
                SMALL_COUNTS,
            )?,
            hello_segments: histograms(
                &r,
                names::CLIENT_HELLO_SEGMENTS,
                "Reads until hellos were complete.",
                &["listener"],
                SMALL_COUNTS,
            )?,
            handshakes: counters(
                &r,
                names::TLS_HANDSHAKES,
                "TLS handshakes, finished or failed.",
                &["listener", "side", "version", "resumed", "result"],
            )?,
            handshake_duration: histograms(
                &r,
                names::TLS_HANDSHAKE_DURATION,
                "How long finished TLS handshakes took.",
                &["listener", "side"],
                DELAYS,
            )?,
            handshake_failures: counters(
                &r,
                names::TLS_HANDSHAKE_FAILURES,
                "TLS handshakes that failed.",
                &["listener", "side", "reason"],
            )?,
            not_after: float_gauges(
                &r,
                names::CERTIFICATE_NOT_AFTER,
                "When a certificate ends.",
                &["listener", "certificate", "source"],
            )?,
            verify_disabled: gauges(
                &r,
                names::POOL_VERIFY_DISABLED,
                "1 where backend certificates are not verified.",
                &["pool"],
            )?,
            up: gauges(
                &r,
                names::BACKEND_UP,
                "1 while a backend passes its health checks.",
                &["pool", "backend"],
            )?,
            active: gauges(
                &r,
                names::BACKEND_ACTIVE,
                "Connections that a backend serves now.",
                &["pool", "backend"],
            )?,
            weight: gauges(&r, names::BACKEND_WEIGHT, "A backend's weight.", &["pool", "backend"])?,
            backend_connections: counters(
                &r,
                names::BACKEND_CONNECTIONS,
                "Attempts to reach a backend.",
                &["pool", "backend", "result"],
            )?,
            connect_duration: histograms(
                &r,
                names::BACKEND_CONNECT_DURATION,
                "How long it took to reach a backend, its TLS handshake left out.",
                &["pool"],
                DELAYS,
            )?,
            health_checks: counters(
                &r,
                names::BACKEND_HEALTH_CHECKS,
                "Health checks, by result.",
                &["pool", "backend", "result"],
            )?,
            usable: gauges(&r, names::POOL_USABLE, "Backends that may take connections now.", &["pool"])?,
            retries: counters(&r, names::RETRIES, "Further backends tried.", &["pool"])?,
            limited: counters(
                &r,
                names::LIMITED,
                "Connections turned away or made to wait by a limit.",
                &["listener", "reason"],
            )?,
            accept_errors: counters(
                &r,
                names::ACCEPT_ERRORS,
                "Errors of accept(2).",
                &["listener", "error"],
            )?,
            access_dropped: counter(
                &r,
                names::ACCESS_DROPPED,
                "Access records dropped: their queue was full.",
            )?,
            panics: counter(&r, names::PANICS, "Connection tasks that ended in a panic.")?,
            reload_successful: gauge(
                &r,
                names::CONFIG_LAST_RELOAD_SUCCESSFUL,
                "1 if the last load of the configuration worked.",
            )?,
            reload_timestamp: {
                let g = prometheus::Gauge::new(
                    names::CONFIG_LAST_RELOAD_TIMESTAMP,
                    "When the configuration in force was loaded.",
                )?;
                register(&r, g.clone())?;
                g
            },
            generation: gauge(&r, names::CONFIG_GENERATION, "Configurations taken since the start.")?,
            worker_connections: counters(
                &r,
                names::WORKER_CONNECTIONS,
                "Connections accepted, by the worker that took them.",
                &["worker"],
            )?,
            relay_buffer: gauges(
                &r,
                names::RELAY_BUFFER,
                "Bytes of read buffer and pipes held.",
                &["worker"],
            )?,
            pipes: gauges(&r, names::PIPES, "Pipes held, in use or pooled.", &["worker"])?,
            registry: r,
        }))
    }

    /// The handles of a listener. Asking again for the same name gives the same counters.
    pub fn listener(self: &Arc<Self>, listener: &str) -> ListenerMetrics {
        ListenerMetrics::new(self, listener)
    }

    /// The handles of a pool.
    pub fn pool(&self, pool: &str) -> PoolMetrics {
        PoolMetrics::new(self, pool)
    }

    /// The handles of a backend in a pool.
    pub fn backend(&self, pool: &str, backend: &str) -> BackendMetrics {
        BackendMetrics::new(self, pool, backend)
    }

    /// The handles of a data-plane worker, counted from 0.
    pub fn worker(&self, worker: usize) -> WorkerMetrics {
        WorkerMetrics::new(self, worker)
    }

    /// Notes when a certificate ends. `certificate` is its file's name; `source` is `served` or `backend`;
    /// `not_after` is in seconds since 1970.
    pub fn certificate_not_after(&self, listener: &str, certificate: &str, source: &str, not_after: i64) {
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages")]
        self.not_after.with_label_values(&[listener, certificate, source]).set(not_after as f64);
    }

    /// Notes a finished load of the configuration: whether it worked, the generation in force, and the time
    /// in seconds since 1970.
    pub fn reloaded(&self, successful: bool, generation: u64, now: f64) {
        self.reload_successful.set(i64::from(successful));
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        if successful {
            self.reload_timestamp.set(now);
        }
    }

    /// The counter of access records that were dropped.
    pub fn access_dropped(&self) -> IntCounter {
        self.access_dropped.clone()
    }

    /// The counter of connection tasks that panicked.
    pub fn panics(&self) -> IntCounter {
        self.panics.clone()
    }

    /// The text of a scrape, in the Prometheus text format.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        let mut out = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Names of all families that have been registered, with or without a series.
    pub fn family_names() -> &'static [&'static str] {
        ALL
    }
}

/// The content type of [`Metrics::scrape`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

fn register(r: &Registry, c: impl Collector + 'static) -> Result<(), prometheus::Error> {
    r.register(Box::new(c))
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let c = IntCounter::new(name, help)?;
    register(r, c.clone())?;
    Ok(c)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let g = IntGauge::new(name, help)?;
    register(r, g.clone())?;
    Ok(g)
}

fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let c = IntCounterVec::new(Opts::new(name, help), labels)?;
    register(r, c.clone())?;
    Ok(c)
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    let g = IntGaugeVec::new(Opts::new(name, help), labels)?;
    register(r, g.clone())?;
    Ok(g)
}

fn float_gauges(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let g = GaugeVec::new(Opts::new(name, help), labels)?;
    register(r, g.clone())?;
    Ok(g)
}

fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let h = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    register(r, h.clone())?;
    Ok(h)
}

/// Connections live from milliseconds to hours.
const LIFETIMES: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0];
/// Handshakes and connects: from a loopback's microseconds to the default deadlines.
const DELAYS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Hellos: classic ones are about 500 bytes, post-quantum ones 1,500 and up, the ceiling 16 KiB.
const SIZES: &[f64] = &[128.0, 256.0, 512.0, 1024.0, 1536.0, 2048.0, 4096.0, 8192.0, 16384.0];
/// Records and segments of a hello.
const SMALL_COUNTS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 250.0, 1000.0];

/// What `family_names` answers: the constants of `names.rs`, in its order.
const ALL: &[&str] = &[
    names::BUILD_INFO,
    names::CONNECTIONS_OPENED,
    names::CONNECTIONS_ACTIVE,
    names::CONNECTIONS_CLOSED,
    names::CONNECTION_DURATION,
    names::BYTES,
    names::CLIENT_HELLO,
    names::CLIENT_HELLO_BYTES,
    names::CLIENT_HELLO_RECORDS,
    names::CLIENT_HELLO_SEGMENTS,
    names::TLS_HANDSHAKES,
    names::TLS_HANDSHAKE_DURATION,
    names::TLS_HANDSHAKE_FAILURES,
    names::CERTIFICATE_NOT_AFTER,
    names::POOL_VERIFY_DISABLED,
    names::BACKEND_UP,
    names::BACKEND_ACTIVE,
    names::BACKEND_WEIGHT,
    names::BACKEND_CONNECTIONS,
    names::BACKEND_CONNECT_DURATION,
    names::BACKEND_HEALTH_CHECKS,
    names::POOL_USABLE,
    names::RETRIES,
    names::LIMITED,
    names::ACCEPT_ERRORS,
    names::ACCESS_DROPPED,
    names::PANICS,
    names::CONFIG_LAST_RELOAD_SUCCESSFUL,
    names::CONFIG_LAST_RELOAD_TIMESTAMP,
    names::CONFIG_GENERATION,
    names::WORKER_CONNECTIONS,
    names::RELAY_BUFFER,
    names::PIPES,
    names::PROCESS_CPU,
    names::PROCESS_OPEN_FDS,
    names::PROCESS_MAX_FDS,
    names::PROCESS_RESIDENT_MEMORY,
    names::PROCESS_VIRTUAL_MEMORY,
    names::PROCESS_START_TIME,
    names::PROCESS_THREADS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_shows_up_in_a_scrape_once_it_is_used() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let l = m.listener("edge");
        l.opened();
        l.closed("passthrough", "ok", "client", 0.5);
        l.up.inc_by(1);
        l.hello("complete");
        l.hello_shape(500, 1, 1);
        l.handshake("client", "1.3", "no", 0.001);
        l.handshake_failed("client", "alert");
        l.limited("pending");
        l.accept_error("EMFILE");
        m.certificate_not_after("edge", "a.pem", "served", 1);
        let p = m.pool("web");
        p.usable.set(1);
        p.retries.inc();
        p.connect_duration.observe(0.001);
        p.verify_disabled.set(0);
        let b = m.backend("web", "b1");
        b.active.inc();
        b.up.set(1);
        b.weight.set(1);
        b.connection("ok");
        b.health_check("ok");
        let w = m.worker(0);
        w.connections.inc();
        w.relay_buffer.set(1);
        w.pipes.set(0);
        m.reloaded(true, 1, 1.0);
        let text = m.scrape().unwrap();
        for name in Metrics::family_names() {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} is missing:\n{text}");
        }
        assert_eq!(text.matches("# TYPE ").count(), Metrics::family_names().len(), "{text}");
    }

    #[test]
    fn active_is_opened_less_closed() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let l = m.listener("edge");
        for _ in 0..3 {
            l.opened();
        }
        l.closed("offload", "ok", "backend", 0.1);
        assert!(m.scrape().unwrap().contains("weir_connections_active{listener=\"edge\"} 2"));
        l.closed("offload", "ok", "client", 0.1);
        l.closed("passthrough", "client_reset", "client", 0.1);
        assert!(m.scrape().unwrap().contains("weir_connections_active{listener=\"edge\"} 0"));
    }
}

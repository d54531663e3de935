//! Every family of metrics, registered once.

use crate::bytes::Bytes;
use crate::connections::Connections;
use crate::forget::forget;
use crate::names;
use crate::process::Process;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Every family. Those without labels are counters and gauges already.
#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) connections: Connections,
    pub(crate) duration: HistogramVec,
    pub(crate) bytes: Bytes,
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
    pub(crate) verdict: IntGaugeVec,
    pub(crate) ejections: IntCounterVec,
    pub(crate) usable: IntGaugeVec,
    pub(crate) panic: IntGaugeVec,
    pub(crate) resolutions: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) replays: IntCounterVec,
    pub(crate) limited: IntCounterVec,
    pub(crate) accept_errors: IntCounterVec,
    pub(crate) log_dropped: IntCounterVec,
    pub(crate) access_dropped: IntCounterVec,
    pub(crate) panics: IntCounter,
    pub(crate) reload_successful: IntGauge,
    pub(crate) reload_timestamp: prometheus::Gauge,
    pub(crate) generation: IntGauge,
    pub(crate) by_generation: IntGaugeVec,
    pub(crate) worker_connections: IntCounterVec,
    pub(crate) relay_buffer: IntGaugeVec,
    pub(crate) pipes: IntGaugeVec,
}

impl Families {
    /// Registers every family with `r`.
    ///
    /// # Errors
    /// When two families share a name or a name is not valid: a mistake in this crate, which its test finds.
    #[allow(clippy::too_many_lines, reason = "a list: a family each")]
    pub(crate) fn new(
        r: &Registry,
        version: &str,
        rustc: &str,
        crypto: &str,
    ) -> Result<Self, prometheus::Error> {
        let build = gauges(
            r,
            names::BUILD_INFO,
            "Always 1; the labels say what runs.",
            &["version", "rustc", "crypto"],
        )?;
        build.with_label_values(&[version, rustc, crypto]).set(1);
        register(r, Process::new()?)?;
        let connections = Connections::new()?;
        register(r, connections.clone())?;
        Ok(Self {
            connections,
            duration: histograms(
                r,
                names::CONNECTION_DURATION,
                "How long connections lasted.",
                &["listener"],
                LIFETIMES,
            )?,
            bytes: {
                let bytes = Bytes::new()?;
                register(r, bytes.clone())?;
                bytes
            },
            hello: counters(
                r,
                names::CLIENT_HELLO,
                "First bytes of connections, by outcome.",
                &["listener", "outcome"],
            )?,
            hello_bytes: histograms(
                r,
                names::CLIENT_HELLO_BYTES,
                "Handshake bytes of complete hellos.",
                &["listener"],
                SIZES,
            )?,
            hello_records: histograms(
                r,
                names::CLIENT_HELLO_RECORDS,
                "TLS records of complete hellos.",
                &["listener"],
                SMALL_COUNTS,
            )?,
            hello_segments: histograms(
                r,
                names::CLIENT_HELLO_SEGMENTS,
                "Reads until hellos were complete.",
                &["listener"],
                SMALL_COUNTS,
            )?,
            handshakes: counters(
                r,
                names::TLS_HANDSHAKES,
                "TLS handshakes, finished or failed.",
                &["listener", "side", "version", "resumed", "result"],
            )?,
            handshake_duration: histograms(
                r,
                names::TLS_HANDSHAKE_DURATION,
                "How long finished TLS handshakes took.",
                &["listener", "side"],
                DELAYS,
            )?,
            handshake_failures: counters(
                r,
                names::TLS_HANDSHAKE_FAILURES,
                "TLS handshakes that failed.",
                &["listener", "side", "reason", "alert"],
            )?,
            not_after: float_gauges(
                r,
                names::CERTIFICATE_NOT_AFTER,
                "When a certificate ends.",
                &["listener", "certificate", "source"],
            )?,
            verify_disabled: gauges(
                r,
                names::POOL_VERIFY_DISABLED,
                "1 where backend certificates are not verified.",
                &["pool"],
            )?,
            up: gauges(
                r,
                names::BACKEND_UP,
                "1 while healthy, 0 while it fails checks or is ejected.",
                &["pool", "backend"],
            )?,
            active: gauges(
                r,
                names::BACKEND_ACTIVE,
                "Connections that a backend serves now.",
                &["pool", "backend"],
            )?,
            weight: gauges(r, names::BACKEND_WEIGHT, "A backend's weight.", &["pool", "backend"])?,
            backend_connections: counters(
                r,
                names::BACKEND_CONNECTIONS,
                "Attempts to reach a backend.",
                &["pool", "backend", "result"],
            )?,
            connect_duration: histograms(
                r,
                names::BACKEND_CONNECT_DURATION,
                "How long it took to reach a backend, its TLS handshake left out.",
                &["pool"],
                DELAYS,
            )?,
            health_checks: counters(
                r,
                names::BACKEND_HEALTH_CHECKS,
                "Health checks, by result.",
                &["pool", "backend", "result"],
            )?,
            verdict: gauges(
                r,
                names::BACKEND_CERTIFICATE_VERDICT,
                "1 for what was said of a backend's certificate the last time that a check saw it.",
                &["pool", "backend", "verdict"],
            )?,
            ejections: counters(
                r,
                names::BACKEND_EJECTIONS,
                "Backends taken out of service because connections could not reach them.",
                &["pool", "backend", "reason"],
            )?,
            panic: gauges(r, names::POOL_PANIC, "1 while health is ignored.", &["pool"])?,
            usable: gauges(r, names::POOL_USABLE, "Backends that may take connections now.", &["pool"])?,
            resolutions: counters(
                r,
                names::DNS_RESOLUTIONS,
                "Attempts to find the addresses of a backend's name, by result.",
                &["name", "result"],
            )?,
            retries: counters(r, names::RETRIES, "Further backends tried.", &["pool"])?,
            replays: counters(
                r,
                names::HELLO_REPLAYS,
                "Hellos given to another backend after the first one ended without a byte.",
                &["pool"],
            )?,
            limited: counters(
                r,
                names::LIMITED,
                "Connections turned away or made to wait by a limit.",
                &["listener", "reason"],
            )?,
            accept_errors: counters(r, names::ACCEPT_ERRORS, "Errors of accept(2).", &["listener", "error"])?,
            log_dropped: counters(
                r,
                names::LOG_DROPPED,
                "Lines of the log that were lost: the queue was full, or a write failed.",
                &["reason"],
            )?,
            access_dropped: counters(
                r,
                names::ACCESS_DROPPED,
                "Access records that were lost: the queue was full, or a write failed.",
                &["reason"],
            )?,
            panics: counter(r, names::PANICS, "Connection tasks that ended in a panic.")?,
            reload_successful: gauge(
                r,
                names::CONFIG_LAST_RELOAD_SUCCESSFUL,
                "1 if the last load of the configuration worked.",
            )?,
            reload_timestamp: {
                let g = prometheus::Gauge::new(
                    names::CONFIG_LAST_RELOAD_TIMESTAMP,
                    "When the configuration in force was loaded.",
                )?;
                register(r, g.clone())?;
                g
            },
            generation: gauge(r, names::CONFIG_GENERATION, "Configurations taken since the start.")?,
            by_generation: gauges(
                r,
                names::CONNECTIONS_BY_GENERATION,
                "Open connections by the configuration that they began with.",
                &["generation"],
            )?,
            worker_connections: counters(
                r,
                names::WORKER_CONNECTIONS,
                "Connections, by the worker that serves them.",
                &["worker"],
            )?,
            relay_buffer: gauges(
                r,
                names::RELAY_BUFFER,
                "Bytes of read buffer and pipes held.",
                &["worker"],
            )?,
            pipes: gauges(r, names::PIPES, "Pipes held, in use or pooled.", &["worker"])?,
        })
    }
}

impl Families {
    /// Takes away every series that has all these labels.
    pub(crate) fn forget(&self, labels: &[(&str, &str)]) {
        self.connections.forget(labels);
        self.bytes.forget(labels);
        for family in [
            &self.hello,
            &self.handshakes,
            &self.handshake_failures,
            &self.backend_connections,
            &self.health_checks,
            &self.ejections,
            &self.resolutions,
            &self.retries,
            &self.replays,
            &self.limited,
            &self.accept_errors,
        ] {
            forget(family, labels);
        }
        for family in [
            &self.verify_disabled,
            &self.up,
            &self.active,
            &self.weight,
            &self.verdict,
            &self.usable,
            &self.panic,
        ] {
            forget(family, labels);
        }
        for family in [
            &self.duration,
            &self.hello_bytes,
            &self.hello_records,
            &self.hello_segments,
            &self.handshake_duration,
            &self.connect_duration,
        ] {
            forget(family, labels);
        }
        forget(&self.not_after, labels);
    }
}

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

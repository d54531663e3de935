//! Every family of metrics: a row each, and docs/metrics.md says more about it. A test compares the two.

use crate::bytes::Bytes;
use crate::connections::Connections;
use crate::exemplars::Exemplars;
use crate::family::{Family, Registrar, Row};
use crate::forget::Labels;
use crate::process::Process;
use prometheus::{Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

/// The struct of all families, and how each is registered, from one table: field, kind, name, help, labels, buckets.
macro_rules! families {
    ($($field:ident: $kind:ty = $name:literal, $help:literal $(, [$($label:literal),*])? $(, $buckets:ident)?;)*) => {
        /// Every family. Those without labels are counters and gauges already.
        #[derive(Debug)]
        pub(crate) struct Families {
            pub(crate) connections: Connections,
            pub(crate) bytes: Bytes,
            pub(crate) exemplars: Exemplars,
            $(pub(crate) $field: $kind,)*
            names: Vec<String>,
        }

        impl Families {
            /// Registers every family with `registry`.
            ///
            /// # Errors
            /// When two families share a name or a name is not valid: a mistake in this crate, which its test finds.
            pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
                let mut registrar = Registrar::new(registry);
                registrar.register(Process::new()?)?;
                Ok(Self {
                    connections: registrar.register(Connections::new()?)?,
                    exemplars: Exemplars::default(),
                    bytes: registrar.register(Bytes::new()?)?,
                    $($field: registrar.register(<$kind as Family>::make(Row {
                        name: $name,
                        help: $help,
                        labels: &[$($($label),*)?],
                        buckets: families!(@buckets $($buckets)?),
                    })?)?,)*
                    names: registrar.names,
                })
            }

            /// Removes every series for which `gone` is true.
            pub(crate) fn forget(&self, gone: &dyn Fn(&Labels<'_>) -> bool) {
                self.connections.forget(gone);
                self.bytes.forget(gone);
                $(Family::forget(&self.$field, gone);)*
            }
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

families! {
    build_info: IntGaugeVec = "weir_build_info", "Always 1; the labels say what runs.", ["version", "rustc", "crypto"];
    duration: HistogramVec = "weir_connection_duration_seconds", "How long connections lasted.", ["listener"], LIFETIMES;
    hello: IntCounterVec = "weir_client_hello_total", "First bytes of connections, by outcome.", ["listener", "outcome"];
    hello_bytes: HistogramVec = "weir_client_hello_bytes", "Handshake bytes of complete hellos.", ["listener"], SIZES;
    hello_records: HistogramVec = "weir_client_hello_records", "TLS records of complete hellos.", ["listener"], SMALL_COUNTS;
    hello_segments: HistogramVec = "weir_client_hello_segments", "Reads until hellos were complete.", ["listener"], SMALL_COUNTS;
    handshakes: IntCounterVec = "weir_tls_handshakes_total", "TLS handshakes, finished or failed.", ["listener", "side", "version", "resumed", "result"];
    handshake_duration: HistogramVec = "weir_tls_handshake_duration_seconds", "How long finished TLS handshakes took.", ["listener", "side"], DELAYS;
    handshake_failures: IntCounterVec = "weir_tls_handshake_failures_total", "TLS handshakes that failed.", ["listener", "side", "reason", "alert"];
    not_after: GaugeVec = "weir_certificate_not_after_timestamp_seconds", "When a certificate ends.", ["listener", "certificate", "source"];
    ocsp: IntGaugeVec = "weir_certificate_ocsp_response", "1 for what became of a certificate's OCSP response.", ["listener", "certificate", "state"];
    ocsp_next_update: GaugeVec = "weir_certificate_ocsp_next_update_timestamp_seconds", "When a stapled OCSP response ends.", ["listener", "certificate"];
    must_staple_unmet: IntGaugeVec = "weir_certificate_must_staple_unmet", "1 while a certificate that demands a stapled OCSP response has none.", ["listener", "certificate"];
    certificate_reloads: IntCounterVec = "weir_certificate_reloads_total", "Changes of the files of TLS while weir runs, by what became of them.", ["result"];
    crl_next_update: GaugeVec = "weir_crl_next_update_timestamp_seconds", "When the next list of revoked certificates is due.", ["listener", "file"];
    verify_disabled: IntGaugeVec = "weir_pool_verify_disabled", "1 where backend certificates are not verified.", ["pool"];
    up: IntGaugeVec = "weir_backend_up", "1 while healthy, 0 while it fails checks or is ejected.", ["pool", "backend"];
    active: IntGaugeVec = "weir_backend_active_connections", "Connections that a backend serves now.", ["pool", "backend"];
    weight: IntGaugeVec = "weir_backend_weight", "A backend's weight.", ["pool", "backend"];
    backend_connections: IntCounterVec = "weir_backend_connections_total", "Attempts to reach a backend.", ["pool", "backend", "result"];
    connect_duration: HistogramVec = "weir_backend_connect_duration_seconds", "How long it took to reach a backend, its TLS handshake left out.", ["pool"], DELAYS;
    health_checks: IntCounterVec = "weir_backend_health_checks_total", "Health checks, by result.", ["pool", "backend", "result"];
    verdict: IntGaugeVec = "weir_backend_certificate_verdict", "1 for what was said of a backend's certificate the last time that a check saw it.", ["pool", "backend", "verdict"];
    ejections: IntCounterVec = "weir_backend_ejections_total", "Backends taken out of service because connections could not reach them.", ["pool", "backend", "reason"];
    usable: IntGaugeVec = "weir_pool_usable_backends", "Backends that may take connections now.", ["pool"];
    panic: IntGaugeVec = "weir_pool_panic", "1 while health is ignored.", ["pool"];
    resolutions: IntCounterVec = "weir_dns_resolutions_total", "Attempts to find the addresses of a backend's name, by result.", ["name", "result"];
    retries: IntCounterVec = "weir_retries_total", "Further backends tried.", ["pool"];
    replays: IntCounterVec = "weir_hello_replays_total", "Hellos given to another backend after the first one ended without a byte.", ["pool"];
    rebalanced: IntCounterVec = "weir_pool_rebalanced_total", "Idle connections closed because their backend had more than its share.", ["pool"];
    requests: IntCounterVec = "weir_http_requests_total", "Requests that have ended.", ["listener", "pool", "method", "code"];
    request_duration: HistogramVec = "weir_http_request_duration_seconds", "How long requests lasted.", ["listener", "pool"], REQUESTS;
    sticky: IntCounterVec = "weir_http_sticky_total", "Requests of sticky pools, by what their stickiness was worth.", ["pool", "result"];
    kept: IntGaugeVec = "weir_backend_kept_connections", "Idle connections to a backend, kept for further requests.", ["pool", "backend"];
    rate_clients: IntGauge = "weir_rate_limit_clients", "Clients that rate limits remember.";
    rate_forgotten: IntCounter = "weir_rate_limit_forgotten_total", "Clients that rate limits forgot too early, because the table was full.";
    clients: IntGauge = "weir_clients", "Clients with an open connection, each counted once a listener.";
    limited_in_shadow: IntCounterVec = "weir_limited_shadow_total", "Connections that a limit with `shadow` would have turned away.", ["listener", "reason"];
    limited: IntCounterVec = "weir_limited_total", "Connections and requests turned away or made to wait by a limit.", ["listener", "reason"];
    accept_errors: IntCounterVec = "weir_accept_errors_total", "Errors of accept(2).", ["listener", "error"];
    log_dropped: IntCounterVec = "weir_log_dropped_total", "Lines of the log that were lost: the queue was full, or a write failed.", ["reason"];
    access_dropped: IntCounterVec = "weir_access_records_dropped_total", "Access records that were lost: the queue was full, or a write failed.", ["reason"];
    key_log: IntGauge = "weir_key_log_enabled", "1 while the secrets of TLS sessions are written to a file.";
    key_log_dropped: IntCounterVec = "weir_key_log_lines_dropped_total", "Lines of the key log that were lost: the queue was full, or a write failed.", ["reason"];
    panics: IntCounter = "weir_connection_panics_total", "Connection tasks that ended in a panic.";
    reload_successful: IntGauge = "weir_config_last_reload_successful", "1 if the last load of the configuration worked.";
    reload_timestamp: Gauge = "weir_config_last_reload_timestamp_seconds", "When the configuration in force was loaded.";
    generation: IntGauge = "weir_config_generation", "Configurations taken since the start.";
    by_generation: IntGaugeVec = "weir_connections_by_generation", "Open connections by the configuration that they began with.", ["generation"];
    worker_connections: IntCounterVec = "weir_worker_connections_total", "Connections, by the worker that serves them.", ["worker"];
    relay_buffer: IntGaugeVec = "weir_relay_buffer_bytes", "Bytes of read buffer and pipes held.", ["worker"];
    handshakes_waiting: IntGaugeVec = "weir_worker_handshakes_waiting", "TLS handshakes with clients that wait for their turn.", ["worker"];
    pipes: IntGaugeVec = "weir_pipes", "Pipes held, in use or pooled.", ["worker"];
}

impl Families {
    /// The names of all families, with or without a series.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// Connections live from milliseconds to hours.
pub(crate) const LIFETIMES: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0];
/// Requests: from a cached answer on the same machine to a long download.
pub(crate) const REQUESTS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Handshakes and connects: from a loopback's microseconds to the default deadlines.
const DELAYS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Hellos: classic ones are about 500 bytes, post-quantum ones 1,500 and up, the ceiling 16 KiB.
const SIZES: &[f64] = &[128.0, 256.0, 512.0, 1024.0, 1536.0, 2048.0, 4096.0, 8192.0, 16384.0];
/// Records and segments of a hello.
const SMALL_COUNTS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 250.0, 1000.0];

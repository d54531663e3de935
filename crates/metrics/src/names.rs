//! Every metric's name, once. docs/metrics.md lists the same names, and a test compares the two.
//!
//! To add one: a constant here, its family in `registry.rs`, a line in docs/metrics.md.

/// 1, labelled with the version, the compiler and the crypto library.
pub const BUILD_INFO: &str = "weir_build_info";
/// Connections accepted.
pub const CONNECTIONS_OPENED: &str = "weir_connections_opened_total";
/// Connections open now: opened less closed, computed at the scrape.
pub const CONNECTIONS_ACTIVE: &str = "weir_connections_active";
/// Connections ended, by outcome and by who ended them.
pub const CONNECTIONS_CLOSED: &str = "weir_connections_closed_total";
/// How long connections lasted.
pub const CONNECTION_DURATION: &str = "weir_connection_duration_seconds";
/// Payload moved, counted while connections live.
pub const BYTES: &str = "weir_bytes_total";
/// What the first bytes of a connection turned out to be.
pub const CLIENT_HELLO: &str = "weir_client_hello_total";
/// Handshake bytes of complete hellos.
pub const CLIENT_HELLO_BYTES: &str = "weir_client_hello_bytes";
/// TLS records over which complete hellos were spread.
pub const CLIENT_HELLO_RECORDS: &str = "weir_client_hello_records";
/// TCP reads that it took until the hello was complete.
pub const CLIENT_HELLO_SEGMENTS: &str = "weir_client_hello_segments";
/// TLS handshakes, finished or failed.
pub const TLS_HANDSHAKES: &str = "weir_tls_handshakes_total";
/// How long finished TLS handshakes took.
pub const TLS_HANDSHAKE_DURATION: &str = "weir_tls_handshake_duration_seconds";
/// TLS handshakes that failed, by reason.
pub const TLS_HANDSHAKE_FAILURES: &str = "weir_tls_handshake_failures_total";
/// When a certificate ends, in seconds since 1970.
pub const CERTIFICATE_NOT_AFTER: &str = "weir_certificate_not_after_timestamp_seconds";
/// 1 where backend certificates are not verified (`tls.verify: false`), else 0.
pub const POOL_VERIFY_DISABLED: &str = "weir_pool_verify_disabled";
/// 1 while a backend is healthy, 0 while it fails its checks or is ejected.
pub const BACKEND_UP: &str = "weir_backend_up";
/// Connections that a backend serves now.
pub const BACKEND_ACTIVE: &str = "weir_backend_active_connections";
/// A backend's weight.
pub const BACKEND_WEIGHT: &str = "weir_backend_weight";
/// Attempts to reach a backend, by result.
pub const BACKEND_CONNECTIONS: &str = "weir_backend_connections_total";
/// How long it took to reach a backend.
pub const BACKEND_CONNECT_DURATION: &str = "weir_backend_connect_duration_seconds";
/// Health checks, by result.
pub const BACKEND_HEALTH_CHECKS: &str = "weir_backend_health_checks_total";
/// 1 for what was said of a backend's certificate the last time that a check saw it.
pub const BACKEND_CERTIFICATE_VERDICT: &str = "weir_backend_certificate_verdict";
/// Ejections of backends that real traffic could not reach, by reason.
pub const BACKEND_EJECTIONS: &str = "weir_backend_ejections_total";
/// Backends of a pool that may take connections now.
pub const POOL_USABLE: &str = "weir_pool_usable_backends";
/// 1 while so few backends of a pool are in service that health is ignored, else 0.
pub const POOL_PANIC: &str = "weir_pool_panic";
/// Attempts to find the addresses of a backend's name, by result.
pub const DNS_RESOLUTIONS: &str = "weir_dns_resolutions_total";
/// Further backends tried because one could not be reached.
pub const RETRIES: &str = "weir_retries_total";
/// Hellos given to another backend because the first one ended without a byte.
pub const HELLO_REPLAYS: &str = "weir_hello_replays_total";
/// Connections turned away or made to wait by a limit.
pub const LIMITED: &str = "weir_limited_total";
/// Errors of accept(2), by kind.
pub const ACCEPT_ERRORS: &str = "weir_accept_errors_total";
/// Lines of the log that were lost, by reason.
pub const LOG_DROPPED: &str = "weir_log_dropped_total";
/// Access records that were lost, by reason.
pub const ACCESS_DROPPED: &str = "weir_access_records_dropped_total";
/// Connection tasks that ended in a panic.
pub const PANICS: &str = "weir_connection_panics_total";
/// 1 if the last load of the configuration worked.
pub const CONFIG_LAST_RELOAD_SUCCESSFUL: &str = "weir_config_last_reload_successful";
/// When the configuration in force was loaded.
pub const CONFIG_LAST_RELOAD_TIMESTAMP: &str = "weir_config_last_reload_timestamp_seconds";
/// Counts the configurations taken since the start.
pub const CONFIG_GENERATION: &str = "weir_config_generation";
/// Open connections by the configuration that they began with.
pub const CONNECTIONS_BY_GENERATION: &str = "weir_connections_by_generation";
/// Connections that each worker accepted.
pub const WORKER_CONNECTIONS: &str = "weir_worker_connections_total";
/// The shared buffers and the pipes of each worker, in bytes.
pub const RELAY_BUFFER: &str = "weir_relay_buffer_bytes";
/// Pipes that each worker holds, in use or pooled.
pub const PIPES: &str = "weir_pipes";
/// CPU time of the process.
pub const PROCESS_CPU: &str = "process_cpu_seconds_total";
/// Descriptors open now.
pub const PROCESS_OPEN_FDS: &str = "process_open_fds";
/// Descriptors allowed (`RLIMIT_NOFILE`).
pub const PROCESS_MAX_FDS: &str = "process_max_fds";
/// Resident memory.
pub const PROCESS_RESIDENT_MEMORY: &str = "process_resident_memory_bytes";
/// Virtual memory.
pub const PROCESS_VIRTUAL_MEMORY: &str = "process_virtual_memory_bytes";
/// When the process started.
pub const PROCESS_START_TIME: &str = "process_start_time_seconds";
/// Threads of the process.
pub const PROCESS_THREADS: &str = "process_threads";

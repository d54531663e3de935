//! The process's metrics, and the text of a scrape.
//!
//! Families live as long as the process; what a plan names (a listener, a pool, a backend) asks for its
//! handles when the plan is compiled.

use crate::families::Families;
use crate::handles::{
    BackendMetrics, ClientMetrics, ListenerMetrics, LostLines, PoolMetrics, RateMetrics, WorkerMetrics,
};
use crate::labels::{CertificateReload, CertificateSource, ResolutionResult};
use crate::openmetrics;
use crate::served::{self, ServedCertificate};
use prometheus::{Encoder, IntCounter, Registry, TextEncoder};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

/// Every metric of the process. One per process, shared by all threads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Arc<Families>,
}

impl Metrics {
    /// Registers every family.
    ///
    /// `version`, `rustc` and `crypto` are the labels of `weir_build_info`.
    ///
    /// # Errors
    /// When two families share a name or a name is not valid: a mistake in this crate, which its test finds.
    pub fn new(version: &str, rustc: &str, crypto: &str) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let families = Arc::new(Families::new(&registry)?);
        families.build_info.with_label_values(&[version, rustc, crypto]).set(1);
        for result in CertificateReload::ALL {
            families.certificate_reloads.with_label_values(&[result.label()]);
        }
        Ok(Arc::new(Self { registry, families }))
    }

    /// The handles of a listener. Asking again for the same name gives the same counters.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        ListenerMetrics::new(&self.families, listener)
    }

    /// The handles of a pool.
    pub fn pool(&self, pool: &str) -> PoolMetrics {
        PoolMetrics::new(&self.families, pool)
    }

    /// The handles of a backend in a pool.
    pub fn backend(&self, pool: &str, backend: &str) -> BackendMetrics {
        BackendMetrics::new(&self.families, pool, backend)
    }

    /// The handles of a data-plane worker, counted from 0.
    pub fn worker(&self, worker: usize) -> WorkerMetrics {
        WorkerMetrics::new(&self.families, worker)
    }

    /// Removes the series of backends that are gone, each a pool's name and its own. All of them in one call: it goes
    /// through every series of the process once.
    pub fn forget_backends(&self, gone: &HashSet<(&str, &str)>) {
        if gone.is_empty() {
            return;
        }
        let certificates: HashSet<String> =
            gone.iter().map(|(pool, backend)| format!("{pool}/{backend}")).collect();
        self.families.forget(&|labels| {
            let of = |label: &str| labels.get(label).copied();
            match (of("pool"), of("backend")) {
                (Some(pool), Some(backend)) => gone.contains(&(pool, backend)),
                _ => {
                    of("source") == Some(CertificateSource::Backend.label())
                        && of("certificate").is_some_and(|c| certificates.contains(c))
                }
            }
        });
    }

    /// Removes the series of pools that are gone; see [`Self::forget_backends`].
    pub fn forget_pools(&self, gone: &HashSet<&str>) {
        self.forget("pool", gone);
    }

    /// Removes the series of listeners that are gone; see [`Self::forget_backends`].
    pub fn forget_listeners(&self, gone: &HashSet<&str>) {
        self.forget("listener", gone);
    }

    /// Removes the series of names that are no longer asked for; see [`Self::forget_backends`].
    pub fn forget_names(&self, gone: &HashSet<&str>) {
        self.forget("name", gone);
    }

    fn forget(&self, label: &str, gone: &HashSet<&str>) {
        if !gone.is_empty() {
            self.families.forget(&|labels| labels.get(label).is_some_and(|value| gone.contains(value)));
        }
    }

    /// Sets the open connections of each generation that has any; others lose their series.
    pub fn generations(&self, connections: &[(String, usize)]) {
        self.families.by_generation.reset();
        for (generation, open) in connections {
            let open = i64::try_from(*open).unwrap_or(i64::MAX);
            self.families.by_generation.with_label_values(&[generation]).set(open);
        }
    }

    /// Notes all lists of revoked clients of a listener, each with its file's name and the time in seconds since 1970 at
    /// which the next one is due. Of several lists of one name, the earliest counts; others of the listener lose their
    /// series.
    pub fn revocation_lists(&self, listener: &str, lists: &[(&str, i64)]) {
        served::note_lists(&self.families, listener, lists);
    }

    /// Notes all certificates that a listener serves. Of several files of one name, the earliest ends count, and the lack
    /// of a staple that one of them demands. Certificates that the listener served before lose their series.
    /// [`BackendMetrics::record_certificate`] notes those of backends.
    pub fn served(&self, listener: &str, certificates: &[ServedCertificate<'_>]) {
        served::note(&self.families, listener, certificates);
    }

    /// Notes the certificates that weir shows to backends, and the lists of revoked backends, of all pools: each `(pool, name of
    /// the file, time)`, in seconds since 1970 at which it ends or the next list is due. Others lose their series.
    pub fn towards_backends(&self, certificates: &[(&str, &str, i64)], lists: &[(&str, &str, i64)]) {
        served::note_of_pools(&self.families, certificates, lists);
    }

    /// Counts a change of a certificate's files, by what became of it.
    pub fn certificate_reload(&self, result: CertificateReload) {
        self.families.certificate_reloads.with_label_values(&[result.label()]).inc();
    }

    /// Notes a load of the configuration that has just ended: whether it worked, and the generation in force.
    pub fn reloaded(&self, successful: bool, generation: u64) {
        self.families.reload_successful.set(i64::from(successful));
        self.families.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        if successful {
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.families.reload_timestamp.set(since_1970.as_secs_f64());
        }
    }

    /// Counts an attempt to find the addresses of a name of the configuration, by its result.
    pub fn resolution(&self, name: &str, result: ResolutionResult) {
        self.families.resolutions.with_label_values(&[name, result.label()]).inc();
    }

    /// The counters of log lines that were lost.
    pub fn log_dropped(&self) -> LostLines {
        LostLines::new(&self.families.log_dropped)
    }

    /// The counters of access records that were lost.
    pub fn access_dropped(&self) -> LostLines {
        LostLines::new(&self.families.access_dropped)
    }

    /// The counters of lines of the key log that were lost.
    pub fn key_log_dropped(&self) -> LostLines {
        LostLines::new(&self.families.key_log_dropped)
    }

    /// Notes that the process writes a key log.
    pub fn writes_key_log(&self) {
        self.families.key_log.set(1);
    }

    /// The counters of the table of rate limits.
    pub fn rates(&self) -> RateMetrics {
        RateMetrics::new(&self.families)
    }

    /// The handle of the table of clients with open connections.
    pub fn clients(&self) -> ClientMetrics {
        ClientMetrics::new(&self.families)
    }

    /// The counter of connection tasks that panicked.
    pub fn panics(&self) -> IntCounter {
        self.families.panics.clone()
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

    /// The text of a scrape, in OpenMetrics 1.0.0: the same samples, and exemplars.
    ///
    /// # Errors
    /// Never: writing to a String does not fail.
    pub fn scrape_openmetrics(&self) -> Result<String, std::fmt::Error> {
        openmetrics::write(&self.registry.gather(), &self.families.exemplars)
    }

    /// The text of a scrape and its content type, in the format that the scraper's Accept field prefers.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn scrape_as(&self, accept: &str) -> Result<(&'static str, String), Box<dyn std::error::Error>> {
        if openmetrics::is_preferred(accept) {
            return Ok((openmetrics::CONTENT_TYPE, self.scrape_openmetrics()?));
        }
        Ok((CONTENT_TYPE, self.scrape()?))
    }

    /// Names of all families, with or without a series.
    pub fn family_names(&self) -> &[String] {
        self.families.names()
    }
}

/// The content type of [`Metrics::scrape`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::HandshakeSide;

    crate::closed_set! {
        /// A test's own.
        Any {
            Any = "any",
            Other = "other",
        }
    }

    #[test]
    fn active_is_opened_less_closed() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let l = m.listener("edge");
        for _ in 0..3 {
            l.opened();
        }
        l.closed(Any::Any, Any::Any, HandshakeSide::Backend, 0.1);
        assert!(m.scrape().unwrap().contains("weir_connections_active{listener=\"edge\"} 2"));
        l.closed(Any::Any, Any::Any, HandshakeSide::Client, 0.1);
        l.closed(Any::Any, Any::Other, HandshakeSide::Client, 0.1);
        assert!(m.scrape().unwrap().contains("weir_connections_active{listener=\"edge\"} 0"));
    }
}

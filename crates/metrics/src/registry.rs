//! The process's metrics, and the text of a scrape.
//!
//! Families live as long as the process; what a plan names (a listener, a pool, a backend) asks for its
//! handles when the plan is compiled.

use crate::families::Families;
use crate::forget::forget;
use crate::handles::{BackendMetrics, ListenerMetrics, LostLines, PoolMetrics, WorkerMetrics};
use prometheus::{Encoder, IntCounter, Registry, TextEncoder};
use std::collections::BTreeMap;
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

    /// Takes away the series of a backend that is gone.
    pub fn forget_backend(&self, pool: &str, backend: &str) {
        self.families.forget(&[("pool", pool), ("backend", backend)]);
        self.families.forget(&[("certificate", &format!("{pool}/{backend}")), ("source", "backend")]);
    }

    /// Takes away the series of a pool that is gone.
    pub fn forget_pool(&self, pool: &str) {
        self.families.forget(&[("pool", pool)]);
    }

    /// Takes away the series of a listener that is gone.
    pub fn forget_listener(&self, listener: &str) {
        self.families.forget(&[("listener", listener)]);
    }

    /// Sets the open connections of each generation that has any; others lose their series.
    pub fn generations(&self, connections: &[(String, usize)]) {
        self.families.by_generation.reset();
        for (generation, open) in connections {
            let open = i64::try_from(*open).unwrap_or(i64::MAX);
            self.families.by_generation.with_label_values(&[generation]).set(open);
        }
    }

    /// Notes all certificates that a listener serves: the name of each one's file, and when it ends, in seconds since
    /// 1970. Of several files of one name, the earliest end counts. Certificates that the listener served before lose
    /// their series. [`BackendMetrics::saw`] notes those of backends.
    pub fn served(&self, listener: &str, certificates: &[(&str, i64)]) {
        forget(&self.families.not_after, &[("listener", listener), ("source", "served")]);
        let mut first: BTreeMap<&str, i64> = BTreeMap::new();
        for (file, not_after) in certificates {
            first.entry(file).and_modify(|end| *end = (*end).min(*not_after)).or_insert(*not_after);
        }
        for (file, not_after) in first {
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages")]
            self.families.not_after.with_label_values(&[listener, file, "served"]).set(not_after as f64);
        }
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
    pub fn resolution(&self, name: &str, result: &str) {
        self.families.resolutions.with_label_values(&[name, result]).inc();
    }

    /// Takes away the series of a name that is asked for no more.
    pub fn forget_name(&self, name: &str) {
        self.families.forget(&[("name", name)]);
    }

    /// The counters of log lines that were lost.
    pub fn log_dropped(&self) -> LostLines {
        LostLines::new(&self.families.log_dropped)
    }

    /// The counters of access records that were lost.
    pub fn access_dropped(&self) -> LostLines {
        LostLines::new(&self.families.access_dropped)
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

    #[test]
    fn of_files_of_one_name_the_first_to_end_is_told() {
        let m = Metrics::new("0", "r", "c").unwrap();
        m.served(
            "edge",
            &[("fullchain.pem", 20), ("fullchain.pem", 10), ("fullchain.pem", 30), ("old.pem", 5)],
        );
        let text = m.scrape().unwrap();
        let of = |file: &str| format!("certificate=\"{file}\",listener=\"edge\",source=\"served\"}} ");
        assert!(text.contains(&(of("fullchain.pem") + "10\n")), "{text}");
        assert!(text.contains(&(of("old.pem") + "5\n")), "{text}");
    }

    #[test]
    fn a_certificate_that_is_served_no_more_has_no_series() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = m.scrape().unwrap();
            let lines =
                text.lines().filter(|l| l.starts_with("weir_certificate_not_after_timestamp_seconds"));
            // `certificate` is the first label, `listener` the second.
            let words = lines.filter_map(|l| Some((l.split('"').nth(3)?, l.split('"').nth(1)?)));
            let mut all: Vec<_> = words.map(|(l, certificate)| format!("{l} {certificate}")).collect();
            all.sort();
            all
        };
        m.served("edge", &[("2024.pem", 1), ("both.pem", 2)]);
        m.served("other", &[("2024.pem", 1)]);
        let seen = crate::Certificate { not_after: Some(1), verdict: None };
        m.backend("p", "b").saw(seen, []);
        assert_eq!(series(), [" p/b", "edge 2024.pem", "edge both.pem", "other 2024.pem"]);
        m.served("edge", &[("2025.pem", 3), ("both.pem", 2)]);
        assert_eq!(series(), [" p/b", "edge 2025.pem", "edge both.pem", "other 2024.pem"]);
        m.served("edge", &[]);
        assert_eq!(series(), [" p/b", "other 2024.pem"]);
    }
}

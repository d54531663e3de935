//! A pool: a named set of backends, each with its live count and its health.
//!
//! What changes while a plan lives is in atomics, so that every worker and the control plane read it without a
//! lock: the number of connections a backend serves, and whether it passes its checks. A [`Reserved`] guard
//! holds a backend's place from pick to the end of the connection.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_metrics::{BackendMetrics, PoolMetrics};
use weir_tls::BackendClient;

/// A named set of backends.
#[derive(Debug)]
pub struct Pool {
    /// Different for every pool of the process, also over reloads: workers key their cursors by it.
    pub id: u64,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// In the order of the file.
    pub backends: Vec<Arc<Backend>>,
    /// Further backends tried when one cannot be reached.
    pub retries: usize,
    /// How its backends are checked.
    pub health_check: HealthCheck,
    /// False where `tls.verify: false` turned verification off.
    pub verifies: bool,
    /// Its counters.
    pub metrics: PoolMetrics,
}

impl Pool {
    /// Backends that may take a connection now.
    pub fn usable(&self) -> usize {
        self.backends.iter().filter(|b| b.is_usable()).count()
    }

    /// Backends that are well, whether or not they are at their caps.
    pub fn healthy(&self) -> usize {
        self.backends.iter().filter(|b| b.weight > 0 && b.health.is_up()).count()
    }
}

/// One address in a pool.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the configuration; its address where it has none.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share; 0 takes no new connections.
    pub weight: u16,
    /// More connections than this it does not get.
    pub max_connections: Option<u32>,
    /// How to speak TLS to it; only in pools with a `tls` section.
    pub tls: Option<BackendClient>,
    /// Its counters.
    pub metrics: BackendMetrics,
    /// Whether it passes its checks.
    pub health: Health,
    active: AtomicU32,
}

impl Backend {
    /// A backend that counts as healthy until the first check says otherwise.
    pub fn new(
        name: Arc<str>,
        address: SocketAddr,
        weight: u16,
        max_connections: Option<u32>,
        tls: Option<BackendClient>,
        metrics: BackendMetrics,
    ) -> Self {
        metrics.weight.set(i64::from(weight));
        metrics.up.set(1);
        Self {
            name,
            address,
            weight,
            max_connections,
            tls,
            metrics,
            health: Health::default(),
            active: AtomicU32::new(0),
        }
    }

    /// Healthy, with a weight, and below its cap.
    pub fn is_usable(&self) -> bool {
        self.weight > 0 && self.health.is_up() && self.active() < self.cap()
    }

    /// Connections that it serves now.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Takes a place at the backend, or `None` when it is at its cap.
    pub fn reserve(self: &Arc<Self>) -> Option<Reserved> {
        let cap = self.cap();
        let more = |active: u32| (active < cap).then(|| active + 1);
        // In one step: two workers that race for the last place must not both go without.
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.metrics.active.inc();
        Some(Reserved(Arc::clone(self)))
    }

    fn cap(&self) -> u32 {
        self.max_connections.unwrap_or(u32::MAX)
    }
}

/// A place at a backend, given back when dropped.
#[derive(Debug)]
pub struct Reserved(Arc<Backend>);

impl Reserved {
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.active.dec();
    }
}

/// Whether a backend passes its checks, and why not.
#[derive(Debug)]
pub struct Health {
    up: AtomicBool,
    last: Mutex<LastCheck>,
}

/// The last result of a check, for the status API.
#[derive(Clone, Debug, Default)]
pub struct LastCheck {
    /// When it ended; `None` before the first.
    pub at: Option<Instant>,
    /// Why the last failed one failed. Kept after recovery, for whoever asks what was wrong.
    pub failure: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { up: AtomicBool::new(true), last: Mutex::default() }
    }
}

impl Health {
    /// True until checks have said otherwise.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Sets the state; true if that is a change.
    pub fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::Relaxed) != up
    }

    /// Notes a finished check and, if it failed, why.
    pub fn note(&self, at: Instant, failure: Option<String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.at = Some(at);
        if failure.is_some() {
            last.failure = failure;
        }
    }

    /// The last result.
    pub fn last(&self) -> LastCheck {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How the backends of a pool are checked.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// What is asked of them.
    pub kind: CheckKind,
    /// Another port than the backend's own.
    pub port: Option<u16>,
    /// From the end of one check to the start of the next, ±10 %.
    pub interval: Duration,
    /// One check, from the dial to the answer.
    pub timeout: Duration,
    /// Successes in a row until healthy.
    pub rise: u32,
    /// Failures in a row until unhealthy.
    pub fall: u32,
}

/// What a check asks.
#[derive(Clone, Debug)]
pub enum CheckKind {
    /// No check: healthy always.
    None,
    /// A TCP connection.
    Tcp,
    /// A finished TLS handshake.
    Tls {
        /// The name asked for, where it is not the backend's own.
        server_name: Option<String>,
        /// Verifies in pools with a `tls` section; elsewhere it takes any certificate.
        client: BackendClient,
    },
    /// An answer to `GET path` with one of these statuses.
    Http {
        /// The request's target, from its first slash.
        path: String,
        /// The Host field; the backend's address where there is none.
        host: Option<String>,
        /// Statuses that count as healthy.
        status: Vec<RangeInclusive<u16>>,
        /// The name asked for, over TLS.
        server_name: Option<String>,
        /// Over TLS, in pools with a `tls` section.
        client: Option<BackendClient>,
    },
}

impl CheckKind {
    /// The word for it in the configuration.
    pub fn label(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tcp => "tcp",
            Self::Tls { .. } => "tls",
            Self::Http { .. } => "http",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_metrics::Metrics;

    fn backend(cap: Option<u32>) -> Arc<Backend> {
        let metrics = Metrics::new("0", "r", "c").unwrap().backend("p", "b");
        Arc::new(Backend::new("b".into(), "127.0.0.1:1".parse().unwrap(), 1, cap, None, metrics))
    }

    #[test]
    fn a_place_is_held_until_the_guard_goes() {
        let b = backend(Some(2));
        let (one, two) = (b.reserve(), b.reserve());
        assert!(one.is_some() && two.is_some() && !b.is_usable());
        assert!(b.reserve().is_none());
        assert_eq!(b.active(), 2, "the place that could not be had is given back");
        drop(one);
        assert!(b.is_usable() && b.reserve().is_some());
    }

    #[test]
    fn a_change_of_health_is_told_once() {
        let b = backend(None);
        assert!(b.health.set_up(false));
        assert!(!b.health.set_up(false));
        assert!(!b.is_usable());
    }
}

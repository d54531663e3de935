//! How a pool treats its backends: the keys of its section, with their defaults filled in.

use crate::pick::Balance;
use std::ops::RangeInclusive;
use std::time::Duration;
use weir_tls::Probe;

/// How a pool treats its backends.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which backend is next.
    pub balance: Balance,
    /// Maglev: a backend takes at most this share of the average, in percent, at least 100; `None` = no bound.
    pub bounded_load: Option<u32>,
    /// Further backends tried when one cannot be reached.
    pub retries: usize,
    /// Passthrough: whether the kept hello may go to another backend.
    pub hello_replay: HelloReplay,
    /// How its backends are checked.
    pub health_check: HealthCheck,
    /// Health from real traffic; `None` = off.
    pub passive_check: Option<PassiveCheck>,
    /// What becomes of the connections of a backend that fails its checks.
    pub on_unhealthy: OnUnhealthy,
    /// A backend that has become healthy again gets its share over this time; zero = at once.
    pub slow_start: Duration,
    /// Fewer backends in service than this many percent: health is ignored; 0 = never.
    pub panic_threshold: u32,
    /// How long connections of a removed or drained backend may go on.
    pub drain_timeout: Duration,
    /// False where `tls.verify: false` turned verification off.
    pub verifies: bool,
}

/// Whether a hello may go to another backend when the first one ends without a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloReplay {
    /// Never.
    Never,
    /// After a reset; a FIN may be the backend's policy.
    OnReset,
    /// After a reset and after a FIN.
    OnAnyEnd,
}

/// What becomes of the connections of a backend that fails its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// They go on.
    Keep,
    /// They are closed.
    Close,
}

/// When failures of real traffic take a backend out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveCheck {
    /// So many failures …
    pub failures: u32,
    /// … within this time …
    pub window: Duration,
    /// … eject for this long, doubling while it goes on.
    pub eject: Duration,
    /// Never more than this many percent of the pool at once.
    pub max_ejected: u32,
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
        /// The name asked for, where it is not the pool's or the backend's own.
        server_name: Option<String>,
        /// Its verdict counts in pools that verify; elsewhere any certificate will do.
        probe: Probe,
    },
    /// An answer to `GET path` with one of these statuses.
    Http {
        /// The request's target, from its first slash.
        path: String,
        /// The Host field; the backend's address where there is none.
        host: Option<String>,
        /// Statuses that count as healthy.
        status: Vec<RangeInclusive<u16>>,
        /// The name asked for over TLS, where it is not the pool's or the backend's own.
        server_name: Option<String>,
        /// Over TLS, in pools with a `tls` section.
        probe: Option<Probe>,
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

    /// Does it speak TLS, and so see the backend's certificate?
    pub fn speaks_tls(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Http { probe: Some(_), .. })
    }
}

//! How a pool treats its backends: the keys of its section, with their defaults filled in.

use crate::origin::Origin;
use crate::pick::Balance;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use weir_tls::{CookieKeys, Probe};

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
    /// What happens to the connections of a backend that fails its checks.
    pub on_unhealthy: OnUnhealthy,
    /// A backend that has become healthy again gets its share over this time; zero = at once.
    pub slow_start: Duration,
    /// Fewer backends in service than this many percent: health is ignored; 0 = never.
    pub panic_threshold: u32,
    /// How long connections of a removed or drained backend may go on.
    pub drain_timeout: Duration,
    /// Which addresses of names are used.
    pub family: Family,
    /// Where connections to its backends come from.
    pub origin: Origin,
    /// The part of all connections, of 1, that may end in a second to even out the backends; `None` = no part.
    pub rebalance: Option<f64>,
    /// False where `tls.verify: false` turned verification off.
    pub verifies: bool,
    /// The PROXY header in front of each connection.
    pub send_proxy_protocol: SendProxyProtocol,
    /// How requests are spoken to its backends.
    pub http: HttpSettings,
    /// How a client stays with its backend; `None` = it does not.
    pub sticky: Option<Sticky>,
}

/// How requests are spoken to the backends of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The version.
    pub version: HttpVersion,
    /// The most connections to a backend that each worker keeps without a request on them.
    pub max_idle: usize,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// Each carries the requests of one client alone, because it begins with that client's PROXY header, or comes from its
    /// address.
    pub of_one_client: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            version: HttpVersion::Auto,
            max_idle: 64,
            idle_timeout: Duration::from_secs(60),
            of_one_client: false,
        }
    }
}

/// The version of HTTP spoken to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Over TLS what the backend chooses by ALPN, HTTP/2 first; without TLS HTTP/1.1.
    Auto,
}

impl HttpVersion {
    /// The protocols that a backend is offered over TLS, the most wanted first.
    pub fn offered(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

/// How a client stays with its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By a cookie of weir's own.
    Cookie(StickyCookie),
    /// As long as the client has a cookie of the application: weir's own one, which names the backend, is issued when an
    /// answer sets that.
    AppCookie {
        /// The name of the application's cookie.
        app: Box<str>,
        /// The cookie of weir's own.
        cookie: StickyCookie,
    },
    /// By the value of this header field, its name in lower case.
    Header(Box<str>),
}

impl Sticky {
    /// Its cookie of weir's own, if it has one.
    pub fn cookie(&self) -> Option<&StickyCookie> {
        match self {
            Self::Cookie(cookie) | Self::AppCookie { cookie, .. } => Some(cookie),
            Self::Header(_) => None,
        }
    }
}

/// A cookie of weir's own, which names a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name, a token (RFC 6265 §4.1.1).
    pub name: Box<str>,
    /// How long it holds, from its issue; 1 s to 7 d.
    pub duration: Duration,
    /// Its keys.
    pub keys: CookieKeys,
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

weir_metrics::closed_set! {
    /// The PROXY header in front of each connection to a backend: a word in the configuration.
    pub SendProxyProtocol {
        /// None.
        Off = "off",
        /// Of version 1: the client's address.
        V1 = "v1",
        /// Of version 2: the name that the client asked for and its TLS session, too.
        V2 = "v2",
    }
}

weir_metrics::closed_set! {
    /// Which addresses of names are used: a word in the configuration.
    pub Family {
        /// All of them.
        Any = "any",
        /// Those of IPv4.
        Ipv4 = "ipv4",
        /// Those of IPv6.
        Ipv6 = "ipv6",
    }
}

impl Family {
    /// Whether an address is one of these.
    pub fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => ip.is_ipv4(),
            Self::Ipv6 => ip.is_ipv6(),
        }
    }
}

/// What happens to the connections of a backend that fails its checks.
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
    /// This many failures …
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
    /// A port other than the backend's own.
    pub port: Option<u16>,
    /// From the end of one check to the start of the next, ±10 %.
    pub interval: Duration,
    /// One check, from the dial to the answer.
    pub timeout: Duration,
    /// Successes in a row until healthy.
    pub rise: u32,
    /// Failures in a row until unhealthy.
    pub fall: u32,
    /// The PROXY header in front of each check.
    pub proxy_protocol: SendProxyProtocol,
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
        /// The name asked for, unless it is the pool's or the backend's own.
        server_name: Option<String>,
        /// Its verdict counts in pools that verify; elsewhere any certificate will do.
        probe: Probe,
    },
    /// An answer to `GET path` with one of these statuses.
    Http {
        /// The request's target, from its first slash.
        path: String,
        /// The Host field; without it, the backend's address.
        host: Option<String>,
        /// Statuses that count as healthy.
        status: Vec<RangeInclusive<u16>>,
        /// The name asked for over TLS, unless it is the pool's or the backend's own.
        server_name: Option<String>,
        /// Over TLS, in pools with a `tls` section.
        probe: Option<Probe>,
        /// The pool's version of HTTP.
        version: HttpVersion,
    },
    /// `SERVING` by gRPC's health protocol (grpc.health.v1), for the whole server, over HTTP/2.
    Grpc {
        /// The authority; without it, the backend's address.
        host: Option<String>,
        /// The name asked for over TLS, unless it is the pool's or the backend's own.
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
            Self::Grpc { .. } => "grpc",
        }
    }

    /// Does it speak TLS, and so see the backend's certificate?
    pub fn speaks_tls(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Http { probe: Some(_), .. })
    }
}

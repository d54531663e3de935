//! How a connection ended: the closed sets of outcome, side and how, as records and metrics say them.

/// How a connection ended: a closed set. docs/operations.md says what to do about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its label, and stands in docs/operations.md with what it means")]
pub enum Outcome {
    Ok,
    NoRoute,
    NotTls,
    BadHello,
    HelloTimeout,
    HelloTooLarge,
    ClientGone,
    TlsClientFailed,
    TlsClientTimeout,
    Limited,
    NoBackend,
    ConnectFailed,
    ConnectTimeout,
    TlsBackendFailed,
    ClientReset,
    BackendReset,
    Truncated,
    IdleTimeout,
    HalfClosedTimeout,
    KeyLimit,
    Drained,
    Internal,
}

impl Outcome {
    /// Its word in records and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoRoute => "no_route",
            Self::NotTls => "not_tls",
            Self::BadHello => "bad_hello",
            Self::HelloTimeout => "hello_timeout",
            Self::HelloTooLarge => "hello_too_large",
            Self::ClientGone => "client_gone",
            Self::TlsClientFailed => "tls_client_failed",
            Self::TlsClientTimeout => "tls_client_timeout",
            Self::Limited => "limited",
            Self::NoBackend => "no_backend",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsBackendFailed => "tls_backend_failed",
            Self::ClientReset => "client_reset",
            Self::BackendReset => "backend_reset",
            Self::Truncated => "truncated",
            Self::IdleTimeout => "idle_timeout",
            Self::HalfClosedTimeout => "half_closed_timeout",
            Self::KeyLimit => "key_limit",
            Self::Drained => "drained",
            Self::Internal => "internal",
        }
    }
}

/// Whose doing something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that connected to weir.
    Client,
    /// The side that weir connected to.
    Backend,
    /// weir itself.
    Weir,
}

impl Side {
    /// Its word in records and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Weir => "weir",
        }
    }
}

/// How a connection ended on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A TCP FIN.
    Fin,
    /// A TCP reset.
    Rst,
    /// A TLS close_notify.
    CloseNotify,
    /// A FIN where a close_notify should have been.
    Truncated,
    /// A deadline.
    Timeout,
    /// A limit.
    Limit,
    /// The end of a drain.
    Drain,
    /// Anything else.
    Error,
}

impl How {
    /// Its word in records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::CloseNotify => "close_notify",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Drain => "drain",
            Self::Error => "error",
        }
    }
}

/// The clean end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The side that finished sending first.
    pub first: Side,
    /// How it said so.
    pub how: How,
}

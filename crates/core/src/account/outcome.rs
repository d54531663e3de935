//! How a connection ended: the closed sets of outcome, side, how, stage and reason, with their words in records and
//! metrics.

use crate::proxy_protocol::read::HeaderError;
use crate::starttls::WordError;
use weir_metrics::closed_set;
use weir_metrics::labels::{DialResult, Limit};
use weir_tls::{Alert, FatalAlert, HandshakeFailure};

closed_set! {
    /// How a connection ended: a closed set. docs/operations.md says what to do about each outcome.
    #[allow(missing_docs, reason = "the outcomes are explained in docs/operations.md")]
    pub Outcome {
        Ok = "ok",
        NoRoute = "no_route",
        NotTls = "not_tls",
        BadHello = "bad_hello",
        HelloTimeout = "hello_timeout",
        HelloTooLarge = "hello_too_large",
        ClientGone = "client_gone",
        TlsClientFailed = "tls_client_failed",
        TlsClientTimeout = "tls_client_timeout",
        Limited = "limited",
        Denied = "denied",
        ProxyHeaderBad = "proxy_header_bad",
        NoBackend = "no_backend",
        ConnectFailed = "connect_failed",
        ConnectTimeout = "connect_timeout",
        TlsBackendFailed = "tls_backend_failed",
        ClientReset = "client_reset",
        BackendReset = "backend_reset",
        Truncated = "truncated",
        IdleTimeout = "idle_timeout",
        HalfClosedTimeout = "half_closed_timeout",
        KeyLimit = "key_limit",
        Drained = "drained",
        Internal = "internal",
    }
}

closed_set! {
    /// The side that caused something.
    pub Side {
        /// The side that connected to weir.
        Client = "client",
        /// The side that weir connected to.
        Backend = "backend",
        /// weir itself.
        Weir = "weir",
    }
}

closed_set! {
    /// How a connection ended on the wire.
    pub How {
        /// A TCP FIN.
        Fin = "fin",
        /// A TCP reset.
        Rst = "rst",
        /// A TLS close_notify.
        CloseNotify = "close_notify",
        /// A FIN where a close_notify should have been.
        Truncated = "truncated",
        /// A deadline.
        Timeout = "timeout",
        /// A limit.
        Limit = "limit",
        /// The end of a drain.
        Drain = "drain",
        /// Anything else.
        Error = "error",
    }
}

closed_set! {
    /// A stage of the data path.
    pub Stage {
        /// Learning who the client is, and whether it may come in.
        Admit = "admit",
        /// Reading the hello.
        Peek = "hello",
        /// Choosing a route.
        Route = "route",
        /// The handshake with the client.
        Handshake = "client_handshake",
        /// Picking and reaching a backend.
        Connect = "connect",
        /// The handshake with the backend.
        Secure = "backend_handshake",
        /// Moving bytes.
        Relay = "relay",
        /// No connection of a client, but a health check.
        Check = "health_check",
    }
}

/// A detail about an early end: a closed set, made of smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The hello is against the rules.
    Malformed,
    /// The server name is none.
    BadSni,
    /// Its PROXY header is missing or bad.
    ProxyHeader(HeaderError),
    /// Its PROXY header comes from a peer that may not send one, or that should have.
    ProxyUntrusted,
    /// The plain words in front of TLS are refused.
    PlainWords(WordError),
    /// A limit ended the connection.
    Limit(Limit),
    /// A handshake failed.
    Handshake(HandshakeFailure),
    /// A backend could not be reached.
    Dial(DialResult),
    /// A side broke its TLS session off with a fatal alert.
    Alerted,
    /// A side broke the rules of TLS in mid-session.
    BadRecord,
}

impl Reason {
    /// Its word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadSni => "bad_sni",
            Self::ProxyHeader(error) => error.label(),
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::PlainWords(error) => error.label(),
            Self::Limit(limit) => limit.label(),
            Self::Handshake(failure) => failure.label(),
            Self::Dial(result) => result.label(),
            Self::Alerted => HandshakeFailure::Alert.label(),
            Self::BadRecord => HandshakeFailure::BadRecord.label(),
        }
    }
}

/// A fatal alert (RFC 8446 §6), and the side that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertBy {
    /// The alert.
    pub alert: Alert,
    /// The side that sent it.
    pub by: Side,
}

impl AlertBy {
    /// The alert of a handshake with `other`.
    pub const fn of(alert: FatalAlert, other: Side) -> Self {
        match alert {
            FatalAlert::Sent(alert) => Self { alert, by: Side::Weir },
            FatalAlert::Received(alert) => Self { alert, by: other },
        }
    }
}

/// The clean end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The side that finished sending first.
    pub first: Side,
    /// How that side ended on the wire.
    pub how: How,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_explain_each_outcome_and_no_other() {
        let page = include_str!("../../../../docs/operations.md");
        let (_, table) = page.split_once("\n| outcome | what happened |").unwrap();
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let words =
            rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let mut documented: Vec<&str> = words.collect();
        let mut outcomes: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        documented.sort_unstable();
        outcomes.sort_unstable();
        assert_eq!(documented, outcomes);
    }
}

//! Why a connection ended early: at which stage, on whose side, with which outcome.

use crate::account::outcome::{How, Outcome, Side};
use crate::hello::Fault;
use crate::stop::Stop;
use std::io;
use weir_pool::dialable::Forbidden;
use weir_pool::shortage::is_shortage;
use weir_tls::{KEYS_USED_UP, Reason};

/// Why a connection did not come to its own clean end.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// No route takes this name, protocol and source.
    #[error("no route matches")]
    NoRoute,
    /// The first bytes are no hello that weir takes.
    #[error("the first bytes are not an acceptable ClientHello: {0:?}")]
    Hello(Fault),
    /// No complete hello within its deadline.
    #[error("no complete ClientHello in time")]
    HelloTimeout,
    /// The client ended or reset before its hello was complete.
    #[error("the client went away before its ClientHello was complete")]
    ClientGone(How),
    /// The handshake with the client failed.
    #[error("TLS handshake with the client failed: {}", told(reason, alert))]
    ClientTls {
        /// Why.
        reason: Reason,
        /// The name of the alert by which the client refused.
        alert: Option<&'static str>,
    },
    /// The handshake with the client was not done within its deadline.
    #[error("TLS handshake with the client took too long")]
    ClientTlsTimeout,
    /// No backend of the pool may take a connection.
    #[error("no usable backend")]
    NoBackend,
    /// No backend could be reached.
    #[error("no backend could be reached: {0}")]
    Connect(#[from] ConnectError),
    /// One side reset its connection, or its connection broke.
    #[error("connection of {0:?} broke: {1:?}")]
    Broken(Side, io::ErrorKind),
    /// One side broke its TLS session off with a fatal alert.
    #[error("{0:?} broke TLS off: alert {1}")]
    Alerted(Side, &'static str),
    /// One side ended TLS without close_notify.
    #[error("{0:?} ended without close_notify")]
    Truncated(Side),
    /// No byte in either direction for too long.
    #[error("idle for too long")]
    IdleTimeout,
    /// One side had finished, and the other made no progress for too long.
    #[error("half-closed for too long")]
    HalfClosedTimeout,
    /// Told to end.
    #[error("told to end: {0:?}")]
    Stopped(Stop),
}

/// Why a backend could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, or reset while connecting.
    #[error("{0}")]
    Failed(#[source] io::Error),
    /// Not in time, its TLS handshake included.
    #[error("timed out")]
    TimedOut,
    /// This host has no free port, descriptor or memory for it: says nothing about the backend.
    #[error("no local resource for a connection: {0}")]
    Local(#[source] io::Error),
    /// Its address is one that weir never connects to.
    #[error("weir does not connect to this address: {0}")]
    Forbidden(#[from] Forbidden),
    /// Its TLS handshake failed.
    #[error("TLS handshake failed: {}", told(reason, alert))]
    Tls {
        /// Why.
        reason: Reason,
        /// The name of the alert by which the backend refused.
        alert: Option<&'static str>,
        /// Was it asked for a name that the client had chosen?
        clients_name: bool,
    },
}

impl ConnectError {
    /// Does it speak against the backend? What a client can cause never does, or strangers could have backends
    /// ejected by asking for names that these do not have.
    pub fn is_the_backends_own(&self) -> bool {
        match self {
            Self::Failed(_) | Self::TimedOut | Self::Forbidden(_) => true,
            Self::Local(_) => false,
            Self::Tls { reason, clients_name, alert: _ } => match reason {
                // The client's protocols and versions may be the cause of it.
                Reason::Alert | Reason::BadName | Reason::NoSharedAlpn | Reason::NoSharedVersion => false,
                Reason::Timeout | Reason::NotTls => true,
                Reason::NameMismatch => !clients_name,
                reason => reason.is_certificate() || !clients_name,
            },
        }
    }

    /// Sorts an error of connect(2) by whose fault it is.
    pub fn from_dial(error: io::Error) -> Self {
        match error {
            error if is_shortage(&error) => Self::Local(error),
            error if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            error => Self::Failed(error),
        }
    }

    /// The `result` label of `weir_backend_connections_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::TimedOut => "timeout",
            Self::Local(_) => "local",
            Self::Forbidden(_) => "forbidden",
            Self::Tls { .. } => "tls_failed",
        }
    }
}

/// A stage of the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the hello.
    Peek,
    /// Choosing a route.
    Route,
    /// The handshake with the client.
    Handshake,
    /// Picking and reaching a backend.
    Connect,
    /// Moving bytes.
    Relay,
}

impl ConnError {
    /// At which stage of the road it happened.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Hello(_) | Self::HelloTimeout | Self::ClientGone(_) => Stage::Peek,
            Self::NoRoute => Stage::Route,
            Self::ClientTls { .. } | Self::ClientTlsTimeout => Stage::Handshake,
            Self::NoBackend | Self::Connect(_) => Stage::Connect,
            Self::Stopped(Stop::Pending) => Stage::Peek,
            _ => Stage::Relay,
        }
    }

    /// Whose doing it was.
    pub fn side(&self) -> Side {
        match self {
            Self::Hello(_) | Self::HelloTimeout | Self::ClientGone(_) => Side::Client,
            Self::ClientTls { .. } | Self::ClientTlsTimeout => Side::Client,
            Self::Connect(ConnectError::Local(_) | ConnectError::Forbidden(_)) => Side::Weir,
            Self::NoBackend | Self::Connect(_) => Side::Backend,
            Self::Broken(_, KEYS_USED_UP) => Side::Weir,
            Self::Broken(side, _) | Self::Alerted(side, _) | Self::Truncated(side) => *side,
            _ => Side::Weir,
        }
    }

    /// The final label.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoRoute => Outcome::NoRoute,
            Self::Hello(Fault::NotTls) => Outcome::NotTls,
            Self::Hello(Fault::Malformed | Fault::BadSni) => Outcome::BadHello,
            Self::Hello(Fault::TooLarge) => Outcome::HelloTooLarge,
            Self::HelloTimeout => Outcome::HelloTimeout,
            Self::ClientGone(_) => Outcome::ClientGone,
            Self::ClientTls { .. } => Outcome::TlsClientFailed,
            Self::ClientTlsTimeout => Outcome::TlsClientTimeout,
            Self::Stopped(Stop::Pending) => Outcome::Limited,
            Self::NoBackend => Outcome::NoBackend,
            Self::Connect(ConnectError::TimedOut) => Outcome::ConnectTimeout,
            Self::Connect(ConnectError::Tls { .. }) => Outcome::TlsBackendFailed,
            Self::Connect(_) => Outcome::ConnectFailed,
            Self::Broken(_, KEYS_USED_UP) => Outcome::KeyLimit,
            Self::Broken(Side::Client, _) | Self::Alerted(Side::Client, _) => Outcome::ClientReset,
            Self::Broken(Side::Backend, _) | Self::Alerted(Side::Backend, _) => Outcome::BackendReset,
            Self::Truncated(_) => Outcome::Truncated,
            Self::IdleTimeout => Outcome::IdleTimeout,
            Self::HalfClosedTimeout => Outcome::HalfClosedTimeout,
            Self::Stopped(Stop::Drained) => Outcome::Drained,
            Self::Broken(Side::Weir, _) | Self::Alerted(Side::Weir, _) => Outcome::Internal,
        }
    }

    /// How it ended on the wire.
    pub fn how(&self) -> How {
        match self {
            Self::ClientGone(how) => *how,
            Self::HelloTimeout | Self::ClientTlsTimeout | Self::IdleTimeout | Self::HalfClosedTimeout => {
                How::Timeout
            }
            Self::Connect(ConnectError::TimedOut) | Self::Broken(_, io::ErrorKind::TimedOut) => How::Timeout,
            Self::Broken(
                _,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected,
            ) => How::Rst,
            Self::Broken(_, KEYS_USED_UP) => How::CloseNotify,
            Self::Truncated(_) => How::Truncated,
            Self::Stopped(Stop::Pending) => How::Limit,
            Self::Stopped(Stop::Drained) => How::Drain,
            _ => How::Error,
        }
    }

    /// The `reason` label of `weir_limited_total`, where a limit was the reason.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Stopped(Stop::Pending) => Some("pending"),
            Self::Hello(Fault::TooLarge) => Some("hello_too_large"),
            _ => None,
        }
    }

    /// More about it, for the access record: a closed set of words.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::ClientTls { reason, .. } | Self::Connect(ConnectError::Tls { reason, .. }) => {
                Some(reason.label())
            }
            Self::Alerted(..) => Some(Reason::Alert.label()),
            Self::Connect(error) => Some(error.label()),
            Self::Hello(Fault::BadSni) => Some("bad_sni"),
            Self::Hello(Fault::Malformed) => Some("malformed"),
            // Not a reset: TLS that breaks its own rules, such as a record that cannot be authenticated.
            Self::Broken(_, io::ErrorKind::InvalidData) => Some("bad_record"),
            _ => self.limit(),
        }
    }
}

impl ConnError {
    /// The name of the fatal alert that a side sent: a closed set (RFC 8446 §6).
    pub fn alert(&self) -> Option<&'static str> {
        match self {
            Self::ClientTls { alert, .. } | Self::Connect(ConnectError::Tls { alert, .. }) => *alert,
            Self::Alerted(_, alert) => Some(alert),
            _ => None,
        }
    }
}

/// A reason as the debug log has it.
fn told(reason: &Reason, alert: &Option<&'static str>) -> String {
    match alert {
        Some(alert) => format!("{} {alert}", reason.label()),
        None => reason.label().to_owned(),
    }
}

impl From<Stop> for ConnError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_used_up_are_no_fault_of_a_side() {
        for side in [Side::Client, Side::Backend] {
            let error = ConnError::Broken(side, KEYS_USED_UP);
            assert_eq!((error.outcome(), error.side()), (Outcome::KeyLimit, Side::Weir));
            assert_eq!((error.how(), error.reason()), (How::CloseNotify, None));
        }
    }

    /// The words in the first column of the table under a heading of docs/operations.md.
    fn documented(heading: &str) -> Vec<String> {
        let page = include_str!("../../../../docs/operations.md");
        let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
        let rows = section
            .lines()
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with("| `"));
        let first = rows.filter_map(|row| row.split('|').nth(1));
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
    }

    #[test]
    fn every_reason_is_documented_and_no_other_is() {
        let mut handshakes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        let mut told = documented("Why a TLS handshake failed");
        handshakes.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, handshakes);

        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut others: Vec<&str> = [
            ConnError::Hello(Fault::Malformed),
            ConnError::Hello(Fault::BadSni),
            ConnError::Hello(Fault::TooLarge),
            ConnError::Connect(ConnectError::Failed(io())),
            ConnError::Connect(ConnectError::Local(io())),
            ConnError::Connect(ConnectError::Forbidden(Forbidden::Listener)),
            ConnError::Connect(ConnectError::TimedOut),
            ConnError::Alerted(Side::Client, "internal_error"),
            ConnError::Broken(Side::Client, io::ErrorKind::InvalidData),
            ConnError::Stopped(Stop::Pending),
        ]
        .iter()
        .filter_map(ConnError::reason)
        .collect();
        let mut told = documented("Other reasons");
        others.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, others);
    }

    #[test]
    fn what_a_client_can_cause_speaks_against_no_backend() {
        let tls = |reason, clients_name| {
            ConnectError::Tls { reason, alert: None, clients_name }.is_the_backends_own()
        };
        for reason in [Reason::NameMismatch, Reason::Alert, Reason::Eof, Reason::Reset, Reason::BadName] {
            assert!(!tls(reason, true), "{reason:?}");
        }
        assert!(tls(Reason::NameMismatch, false) && !tls(Reason::Alert, false));
        for reason in [Reason::UnknownCa, Reason::Expired, Reason::Timeout] {
            assert!(tls(reason, true) && tls(reason, false), "{reason:?}");
        }
        assert!(ConnectError::TimedOut.is_the_backends_own());
        assert!(!ConnectError::Local(io::ErrorKind::AddrNotAvailable.into()).is_the_backends_own());
    }
}

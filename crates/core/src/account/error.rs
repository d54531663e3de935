//! Why a connection ended early: at which stage, on whose side, with which outcome.

use crate::account::outcome::{How, Outcome, Side};
use crate::alert::Alert;
use crate::hello::HelloError;
use crate::stop::Stop;
use std::io;
use weir_pool::dialable::Forbidden;
use weir_pool::shortage::is_shortage;
use weir_tls::{HandshakeFailure, KEYS_USED_UP};

/// Why a connection did not come to its own clean end.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// No route takes this name, protocol and source.
    #[error("no route matches")]
    NoRoute,
    /// The first bytes are no hello that weir takes.
    #[error("the first bytes are not an acceptable ClientHello: {0:?}")]
    Hello(HelloError),
    /// No complete hello within its deadline.
    #[error("no complete ClientHello in time")]
    HelloTimeout,
    /// The client ended or reset before its hello was complete.
    #[error("the client went away before its ClientHello was complete")]
    ClientGone(How),
    /// No handshake is begun with the client: its versions are too old, or no certificate answers to its name.
    #[error("no TLS handshake is begun with the client: {}", .0.label())]
    ClientTlsRefused(HandshakeFailure),
    /// The handshake with the client failed.
    #[error("TLS handshake with the client failed: {}", told(reason, alert))]
    ClientTls {
        /// Why.
        reason: HandshakeFailure,
        /// The name of the alert that the client sent.
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
    /// weir never connects to its address.
    #[error("weir does not connect to this address: {0}")]
    Forbidden(#[from] Forbidden),
    /// Its TLS handshake failed.
    #[error("TLS handshake failed: {}", told(reason, alert))]
    Tls {
        /// Why.
        reason: HandshakeFailure,
        /// The name of the alert that the backend sent.
        alert: Option<&'static str>,
        /// Was it asked for a name that the client had chosen?
        clients_name: bool,
    },
}

impl ConnectError {
    /// Whether this counts against the backend. Failures that clients can cause must not: strangers could get backends
    /// ejected by asking for names that these do not have.
    pub fn is_the_backends_own(&self) -> bool {
        match self {
            Self::Failed(_) | Self::TimedOut | Self::Forbidden(_) => true,
            Self::Local(_) => false,
            Self::Tls { reason, clients_name, alert: _ } => match reason {
                // The client's protocols and versions may be the cause of it.
                HandshakeFailure::Alert
                | HandshakeFailure::BadName
                | HandshakeFailure::NoSharedAlpn
                | HandshakeFailure::NoSharedVersion => false,
                HandshakeFailure::Timeout | HandshakeFailure::NotTls => true,
                HandshakeFailure::NameMismatch => !clients_name,
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

/// A stage of the data path.
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

/// What an early end is in records and metrics, and what the client hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The final label.
    pub outcome: Outcome,
    /// Whose doing it was.
    pub side: Side,
    /// How it ended on the wire.
    pub how: How,
    /// At which stage of the data path it happened.
    pub stage: Stage,
    /// More about it, for the access record: a closed set of words.
    pub reason: Option<&'static str>,
    /// The `reason` label of `weir_limited_total`, where a limit was the reason.
    pub limit: Option<&'static str>,
    /// What the client hears.
    pub farewell: Farewell,
}

/// What a client hears of an early end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// This alert (RFC 8446 §6).
    Alert(Alert),
    /// The alert for a name that has no route, where the client speaks TLS; otherwise a FIN.
    NoRoute,
    /// A FIN, behind which what it still sends is discarded for a while.
    Fin,
    /// A reset.
    Reset,
    /// Nothing: the socket is closed.
    Close,
    /// What the stage has already told it.
    Told,
}

impl ConnError {
    /// What it is in records and metrics, and what the client hears: the one table of ends, in the order of
    /// docs/operations.md.
    pub fn end(&self) -> End {
        use Farewell::{Alert as Says, Close, Fin, Reset, Told};
        let end = |outcome, side, how, stage, farewell| End {
            outcome,
            side,
            how,
            stage,
            reason: None,
            limit: None,
            farewell,
        };
        let of = |end: End, reason: &'static str| End { reason: Some(reason), ..end };
        let limited = |end: End, limit: &'static str| End { reason: Some(limit), limit: Some(limit), ..end };
        let client = |outcome, how, stage, farewell| end(outcome, Side::Client, how, stage, farewell);
        let weir = |outcome, how, stage, farewell| end(outcome, Side::Weir, how, stage, farewell);
        match self {
            Self::ClientGone(how) => client(Outcome::ClientGone, *how, Stage::Peek, Close),
            Self::HelloTimeout => client(Outcome::HelloTimeout, How::Timeout, Stage::Peek, Close),
            Self::Hello(HelloError::NotTls) => client(Outcome::NotTls, How::Error, Stage::Peek, Fin),
            Self::Hello(HelloError::Malformed) => {
                of(client(Outcome::BadHello, How::Error, Stage::Peek, Says(Alert::DecodeError)), "malformed")
            }
            Self::Hello(HelloError::BadSni) => of(
                client(Outcome::BadHello, How::Error, Stage::Peek, Says(Alert::IllegalParameter)),
                "bad_sni",
            ),
            Self::Hello(HelloError::TooLarge) => limited(
                client(Outcome::HelloTooLarge, How::Error, Stage::Peek, Says(Alert::DecodeError)),
                "hello_too_large",
            ),
            Self::Stopped(Stop::Pending) => {
                limited(weir(Outcome::Limited, How::Limit, Stage::Peek, Close), "pending")
            }
            Self::NoRoute => weir(Outcome::NoRoute, How::Error, Stage::Route, Farewell::NoRoute),
            Self::ClientTlsRefused(reason) => {
                let alert = match reason {
                    HandshakeFailure::NoSharedVersion => Alert::ProtocolVersion,
                    _ => Alert::UnrecognizedName,
                };
                of(
                    client(Outcome::TlsClientFailed, How::Error, Stage::Handshake, Says(alert)),
                    reason.label(),
                )
            }
            // rustls has sent its alert.
            Self::ClientTls { reason, .. } => {
                of(client(Outcome::TlsClientFailed, How::Error, Stage::Handshake, Fin), reason.label())
            }
            Self::ClientTlsTimeout => {
                client(Outcome::TlsClientTimeout, How::Timeout, Stage::Handshake, Close)
            }
            Self::NoBackend => end(Outcome::NoBackend, Side::Backend, How::Error, Stage::Connect, Reset),
            Self::Connect(error) => error.end(),
            Self::Broken(_, KEYS_USED_UP) => weir(Outcome::KeyLimit, How::CloseNotify, Stage::Relay, Told),
            Self::Broken(side, kind) => {
                let end = end(reset_of(*side), *side, broken(*kind), Stage::Relay, Told);
                // Not a reset: TLS that breaks its own rules, such as a record that cannot be authenticated.
                End { reason: (*kind == io::ErrorKind::InvalidData).then_some("bad_record"), ..end }
            }
            Self::Alerted(side, _) => of(
                end(reset_of(*side), *side, How::Error, Stage::Relay, Told),
                HandshakeFailure::Alert.label(),
            ),
            Self::Truncated(side) => end(Outcome::Truncated, *side, How::Truncated, Stage::Relay, Told),
            Self::IdleTimeout => weir(Outcome::IdleTimeout, How::Timeout, Stage::Relay, Told),
            Self::HalfClosedTimeout => weir(Outcome::HalfClosedTimeout, How::Timeout, Stage::Relay, Told),
            Self::Stopped(Stop::Drained) => weir(Outcome::Drained, How::Drain, Stage::Relay, Told),
        }
    }

    /// The name of the fatal alert that a side sent: a closed set (RFC 8446 §6).
    pub fn alert(&self) -> Option<&'static str> {
        match self {
            Self::ClientTls { alert, .. } | Self::Connect(ConnectError::Tls { alert, .. }) => *alert,
            Self::Alerted(_, alert) => Some(alert),
            _ => None,
        }
    }
}

impl ConnectError {
    fn end(&self) -> End {
        let (outcome, side, how) = match self {
            Self::TimedOut => (Outcome::ConnectTimeout, Side::Backend, How::Timeout),
            Self::Failed(_) => (Outcome::ConnectFailed, Side::Backend, How::Error),
            Self::Local(_) | Self::Forbidden(_) => (Outcome::ConnectFailed, Side::Weir, How::Error),
            Self::Tls { .. } => (Outcome::TlsBackendFailed, Side::Backend, How::Error),
        };
        let reason = match self {
            Self::Tls { reason, .. } => reason.label(),
            other => other.label(),
        };
        // To a TLS client anything but a reset could look like a clean end.
        let farewell = Farewell::Reset;
        End { outcome, side, how, stage: Stage::Connect, reason: Some(reason), limit: None, farewell }
    }
}

/// The outcome where a side broke.
fn reset_of(side: Side) -> Outcome {
    match side {
        Side::Client => Outcome::ClientReset,
        Side::Backend => Outcome::BackendReset,
        Side::Weir => Outcome::Internal,
    }
}

/// How a socket that broke like this ended on the wire.
fn broken(kind: io::ErrorKind) -> How {
    match kind {
        io::ErrorKind::TimedOut => How::Timeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => How::Rst,
        _ => How::Error,
    }
}

/// A reason as the debug log has it.
fn told(reason: &HandshakeFailure, alert: &Option<&'static str>) -> String {
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
            let end = error.end();
            assert_eq!((end.outcome, end.side, end.how), (Outcome::KeyLimit, Side::Weir, How::CloseNotify));
            assert_eq!(end.reason, None);
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
        let mut handshakes: Vec<&str> = HandshakeFailure::ALL.iter().map(|reason| reason.label()).collect();
        let mut told = documented("Why a TLS handshake failed");
        handshakes.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, handshakes);

        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut others: Vec<&str> = [
            ConnError::Hello(HelloError::Malformed),
            ConnError::Hello(HelloError::BadSni),
            ConnError::Hello(HelloError::TooLarge),
            ConnError::Connect(ConnectError::Failed(io())),
            ConnError::Connect(ConnectError::Local(io())),
            ConnError::Connect(ConnectError::Forbidden(Forbidden::Listener)),
            ConnError::Connect(ConnectError::TimedOut),
            ConnError::Alerted(Side::Client, "internal_error"),
            ConnError::Broken(Side::Client, io::ErrorKind::InvalidData),
            ConnError::Stopped(Stop::Pending),
        ]
        .iter()
        .filter_map(|error| error.end().reason)
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
        for reason in [
            HandshakeFailure::NameMismatch,
            HandshakeFailure::Alert,
            HandshakeFailure::Eof,
            HandshakeFailure::Reset,
            HandshakeFailure::BadName,
        ] {
            assert!(!tls(reason, true), "{reason:?}");
        }
        assert!(tls(HandshakeFailure::NameMismatch, false) && !tls(HandshakeFailure::Alert, false));
        for reason in [HandshakeFailure::UnknownCa, HandshakeFailure::Expired, HandshakeFailure::Timeout] {
            assert!(tls(reason, true) && tls(reason, false), "{reason:?}");
        }
        assert!(ConnectError::TimedOut.is_the_backends_own());
        assert!(!ConnectError::Local(io::ErrorKind::AddrNotAvailable.into()).is_the_backends_own());
    }
}

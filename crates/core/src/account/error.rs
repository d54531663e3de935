//! Why a connection ended early: the stage, the side, the outcome.

use crate::account::outcome::{AlertBy, How, Outcome, Reason, Side, Stage};
use crate::alert::Alert;
use crate::hello::HelloError;
use crate::proxy_protocol::read::HeaderError;
use crate::starttls::WordError;
use crate::stop::Stop;
use std::io;
use weir_metrics::labels::{DialResult, Limit};
use weir_pool::dialable::Forbidden;
use weir_pool::shortage::is_shortage;
use weir_tls::{FatalAlert, HandshakeFailure, KEYS_USED_UP};

/// Why a connection did not end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// No route matches this name, protocol and source.
    #[error("no route matches")]
    NoRoute,
    /// The first bytes are no hello that weir accepts.
    #[error("the first bytes are not an acceptable ClientHello: {0:?}")]
    Hello(HelloError),
    /// The PROXY header is missing or bad.
    #[error("{0}")]
    ProxyHeader(HeaderError),
    /// No complete PROXY header within the deadline of the hello.
    #[error("no complete PROXY header in time")]
    ProxyHeaderTimeout,
    /// A PROXY header is required, and the peer is none of the proxies that may send one.
    #[error("a PROXY header is required, and this peer is not among `trusted_proxies`")]
    ProxyUntrusted,
    /// `allow` or `deny` keep the client out.
    #[error("the client's address is denied")]
    Denied,
    /// The client is over one of its limits.
    #[error("the client is over its limit: {label}", label = .0.label())]
    OverLimit(Limit),
    /// No complete hello within its deadline.
    #[error("no complete ClientHello in time")]
    HelloTimeout,
    /// The client's plain words are refused.
    #[error("no TLS after the plain words of the client: {label}", label = .0.label())]
    PlainWords(WordError),
    /// The client ended or reset before its hello was complete.
    #[error("the client went away before its ClientHello was complete")]
    ClientGone(How),
    /// Refused before any handshake: the client's versions are too old, or no certificate covers its name.
    #[error("no TLS handshake is begun with the client: {}", .0.label())]
    ClientTlsRefused(HandshakeFailure),
    /// The handshake with the client failed.
    #[error("TLS handshake with the client failed: {}", told(reason, alert))]
    ClientTls {
        /// The reason.
        reason: HandshakeFailure,
        /// The alert that ended it.
        alert: Option<FatalAlert>,
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
    #[error("{0:?} broke TLS off: alert {label}", label = .1.label())]
    Alerted(Side, weir_tls::Alert),
    /// One side ended TLS without close_notify.
    #[error("{0:?} ended without close_notify")]
    Truncated(Side),
    /// No byte in either direction for too long.
    #[error("idle for too long")]
    IdleTimeout,
    /// One side had finished, and the other made no progress for too long.
    #[error("half-closed for too long")]
    HalfClosedTimeout,
    /// A client of HTTP/2 sent far more frames of a type than its requests need.
    #[error("the client floods: {label}", label = .0.label())]
    Flood(Limit),
    /// Cancelled from outside.
    #[error("told to end: {0:?}")]
    Stopped(Stop),
}

/// Why a backend could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, or reset while connecting.
    #[error("{0}")]
    Failed(#[source] io::Error),
    /// No connection in time.
    #[error("timed out")]
    TimedOut,
    /// A connection in time, but no TLS session.
    #[error("timed out in the TLS handshake")]
    TlsTimedOut,
    /// This host lacks a port, a descriptor or memory for the connection, which says nothing about the
    /// backend.
    #[error("no local resource for a connection: {0}")]
    Local(#[source] io::Error),
    /// weir never connects to its address.
    #[error("weir does not connect to this address: {0}")]
    Forbidden(#[from] Forbidden),
    /// It does not begin TLS after plain words, or breaks their rules.
    #[error("no TLS after plain words: {label}", label = .0.label())]
    PlainWords(WordError),
    /// Its TLS handshake failed.
    #[error("TLS handshake failed: {}", told(reason, alert))]
    Tls {
        /// The reason.
        reason: HandshakeFailure,
        /// The alert that ended it.
        alert: Option<FatalAlert>,
        /// Whether the client chose the name that was sent as SNI.
        name_from_client: bool,
    },
}

impl ConnectError {
    /// Whether this counts against the backend. Failures that clients can cause must not: strangers could get
    /// backends ejected by asking for names that these do not have.
    pub fn counts_against_backend(&self) -> bool {
        match self {
            Self::Failed(_)
            | Self::TimedOut
            | Self::TlsTimedOut
            | Self::Forbidden(_)
            | Self::PlainWords(_) => true,
            Self::Local(_) => false,
            Self::Tls { reason, name_from_client, alert: _ } => match reason {
                // The client's protocols and versions may be the cause.
                HandshakeFailure::Alert
                | HandshakeFailure::BadName
                | HandshakeFailure::NoSharedAlpn
                | HandshakeFailure::NoSharedVersion => false,
                HandshakeFailure::Timeout | HandshakeFailure::NotTls => true,
                HandshakeFailure::NameMismatch => !name_from_client,
                reason => reason.is_certificate() || !name_from_client,
            },
        }
    }

    /// Classifies an error of connect(2) by whose fault it is.
    pub fn from_dial(error: io::Error) -> Self {
        match error {
            error if is_shortage(&error) => Self::Local(error),
            error if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            error => Self::Failed(error),
        }
    }

    /// The `result` label of `weir_backend_connections_total`.
    pub fn result(&self) -> DialResult {
        match self {
            Self::Failed(_) => DialResult::Failed,
            Self::TimedOut | Self::TlsTimedOut => DialResult::Timeout,
            Self::Local(_) => DialResult::Local,
            Self::Forbidden(_) => DialResult::Forbidden,
            Self::Tls { .. } | Self::PlainWords(_) => DialResult::TlsFailed,
        }
    }
}

/// An early end: its entries in records and metrics, and the farewell to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The final label.
    pub outcome: Outcome,
    /// The side that caused it.
    pub side: Side,
    /// How it ended on the wire.
    pub how: How,
    /// The stage of the data path at which it happened.
    pub stage: Stage,
    /// A detail.
    pub reason: Option<Reason>,
    /// The fatal alert that ended it, and the side that sent it. The alerts of [`Farewell`] are not here.
    pub alert: Option<AlertBy>,
    /// The `reason` label of `weir_limited_total`, if a limit was the reason.
    pub limit: Option<Limit>,
    /// The farewell to the client.
    pub farewell: Farewell,
}

/// How an early end is told to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// This alert (RFC 8446 §6).
    Alert(Alert),
    /// If the client speaks TLS, the alert for a name without a route; otherwise a FIN.
    NoRoute,
    /// A FIN; further bytes from the client are discarded for a while.
    Fin,
    /// A reset.
    Reset,
    /// Nothing: weir only closes the socket.
    Close,
    /// Nothing more: the stage has already told the client.
    Told,
}

impl ConnError {
    /// The entries in records and metrics, and the farewell to the client: the one table of ends, in the
    /// order of docs/operations.md.
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub fn end(&self) -> End {
        use Farewell::{Alert as Says, Close, Fin, Reset, Told};
        let end = |outcome, side, how, stage, farewell| End {
            outcome,
            side,
            how,
            stage,
            reason: None,
            alert: None,
            limit: None,
            farewell,
        };
        let of = |end: End, reason: Reason| End { reason: Some(reason), ..end };
        let limited =
            |end: End, limit: Limit| End { reason: Some(Reason::Limit(limit)), limit: Some(limit), ..end };
        let client = |outcome, how, stage, farewell| end(outcome, Side::Client, how, stage, farewell);
        let weir = |outcome, how, stage, farewell| end(outcome, Side::Weir, how, stage, farewell);
        match self {
            Self::ProxyHeader(error) => {
                let end = client(Outcome::ProxyHeaderBad, How::Error, Stage::Admit, Reset);
                of(end, Reason::ProxyHeader(*error))
            }
            Self::ProxyHeaderTimeout => client(Outcome::ProxyHeaderBad, How::Timeout, Stage::Admit, Reset),
            Self::ProxyUntrusted => {
                let end = client(Outcome::ProxyHeaderBad, How::Error, Stage::Admit, Reset);
                of(end, Reason::ProxyUntrusted)
            }
            Self::Denied => {
                let end = client(Outcome::Denied, How::Limit, Stage::Admit, Reset);
                End { limit: Some(Limit::Denied), ..end }
            }
            Self::OverLimit(limit) => {
                limited(client(Outcome::Limited, How::Limit, Stage::Admit, Reset), *limit)
            }
            Self::ClientGone(how) => client(Outcome::ClientGone, *how, Stage::Peek, Close),
            Self::HelloTimeout => client(Outcome::HelloTimeout, How::Timeout, Stage::Peek, Close),
            Self::PlainWords(error) => {
                let end = client(Outcome::NotTls, How::Error, Stage::Peek, Fin);
                of(end, Reason::PlainWords(*error))
            }
            Self::Hello(HelloError::NotTls) => client(Outcome::NotTls, How::Error, Stage::Peek, Fin),
            Self::Hello(HelloError::Malformed) => {
                let end = client(Outcome::BadHello, How::Error, Stage::Peek, Says(Alert::DecodeError));
                of(end, Reason::Malformed)
            }
            Self::Hello(HelloError::BadSni) => {
                let end = client(Outcome::BadHello, How::Error, Stage::Peek, Says(Alert::IllegalParameter));
                of(end, Reason::BadSni)
            }
            Self::Hello(HelloError::TooLarge) => limited(
                client(Outcome::HelloTooLarge, How::Error, Stage::Peek, Says(Alert::DecodeError)),
                Limit::HelloTooLarge,
            ),
            Self::Stopped(Stop::Pending) => {
                limited(weir(Outcome::Limited, How::Limit, Stage::Peek, Close), Limit::Pending)
            }
            Self::NoRoute => weir(Outcome::NoRoute, How::Error, Stage::Route, Farewell::NoRoute),
            Self::ClientTlsRefused(reason) => {
                let says = Says(refusal(*reason));
                let end = client(Outcome::TlsClientFailed, How::Error, Stage::Handshake, says);
                of(end, Reason::Handshake(*reason))
            }
            // rustls has already sent its alert.
            Self::ClientTls { reason, alert } => {
                let end = client(Outcome::TlsClientFailed, How::Error, Stage::Handshake, Fin);
                let alert = alert.map(|alert| AlertBy::of(alert, Side::Client));
                End { alert, ..of(end, Reason::Handshake(*reason)) }
            }
            Self::ClientTlsTimeout => {
                let end = client(Outcome::TlsClientTimeout, How::Timeout, Stage::Handshake, Close);
                of(end, Reason::Handshake(HandshakeFailure::Timeout))
            }
            Self::NoBackend => end(Outcome::NoBackend, Side::Backend, How::Error, Stage::Connect, Reset),
            Self::Connect(error) => error.end(),
            Self::Broken(_, KEYS_USED_UP) => weir(Outcome::KeyLimit, How::CloseNotify, Stage::Relay, Told),
            Self::Broken(side, kind) => {
                let end = end(reset_of(*side), *side, broken(*kind), Stage::Relay, Told);
                // Not a reset: the side broke TLS's rules, for example with a record that cannot be
                // authenticated.
                End { reason: (*kind == io::ErrorKind::InvalidData).then_some(Reason::BadRecord), ..end }
            }
            Self::Alerted(side, alert) => {
                let end = end(reset_of(*side), *side, How::Error, Stage::Relay, Told);
                let alert = Some(AlertBy { alert: *alert, by: *side });
                End { alert, ..of(end, Reason::Alerted) }
            }
            Self::Truncated(side) => end(Outcome::Truncated, *side, How::Truncated, Stage::Relay, Told),
            Self::IdleTimeout => weir(Outcome::IdleTimeout, How::Timeout, Stage::Relay, Told),
            Self::HalfClosedTimeout => weir(Outcome::HalfClosedTimeout, How::Timeout, Stage::Relay, Told),
            Self::Flood(limit) => limited(client(Outcome::Limited, How::Limit, Stage::Relay, Told), *limit),
            Self::Stopped(Stop::Drained) => weir(Outcome::Drained, How::Drain, Stage::Relay, Told),
        }
    }
}

/// The alert for a client with which no handshake is begun.
pub(crate) fn refusal(reason: HandshakeFailure) -> Alert {
    match reason {
        HandshakeFailure::NoSharedVersion => Alert::ProtocolVersion,
        _ => Alert::UnrecognizedName,
    }
}

impl ConnectError {
    /// The entries in records and metrics, and the farewell to the client.
    pub fn end(&self) -> End {
        let (outcome, side, how) = match self {
            Self::TimedOut | Self::TlsTimedOut => (Outcome::ConnectTimeout, Side::Backend, How::Timeout),
            Self::Failed(_) => (Outcome::ConnectFailed, Side::Backend, How::Error),
            Self::Local(_) | Self::Forbidden(_) => (Outcome::ConnectFailed, Side::Weir, How::Error),
            Self::Tls { .. } | Self::PlainWords(_) => (Outcome::TlsBackendFailed, Side::Backend, How::Error),
        };
        let (stage, reason, alert) = match self {
            Self::Tls { reason, alert, name_from_client: _ } => {
                let alert = alert.map(|alert| AlertBy::of(alert, Side::Backend));
                (Stage::Secure, Reason::Handshake(*reason), alert)
            }
            Self::PlainWords(error) => (Stage::Secure, Reason::PlainWords(*error), None),
            Self::TlsTimedOut => (Stage::Secure, Reason::Handshake(HandshakeFailure::Timeout), None),
            other => (Stage::Connect, Reason::Dial(other.result()), None),
        };
        // To a TLS client anything but a reset could look like a clean end.
        let farewell = Farewell::Reset;
        End { outcome, side, how, stage, reason: Some(reason), alert, limit: None, farewell }
    }
}

/// The outcome for a side that broke.
fn reset_of(side: Side) -> Outcome {
    match side {
        Side::Client => Outcome::ClientReset,
        Side::Backend => Outcome::BackendReset,
        Side::Weir => Outcome::Internal,
    }
}

/// How a socket ended on the wire that broke with this error.
fn broken(kind: io::ErrorKind) -> How {
    match kind {
        io::ErrorKind::TimedOut => How::Timeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => How::Rst,
        _ => How::Error,
    }
}

/// A reason, as written to the debug log.
fn told(reason: &HandshakeFailure, alert: &Option<FatalAlert>) -> String {
    match alert {
        Some(FatalAlert::Received(alert)) => format!("{} {}", reason.label(), alert.label()),
        Some(FatalAlert::Sent(alert)) => format!("{}, weir sent the alert {}", reason.label(), alert.label()),
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
    fn used_up_keys_are_no_fault_of_a_side() {
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
    fn reasons_are_documented_and_no_others_are() {
        let mut handshakes: Vec<&str> = HandshakeFailure::ALL.iter().map(|reason| reason.label()).collect();
        let mut told = documented("Why a TLS handshake failed");
        handshakes.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, handshakes);

        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut others: Vec<&str> = [
            ConnError::ProxyHeader(HeaderError::Missing),
            ConnError::ProxyHeader(HeaderError::TooLong),
            ConnError::ProxyHeader(HeaderError::Malformed("")),
            ConnError::ProxyHeader(HeaderError::Checksum),
            ConnError::ProxyUntrusted,
            ConnError::OverLimit(Limit::ClientConnections),
            ConnError::OverLimit(Limit::ClientRate),
            ConnError::OverLimit(Limit::ClientHandshakes),
            ConnError::PlainWords(WordError::Injected),
            ConnError::PlainWords(WordError::TooLong),
            ConnError::PlainWords(WordError::Malformed),
            ConnError::PlainWords(WordError::Missing),
            ConnError::Connect(ConnectError::PlainWords(WordError::Declined)),
            ConnError::Hello(HelloError::Malformed),
            ConnError::Hello(HelloError::BadSni),
            ConnError::Hello(HelloError::TooLarge),
            ConnError::Connect(ConnectError::Failed(io())),
            ConnError::Connect(ConnectError::Local(io())),
            ConnError::Connect(ConnectError::Forbidden(Forbidden::Listener)),
            ConnError::Connect(ConnectError::TimedOut),
            ConnError::Alerted(Side::Client, weir_tls::Alert::InternalError),
            ConnError::Broken(Side::Client, io::ErrorKind::InvalidData),
            ConnError::Stopped(Stop::Pending),
        ]
        .into_iter()
        .chain(
            Limit::ALL
                .iter()
                .filter(|limit| limit.label().starts_with("h2_"))
                .map(|limit| ConnError::Flood(*limit)),
        )
        .filter_map(|error| error.end().reason.map(Reason::label))
        .collect();
        let mut told = documented("Other reasons");
        others.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, others);
    }

    #[test]
    fn failures_that_clients_can_cause_count_against_no_backend() {
        let tls = |reason, name_from_client| {
            ConnectError::Tls { reason, alert: None, name_from_client }.counts_against_backend()
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
        assert!(ConnectError::TimedOut.counts_against_backend());
        assert!(!ConnectError::Local(io::ErrorKind::AddrNotAvailable.into()).counts_against_backend());
    }
}

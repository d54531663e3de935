//! Why a name has no addresses. The texts are what the status API shows.

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::ResponseCode;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use weir_log::foreign::tamed;
use weir_metrics::labels::ResolutionResult;
use weir_pool::dialable::Forbidden;

/// An address in an answer that no backend can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// The address and port.
    pub address: SocketAddr,
    /// What is wrong with it.
    pub why: Forbidden,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.why)
    }
}

/// Why a name could not be resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The text is no DNS name, or too long for one.
    #[error("not a DNS name: {0}")]
    Name(#[from] ProtoError),
    /// NXDOMAIN: the name does not exist.
    #[error("there is no such name (NXDOMAIN)")]
    NoSuchName,
    /// NODATA: the name exists, without the records asked for.
    #[error("the name has no such record (NODATA)")]
    NoData,
    /// An SRV record whose target is the root: "decidedly not available at this domain" (RFC 2782).
    #[error("the SRV record says that there is no such service here")]
    NotOffered,
    /// SERVFAIL: the server could not find out.
    #[error("the DNS server failed (SERVFAIL)")]
    ServerFailure,
    /// REFUSED: the server does not answer us, or not for this name.
    #[error("the DNS server refused to answer (REFUSED)")]
    Refused,
    /// Another response code that is no answer.
    #[error("the DNS server answered: {0} (code {code})", code = u16::from(*.0))]
    Code(ResponseCode),
    /// There are addresses, but weir connects to none of them.
    #[error("the name has no address that weir connects to, only such as {0}")]
    Forbidden(Dropped),
    /// The answer was cut off, over TCP too.
    #[error("the DNS server's answer is cut off")]
    CutOff,
    /// No answer in time.
    #[error("no answer from DNS in time")]
    TimedOut,
    /// The question could not be sent.
    #[error("cannot ask the DNS server: {0}")]
    Unreachable(#[source] Arc<io::Error>),
    /// One alias (CNAME) led to the next for too long, or in a circle.
    #[error("too many aliases (CNAME), or a circle of them")]
    Aliases,
    /// An answer that cannot be used: garbled, or of the wrong class.
    #[error("the DNS server's answer is of no use: {0}")]
    Unusable(#[source] Box<NetError>),
    /// The system's resolv.conf or hosts file is there and cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    UnreadableFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        why: Arc<io::Error>,
    },
    /// The system's resolv.conf or hosts file is not what it should be.
    #[error("cannot use {}: {why}", .path.display())]
    UnusableFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        why: Box<NetError>,
    },
}

impl ResolveError {
    /// The `result` label of `weir_dns_resolutions_total`.
    pub fn result(&self) -> ResolutionResult {
        match self {
            Self::NoSuchName => ResolutionResult::NxDomain,
            Self::NoData | Self::NotOffered => ResolutionResult::NoData,
            Self::ServerFailure | Self::Refused | Self::Code(_) => ResolutionResult::ServerFailure,
            Self::TimedOut => ResolutionResult::Timeout,
            Self::Name(_)
            | Self::Unreachable(_)
            | Self::Aliases
            | Self::Forbidden(_)
            | Self::CutOff
            | Self::Unusable(_)
            | Self::UnreadableFile { .. }
            | Self::UnusableFile { .. } => ResolutionResult::Error,
        }
    }

    /// True if a server knows that nothing exists: asking another server, or again at once, is useless.
    pub(super) fn is_negative(&self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoData | Self::NotOffered)
    }

    /// True if no server has answered: the next try may succeed.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable(_))
    }

    /// The more telling of two failures: a fault over "nothing there" (a fault may hide something), a server's answer over
    /// its silence, "no such record" over "no such name".
    pub(super) fn or(self, other: Self) -> Self {
        let says = |error: &Self| match error {
            Self::NoSuchName => 0,
            Self::NoData | Self::NotOffered => 1,
            Self::TimedOut => 2,
            Self::Unreachable(_) => 3,
            _ => 4,
        };
        if says(&other) > says(&self) { other } else { self }
    }
}

impl From<NetError> for ResolveError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
                Self::from_code(response_code)
            }
            NetError::Dns(DnsError::ResponseCode(code)) => Self::from_code(code),
            NetError::Timeout => Self::TimedOut,
            NetError::Io(error) => Self::Unreachable(error),
            other => Self::Unusable(Box::new(other)),
        }
    }
}

impl ResolveError {
    /// Its text for people. Some of it may come from the network.
    pub(super) fn text(&self) -> String {
        tamed(&self.to_string())
    }

    /// True if a server does not know EDNS, or not the version of the question (RFC 6891 §7).
    pub(super) fn is_of_edns(&self) -> bool {
        matches!(self, Self::Code(code) if matches!(u16::from(*code), FORMERR | NOTIMP | BADVERS))
    }

    /// The error of a response code that is no answer. Only NOERROR and NXDOMAIN tell that a name has nothing.
    pub(super) fn from_code(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NoError => Self::NoData,
            ResponseCode::NXDomain => Self::NoSuchName,
            ResponseCode::ServFail => Self::ServerFailure,
            ResponseCode::Refused => Self::Refused,
            other => Self::Code(other),
        }
    }
}

/// Characters that change the direction of text, or have no width.
const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const BADVERS: u16 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_network_is_escaped_and_cut() {
        let hostile = format!("a\u{1b}[2J\r\nb\u{202e}c{}", "x".repeat(1000));
        let text = ResolveError::Unusable(Box::new(NetError::from(hostile))).text();
        assert!(text.contains("a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}cxxx"), "{text}");
        assert!(!text.chars().any(char::is_control) && text.len() < 400, "{text}");
    }
}

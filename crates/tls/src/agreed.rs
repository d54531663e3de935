//! What a finished handshake agreed on, in words that logs, records and metrics share.
//!
//! All texts are from closed sets or from the registries of IANA; the ALPN name alone is the peers'
//! own bytes, and came from our offer.

use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};

/// What a finished handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `"1.2"` or `"1.3"`.
    pub version: &'static str,
    /// IANA's name of the cipher suite, for instance `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The key exchange group as RFC 8446 and its successors spell it; empty where there was no key
    /// exchange (a resumed TLS 1.2 session).
    pub group: &'static str,
    /// Whether an earlier session was resumed, and how.
    pub resumed: Resumed,
    /// The protocol that ALPN chose, if one was.
    pub alpn: Option<Box<[u8]>>,
}

/// How a session came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resumed {
    /// By a full handshake.
    #[default]
    No,
    /// By a ticket that the client kept (RFC 5077, RFC 8446 §4.6.1).
    Ticket,
    /// By an entry in the server's session cache (TLS 1.2). Towards backends every resumed TLS 1.2
    /// session is counted here, with or without a ticket: both echo a session ID, and rustls' client
    /// does not say which of the two the server went by.
    SessionId,
}

impl Resumed {
    /// The value of the metric label `resumed`: `no`, `ticket` or `session_id`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Ticket => "ticket",
            Self::SessionId => "session_id",
        }
    }
}

impl Session {
    /// Reads the agreement from a connection whose handshake is done. `kind` is how a session was
    /// resumed, if it was.
    pub(crate) fn of(connection: &CommonState, kind: Resumed) -> Self {
        let resumed = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => kind,
            _ => Resumed::No,
        };
        Self {
            version: connection.protocol_version().map_or("", version),
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
            group: connection.negotiated_key_exchange_group().map_or("", |group| group_name(group.name())),
            resumed,
            alpn: connection.alpn_protocol().map(Box::from),
        }
    }
}

const fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "1.2",
        ProtocolVersion::TLSv1_3 => "1.3",
        _ => "",
    }
}

/// rustls writes `TLS13_` where IANA writes `TLS_`; its TLS 1.2 names are IANA's.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}

fn group_name(group: NamedGroup) -> &'static str {
    group.as_str().unwrap_or("")
}

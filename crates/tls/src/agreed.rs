//! The parameters that a finished handshake agreed on, in the words of logs, records and metrics.
//!
//! All texts come from closed sets or from IANA's registries, except the ALPN name: it is bytes of the
//! peer, limited to the protocols that weir supports or offers.

use std::sync::Arc;

use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};

use crate::client_certificate::ClientCertificate;

/// The parameters that a finished handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The TLS version.
    pub version: Version,
    /// IANA's name of the cipher suite, for instance `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The key exchange group as RFC 8446 and its successors spell it; empty without a key
    /// exchange (in a resumed TLS 1.2 session).
    pub group: &'static str,
    /// Whether an earlier session was resumed, and how.
    pub resumed: Resumed,
    /// The protocol that ALPN chose, if any.
    pub alpn: Option<Box<[u8]>>,
    /// The client's verified certificate, also in a resumed session; `None` if it has none, and with backends.
    pub client: Option<Arc<ClientCertificate>>,
}

weir_metrics::closed_set! {
    /// The version of TLS that both sides agreed on.
    pub Version {
        /// Unknown; a finished handshake always has a version.
        Unknown = "",
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

weir_metrics::closed_set! {
    /// Whether and how a session was resumed.
    pub Resumed {
        /// Not resumed: a full handshake.
        No = "no",
        /// Resumed from a ticket that the client kept (RFC 5077, RFC 8446 §4.6.1).
        Ticket = "ticket",
        /// Resumed from the server's session cache (TLS 1.2). Every resumed TLS 1.2 session with a backend counts here,
        /// with or without a ticket: both echo a session ID, and rustls' client does not say which one the server used.
        SessionId = "session_id",
    }
}

impl Session {
    /// Reads the parameters of a connection whose handshake is done. `kind` is the kind of resumption, if the
    /// session was resumed.
    pub(crate) fn of(connection: &CommonState, kind: Resumed) -> Self {
        let resumed = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => kind,
            _ => Resumed::No,
        };
        Self {
            version: connection.protocol_version().map_or(Version::Unknown, version),
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
            group: connection.negotiated_key_exchange_group().map_or("", |group| group_name(group.name())),
            resumed,
            alpn: connection.alpn_protocol().map(Box::from),
            client: None,
        }
    }
}

pub(crate) const fn version(version: ProtocolVersion) -> Version {
    match version {
        ProtocolVersion::TLSv1_2 => Version::Tls12,
        ProtocolVersion::TLSv1_3 => Version::Tls13,
        _ => Version::Unknown,
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

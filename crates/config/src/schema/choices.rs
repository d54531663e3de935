//! The keys whose value is one word of a closed set.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_core::plan::http::Rewrite;
use weir_core::plan::{LogFormat, ModeName, ProxyProtocol, Truncation};
use weir_pool::{Balance, Family, HelloReplay, HttpVersion, OnUnhealthy, SendProxyProtocol};
use weir_tls::{ClientAuthMode, Group, MinVersion, Suite, UnknownSni};

use crate::word::words;

words! {
    /// What a listener or a route does with TLS.
    "Mode" ModeName {
        /// Reads the ClientHello and relays the bytes unchanged.
        Passthrough = ModeName::Passthrough.label(),
        /// Ends TLS; the backend gets plaintext.
        Offload = ModeName::Offload.label(),
        /// Ends TLS and opens a new TLS session to the backend.
        Bridging = ModeName::Bridging.label(),
    }
}

words! {
    /// Which connections begin with a PROXY header.
    "ProxyProtocol" ProxyProtocol {
        /// None.
        Off = ProxyProtocol::Off.label(),
        /// Each; peers outside of `trusted_proxies` are refused.
        Required = ProxyProtocol::Required.label(),
        /// Each of `trusted_proxies`; others are clients.
        Trusted = ProxyProtocol::Trusted.label(),
    }
}

/// What is balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Requests.
    Http,
}

words! {
    /// What is balanced: connections or requests.
    "Protocol" Protocol {
        /// Connections.
        Tcp = "tcp",
        /// Requests.
        Http = "http",
    }
}

/// The protocol of the plain words before TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// None: TLS begins at once.
    Off,
    /// PostgreSQL.
    Postgres,
    /// SMTP.
    Smtp,
    /// IMAP.
    Imap,
    /// LDAP.
    Ldap,
}

words! {
    /// The protocol of the plain words before TLS.
    "StartTls" StartTls {
        /// None: TLS begins at once.
        Off = "off",
        /// PostgreSQL: SSLRequest, or TLS at once.
        Postgres = "postgres",
        /// SMTP: STARTTLS.
        Smtp = "smtp",
        /// IMAP: STARTTLS.
        Imap = "imap",
        /// LDAP: StartTLS.
        Ldap = "ldap",
    }
}

words! {
    /// What becomes of a header field that tells of the client.
    "Rewrite" Rewrite {
        /// What came in is dropped, and weir's own is set.
        Replace = Rewrite::Replace.label(),
        /// What came in stays, and weir's own is appended.
        Append = Rewrite::Append.label(),
        /// What came in is dropped, and weir sets none.
        Off = Rewrite::Off.label(),
    }
}

words! {
    /// The version of HTTP spoken to backends.
    "HttpVersion" HttpVersion {
        /// HTTP/1.1.
        Http1 = "1",
        /// HTTP/2.
        Http2 = "2",
        /// Over TLS what the backend chooses, else HTTP/1.1.
        Auto = "auto",
        expecting "a version of HTTP: \"1\", \"2\" or auto"
    }
}

/// What happens to a connection that does not begin with a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonTls {
    /// It is closed.
    Refuse,
    /// It goes to the default pool.
    Allow,
}

words! {
    /// What happens to a connection that does not begin with a ClientHello.
    "NonTls" NonTls {
        /// It is closed.
        Refuse = "refuse",
        /// It goes to the default pool.
        Allow = "allow",
    }
}

words! {
    /// Which backend a connection gets.
    "Balance" Balance {
        /// In turn, by weight.
        RoundRobin = Balance::RoundRobin.label(),
        /// The backend with the fewest connections for its weight.
        LeastConnections = Balance::LeastConnections.label(),
        /// The better of two random backends.
        RandomTwo = Balance::RandomTwo.label(),
        /// The same backend for the same client address.
        SourceIp = Balance::SourceIp.label(),
        /// The same backend for the same server name.
        Sni = Balance::Sni.label(),
    }
}

words! {
    /// What happens to the connections of a backend that fails its checks.
    "OnUnhealthy" OnUnhealthy {
        /// They go on.
        Keep = "keep",
        /// They are closed.
        Close = "close",
    }
}

/// How a backend's health is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthType {
    /// A TCP connection.
    Tcp,
    /// A TLS handshake.
    Tls,
    /// An HTTP request.
    Http,
    /// A call of gRPC.
    Grpc,
    /// No check.
    None,
}

words! {
    /// How a backend's health is checked.
    "HealthType" HealthType {
        /// A TCP connection.
        Tcp = "tcp",
        /// A TLS handshake.
        Tls = "tls",
        /// An HTTP request.
        Http = "http",
        /// A call of gRPC's health protocol.
        Grpc = "grpc",
        /// No check.
        None = "none",
    }
}

words! {
    /// What a client gets if no certificate covers its SNI.
    "UnknownSni" UnknownSni {
        /// The alert unrecognized_name.
        Refuse = "refuse",
        /// The first certificate.
        First = "first",
    }
}

words! {
    /// Whether a client may come without a certificate.
    "ClientAuthMode" ClientAuthMode {
        /// A client without a certificate is refused.
        Required = "required",
        /// A client without a certificate comes in.
        Optional = "optional",
    }
}

words! {
    /// What a client's end without close_notify means.
    "Truncation" Truncation {
        /// A reset.
        Reset = "reset",
        /// A plain end.
        Ignore = "ignore",
    }
}

words! {
    /// How the log is written.
    "LogFormat" LogFormat {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
        /// Text on a terminal, else JSON.
        Auto = "auto",
    }
}

words! {
    /// The oldest TLS version that weir speaks.
    "MinVersion" MinVersion {
        /// TLS 1.2 and 1.3.
        Tls12 = "1.2",
        /// TLS 1.3 alone.
        Tls13 = "1.3",
        expecting "a TLS version: \"1.2\" or \"1.3\""
    }
}

words! {
    /// A cipher suite, by IANA's name.
    "Suite" Suite {
        /// TLS 1.3.
        Aes256 = Suite::Aes256.label(),
        /// TLS 1.3.
        Aes128 = Suite::Aes128.label(),
        /// TLS 1.3.
        ChaCha20 = Suite::ChaCha20.label(),
        /// TLS 1.2, for ECDSA and Ed25519 certificates.
        EcdsaAes256 = Suite::EcdsaAes256.label(),
        /// TLS 1.2, for ECDSA and Ed25519 certificates.
        EcdsaAes128 = Suite::EcdsaAes128.label(),
        /// TLS 1.2, for ECDSA and Ed25519 certificates.
        EcdsaChaCha20 = Suite::EcdsaChaCha20.label(),
        /// TLS 1.2, for RSA certificates.
        RsaAes256 = Suite::RsaAes256.label(),
        /// TLS 1.2, for RSA certificates.
        RsaAes128 = Suite::RsaAes128.label(),
        /// TLS 1.2, for RSA certificates.
        RsaChaCha20 = Suite::RsaChaCha20.label(),
    }
}

words! {
    /// A key exchange group.
    "Group" Group {
        /// X25519 and ML-KEM-768 together: safe as long as one of them is. TLS 1.3.
        X25519MlKem768 = Group::X25519MlKem768.label(),
        /// P-256 and ML-KEM-768 together. TLS 1.3.
        P256MlKem768 = Group::P256MlKem768.label(),
        /// ML-KEM-768 alone. TLS 1.3.
        MlKem768 = Group::MlKem768.label(),
        /// ML-KEM-1024 alone. TLS 1.3.
        MlKem1024 = Group::MlKem1024.label(),
        /// Curve25519.
        X25519 = Group::X25519.label(),
        /// NIST P-256, IANA's secp256r1.
        P256 = Group::P256.label(),
        /// NIST P-384, IANA's secp384r1.
        P384 = Group::P384.label(),
    }
}

words! {
    /// The PROXY header in front of each connection to a backend.
    "SendProxyProtocol" SendProxyProtocol {
        /// None.
        Off = SendProxyProtocol::Off.label(),
        /// Version 1.
        V1 = SendProxyProtocol::V1.label(),
        /// Version 2.
        V2 = SendProxyProtocol::V2.label(),
    }
}

words! {
    /// Which addresses of names are used.
    "Family" Family {
        /// All of them.
        Any = Family::Any.label(),
        /// Those of IPv4.
        Ipv4 = Family::Ipv4.label(),
        /// Those of IPv6.
        Ipv6 = Family::Ipv6.label(),
    }
}

words! {
    /// Whether a hello may go to another backend.
    "HelloReplay" HelloReplay {
        /// After a reset and after a FIN.
        OnAnyEnd = "true",
        /// After a reset alone.
        OnReset = "reset_only",
        /// Never.
        Never = "false",
        expecting "true, reset_only or false"
    }
}

/// The levels of the log, and the content of each.
const LEVELS: [(&str, &str); 6] = [
    ("error", "What weir cannot do."),
    ("warn", "Somebody should look."),
    ("info", "What changes: start, reloads, the health of backends."),
    ("debug", "Each connection that ends early, and why."),
    ("trace", "Everything."),
    ("off", "Nothing."),
];

/// A level's name or a filter for several parts; `compile` checks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct LogLevel(pub String);

impl LogLevel {
    /// The names of the levels.
    pub(crate) fn names() -> [&'static str; 6] {
        LEVELS.map(|(name, _)| name)
    }
}

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "LogLevel".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let level = |(name, meaning): (&str, &str)| json!({"const": name, "description": meaning});
        let filter =
            json!({"type": "string", "description": "A filter for parts of weir: info,weir_core=debug."});
        let choices: Vec<Value> = LEVELS.into_iter().map(level).chain([filter]).collect();
        json_schema!({"anyOf": choices, "description": "A level's name, or a filter for several parts."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Words;

    fn stand_once<T: Words>() {
        let mut words = T::WORDS.to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), T::WORDS.len(), "{}: {:?}", T::NAME, T::WORDS);
        assert_eq!(T::ALL.len(), T::WORDS.len(), "{}", T::NAME);
    }

    #[test]
    fn words_of_a_set_stand_once() {
        stand_once::<ModeName>();
        stand_once::<Protocol>();
        stand_once::<Rewrite>();
        stand_once::<HttpVersion>();
        stand_once::<NonTls>();
        stand_once::<StartTls>();
        stand_once::<Balance>();
        stand_once::<OnUnhealthy>();
        stand_once::<HealthType>();
        stand_once::<UnknownSni>();
        stand_once::<ClientAuthMode>();
        stand_once::<Truncation>();
        stand_once::<LogFormat>();
        stand_once::<MinVersion>();
        stand_once::<HelloReplay>();
        stand_once::<Suite>();
        stand_once::<Group>();
    }
}

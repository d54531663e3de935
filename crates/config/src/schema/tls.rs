//! TLS towards clients: profiles, their certificates and sessions.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use weir_core::plan::Truncation;
use weir_tls::{ClientAuthMode, Group, MinVersion, Suite, UnknownSni};

use super::section::section;
use crate::key::{Item, Key};
use crate::units::Time;
use crate::word::Word;

section! {
    /// How weir speaks TLS to clients.
    #[schemars(extend("anyOf" = [{"required": ["certificates"]}, {"required": ["directory"]}]))]
    Profile {
        /// the name that `tls` refers to
        #[schemars(extend("x-value" = "text, at most 128 characters"))]
        #[schemars(extend("x-default" = "required"))]
        name: String,
        /// chosen by the names in them. A client without SNI gets the first
        #[schemars(extend("x-value" = "list, not empty"))]
        #[schemars(extend("x-default" = "required without `directory`"))]
        certificates: Vec<Item<Certificate>>,
        /// a folder of certificates, [which come and go](#certificates): `NAME/fullchain.pem` with
        /// `NAME/privkey.pem`, `NAME/tls.crt` with `NAME/tls.key`, `NAME.pem` with both
        #[schemars(extend("x-value" = "path"))]
        #[schemars(extend("x-default" = "none"))]
        directory: String,
        /// how often the files of certificates, keys and `client_auth` are checked for changes
        reload: Time = Time::from_secs(10),
        /// `true`: a key that group or others can read is refused
        strict_permissions: bool = false,
        /// a name that no certificate covers gets an alert, or the first certificate
        unknown_sni: Word<UnknownSni> = Word(UnknownSni::Refuse),
        /// protocols to offer, the most wanted first; none: ALPN is not answered
        #[schemars(extend("x-value" = "list of protocols, 1 to 255 bytes each"))]
        alpn: Vec<Item<String>> = Vec::<Item<String>>::new(),
        /// the oldest version that weir speaks
        min_version: Word<MinVersion> = Word(MinVersion::Tls12),
        /// cipher suites, the most wanted first: then weir's order decides. None: all of them, and each client's order decides
        #[schemars(extend("x-value" = "list of suites, by IANA's names"))]
        cipher_suites: Vec<Item<Word<Suite>>> = Vec::<Item<Word<Suite>>>::new(),
        /// key exchange groups, the most wanted first: then weir's order decides. None: `X25519MLKEM768`, `X25519`, `P-256` and
        /// `P-384`, and each client's order decides
        #[schemars(extend("x-value" = "list of groups"))]
        groups: Vec<Item<Word<Group>>> = Vec::<Item<Word<Group>>>::new(),
        /// [certificates of clients](#client-certificates): who must or may have one
        #[schemars(extend("x-default" = "none"))]
        client_auth: ClientAuth,
        /// offload: how weir passes on a client's end without close_notify: as a reset, or as a plain end
        truncation: Word<Truncation> = Word(Truncation::Reset),
        /// resumption
        sessions: Sessions = Sessions::default(),
    }
}

section! {
    /// One certificate with its key.
    #[schemars(extend("required" = ["cert"]))]
    Certificate {
        /// PEM: the certificate, then its chain
        #[schemars(extend("x-value" = "path"))]
        cert: String,
        /// PEM: its key, in PKCS#8, PKCS#1 or SEC1, not encrypted
        #[schemars(extend("x-value" = "path"))]
        #[schemars(extend("x-default" = "the file of `cert`"))]
        key: String,
        /// DER: an OCSP response about it, stapled while it is valid
        #[schemars(extend("x-value" = "path"))]
        ocsp: String,
    }
}

section! {
    /// The certificates that clients must or may have.
    #[schemars(extend("required" = ["ca"]))]
    ClientAuth {
        /// PEM: the authorities that issue the clients' certificates
        #[schemars(extend("x-value" = "path"))]
        ca: String,
        /// a client without a certificate is refused, or comes in; a bad certificate is always refused
        mode: Word<ClientAuthMode> = Word(ClientAuthMode::Required),
        /// PEM or DER: lists of revoked certificates. With any, each authority of a client's chain needs one
        #[schemars(extend("x-value" = "list of paths"))]
        crl: Vec<Item<String>> = Vec::<Item<String>>::new(),
        /// who may come in: DNS names, email addresses and URIs in the certificates; none: every certificate of
        /// the authorities
        #[schemars(extend("x-value" = "list, not empty"))]
        #[schemars(extend("x-default" = "every name"))]
        names: Vec<Item<String>>,
    }
}

section! {
    /// Resumption of TLS sessions.
    Sessions {
        /// the session travels with the client, sealed
        tickets: bool = true,
        /// older tickets are refused; keys rotate at this pace
        ticket_lifetime: Time = Time::from_secs(12 * 3600),
        /// TLS 1.2 sessions to keep by ID; 0: none
        cache: u32 = 20_000,
    }
}

/// A profile by name, or inline.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TlsChoice {
    /// The name of one of `tls_profiles`.
    Named(String),
    /// The same keys, inline.
    Inline(Box<Profile>),
}

struct TlsChoiceVisitor;

impl<'de> Visitor<'de> for TlsChoiceVisitor {
    type Value = TlsChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a TLS profile, or its keys")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<TlsChoice, E> {
        Ok(TlsChoice::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TlsChoice, A::Error> {
        Profile::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(TlsChoice::Inline)
    }
}

impl<'de> Deserialize<'de> for TlsChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The struct's name tells `decode` which keys it may have.
        deserializer.deserialize_struct("Profile", &[], TlsChoiceVisitor)
    }
}

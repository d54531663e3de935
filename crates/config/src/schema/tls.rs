//! TLS towards clients: profiles, their certificates and sessions.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::choices::{MinVersion, Truncation, UnknownSni};
use super::later::Later;
use crate::units::Time;

/// How weir speaks TLS to clients.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["certificates"]))]
pub struct Profile {
    /// Its name; listeners and routes refer to it. Left out where the profile stands inline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Certificates with their keys; chosen by SNI from the names in the certificates.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// A folder of certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<Later>,
    /// How often the files are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Later>,
    /// Refuse keys that others can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_permissions: Option<Later>,
    /// What a client gets whose SNI no certificate covers.
    pub unknown_sni: Option<UnknownSni>,
    /// Protocols offered by ALPN, in order.
    pub alpn: Option<Vec<String>>,
    /// The oldest TLS version.
    pub min_version: Option<MinVersion>,
    /// Cipher suites in order of preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Later>,
    /// Key exchange groups in order of preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Later>,
    /// Certificates of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<Later>,
    /// What a client's end without close_notify means.
    pub truncation: Option<Truncation>,
    /// Resumption.
    pub sessions: Option<Sessions>,
}

/// One certificate with its key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["cert"]))]
pub struct Certificate {
    /// PEM file: the certificate, then its chain.
    pub cert: Option<String>,
    /// PEM file: the private key, in PKCS#8, PKCS#1 or SEC1. Left out where it stands in the file of `cert`.
    pub key: Option<String>,
    /// OCSP response to staple.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<Later>,
}

/// Resumption of TLS sessions.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Stateless resumption by ticket.
    pub tickets: Option<bool>,
    /// An older ticket is refused; keys rotate at the same pace.
    pub ticket_lifetime: Option<Time>,
    /// Sessions held for TLS 1.2 session-ID resumption; 0: none.
    pub cache: Option<u32>,
}

/// A profile by name, or written on the spot.
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
        // Its name leads `decode` to the keys that it may have.
        deserializer.deserialize_struct("Profile", &[], TlsChoiceVisitor)
    }
}

//! The keys whose value is one word of a closed set. Words of later work are in the set, so that `compile` can say
//! "not supported yet"; they are left out of the JSON Schema, so that no editor offers them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What a listener or a route does with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Reads the ClientHello and relays the bytes unchanged.
    Passthrough,
    /// Ends TLS; the backend gets plaintext.
    Offload,
    /// Ends TLS and opens a new TLS session to the backend.
    Bridging,
}

/// What is balanced: connections or requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Requests; not supported yet.
    #[schemars(skip)]
    Http,
}

/// What becomes of a connection that does not begin with a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonTls {
    /// It is closed.
    Refuse,
    /// It goes to the default pool.
    Allow,
}

/// Which backend is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The better of two random ones.
    RandomTwo,
    /// The same one for the same client address.
    SourceIp,
    /// The same one for the same server name.
    Sni,
}

/// What happens to the connections of a backend that fails its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// They go on.
    Keep,
    /// They are closed.
    Close,
}

/// How a backend is asked for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthType {
    /// A TCP connection.
    Tcp,
    /// A TLS handshake.
    Tls,
    /// An HTTP request.
    Http,
    /// Not at all.
    None,
}

/// What a client gets whose SNI no certificate covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownSni {
    /// The alert unrecognized_name.
    Refuse,
    /// The first certificate.
    First,
}

/// What a client's end without close_notify means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// A reset.
    Reset,
    /// A plain end.
    Ignore,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// Text on a terminal, else JSON.
    Auto,
}

/// A level's name or a filter for several parts; `compile` checks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct LogLevel(pub String);

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "LogLevel".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"const": "error", "description": "What weir cannot do."},
                {"const": "warn", "description": "Somebody should look."},
                {"const": "info", "description": "What changes: start, reloads, the health of backends."},
                {"const": "debug", "description": "Each connection that ends early, and why."},
                {"const": "trace", "description": "Everything."},
                {"const": "off", "description": "Nothing."},
                {"type": "string", "description": "A filter for parts of weir: info,weir_core=debug."}
            ],
            "description": "A level's name, or a filter for several parts."
        })
    }
}

/// The oldest TLS version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MinVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Reads "1.2" with and without quotes: without them YAML takes it for a number, and nobody means another thing by it.
struct MinVersionVisitor;

impl Visitor<'_> for MinVersionVisitor {
    type Value = MinVersion;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a TLS version: \"1.2\" or \"1.3\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MinVersion, E> {
        match text {
            "1.2" => Ok(MinVersion::Tls12),
            "1.3" => Ok(MinVersion::Tls13),
            other => Err(E::unknown_variant(other, &["1.2", "1.3"])),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<MinVersion, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for MinVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MinVersionVisitor)
    }
}

impl JsonSchema for MinVersion {
    fn schema_name() -> Cow<'static, str> {
        "MinVersion".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                {"const": "1.2", "description": "TLS 1.2 and 1.3."},
                {"const": "1.3", "description": "TLS 1.3 alone."},
                {"const": 1.2, "description": "TLS 1.2 and 1.3."},
                {"const": 1.3, "description": "TLS 1.3 alone."}
            ],
            "description": "The oldest TLS version that is spoken."
        })
    }
}

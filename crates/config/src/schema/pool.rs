//! Pools: backends, their health, and TLS towards them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::choices::{Balance, HealthType, MinVersion, OnUnhealthy};
use super::later::Later;
use super::scalars::{BackendAlpn, HelloReplay};
use crate::units::{Percent, Time};

/// A named set of backends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "backends"]))]
pub struct Pool {
    /// Its name, in routes, logs and metrics.
    pub name: Option<String>,
    /// Which backend is next.
    pub balance: Option<Balance>,
    /// Share of the average that one backend may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<Percent>,
    /// Its members.
    #[serde(default)]
    pub backends: Vec<Backend>,
    /// Clients stay with their backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Later>,
    /// How backends are asked for their health.
    pub health_check: Option<HealthCheck>,
    /// Health from real traffic: connections that cannot be made; null: off.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "Option::is_none")]
    pub passive_check: Option<Option<PassiveCheck>>,
    /// What happens to connections of a failed backend.
    pub on_unhealthy: Option<OnUnhealthy>,
    /// A returning backend gets its share over this time.
    pub slow_start: Option<Time>,
    /// Share of usable backends below which health is ignored.
    pub panic_threshold: Option<Percent>,
    /// How long connections of a removed backend go on.
    pub drain_timeout: Option<Time>,
    /// Further backends tried when one cannot be reached.
    pub retries: Option<u32>,
    /// passthrough: the kept hello may go to another backend.
    pub hello_replay: Option<HelloReplay>,
    /// Addresses to connect from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Later>,
    /// Connect from the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent: Option<Later>,
    /// PROXY header to backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy_protocol: Option<Later>,
    /// Requests to backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Later>,
    /// TLS towards the backends; bridging needs it, if only as {}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<PoolTls>,
}

/// One member: its address alone, or with what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Backend {
    /// "10.0.0.11:8080".
    Address(String),
    /// {address: "10.0.0.11:8080", weight: 2}.
    Fields(BackendFields),
}

/// One member with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct BackendFields {
    /// IP address or host name, and port; or srv:NAME.
    pub address: Option<String>,
    /// Its name, in logs and metrics; default: its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its share; 0: no new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Connections at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Used when no other is usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
}

/// When failures of real traffic take a backend out of service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PassiveCheck {
    /// So many failures.
    #[schemars(range(min = 1, max = 10_000))]
    pub failures: Option<u32>,
    /// Within this time.
    pub window: Option<Time>,
    /// Out of service for this long; doubled while it goes on.
    pub eject: Option<Time>,
    /// Share of the pool that may be out at once.
    pub max_ejected: Option<Percent>,
}

/// A key that may be `null`, which is not the same as absent.
fn or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// How backends are asked for their health.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// tcp, tls, http or none.
    #[serde(rename = "type")]
    pub kind: Option<HealthType>,
    /// http: the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// http: the Host field; default: the backend's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// http: good status codes, such as 200-399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusText>,
    /// tls, and http in bridging pools: the name asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Another port than the backend's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Time between two checks.
    pub interval: Option<Time>,
    /// Time one check may take.
    pub timeout: Option<Time>,
    /// Successes until healthy.
    #[schemars(range(min = 1))]
    pub rise: Option<u32>,
    /// Failures until unhealthy.
    #[schemars(range(min = 1))]
    pub fall: Option<u32>,
}

/// TLS towards the backends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolTls {
    /// PEM file of trusted certificates; default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// sni (the client's), address, or a fixed name.
    pub server_name: Option<String>,
    /// false: the backend's certificate is not looked at.
    pub verify: Option<bool>,
    /// Public keys of the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Later>,
    /// weir's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<Later>,
    /// Revoked certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<Later>,
    /// The oldest TLS version.
    pub min_version: Option<MinVersion>,
    /// same (what the client agreed on), or a list.
    pub alpn: Option<BackendAlpn>,
}

/// One status code or a range; one alone is a number in YAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StatusText(pub String);

impl JsonSchema for StatusText {
    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "string"}, {"type": "integer", "minimum": 100, "maximum": 599}],
            "examples": [200, "200-399", "200-299,404"],
            "description": "Codes and ranges, with commas between."
        })
    }
}

struct StatusVisitor;

impl Visitor<'_> for StatusVisitor {
    type Value = StatusText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status code such as 200, or a range such as 200-399")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StatusText, E> {
        Ok(StatusText(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, code: u64) -> Result<StatusText, E> {
        Ok(StatusText(code.to_string()))
    }
}

impl<'de> Deserialize<'de> for StatusText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusVisitor)
    }
}

struct BackendVisitor;

impl<'de> Visitor<'de> for BackendVisitor {
    type Value = Backend;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a backend: \"10.0.0.11:8080\", or {address: \"10.0.0.11:8080\", …}")
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<Backend, E> {
        Ok(Backend::Address(address.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Backend, A::Error> {
        BackendFields::deserialize(MapAccessDeserializer::new(map)).map(Backend::Fields)
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Its name leads `decode` to the keys that it may have.
        deserializer.deserialize_struct("BackendFields", &[], BackendVisitor)
    }
}

//! Pools: backends, their health, and TLS towards them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use weir_pool::{Balance, Family, HelloReplay, OnUnhealthy, SendProxyProtocol};
use weir_tls::MinVersion;

use super::choices::HealthType;
use super::http::PoolHttp;
use super::scalars::{BackendAlpn, Texts};
use super::section::section;
use crate::key::{Item, Key};
use crate::speeds::Pace;
use crate::units::{Percent, Time};
use crate::word::Word;

section! {
    /// A named set of backends.
    #[schemars(extend("required" = ["name", "backends"]))]
    Pool {
        /// its name in routes, logs, metrics and status
        #[schemars(extend("x-value" = "text, at most 128 characters"))]
        name: String,
        /// [which backend gets a connection](#which-backend-gets-a-connection)
        balance: Word<Balance> = Word(Balance::RoundRobin),
        /// `source_ip`, `sni` and `sticky.header` only: a backend takes at most this share of the average, on this node
        bounded_load: Percent,
        /// each is an address, or a section with these keys
        #[schemars(extend("x-value" = "list, not empty"))]
        backends: Vec<Item<Backend>>,
        /// requests: [clients that stay with a backend](#clients-that-stay-with-a-backend). One of `cookie`, `app_cookie`
        /// and `header`
        sticky: Sticky,
        /// how weir finds healthy backends: [health checks](operations.md#health-checks)
        health_check: HealthCheck = HealthCheck::default(),
        /// failed connections count against a backend
        #[schemars(extend("x-value" = "section, or `null`: off"))]
        #[schemars(extend("x-default" = "on"))]
        passive_check: Option<PassiveCheck> = Some(PassiveCheck::default()),
        /// what happens to the connections of a backend that fails its checks
        on_unhealthy: Word<OnUnhealthy> = Word(OnUnhealthy::Keep),
        /// a backend that is healthy again grows to its share over this time; `0s`: at once
        slow_start: Time = Time::from_secs(0),
        /// with fewer primaries in service than this share, and no healthy backup, health is ignored. `0%`:
        /// never
        panic_threshold: Percent = Percent(0),
        /// how long connections of a removed or drained backend may go on
        drain_timeout: Time = Time::from_secs(300),
        /// idle connections of backends with more than their share [end at this pace](operations.md#connections-that-end-so-that-others-begin),
        /// and their clients are balanced anew: a share of the pool's connections
        #[schemars(extend("x-value" = "share and time: `1%/m`, `10%/h`"))]
        #[schemars(extend("x-default" = "off"))]
        rebalance: Pace,
        /// further backends to try when one cannot be reached, or leaves the hello unanswered
        retries: u32 = 2,
        /// passthrough: when a backend ends without a byte, its hello goes to another one. `reset_only`: not
        /// after a FIN
        hello_replay: Word<HelloReplay> = Word(HelloReplay::OnAnyEnd),
        /// which addresses of [backends that are names](#backends-that-are-names) are used
        family: Word<Family> = Word(Family::Any),
        /// addresses of this machine to connect from, in turn: [where connections come
        /// from](#where-connections-to-backends-come-from)
        #[schemars(extend("x-value" = "IP address, or a list"))]
        source: Texts = Texts::default(),
        /// connects from the client's own address, which needs `CAP_NET_ADMIN` and [routes
        /// back](operations.md#transparent-pools)
        transparent: bool = false,
        /// the PROXY header in front of each connection to a backend: `v1` has the client's address, `v2` also the name that
        /// it asked for and its TLS session. Health checks send one too, for weir itself
        send_proxy_protocol: Word<SendProxyProtocol> = Word(SendProxyProtocol::Off),
        /// requests to the backends, from listeners with `protocol: http`
        http: PoolHttp = PoolHttp::default(),
        /// TLS to the backends
        #[schemars(extend("x-value" = "section, also an empty one: `{}`"))]
        #[schemars(extend("x-default" = "none; bridging needs it, offload refuses it"))]
        tls: PoolTls,
    }
}

/// One member: its address alone, or a section.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Backend {
    /// "10.0.0.11:8080".
    Address(String),
    /// {address: "10.0.0.11:8080", weight: 2}.
    Fields(BackendFields),
}

section! {
    /// One member as a section.
    #[schemars(extend("required" = ["address"]))]
    BackendFields {
        /// where it is: [backends that are names](#backends-that-are-names)
        #[schemars(extend("x-value" = "IP address and port, host name and port, `srv:NAME`, or `unix:PATH`"))]
        address: String,
        /// its name in logs, metrics and status; different from the others of the pool
        #[schemars(extend("x-value" = "text, at most 128 characters"))]
        #[schemars(extend("x-default" = "the address"))]
        name: String,
        /// its share; 0: no new connections
        weight: u16 => 1,
        /// connections at once, for each of its addresses; beyond it others of the pool are taken
        #[schemars(range(min = 1))]
        max_connections: u32,
        /// serves while no other is usable
        backup: bool => false,
    }
}

section! {
    /// How a client stays with a backend: one of `cookie`, `app_cookie` and `header`.
    Sticky {
        /// by a cookie of weir's own, for `duration` from its issue
        #[schemars(extend("x-value" = "section, also an empty one: `{}`"))]
        cookie: StickyCookie,
        /// by a cookie of the application: as long as the client sends it, and for `duration` from when an answer set it
        #[schemars(extend("x-value" = "the name of a cookie"))]
        app_cookie: String,
        /// `app_cookie` only: how long weir's own cookie beside it holds
        #[schemars(extend("x-default" = "`1d`"))]
        duration: Time => Time::from_secs(86_400),
        /// by the value of a header field of requests
        #[schemars(extend("x-value" = "the name of a field"))]
        header: String,
    }
}

section! {
    /// A cookie of weir's own.
    StickyCookie {
        /// its name. Pools that serve one host need different names
        #[schemars(extend("x-value" = "the name of a cookie"))]
        name: String = "WEIRLB".to_owned(),
        /// how long it holds, from its issue
        duration: Time = Time::from_secs(86_400),
    }
}

section! {
    /// When failed connections take a backend out of service.
    PassiveCheck {
        /// this many within `window` take a backend out of service
        #[schemars(range(min = 1, max = 10_000))]
        failures: u32 = 5,
        /// the time within which failures are counted
        window: Time = Time::from_secs(10),
        /// how long it is out of service, and up to a second more; doubles if it soon fails again, up to
        /// sixteenfold
        eject: Time = Time::from_secs(30),
        /// the most of the pool that may be out of service for this reason at once
        max_ejected: Percent = Percent(50),
    }
}

section! {
    /// How the health of backends is checked.
    HealthCheck {
        /// connects, finishes a handshake, sends a request, calls gRPC's health protocol, or never checks
        #[serde(rename = "type")]
        kind: Word<HealthType> = Word(HealthType::Tcp),
        /// `http` only: the path to request
        #[schemars(extend("x-value" = "text that begins with `/`"))]
        path: String => "/".to_owned(),
        /// `http`, `grpc`: the Host field, or the authority
        #[schemars(extend("x-value" = "text"))]
        #[schemars(extend("x-default" = "the backend's host name or address, with the port"))]
        host: String,
        /// `http` only: status codes of a healthy backend
        #[schemars(extend("x-value" = "codes and ranges: `200`, `200-399`, `\"200-299,404\"`"))]
        status: StatusText => StatusText("200-399".to_owned()),
        /// `tls`, and `http` in a pool with `tls`: the SNI of checks, which the certificate must cover,
        /// whatever `tls.server_name` is
        #[schemars(extend("x-value" = "DNS name"))]
        #[schemars(extend("x-default" = "what `tls.server_name` says; for `sni`, and without `tls`, the backend's host name or address"))]
        server_name: String,
        /// the port to check
        #[schemars(range(min = 1))]
        #[schemars(extend("x-default" = "the backend's"))]
        port: u16,
        /// time between two checks, give or take a tenth
        interval: Time = Time::from_secs(5),
        /// deadline of one check
        timeout: Time = Time::from_secs(2),
        /// successes in a row until healthy
        #[schemars(range(min = 1))]
        rise: u32 = 2,
        /// failures in a row until unhealthy
        #[schemars(range(min = 1))]
        fall: u32 = 3,
    }
}

section! {
    /// TLS towards the backends.
    PoolTls {
        /// PEM: trusted authorities. A certificate in this file that a backend shows itself is trusted too
        #[schemars(extend("x-value" = "path"))]
        #[schemars(extend("x-default" = "the system's authorities"))]
        ca: String,
        /// the name that the backend's certificate must have. `sni`: the client's, else as `address`: the
        /// backend's host name or address. A URI, such as `spiffe://example.org/payments`, must be in the
        /// certificate; the SNI is then that of `sni`
        #[schemars(extend("x-value" = "`sni`, `address`, or a DNS name, IP address or URI"))]
        server_name: String = "sni".to_owned(),
        /// `false`: accepts any backend. Logs a warning, and sets a metric
        verify: bool = true,
        /// a backend must have one of these public keys: [they replace chain, name and
        /// dates](operations.md#backends-known-by-their-keys)
        #[schemars(extend("x-value" = "list of SHA-256 hashes of public keys (SPKI), in base64"))]
        pinned: Vec<Item<String>> = Vec::<Item<String>>::new(),
        /// weir's own certificate, shown to backends that ask for one, in traffic and in health checks
        client_cert: ClientCert,
        /// lists of revoked certificates, in PEM or DER: each authority of a chain needs one. Needs `ca`
        #[schemars(extend("x-value" = "path, or a list of paths"))]
        crl: Texts = Texts::default(),
        /// the oldest version that weir speaks
        min_version: Word<MinVersion> = Word(MinVersion::Tls12),
        /// the protocols that weir offers; `same`: the client's protocol
        #[schemars(extend("x-value" = "`same`, or a list of protocols"))]
        alpn: BackendAlpn = BackendAlpn::Same,
    }
}

section! {
    /// weir's own certificate towards backends, with its key.
    #[schemars(extend("required" = ["cert"]))]
    ClientCert {
        /// PEM: the certificate, then its chain
        #[schemars(extend("x-value" = "path"))]
        cert: String,
        /// PEM: its key, in PKCS#8, PKCS#1 or SEC1, not encrypted
        #[schemars(extend("x-value" = "path"))]
        #[schemars(extend("x-default" = "the file of `cert`"))]
        key: String,
    }
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
        // The struct's name tells `decode` which keys it may have.
        deserializer.deserialize_struct("BackendFields", &[], BackendVisitor)
    }
}

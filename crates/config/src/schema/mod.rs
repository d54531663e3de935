//! The serde mirror of weir.yaml: what may be written, and nothing about what it means.
//!
//! Every value is an `Option`, because every key may be absent and because one bad value must not hide the next:
//! `decode` drops what does not fit and goes on. `compile` says what is required, fills defaults and checks sense.
//! The doc comments here become the descriptions of the JSON Schema that editors read.

mod choices;
mod later;
mod listener;
mod pool;
mod published;
mod scalars;
mod tls;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

pub use choices::{
    Balance, HealthType, LogFormat, LogLevel, MinVersion, Mode, NonTls, OnUnhealthy, Protocol, Truncation,
    UnknownSni,
};
pub use later::Later;
pub(crate) use later::NOT_YET;
pub use listener::{Limits, Listener, Match, Route, Tcp, Timeouts};
pub use pool::{Backend, BackendFields, HealthCheck, PassiveCheck, Pool, PoolTls, StatusText};
pub use scalars::{Access, Auto, BackendAlpn, HelloReplay, Texts};
pub use tls::{Certificate, Profile, Sessions, TlsChoice};

use crate::units::Time;

/// A whole weir.yaml.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
// With `include` the lists may stand in the other files.
#[schemars(extend(
    "anyOf" = [{"required": ["listeners", "pools"]}, {"required": ["include"]}],
    "patternProperties" = {"^x-": true}
))]
pub struct File {
    /// More files with listeners, pools and tls_profiles: paths, or patterns with `*`, `?`, `[abc]` and `**`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Texts>,
    /// The process as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The log and the access records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// The admin server; without this section there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Several nodes that answer as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Later>,
    /// How weir speaks TLS to clients; a listener or a route names one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_profiles: Vec<Profile>,
    /// The addresses weir accepts connections on.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// The named sets of backends.
    #[serde(default)]
    pub pools: Vec<Pool>,
}

/// The process as a whole.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Data-plane threads; auto: the CPUs this process may use.
    pub workers: Option<Auto>,
    /// Pin each worker to a CPU of those that this process may use.
    pub affinity: Option<bool>,
    /// Client connections of the process; auto: what the limit of open files allows.
    pub max_connections: Option<Auto>,
    /// Memory above which new connections wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Later>,
    /// After SIGTERM: how long accepting goes on once readiness has failed.
    pub shutdown_delay: Option<Time>,
    /// At the end of the process: how long open connections may go on.
    pub drain_timeout: Option<Time>,
    /// Age at which connections are closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<Later>,
    /// Take a changed file by itself, if it is valid.
    pub watch: Option<bool>,
    /// DNS servers for the host names of backends, such as "10.0.0.53:53"; none: the system's.
    pub resolvers: Option<Texts>,
}

/// The log and the access records.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// error, warn, info, debug, trace, or a filter such as "info,weir_core=debug".
    pub level: Option<LogLevel>,
    /// text, json, or auto: text on a terminal, else json.
    pub format: Option<LogFormat>,
    /// One record a connection on stdout.
    pub access: Option<Access>,
}

/// The admin server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct Admin {
    /// A loopback address and port.
    pub address: Option<String>,
    /// A TLS profile for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Later>,
}

/// The JSON Schema of weir.yaml, draft 7: the newest that the YAML language servers of editors read. Keys that are
/// not supported yet are not in it, so that no editor offers them.
pub fn json_schema() -> serde_json::Value {
    published::publish(with_later_keys())
}

/// All keys that weir knows, those too that it refuses as not supported yet: their title says so.
pub fn with_later_keys() -> serde_json::Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<File>().to_value()
}

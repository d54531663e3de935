//! The serde mirror of weir.yaml: its keys, their meaning and their defaults.
//!
//! Every value is a [`Key`], because every key may be absent and because one bad value must not hide the
//! next: `decode` drops values that do not fit and goes on. `compile` checks for required keys, and whether
//! values make sense. The doc comments of the keys become the tables of docs/configuration.md and the
//! descriptions of the JSON Schema that editors read: one line of text, in Markdown. `x-value` and
//! `x-default` are for these tables, where the type and the default are not enough.

mod choices;
mod fields;
mod http;
mod listener;
#[cfg(test)]
mod pages;
mod pool;
mod published;
mod route;
mod scalars;
pub(crate) mod section;
mod tls;

use schemars::generate::SchemaSettings;
use weir_core::plan::LogFormat;

pub use choices::{HealthType, LogLevel, NonTls, Protocol, StartTls};
pub use fields::Fields;
pub use http::{AcmeChallenge, Http, HttpTimeouts, PoolHttp};
pub use listener::{Bandwidth, Limits, Listener, PerClient, Tcp, Timeouts};
pub use pool::{
    Backend, BackendFields, ClientCert, HealthCheck, PassiveCheck, Pool, PoolTls, StatusText, Sticky,
    StickyCookie,
};
pub use route::{Match, Redirect, Respond, Route, RouteLimits};
pub use scalars::{Access, Auto, BackendAlpn, Texts};
pub use tls::{Certificate, ClientAuth, Profile, Sessions, TlsChoice};

use crate::key::{Item, Key};
use crate::units::{Size, Time};
use crate::word::Word;
use section::{Fill, plain, section};

section! {
    /// A whole weir.yaml.
    // With `include`, the lists may be in the other files.
    #[schemars(extend(
        "anyOf" = [{"required": ["listeners", "pools"]}, {"required": ["include"]}],
        "patternProperties" = {"^x-": true}
    ))]
    File {
        /// [more files](#several-files) with listeners, pools and TLS profiles
        #[schemars(extend("x-value" = "path or pattern, or a list"))]
        include: Texts,
        /// the process as a whole
        runtime: Runtime = Runtime::default(),
        /// the log on stderr, the access records on stdout
        log: Log = Log::default(),
        /// metrics, health, status and changes over HTTP: [admin server](operations.md#admin-server)
        #[schemars(extend("x-default" = "none"))]
        admin: Admin,
        /// a second server for probes and scrapers, which changes nothing: [metrics server](operations.md#metrics-server)
        #[schemars(extend("x-default" = "none"))]
        metrics: MetricsServer,
        /// several nodes that answer as one: [a fleet](operations.md#a-fleet)
        #[schemars(extend("x-default" = "none"))]
        fleet: Fleet,
        /// TLS towards clients. `tls` of a listener or a route names one, or has these keys itself, then
        /// without `name`
        #[schemars(extend("x-default" = "none"))]
        tls_profiles: Vec<Item<Profile>> => Vec::<Item<Profile>>::new(),
        /// where weir accepts connections; with `include` they may be in other files
        #[schemars(extend("x-value" = "list, not empty"))]
        listeners: Vec<Item<Listener>>,
        /// named sets of backends; with `include` they may be in other files
        #[schemars(extend("x-value" = "list, not empty"))]
        pools: Vec<Item<Pool>>,
    }
}

section! {
    /// The process as a whole.
    Runtime {
        /// threads that move data; `auto`: the CPUs that this process may use. A change needs an [upgrade](operations.md#upgrade)
        #[schemars(extend("x-value" = "`auto`, or `1` to `1024`"))]
        workers: Auto = Auto::Auto,
        /// `true`: each worker is [pinned to a CPU](#workers-and-cpus). A change needs an [upgrade](operations.md#upgrade)
        affinity: bool = false,
        /// client connections of all listeners; beyond it new ones wait in the kernel's backlog. `auto`: as
        /// many as the limit on open files allows. A larger number is lowered to that
        #[schemars(extend("x-value" = "`auto`, or from `1`"))]
        max_connections: Auto = Auto::Auto,
        /// resident memory of the process; [above it](operations.md#limits-and-descriptors) new connections wait in the
        /// kernel's backlog
        #[schemars(extend("x-value" = "from `16MiB`"))]
        #[schemars(extend("x-default" = "no limit"))]
        max_memory: Size,
        /// after SIGTERM: goes on accepting for this long while `/readyz` already fails
        shutdown_delay: Time = Time::from_secs(0),
        /// how long open connections may go on after that, and those of a listener removed by a reload
        drain_timeout: Time = Time::from_secs(300),
        /// connections [end at an idle moment](operations.md#connections-that-end-so-that-others-begin) once they are as old,
        /// give or take a tenth, so that clients come again and load spreads anew
        #[schemars(extend("x-default" = "never"))]
        max_connection_age: Time,
        /// watches the configuration's files, and applies a valid change at once
        watch: bool = false,
        /// DNS servers for [backends that are names](#backends-that-are-names); none: those of the system
        #[schemars(extend("x-value" = "IP address and port, or a list"))]
        resolvers: Texts = Texts::default(),
    }
}

section! {
    /// The log and the access records.
    Log {
        /// how much the log says. Libraries are silent unless named: `info,rustls=debug`
        #[schemars(extend("x-value" = "`error`, `warn`, `info`, `debug`, `trace`, `off`; or a filter: `info,weir_core=debug`"))]
        level: LogLevel = LogLevel("info".to_owned()),
        /// format of log and records; `auto`: text on a terminal, else JSON
        format: Word<LogFormat> = Word(LogFormat::Auto),
        /// writes a record of each connection that has ended and of each request; as a section, also while they are open
        #[schemars(extend("x-value" = "`true`, `false`, or section"))]
        access: Access = Access::All(true),
    }
}

section! {
    /// Which access records are written, and where.
    AccessRecords {
        /// writes a record of each connection when it has its route, too
        open: bool = false,
        /// writes a record of each open connection this often
        #[schemars(extend("x-default" = "none: only its end"))]
        interval: Time,
        /// the file to which records are appended, made with mode 0640. [Rotated files](operations.md#a-file-for-records)
        /// are followed
        #[schemars(extend("x-value" = "path"))]
        #[schemars(extend("x-default" = "stdout"))]
        file: String,
        /// `false`: leaves out clients that connect and leave without sending a byte
        probes: bool = true,
    }
}

section! {
    /// The admin server.
    #[schemars(extend("required" = ["address"]))]
    Admin {
        /// where it listens. A change needs an [upgrade](operations.md#upgrade)
        #[schemars(extend("x-value" = "address and port, or `unix:PATH`"))]
        address: String,
        /// TLS towards its callers. An address that is not loopback needs it, with `client_auth` and `mode: required`
        #[schemars(extend("x-value" = "name of a profile, or its keys"))]
        #[schemars(extend("x-default" = "none"))]
        tls: TlsChoice,
    }
}

section! {
    /// The server of metrics and probes.
    #[schemars(extend("required" = ["address"]))]
    MetricsServer {
        /// where it listens, any address: [writing values](#writing-values)
        #[schemars(extend("x-value" = "address and port"))]
        address: String,
        /// TLS towards its callers
        #[schemars(extend("x-value" = "name of a profile, or its keys"))]
        #[schemars(extend("x-default" = "none"))]
        tls: TlsChoice,
    }
}

section! {
    /// Several nodes that answer as one.
    #[schemars(extend("required" = ["secret_files"]))]
    Fleet {
        /// the secrets from which all nodes derive the same ticket keys, at least 32 random bytes in each file:
        /// `weir secret new FILE` writes one. The first seals, all open. The files are watched
        #[schemars(extend("x-value" = "path, or a list of 1 to 16"))]
        secret_files: Texts,
    }
}

impl Fill for Access {
    fn fill(&mut self) {
        if let Self::Records(records) = self {
            records.fill();
        }
    }
}

impl Fill for TlsChoice {
    fn fill(&mut self) {
        if let Self::Inline(profile) = self {
            profile.fill();
        }
    }
}

// An address alone stays one, and for a backend's section the configuration in force shows only the written
// keys.
impl Fill for Backend {}

plain!(Texts, Auto, BackendAlpn, LogLevel, StatusText);

/// The JSON Schema of weir.yaml, in draft 7: the newest that the YAML language servers of editors read.
pub fn json_schema() -> serde_json::Value {
    published::publish(declared())
}

/// The schema as the sections declare it: types without variables, and the annotations for the docs' tables.
pub(crate) fn declared() -> serde_json::Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<File>().to_value()
}

//! The state of the process: what `GET /api/v1/status` answers. Fields keep their order in the JSON.

use super::Word;
use super::certificates::{Certificate, RefusedFile};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Of the build.
    pub version: Word,
    /// serving, leaving (not ready any more, still accepting) or draining.
    pub phase: Word,
    /// Since the start of the process.
    pub uptime_seconds: u64,
    /// `null` while it serves.
    pub draining: Option<Draining>,
    /// The file to which the secrets of all TLS sessions are written; `null` as it should be.
    pub key_log: Option<String>,
    /// The generation of the configuration in force, counted from 1.
    pub generation: u64,
    /// Open connections by the generation that they began with.
    pub generations: Vec<Generation>,
    /// Most connections at once.
    pub max_connections: usize,
    /// The threads of the data plane.
    pub workers: Vec<Worker>,
    /// The admin server that answers; `null` where an older weir does not say.
    pub admin: Option<OwnServer>,
    /// The metrics server; `null` without one.
    pub metrics: Option<OwnServer>,
    /// In the order of the configuration.
    pub listeners: Vec<Listener>,
    /// In the order of the configuration.
    pub pools: Vec<Pool>,
    /// Every certificate that a listener shows, once for each listener.
    pub certificates: Vec<Certificate>,
    /// Changed files about the certificates of clients and backends that are not in force.
    pub refused_files: Vec<RefusedFile>,
}

/// How far the end of the process is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draining {
    /// When it was told to end, RFC 3339.
    pub since: String,
    /// The time since then.
    pub seconds: u64,
    /// When connections that are still open will be closed; `null` while it still accepts.
    pub ends_in_seconds: Option<u64>,
}

/// The open connections that began with one generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// How many are open.
    pub connections: usize,
}

/// A thread of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Its number, from 0.
    pub worker: usize,
    /// Connections that it has served or serves.
    pub connections: u64,
}

/// A server of weir's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnServer {
    /// Where it listens.
    pub address: String,
    /// Does it speak TLS?
    pub tls: bool,
    /// Must each caller show a certificate?
    pub client_certificate: bool,
}

/// A listener and its connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// passthrough, offload, bridging or mixed.
    pub mode: Word,
    /// Connections accepted so far.
    pub opened: u64,
    /// Connections open now.
    pub active: u64,
    /// Most connections at once.
    pub max_connections: usize,
    /// How many routes it has, the default left out.
    pub routes: usize,
    /// Where connections go that no route matches.
    pub default_pool: Option<Arc<str>>,
}

/// A pool and its backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Backends that may take a connection now.
    pub usable: usize,
    /// Backends in service, whether or not they are at their `max_connections`. An older weir does not say.
    pub healthy: Option<usize>,
    /// The policy that picks a backend.
    pub balance: Word,
    /// Are so few in service that health is ignored?
    pub panic: bool,
    /// none, tcp, tls or http.
    pub health_check: Word,
    /// Are backend certificates verified? `null` where no TLS is spoken to the pool.
    pub verify: Option<bool>,
    /// Primaries first, then backups.
    pub backends: Vec<Backend>,
    /// Backends that are names in DNS.
    pub names: Vec<Name>,
}

impl Pool {
    /// [`healthy`](Self::healthy), or what comes nearest to it.
    pub fn healthy(&self) -> usize {
        self.healthy.unwrap_or(self.usable)
    }
}

/// A name in DNS, and what was found under it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Name {
    /// Lower-cased, without a final dot: `host:port` or `srv:name`.
    pub name: String,
    /// Its addresses, with ports.
    pub addresses: Vec<String>,
    /// Addresses that the name has too and weir never connects to, with why.
    pub dropped: Vec<String>,
    /// Why the last lookup failed; `null` if it succeeded.
    pub failure: Option<String>,
}

/// A backend, its state and its connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backend {
    /// Its name; its address where the configuration gives it none.
    pub name: Arc<str>,
    /// What the configuration calls it: its name, else its address as it is written there. The addresses of a DNS name
    /// share it. An older weir does not say.
    pub entry: Option<Arc<str>>,
    /// Where it listens.
    pub address: String,
    /// The weight in force.
    pub weight: u16,
    /// The weight set by hand, where there is one.
    pub hand_weight: Option<u16>,
    /// up, down, ejected, drained or retired.
    pub state: Word,
    /// Is it in service?
    pub up: bool,
    /// Does it serve only while no primary can?
    pub backup: bool,
    /// Connections open now.
    pub active: u32,
    /// Connections that reached it so far.
    pub connections: u64,
    /// `null` before the first check.
    pub last_check_seconds_ago: Option<f64>,
    /// Why the last failed check failed; kept after recovery.
    pub last_failure: Option<String>,
    /// The last connections that could not be made; `null` before the first.
    pub dial_failures: Option<DialFailures>,
    /// `null` before a check over TLS has seen it.
    pub certificate: Option<SeenCertificate>,
}

impl Backend {
    /// [`entry`](Self::entry), or what comes nearest to it.
    pub fn entry(&self) -> &str {
        self.entry.as_ref().unwrap_or(&self.name)
    }

    /// [`state`](Self::state), or what comes nearest to it: an older weir only says whether it is `up`.
    pub fn state(&self) -> &str {
        match (&*self.state, self.up) {
            ("", true) => UP,
            ("", false) => "down",
            (state, _) => state,
        }
    }

    /// Is it in service?
    pub fn is_up(&self) -> bool {
        self.state() == UP
    }
}

/// The state of a backend in service.
const UP: &str = "up";

/// Connections that could not be made, with five minutes at most between one and the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DialFailures {
    /// How many failed.
    pub count: u64,
    /// Why the last one failed.
    pub last: String,
    /// When the last one failed.
    pub last_seconds_ago: f64,
    /// When the first of them failed.
    pub since_seconds_ago: f64,
}

/// What a check saw of a backend's certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenCertificate {
    /// RFC 3339; `null` where it could not be read.
    pub not_after: Option<String>,
    /// Whole days until then; negative once it has ended.
    pub days_left: Option<i64>,
    /// `ok`, or why it does not convince; `null` without an authority to judge by.
    pub verdict: Option<Word>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::certificates::{Fault, Ocsp};
    use serde_json::{Value, json};

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_status_has_these_keys_in_this_order() {
        let backend = Backend { certificate: Some(SeenCertificate::default()), ..Backend::default() };
        let pool = Pool { backends: vec![backend], names: vec![Name::default()], ..Pool::default() };
        let ocsp = Some(Ocsp::default());
        let certificate = Certificate { ocsp, faults: vec![Fault::default()], ..Certificate::default() };
        let refused_files = vec![RefusedFile::default()];
        let status =
            Status { pools: vec![pool], certificates: vec![certificate], refused_files, ..Status::default() };
        let status = serde_json::to_value(status).unwrap();
        let pool = &status["pools"][0];
        assert_eq!(
            keys(&status).join(" "),
            "version phase uptime_seconds draining key_log generation generations max_connections workers admin metrics \
             listeners pools certificates refused_files"
        );
        assert_eq!(
            keys(pool).join(" "),
            "name usable healthy balance panic health_check verify backends names"
        );
        assert_eq!(keys(&pool["names"][0]), ["name", "addresses", "dropped", "failure"]);
        let backend = &pool["backends"][0];
        assert_eq!(
            keys(backend).join(" "),
            "name entry address weight hand_weight state up backup active connections last_check_seconds_ago last_failure \
             dial_failures certificate"
        );
        assert_eq!(keys(&backend["certificate"]), ["not_after", "days_left", "verdict"]);
        let certificate = &status["certificates"][0];
        assert_eq!(
            keys(certificate).join(" "),
            "listener file names not_after days_left not_before path key issuer serial fingerprint ocsp must_staple \
             since refused faults"
        );
        assert_eq!(keys(&certificate["ocsp"]), ["state", "next_update"]);
        assert_eq!(keys(&status["refused_files"][0]), ["listener", "pool", "path", "at", "reason"]);
        assert_eq!(keys(&certificate["faults"][0]), ["code", "message", "note"]);
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let backend = Backend { name: "a".into(), weight: 3, state: "ejected".into(), ..Backend::default() };
        let pool = Pool {
            name: "web".into(),
            healthy: Some(0),
            usable: 2,
            backends: vec![backend],
            ..Pool::default()
        };
        let status = Status { version: "1".into(), generation: 7, pools: vec![pool], ..Status::default() };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        assert_eq!(status.pools[0].healthy(), 0);
    }

    #[test]
    fn an_older_weir_says_less() {
        let pool: Pool = serde_json::from_value(json!({
            "usable": 1, "new": {}, "backends": [{"up": true}, {"up": false}, {"up": false, "state": "drained"}],
        }))
        .unwrap();
        assert_eq!(pool.healthy(), 1);
        let states: Vec<_> = pool.backends.iter().map(|b| (b.state(), b.is_up())).collect();
        assert_eq!(states, [("up", true), ("down", false), ("drained", false)]);
    }
}

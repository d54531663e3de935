//! The running weir, as its admin server tells of it.

use serde::Deserialize;

/// As much of the admin server's answer as verbs use. All of it may be absent, so that another version's weir can be
/// asked too.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Running {
    pub(super) version: String,
    pub(super) phase: String,
    pub(super) uptime_seconds: u64,
    pub(super) generation: u64,
    pub(super) generations: Vec<Generation>,
    pub(super) max_connections: u64,
    pub(super) workers: Vec<Worker>,
    pub(super) listeners: Vec<Listener>,
    pub(super) pools: Vec<Pool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Worker {}

/// The connections that began with one generation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Generation {
    pub(super) generation: u64,
    pub(super) connections: u64,
}

/// A listener and its connections.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    pub(super) mode: String,
    pub(super) opened: u64,
    pub(super) active: u64,
    pub(super) routes: u64,
    pub(super) default_pool: Option<String>,
}

/// A pool and its backends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) usable: u64,
    pub(super) balance: Option<String>,
    pub(super) health_check: String,
    pub(super) verify: Option<bool>,
    pub(super) panic: bool,
    pub(super) backends: Vec<Backend>,
    pub(super) names: Vec<Name>,
}

/// A name in DNS, and what was found under it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    pub(super) failure: Option<String>,
}

/// A backend, its state and its connections.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) address: String,
    /// up, down, ejected, drained, retired.
    pub(super) state: Option<String>,
    pub(super) up: bool,
    pub(super) weight: u64,
    pub(super) hand_weight: Option<u64>,
    pub(super) backup: bool,
    pub(super) active: u64,
    pub(super) connections: u64,
    pub(super) last_check_seconds_ago: Option<f64>,
    pub(super) last_failure: Option<String>,
}

impl Pool {
    /// Connections open now to what the configuration calls `backend`. A name in DNS stands for several, each called
    /// by its address, behind the backend's own name where it has one.
    pub(super) fn active(&self, backend: &str) -> u64 {
        // A name is told back lower-cased, and without a dot at its end.
        let target = backend.to_ascii_lowercase().replace(".:", ":");
        let target = target.strip_suffix('.').unwrap_or(&target);
        let found = self.names.iter().find(|name| name.name == target).map(|name| &name.addresses);
        let stands_for_it = |b: &&Backend| {
            let own_name = b.name.strip_suffix(&b.address).and_then(|rest| rest.strip_suffix('@'));
            b.name == backend
                || own_name == Some(backend)
                || found.is_some_and(|addresses| b.name == b.address && addresses.contains(&b.address))
        };
        self.backends.iter().filter(stands_for_it).map(|b| b.active).sum()
    }

    pub(super) fn notes(&self) -> String {
        let mut notes = Vec::new();
        if self.panic {
            notes.push("panic: too few are healthy, so health is ignored".to_owned());
        }
        if self.verify == Some(false) {
            notes.push("backend certificates are NOT verified".to_owned());
        }
        for name in &self.names {
            notes.extend(name.failure.as_ref().map(|why| format!("cannot resolve {}: {why}", name.name)));
        }
        notes.join("; ")
    }
}

impl Backend {
    pub(super) fn state(&self) -> &str {
        self.state.as_deref().unwrap_or(if self.up { "up" } else { "down" })
    }

    pub(super) fn weight(&self) -> String {
        let weight = match self.hand_weight {
            Some(weight) => format!("{weight} by hand"),
            None => self.weight.to_string(),
        };
        if self.backup { format!("{weight}, backup") } else { weight }
    }

    /// Why it is not up. The reason of a failure outlives it, and would mislead behind a backend that is up.
    pub(super) fn why(&self) -> String {
        let failure = self.last_failure.as_deref().unwrap_or_default();
        match (self.state(), self.last_check_seconds_ago) {
            ("up", _) => String::new(),
            ("drained", _) => "by hand".to_owned(),
            ("down", Some(ago)) => format!("{failure}, checked {ago:.0}s ago"),
            (_, _) => failure.to_owned(),
        }
    }
}

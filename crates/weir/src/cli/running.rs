//! The running weir, as its admin server tells of it.

use super::status::spoken;
use super::table::counted;
use anyhow::{Result, bail};
use serde::Deserialize;

/// As much of the admin server's answer as verbs use. All of it may be absent, so that another version's weir can be
/// asked too.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Running {
    pub(super) version: String,
    pub(super) phase: String,
    pub(super) uptime_seconds: u64,
    pub(super) draining: Option<Draining>,
    pub(super) generation: u64,
    pub(super) generations: Vec<Generation>,
    pub(super) max_connections: u64,
    pub(super) workers: Vec<Worker>,
    pub(super) listeners: Vec<Listener>,
    pub(super) pools: Vec<Pool>,
    pub(super) certificates: Vec<Certificate>,
}

/// How far a drain of the process is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Draining {
    pub(super) since: String,
    pub(super) seconds: u64,
    pub(super) ends_in_seconds: Option<u64>,
}

/// A certificate that clients are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Certificate {
    pub(super) listener: String,
    pub(super) file: String,
    pub(super) names: Vec<String>,
    pub(super) not_after: String,
    pub(super) days_left: Option<i64>,
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
    pub(super) healthy: Option<u64>,
    pub(super) balance: Option<String>,
    pub(super) health_check: String,
    pub(super) verify: Option<bool>,
    pub(super) panic: bool,
    pub(super) backends: Vec<Backend>,
    /// How many backends there are, where only some of them are kept here.
    #[serde(skip)]
    pub(super) size: Option<usize>,
    pub(super) names: Vec<Name>,
}

/// A name in DNS, and what was found under it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    pub(super) dropped: Vec<String>,
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
    pub(super) dial_failures: Option<DialFailures>,
    pub(super) certificate: Option<SeenCertificate>,
}

/// Connections to a backend that could not be made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DialFailures {
    pub(super) count: u64,
    pub(super) last: String,
    pub(super) last_seconds_ago: f64,
    pub(super) since_seconds_ago: f64,
}

/// What a check saw of a backend's certificate.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenCertificate {
    pub(super) days_left: Option<i64>,
}

impl Running {
    /// The pool of this name.
    ///
    /// # Errors
    /// When there is none, with the nearest name.
    pub(super) fn pool(&self, name: &str) -> Result<&Pool> {
        if let Some(pool) = self.pools.iter().find(|pool| pool.name == name) {
            return Ok(pool);
        }
        let name = name.escape_debug().to_string();
        match weir_config::nearest(&name, self.pools.iter().map(|pool| pool.name.as_str())) {
            Some(near) => bail!("there is no pool `{name}`; did you mean `{near}`?"),
            None => bail!("there is no pool `{name}`"),
        }
    }
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

    /// Backends in service, whether or not they are at their caps. An older weir does not tell.
    pub(super) fn healthy(&self) -> u64 {
        self.healthy.unwrap_or(self.usable)
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
            if !name.dropped.is_empty() {
                notes.push(format!("{}: never dialled are {}", name.name, name.dropped.join(", ")));
            }
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

    /// Why it is not up, and what else is wrong with it.
    pub(super) fn why(&self) -> String {
        // The reason of a failed check outlives it, and would mislead behind a backend that is up.
        let failure = self.last_failure.as_deref().unwrap_or_default();
        let state = match (self.state(), self.last_check_seconds_ago) {
            ("up", _) => String::new(),
            ("drained", _) => "by hand".to_owned(),
            ("down", Some(ago)) => format!("{failure}, checked {ago:.0}s ago"),
            (_, _) => failure.to_owned(),
        };
        let traffic = self.dial_failures.as_ref().and_then(DialFailures::told).unwrap_or_default();
        let certificate = match self.certificate.as_ref().and_then(|seen| seen.days_left) {
            Some(days) if days < 0 => "its certificate has expired".to_owned(),
            Some(days) if days < SOON => format!("its certificate ends in {}", spoken_days(days)),
            _ => String::new(),
        };
        let mut why = vec![state, traffic, certificate];
        why.retain(|part| !part.is_empty());
        why.join("; ")
    }
}

impl DialFailures {
    /// How often, since when and why; nothing where the last one is long past.
    fn told(&self) -> Option<String> {
        let [ago, since] = [self.last_seconds_ago, self.since_seconds_ago].map(whole);
        (ago < RECENT).then(|| match self.count {
            1 => format!("a connection failed {} ago: {}", spoken(ago), self.last),
            count => format!(
                "{count} connections failed in {}, the last {} ago: {}",
                spoken(since),
                spoken(ago),
                self.last
            ),
        })
    }
}

/// `1 day`, `2 days`.
fn spoken_days(days: i64) -> String {
    counted(usize::try_from(days).unwrap_or_default(), "day")
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as far as a u64 goes; a negative one is 0"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

/// Days before its end from which a backend's certificate is worth a word.
const SOON: i64 = 30;
/// Seconds for which a failed connection is worth a word.
const RECENT: u64 = 300;

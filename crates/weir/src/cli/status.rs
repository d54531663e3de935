//! `weir status`: what the running weir is doing.

use super::admin::Server;
use super::format::Format;
use super::running::Running;
use super::table::{Table, counted};
use crate::terminal::{complain, say};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows what the running weir listens on, and each backend with its state and why.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    server: Server,
    /// The configuration whose admin.address is asked; without it ./weir.yaml, then /etc/weir/weir.yaml
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Status {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let shown = client.get("/api/v1/status").and_then(|answer| {
            // Read in either case: what is no status must not pass for one.
            let running: Running = answer.read()?;
            Ok(match self.format {
                Format::Text => running.report(),
                Format::Json => String::from_utf8_lossy(&answer.body).trim_end().to_owned(),
            })
        });
        tell(shown)
    }
}

fn tell(shown: Result<String>) -> ExitCode {
    match shown {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Running {
    fn report(&self) -> String {
        let active: u64 = self.listeners.iter().map(|listener| listener.active).sum();
        let old: u64 =
            self.generations.iter().filter(|g| g.generation < self.generation).map(|g| g.connections).sum();
        let old = if old == 0 { String::new() } else { format!(", {old} of them from before a reload") };
        let head = format!(
            "weir {}: {}, generation {}, for {}\n{active} of at most {} connections{old}, {}",
            self.version,
            self.phase,
            self.generation,
            spoken(self.uptime_seconds),
            self.max_connections,
            counted(self.workers.len(), "worker"),
        );
        [head, self.listeners_table(), self.pools_table(), self.backends_table()].join("\n\n")
    }

    fn listeners_table(&self) -> String {
        let mut table =
            Table::new(["LISTENER", "MODE", "ADDRESS", "ACTIVE", "OPENED", "ROUTES", "DEFAULT POOL"]);
        for listener in &self.listeners {
            table.row([
                listener.name.clone(),
                listener.mode.clone(),
                listener.addresses.join(", "),
                listener.active.to_string(),
                listener.opened.to_string(),
                listener.routes.to_string(),
                listener.default_pool.clone().unwrap_or_default(),
            ]);
        }
        table.to_string()
    }

    fn pools_table(&self) -> String {
        let mut table = Table::new(["POOL", "BALANCE", "USABLE", "CHECK", "NOTE"]);
        for pool in &self.pools {
            table.row([
                pool.name.clone(),
                pool.balance.clone().unwrap_or_default(),
                format!("{} of {}", pool.usable, pool.backends.len()),
                pool.health_check.clone(),
                pool.notes(),
            ]);
        }
        table.to_string()
    }

    fn backends_table(&self) -> String {
        let mut table =
            Table::new(["POOL", "BACKEND", "ADDRESS", "STATE", "WEIGHT", "ACTIVE", "TOTAL", "WHY"]);
        for pool in &self.pools {
            for backend in &pool.backends {
                table.row([
                    pool.name.clone(),
                    backend.name.clone(),
                    // Without a name it is called by its address already.
                    if backend.name == backend.address { String::new() } else { backend.address.clone() },
                    backend.state().to_owned(),
                    backend.weight(),
                    backend.active.to_string(),
                    backend.connections.to_string(),
                    backend.why(),
                ]);
            }
        }
        table.to_string()
    }
}

/// A length of time with its two largest units: `3d 4h`, `5m 10s`.
fn spoken(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut left = seconds;
    let counts = units.map(|(unit, name)| {
        let count = left / unit;
        left %= unit;
        (count, name)
    });
    let said =
        counts.into_iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    let said: Vec<String> = said.map(|(count, name)| format!("{count}{name}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_backend_that_is_not_up_says_why() {
        let running: Running = serde_json::from_value(json!({
            "version": "0.1.0", "phase": "serving", "uptime_seconds": 7_265, "generation": 3,
            "generations": [{"generation": 1, "connections": 1}, {"generation": 3, "connections": 2}],
            "max_connections": 1000, "workers": [{"worker": 0, "connections": 9}, {"worker": 1}],
            "listeners": [{"name": "edge", "addresses": ["[::]:443"], "mode": "passthrough", "opened": 12,
                           "active": 3, "routes": 2, "default_pool": null}],
            "pools": [{"name": "web", "balance": "round_robin", "usable": 1, "health_check": "tcp", "verify": false,
                "backends": [
                    {"name": "10.0.0.1:80", "address": "10.0.0.1:80", "state": "up", "weight": 1, "active": 3,
                     "connections": 12, "last_failure": "long ago", "last_check_seconds_ago": 1.0},
                    {"name": "two", "address": "10.0.0.2:80", "state": "down", "weight": 1, "hand_weight": 5,
                     "active": 0, "connections": 0, "last_failure": "cannot connect: refused",
                     "last_check_seconds_ago": 2.4},
                    {"name": "three", "address": "10.0.0.3:80", "state": "drained", "weight": 2,
                     "backup": true},
                ], "names": [{"name": "a.internal:80", "addresses": [], "failure": "there is no such name"}]}],
        }))
        .unwrap();
        assert_eq!(
            running.report(),
            "\
weir 0.1.0: serving, generation 3, for 2h 1m
3 of at most 1000 connections, 1 of them from before a reload, 2 workers

LISTENER  MODE         ADDRESS   ACTIVE  OPENED  ROUTES  DEFAULT POOL
edge      passthrough  [::]:443  3       12      2

POOL  BALANCE      USABLE  CHECK  NOTE
web   round_robin  1 of 3  tcp    backend certificates are NOT verified; cannot resolve a.internal:80: there is no such name

POOL  BACKEND      ADDRESS      STATE    WEIGHT     ACTIVE  TOTAL  WHY
web   10.0.0.1:80               up       1          3       12
web   two          10.0.0.2:80  down     5 by hand  0       0      cannot connect: refused, checked 2s ago
web   three        10.0.0.3:80  drained  2, backup  0       0      by hand"
        );
    }

    #[test]
    fn an_answer_of_another_version_is_shown_as_far_as_it_goes() {
        let running: Running = serde_json::from_value(json!({
            "pools": [{"name": "web", "new": 1, "backends": [{"name": "a", "up": false}]}]
        }))
        .unwrap();
        assert!(running.report().ends_with("web   a                 down   0       0       0"));
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, want) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m 59s"), (3_601, "1h"), (90_061, "1d 1h")]
        {
            assert_eq!(spoken(seconds), want);
        }
    }
}

//! `weir plan`: what a reload would change, and which connections it would touch.

use super::admin::Server;
use super::configuration::Named;
use super::format::Format;
use super::table::counted;
use crate::run;
use crate::terminal::{complain, end, say};
use clap::Args;
use serde::Serialize;

use std::path::Path;
use std::process::ExitCode;
use weir_admin::api;
use weir_config::difference::{Kind, What};
use weir_config::{Change, Diagnostic, Difference, Rejected, difference, expand};

/// Checks a new configuration, and prints what a reload of the running weir would change: one line per change, with
/// the number of connections that would drain. Changes nothing.
#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    configuration: Named,
    #[command(flatten)]
    server: Server,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The changes of a reload, as in the answer to a reload, with the number of connections that would drain.
#[derive(Debug, Serialize)]
struct Planned<'p> {
    /// The running generation.
    generation: u64,
    changes: Vec<PlannedChange<'p>>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedChange<'p> {
    #[serde(flatten)]
    change: &'p Change,
    /// Open connections that must end with the change; absent if its kind ends none.
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<u64>,
}

impl Plan {
    pub(super) fn execute(&self) -> ExitCode {
        let path = match self.configuration.find() {
            Ok(path) => path,
            Err(code) => return code,
        };
        // Errors of the configuration come first: they are worth reporting even if no weir is running.
        let new = match run::compile(&path) {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(rejected)) => {
                return self.refuse(&path, &rejected);
            }
            Err(error) => return end(Err(error)),
        };
        if matches!(self.format, Format::Text) {
            for warning in &new.warnings {
                complain(&format!("{}\n", warning.render()));
            }
        }
        let client = match self.server.find(Some(&path)) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let planned = client.get(api::CONFIG).and_then(|answer| {
            let found = difference(&answer.read()?, &new.config);
            let running = client.get(api::STATUS)?.read()?;
            Ok(match self.format {
                Format::Text => report(&found, &running),
                Format::Json => serde_json::to_string(&planned(&found, &running, &new.warnings))?,
            })
        });
        end(planned)
    }

    /// Reports the errors of the new configuration in the words of a reload.
    fn refuse(&self, path: &Path, rejected: &Rejected) -> ExitCode {
        let said = match self.format {
            Format::Text => {
                let count = counted(rejected.count(), "error");
                complain(&format!("{rejected}\n\n{}: refused, {count}", path.display()));
                Ok(())
            }
            Format::Json => {
                let errors: Vec<String> = rejected.0.iter().map(Diagnostic::render).collect();
                let said = serde_json::to_string(&api::Rejected { errors, more: rejected.1 });
                said.map_err(Into::into).and_then(|said| say(&said))
            }
        };
        if let Err(error) = said {
            complain(&format!("error: {error:#}"));
        }
        ExitCode::FAILURE
    }
}

fn planned<'p>(found: &'p Difference, running: &api::Status, warnings: &[Diagnostic]) -> Planned<'p> {
    let change = |change: &'p Change| PlannedChange { change, draining: touched(change, running) };
    Planned {
        generation: running.generation,
        changes: found.changes.iter().map(change).collect(),
        warnings: warnings.iter().map(Diagnostic::render).collect(),
    }
}

/// One line per change, with the number of connections that it drains, and notes on the others.
fn report(found: &Difference, running: &api::Status) -> String {
    if found.is_empty() {
        return "nothing differs from what runs".to_owned();
    }
    let mut lines: Vec<String> = Vec::new();
    for change in &found.changes {
        lines.push(match touched(change, running) {
            Some(1) => format!("{change}   1 connection drains"),
            Some(count) => format!("{change}   {count} connections drain"),
            None => change.to_string(),
        });
    }
    lines.push(String::new());
    lines.push(counted(found.changes.len(), "change"));
    if found.changes.iter().any(|change| change.kind != Kind::Removed) {
        lines.push(
            "what is added or changed is for new connections: open ones keep what they began with".to_owned(),
        );
    }
    if found.needs_restart() {
        lines.push("what needs an upgrade stays as it is until then".to_owned());
    }
    lines.join("\n")
}

/// Open connections that must end with this change; `None` if it ends none. A route's connections continue and are not
/// counted; those of a pool are counted with its backends.
fn touched(change: &Change, running: &api::Status) -> Option<u64> {
    let moved = change.keys.iter().any(|key| key.key == "address");
    // The configuration has the names of variables; the running weir has their values.
    let name = &expand(&change.name);
    match (change.what, change.kind) {
        (What::Listener, Kind::Removed) => {
            let gone = running.listeners.iter().filter(|listener| *listener.name == **name);
            Some(gone.map(|listener| listener.active).sum())
        }
        // Another address means another backend, whatever its name.
        (What::Backend, kind) if kind == Kind::Removed || kind == Kind::Changed && moved => {
            let at = |pool: &api::status::Pool| {
                let backend = name.strip_prefix(&*pool.name).and_then(|rest| rest.strip_prefix('/'))?;
                let its = pool.backends.iter().filter(|b| b.entry() == backend);
                Some(its.map(|b| u64::from(b.active)).sum::<u64>())
            };
            Some(running.pools.iter().filter_map(at).sum())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn running() -> api::Status {
        serde_json::from_value(json!({
            "listeners": [{"name": "edge", "active": 7}, {"name": "www", "active": 2}],
            "pools": [
                {"name": "web", "backends": [
                    {"name": "10.0.0.12:8080", "active": 3}, {"name": "two", "active": 1},
                    {"name": "api@10.0.0.1:80", "entry": "api", "address": "10.0.0.1:80", "active": 4},
                    {"name": "api@10.0.0.2:80", "entry": "api", "address": "10.0.0.2:80", "active": 5},
                    {"name": "10.0.0.9:80", "entry": "DB.internal.:80", "address": "10.0.0.9:80", "active": 6},
                ]},
                {"name": "other", "backends": [{"name": "two", "active": 100}]},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn removed_parts_show_their_draining_connections() {
        let old = json!({
            "listeners": [{"name": "edge", "address": [":443"], "routes": [{"match": {}, "pool": "web"}]}],
            "pools": [{"name": "web", "balance": "round_robin", "backends": [
                "10.0.0.12:8080", {"name": "two", "address": "10.0.0.3:80"},
                {"name": "api", "address": "api.internal:80"}, "DB.internal.:80",
            ]}],
        });
        let new = json!({
            "runtime": {"workers": 4},
            "listeners": [],
            "pools": [{"name": "web", "balance": "random_two", "backends": [
                {"name": "two", "address": "10.0.0.4:80"}, "10.0.0.13:8080",
            ]}],
        });
        assert_eq!(
            report(&difference(&old, &new), &running()),
            "\
+ runtime (needs an upgrade)
- listener edge (:443)   7 connections drain
- route edge/any (to pool web)
~ pool web: balance round_robin → random_two
- backend web/10.0.0.12:8080   3 connections drain
~ backend web/two: address 10.0.0.3:80 → 10.0.0.4:80   1 connection drains
- backend web/api (api.internal:80)   9 connections drain
- backend web/DB.internal.:80   6 connections drain
+ backend web/10.0.0.13:8080

9 changes
what is added or changed is for new connections: open ones keep what they began with
what needs an upgrade stays as it is until then"
        );
        assert_eq!(report(&difference(&old, &old), &running()), "nothing differs from what runs");
    }

    #[test]
    fn the_json_is_that_of_a_reload_with_draining_connections() {
        let old = json!({
            "listeners": [{"name": "edge", "address": [":443"]}],
            "pools": [{"name": "web", "balance": "round_robin", "backends": ["10.0.0.12:8080"]}],
        });
        let new = json!({
            "listeners": [],
            "pools": [{"name": "web", "balance": "random_two", "backends": ["10.0.0.12:8080"]}],
        });
        let found = difference(&old, &new);
        let told =
            serde_json::to_value(planned(&found, &api::Status { generation: 4, ..running() }, &[])).unwrap();
        assert_eq!(
            told,
            json!({
                "generation": 4,
                "changes": [
                    {"kind": "removed", "what": "listener", "name": "edge", "draining": 7, "keys": [
                        {"key": "address", "old": [":443"], "new": null, "restart": false},
                    ]},
                    {"kind": "changed", "what": "pool", "name": "web", "keys": [
                        {"key": "balance", "old": "round_robin", "new": "random_two", "restart": false},
                    ]},
                ],
                "warnings": [],
            })
        );
        let reloaded: Difference = serde_json::from_value(told["changes"].clone()).unwrap();
        assert_eq!(reloaded, found, "a reader of a reload's changes can read a plan's");
    }
}

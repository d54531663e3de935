//! `weir reload`: makes the running weir reload its configuration.

use super::admin::{AdminReply, Server};
use super::table::counted;
use crate::terminal::{complain, end};
use anyhow::Result;
use clap::Args;
use hyper::StatusCode;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_admin::api::{RELOAD, Rejected, Reloaded};
use weir_config::Difference;

/// Makes the running weir reload its configuration, waits, and prints the changes. If the configuration has errors,
/// prints them; then nothing has changed.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

impl Reload {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let told = client.post(RELOAD, None::<&()>).and_then(|answer| tell(&answer));
        told.unwrap_or_else(|error| end(Err(error)))
    }
}

fn tell(answer: &AdminReply) -> Result<ExitCode> {
    if answer.status == StatusCode::UNPROCESSABLE_ENTITY
        && let Ok(Rejected { errors, more }) = serde_json::from_slice(&answer.body)
    {
        for error in &errors {
            complain(&format!("{error}\n"));
        }
        if more > 0 {
            complain(&format!("and {more} more\n"));
        }
        complain(&format!("refused, {}: nothing has changed", counted(errors.len() + more, "error")));
        return Ok(ExitCode::FAILURE);
    }
    let Reloaded { generation, changes, more, warnings } = answer.read()?;
    for warning in &warnings {
        complain(&format!("{warning}\n"));
    }
    Ok(end(Ok(report(generation, &changes, more))))
}

/// The changes, one per line, the number of further ones, and a last line with the total.
fn report(generation: u64, changes: &Difference, more: usize) -> String {
    if changes.is_empty() {
        return format!("generation {generation}: nothing differs");
    }
    let count = counted(changes.changes.len() + more, "change");
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    let restart = if changes.needs_restart() { "; what needs an upgrade is as before" } else { "" };
    format!("{changes}\n{more}generation {generation}: {count}{restart}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: StatusCode, body: &serde_json::Value) -> AdminReply {
        AdminReply { status, body: body.to_string().into() }
    }

    #[test]
    fn each_change_is_one_line() {
        let said = json!({"generation": 3, "warnings": [], "changes": [
            {"kind": "removed", "what": "backend", "name": "web/10.0.0.12:8080", "keys": []},
            {"kind": "changed", "what": "runtime", "name": "",
             "keys": [{"key": "workers", "old": 2, "new": 4, "restart": true}]},
        ]});
        let Reloaded { generation, changes, more, .. } = answer(StatusCode::OK, &said).read().unwrap();
        assert_eq!(
            report(generation, &changes, more),
            "- backend web/10.0.0.12:8080\n~ runtime: workers 2 → 4 (needs an upgrade)\n\
             generation 3: 2 changes; what needs an upgrade is as before"
        );
        assert_eq!(report(4, &Difference::default(), 0), "generation 4: nothing differs");
        let many = json!({"generation": 5, "more": 9_900, "changes": said["changes"]});
        let Reloaded { generation, changes, more, .. } = answer(StatusCode::OK, &many).read().unwrap();
        let shown = report(generation, &changes, more);
        assert!(shown.contains("\nand 9900 more\ngeneration 5: 9902 changes"), "{shown}");
    }

    #[test]
    fn every_refusal_is_a_failure_in_the_servers_words() {
        let wrong = answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({"errors": ["error: no pool `x`"]}));
        assert_eq!(tell(&wrong).unwrap(), ExitCode::FAILURE);
        let busy = answer(StatusCode::CONFLICT, &json!({"error": "another reload runs"}));
        assert_eq!(tell(&busy).unwrap_err().to_string(), "another reload runs");
        let old = AdminReply { status: StatusCode::METHOD_NOT_ALLOWED, body: "only GET\n".into() };
        assert_eq!(tell(&old).unwrap_err().to_string(), "405 Method Not Allowed: only GET");
    }
}

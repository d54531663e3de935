//! `weir reload`: the running weir reads its configuration anew.

use super::admin::{Answer, Server};
use super::table::counted;
use crate::terminal::{complain, end};
use anyhow::Result;
use clap::Args;
use hyper::StatusCode;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_config::Difference;

/// Has the running weir read its configuration anew, waits, and prints what changed; or what is wrong, and then
/// nothing has changed.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    server: Server,
    /// The configuration whose admin.address is asked; without it ./weir.yaml, then /etc/weir/weir.yaml
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

/// The answer to a reload that was done.
#[derive(Debug, Deserialize)]
struct Reloaded {
    generation: u64,
    changes: Difference,
    /// Of very many, how many more there are.
    #[serde(default)]
    more: usize,
    #[serde(default)]
    warnings: Vec<String>,
}

/// The answer to a reload of a configuration that is wrong.
#[derive(Debug, Deserialize)]
struct Refused {
    errors: Vec<String>,
    /// Of very many, how many more there are.
    #[serde(default)]
    more: usize,
}

impl Reload {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let told = client.post("/api/v1/reload", None).and_then(|answer| tell(&answer));
        told.unwrap_or_else(|error| end(Err(error)))
    }
}

fn tell(answer: &Answer) -> Result<ExitCode> {
    if answer.status == StatusCode::UNPROCESSABLE_ENTITY
        && let Ok(Refused { errors, more }) = serde_json::from_slice(&answer.body)
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

/// The changes, a line each, how many more there are, and a last line that sums up.
fn report(generation: u64, changes: &Difference, more: usize) -> String {
    if changes.is_empty() {
        return format!("generation {generation}: nothing differs");
    }
    let count = counted(changes.changes.len() + more, "change");
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    let restart = if changes.needs_restart() { "; what needs a restart is as before" } else { "" };
    format!("{changes}\n{more}generation {generation}: {count}{restart}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: StatusCode, body: &serde_json::Value) -> Answer {
        Answer { status, body: body.to_string().into() }
    }

    #[test]
    fn what_changed_is_a_line_each() {
        let said = json!({"generation": 3, "warnings": [], "changes": [
            {"kind": "removed", "what": "backend", "name": "web/10.0.0.12:8080", "keys": []},
            {"kind": "changed", "what": "runtime", "name": "",
             "keys": [{"key": "workers", "old": 2, "new": 4, "restart": true}]},
        ]});
        let Reloaded { generation, changes, more, .. } = answer(StatusCode::OK, &said).read().unwrap();
        assert_eq!(
            report(generation, &changes, more),
            "- backend web/10.0.0.12:8080\n~ runtime: workers 2 → 4 (needs a restart)\n\
             generation 3: 2 changes; what needs a restart is as before"
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
        let old = Answer { status: StatusCode::METHOD_NOT_ALLOWED, body: b"only GET\n".to_vec() };
        assert_eq!(tell(&old).unwrap_err().to_string(), "405 Method Not Allowed: only GET");
    }
}

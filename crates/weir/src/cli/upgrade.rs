//! `weir upgrade`: makes the program on disk take over from the running weir.

use super::admin::{AdminReply, Server};
use crate::terminal::end;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_admin::api::{UPGRADE, Upgraded};

/// Makes the program on disk take over from the running weir: it gets every listening socket, so that no connection is
/// refused or lost. The old process then ends once its connections have, or after runtime.drain_timeout. If the new one
/// fails in any way, the old one goes on, and this says why.
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

impl Upgrade {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        end(client.post(UPGRADE, None::<&()>).and_then(|answer| report(&answer)))
    }
}

fn report(answer: &AdminReply) -> Result<String> {
    let Upgraded { pid, version } = answer.read()?;
    Ok(format!("process {pid} has taken over, weir {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;
    use serde_json::json;

    #[test]
    fn an_upgrade_is_told_in_one_line_and_a_refusal_in_the_servers_words() {
        let answer = |status, body: serde_json::Value| AdminReply { status, body: body.to_string().into() };
        let done = answer(StatusCode::OK, json!({"pid": 4711, "version": "0.2.0", "later": 1}));
        assert_eq!(report(&done).unwrap(), "process 4711 has taken over, weir 0.2.0");
        let failed = answer(StatusCode::UNPROCESSABLE_ENTITY, json!({"error": "cannot start /usr/bin/weir"}));
        assert_eq!(report(&failed).unwrap_err().to_string(), "cannot start /usr/bin/weir");
    }
}

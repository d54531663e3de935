//! `weir health`: a probe of the running weir, for containers and orchestrators.

use super::admin::{Client, Server};
use super::running::Running;
use crate::terminal::end;
use anyhow::{Result, bail};
use clap::Args;
use hyper::StatusCode;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Asks the running weir whether it works, and ends with 0 if it does and with 1 if not. Waits for 2 s at most.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Health {
    /// Is it ready for traffic too: not draining, and with a healthy backend in every pool that a listener uses?
    #[arg(long)]
    ready: bool,
    /// This pool must have a healthy backend, and with --ready no other one has to; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    #[command(flatten)]
    server: Server,
    /// The configuration whose admin.address is asked; without it ./weir.yaml, then /etc/weir/weir.yaml
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 it works, or is ready; 1 it does not, is not ready, or does not answer within 2 s; 2 wrong usage, or no \
configuration found.

In a Dockerfile: HEALTHCHECK CMD [\"weir\", \"health\", \"-c\", \"/etc/weir/weir.yaml\"]";

/// Probes often have a timeout of 3 s of their own, after which they report nothing.
const PATIENCE: Duration = Duration::from_secs(2);

impl Health {
    pub(super) fn execute(&self) -> ExitCode {
        match self.server.find(self.config.as_deref()) {
            Ok(client) => end(self.asked(&client.patient_for(PATIENCE))),
            Err(code) => code,
        }
    }

    /// What a healthy weir says.
    ///
    /// # Errors
    /// Why it is not healthy.
    fn asked(&self, client: &Client) -> Result<String> {
        let answer = client.get(match (self.ready, self.pools.is_empty()) {
            (false, _) => "/healthz",
            (true, true) => "/readyz",
            (true, false) => "/readyz?pools=ignore",
        })?;
        let said = String::from_utf8_lossy(&answer.body).trim_end().escape_debug().to_string();
        match answer.status {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => bail!("not ready: {said}"),
            other => bail!("the admin server answered {other}: {said}"),
        }
        if !self.pools.is_empty() {
            let running: Running = client.get("/api/v1/status")?.read()?;
            running.have_backends(&self.pools)?;
        }
        Ok(said)
    }
}

impl Running {
    /// Does each of these pools have a healthy backend?
    fn have_backends(&self, pools: &[String]) -> Result<()> {
        let mut empty = Vec::new();
        for name in pools {
            if self.pool(name)?.healthy() == 0 {
                empty.push(name.as_str());
            }
        }
        if empty.is_empty() { Ok(()) } else { bail!("no healthy backend in: {}", empty.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pool_must_be_there_and_have_a_healthy_backend() {
        let running: Running = serde_json::from_value(json!({"pools": [
            // At its cap, and so not usable: that is no illness.
            {"name": "full", "usable": 0, "healthy": 1},
            {"name": "empty", "usable": 0, "healthy": 0},
            // In a panic its backends serve, and none of them is healthy.
            {"name": "panic", "usable": 2, "healthy": 0},
            {"name": "of an older weir", "usable": 1},
        ]}))
        .unwrap();
        let asked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            running.have_backends(&names).map_err(|error| error.to_string())
        };
        assert_eq!(asked(&["full", "of an older weir"]), Ok(()));
        assert_eq!(asked(&["empty", "full", "panic"]).unwrap_err(), "no healthy backend in: empty, panic");
        assert_eq!(asked(&["ful"]).unwrap_err(), "there is no pool `ful`; did you mean `full`?");
    }
}

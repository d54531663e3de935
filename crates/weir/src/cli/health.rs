//! `weir health`: a probe of the running weir, for containers and orchestrators.

use super::admin::{Client, Server};
use super::status::pool;
use crate::terminal::end;
use anyhow::{Result, bail};
use clap::Args;
use hyper::StatusCode;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_admin::api;

/// Asks the running weir whether it works, and exits with 0 if it does, else with 1. Waits for 2 s at most.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Health {
    /// Also require that weir is not draining, and that every pool in use has a healthy backend
    #[arg(long)]
    ready: bool,
    /// Require a healthy backend in this pool, and with --ready in no other pool; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 if weir works (with --ready: is ready); 1 if not, or if it does not answer within 2 s; 2 for wrong \
usage, or if no configuration is found.

In a Dockerfile: HEALTHCHECK CMD [\"weir\", \"health\", \"-c\", \"/etc/weir/weir.yaml\"]";

/// Probes often have a timeout of 3 s of their own, after which they report nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

impl Health {
    pub(super) fn execute(&self) -> ExitCode {
        match self.server.find(self.config.as_deref()) {
            Ok(client) => end(self.asked(&client.patient_for(PROBE_TIMEOUT))),
            Err(code) => code,
        }
    }

    /// A healthy weir's answer.
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
            have_backends(&client.get(api::STATUS)?.read()?, &self.pools)?;
        }
        Ok(said)
    }
}

/// Checks that each of these pools has a healthy backend.
///
/// # Errors
/// Names the pools without one, or the first pool that does not exist.
fn have_backends(status: &api::Status, pools: &[String]) -> Result<()> {
    let mut empty = Vec::new();
    for name in pools {
        if pool(status, name)?.healthy() == 0 {
            empty.push(name.as_str());
        }
    }
    if empty.is_empty() { Ok(()) } else { bail!("no healthy backend in: {}", empty.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pools_must_exist_and_have_a_healthy_backend() {
        let status: api::Status = serde_json::from_value(json!({"pools": [
            // At its cap, so not usable, but healthy.
            {"name": "full", "usable": 0, "healthy": 1},
            {"name": "empty", "usable": 0, "healthy": 0},
            // In a panic: its backends serve, but none of them is healthy.
            {"name": "panic", "usable": 2, "healthy": 0},
            {"name": "of an older weir", "usable": 1},
        ]}))
        .unwrap();
        let asked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            have_backends(&status, &names).map_err(|error| error.to_string())
        };
        assert_eq!(asked(&["full", "of an older weir"]), Ok(()));
        assert_eq!(asked(&["empty", "full", "panic"]).unwrap_err(), "no healthy backend in: empty, panic");
        assert_eq!(asked(&["ful"]).unwrap_err(), "there is no pool `ful`; did you mean `full`?");
    }
}

//! `weir backend`: takes a backend out of service and back, or sets its weight, by hand.

use super::admin::{Server, encoded};
use crate::terminal::end;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Drains a backend, puts it back into service, or sets its weight. What is set by hand outlives reloads, and ends
/// with the process.
#[derive(Debug, Args)]
pub(super) struct Backend {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// No new connections; those it has go on until the pool's drain_timeout
    Drain(Which),
    /// Back into service
    Ready(Which),
    /// Another share than the configuration gives it; 0: no new connections
    Weight {
        #[command(flatten)]
        which: Which,
        /// From 0 to 65535
        weight: u16,
    },
}

/// One backend of the running weir.
#[derive(Debug, Args)]
struct Which {
    /// The pool's name
    pool: String,
    /// The backend's name, which is its address where the configuration gives it none
    backend: String,
    #[command(flatten)]
    server: Server,
    /// The configuration whose admin.address is asked; without it ./weir.yaml, then /etc/weir/weir.yaml
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

/// The answer to what was done.
#[derive(Debug, Deserialize)]
struct Done {
    message: String,
}

impl Backend {
    pub(super) fn execute(&self) -> ExitCode {
        let (which, path, body) = self.action.request();
        let client = match which.server.find(which.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let done: Result<Done> = client.post(&path, body.as_ref()).and_then(|answer| answer.read());
        end(done.map(|done| done.message))
    }
}

impl Action {
    fn request(&self) -> (&Which, String, Option<Value>) {
        let (which, verb, body) = match self {
            Self::Drain(which) => (which, "drain", None),
            Self::Ready(which) => (which, "ready", None),
            Self::Weight { which, weight } => (which, "weight", Some(json!({ "weight": weight }))),
        };
        let (pool, backend) = (encoded(&which.pool), encoded(&which.backend));
        (which, format!("/api/v1/pools/{pool}/backends/{backend}/{verb}"), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        backend: Backend,
    }

    #[test]
    fn names_are_encoded_and_weights_have_a_body() {
        let request = |words: &[&str]| {
            let line = Line::try_parse_from([&["backend"], words].concat()).map_err(|e| e.to_string())?;
            let (_, path, body) = line.backend.action.request();
            Ok::<_, String>((path, body))
        };
        assert_eq!(
            request(&["drain", "a/b c", "[::1]:80"]).unwrap(),
            ("/api/v1/pools/a%2Fb%20c/backends/%5B%3A%3A1%5D%3A80/drain".to_owned(), None)
        );
        assert_eq!(
            request(&["weight", "web", "é", "7"]).unwrap(),
            ("/api/v1/pools/web/backends/%C3%A9/weight".to_owned(), Some(json!({"weight": 7})))
        );
        assert!(request(&["weight", "web", "a", "65536"]).unwrap_err().contains("65536"));
    }
}

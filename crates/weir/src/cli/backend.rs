//! `weir backend`: drains a backend, puts it back into service, or sets its weight, by hand.

use super::admin::Server;
use crate::terminal::end;
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use weir_admin::api::{BackendChange, Done, Weight};

/// Drains a backend, puts it back into service, or sets its weight. The change outlives reloads, but not the process.
#[derive(Debug, Args)]
pub(super) struct Backend {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stop new connections; open ones may last until the pool's drain_timeout
    Drain(Which),
    /// Put the backend back into service
    Ready(Which),
    /// Replace the configured weight; 0 stops new connections
    Weight {
        #[command(flatten)]
        which: Which,
        /// The weight, from 0 to 65535
        weight: u16,
    },
}

/// One backend of the running weir.
#[derive(Debug, Args)]
struct Which {
    /// The pool's name
    pool: String,
    /// The backend's name, or its address if the configuration gives it no name
    backend: String,
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
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
    /// The backend, the path of the request, and its body.
    fn request(&self) -> (&Which, String, Option<Weight>) {
        let (which, change, body) = match self {
            Self::Drain(which) => (which, BackendChange::Drain, None),
            Self::Ready(which) => (which, BackendChange::Ready, None),
            Self::Weight { which, weight } => {
                (which, BackendChange::Weight, Some(Weight { weight: *weight }))
            }
        };
        (which, change.path(&which.pool, &which.backend), body)
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
            ("/api/v1/pools/web/backends/%C3%A9/weight".to_owned(), Some(Weight { weight: 7 }))
        );
        assert!(request(&["weight", "web", "a", "65536"]).unwrap_err().contains("65536"));
    }
}

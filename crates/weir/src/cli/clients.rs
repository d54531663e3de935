//! `weir clients`: which clients have the most connections open.

use super::admin::Server;
use super::format::Format;
use super::table::{Table, counted, line_width};
use crate::terminal::end;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_admin::api;
use weir_admin::api::CLIENTS;

/// Shows the clients with the most open connections, most first: at most 100. A client is an IPv4 address or an IPv6
/// network of 64 bits, or what limits.per_client makes one.
#[derive(Debug, Args)]
pub(super) struct Clients {
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Clients {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let shown = client.get(CLIENTS).and_then(|answer| {
            // Parsed for both formats, so that another answer does not pass for one.
            let clients: api::Clients = answer.read()?;
            Ok(match self.format {
                Format::Text => report(&clients, line_width()),
                Format::Json => String::from_utf8_lossy(&answer.body).trim_end().to_owned(),
            })
        });
        end(shown)
    }
}

/// The text for people, in lines of at most `width` characters where their words allow that.
fn report(clients: &api::Clients, width: usize) -> String {
    if clients.clients.is_empty() {
        return "no client has a connection open".to_owned();
    }
    let mut table = Table::new(["CONNECTIONS", "CLIENT", "LISTENER"]);
    for client in &clients.clients {
        table.row([
            client.connections.to_string(),
            client.client.clone(),
            client.listener.clone().unwrap_or_default(),
        ]);
    }
    let count = usize::try_from(clients.count).unwrap_or(usize::MAX);
    format!("{} with open connections\n\n{}", counted(count, "client"), table.fit(width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_busiest_clients_are_listed() {
        let clients: api::Clients = serde_json::from_value(json!({"count": 2, "clients": [
            {"client": "192.0.2.1", "listener": "edge", "connections": 12},
            {"client": "2001:db8::/64", "listener": null, "connections": 1},
        ]}))
        .unwrap();
        let text = report(&clients, 80);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(text.starts_with("2 clients with open connections\n\nCONNECTIONS"), "{text}");
        assert_eq!(words[words.len() - 5..], ["12", "192.0.2.1", "edge", "1", "2001:db8::/64"], "{text}");
        assert_eq!(report(&api::Clients::default(), 80), "no client has a connection open");
    }
}

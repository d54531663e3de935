//! `weir failures`: which connections ended early, why, and what to do about it.

use super::admin::Server;
use super::format::{Format, spoken};
use super::table::{Table, counted, line_width};
use crate::terminal::end;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_admin::api;
use weir_admin::api::failures::{Cause, Group, Wanted, name, time};

/// Shows the last connections that ended early, in groups of one listener, name, backend and cause, each with what to do
/// about it. weir keeps the last 1,000 of each kind, also without access records.
#[derive(Debug, Args)]
pub(super) struct Failures {
    /// Show only clients that asked for this name; "" = clients without a name
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Show only connections of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Show only the failures of this time: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    last: Option<Duration>,
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Failures {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let shown = client.get(&self.wanted().path()).and_then(|answer| {
            // Parsed for both formats, so that another answer does not pass for one.
            let failures: api::Failures = answer.read()?;
            Ok(match self.format {
                Format::Text => report(&failures, line_width()),
                Format::Json => String::from_utf8_lossy(&answer.body).trim_end().to_owned(),
            })
        });
        end(shown)
    }

    fn wanted(&self) -> Wanted {
        Wanted { sni: self.sni.as_deref().map(name), listener: self.listener.clone(), last: self.last }
    }
}

/// The text for people, in lines of at most `width` characters where their words allow that.
fn report(failures: &api::Failures, width: usize) -> String {
    if failures.groups.is_empty() {
        return "no such failure is known".to_owned();
    }
    let groups = counted(failures.groups.len(), "cause");
    let mut table =
        Table::new(["COUNT", "LAST", "LISTENER", "NAME", "BACKEND", "PEER", "WHY, AND WHAT TO DO"]);
    for group in &failures.groups {
        table.row([
            group.count.to_string(),
            format!("{} ago", spoken(whole(group.last_seconds_ago))),
            group.listener.as_deref().unwrap_or_default().to_owned(),
            group.sni.as_deref().unwrap_or_default().to_owned(),
            backend(group),
            group.peer.clone().unwrap_or_default(),
            format!("{}.{}{}", cause(&group.cause), sentence(&group.means), sentence(&group.hint)),
        ]);
    }
    format!("{} of {groups}, the latest first\n\n{}", counted(failures.count, "failure"), table.fit(width))
}

fn backend(group: &Group) -> String {
    match (&group.pool, &group.backend) {
        (Some(pool), Some(backend)) => format!("{pool}/{backend}"),
        (Some(pool), None) => pool.to_string(),
        (None, _) => String::new(),
    }
}

/// The text as a sentence behind another one; nothing if there is no text.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!(" {}{}.", first.to_uppercase(), letters.as_str()))
}

/// `client_handshake: no_shared_version, weir sent protocol_version`.
fn cause(cause: &Cause) -> String {
    let reason = cause.reason.as_ref().unwrap_or(&cause.outcome);
    match (&cause.alert, &cause.alert_by) {
        (Some(alert), Some(by)) if reason == "alert" => format!("{}: {by} sent {alert}", cause.stage),
        (Some(alert), Some(by)) => format!("{}: {reason}, {by} sent {alert}", cause.stage),
        _ => format!("{}: {reason}", cause.stage),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as far as a u64 goes; a negative one is 0"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_group_says_what_to_do() {
        let failures: api::Failures = serde_json::from_value(json!({"count": 3, "groups": [
            {"count": 2, "last_seconds_ago": 61.5, "listener": "edge", "sni": "www.example.com", "peer": "192.0.2.1:5",
             "cause": {"stage": "client_handshake", "outcome": "tls_client_failed", "reason": "alert",
                       "alert": "unknown_ca", "alert_by": "client"},
             "means": "it does not trust", "hint": "check the chain"},
            {"count": 1, "listener": "edge", "sni": "\u{1b}[2J", "pool": "web", "backend": "b1",
             "cause": {"stage": "route", "outcome": "no_route", "alert": "unrecognized_name", "alert_by": "weir"},
             "means": "no route", "hint": "add one"},
        ]}))
        .unwrap();
        let text = report(&failures, 100);
        assert!(text.starts_with("3 failures of 2 causes, the latest first\n\nCOUNT"), "{text}");
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "1m 1s ago",
            "client sent",
            "unknown_ca. It does not trust. Check the chain.",
            "No route. Add one.",
        ] {
            assert!(joined.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(report(&api::Failures::default(), 80), "no such failure is known");
    }

    #[test]
    fn causes_name_stage_reason_and_alert() {
        let of = |value| cause(&serde_json::from_value(value).unwrap());
        let stage = "backend_handshake";
        assert_eq!(
            of(
                json!({"stage": stage, "reason": "expired", "alert": "certificate_expired", "alert_by": "weir"})
            ),
            "backend_handshake: expired, weir sent certificate_expired"
        );
        assert_eq!(of(json!({"stage": "hello", "outcome": "not_tls"})), "hello: not_tls");
    }
}

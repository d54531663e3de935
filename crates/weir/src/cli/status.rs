//! `weir status`: what the running weir is doing.

use super::admin::Server;
use super::format::Format;
use super::running::{Certificate, Running};
use super::table::{Table, counted, line_width, wrapped};
use crate::terminal::end;
use anyhow::Result;
use clap::Args;
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows what the running weir listens on, each backend with its state and why, and the certificates with their end.
/// Lines are as long as the terminal is wide, else 80 characters or $COLUMNS.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    server: Server,
    /// The configuration whose admin.address is asked; without it ./weir.yaml, then /etc/weir/weir.yaml
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Only this pool and its backends; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    /// Only backends that are out of service, and their pools
    #[arg(long)]
    down: bool,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Status {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let shown = client.get("/api/v1/status").and_then(|answer| {
            // Parsed for both formats, so that another answer does not pass for a status.
            let running: Running = answer.read()?;
            for name in &self.pools {
                running.pool(name)?;
            }
            match self.format {
                Format::Text => Ok(self.report(running, line_width())),
                Format::Json => self.filtered(&answer.body),
            }
        });
        end(shown)
    }

    fn is_filtered(&self) -> bool {
        self.down || !self.pools.is_empty()
    }

    fn wants(&self, pool: &str) -> bool {
        self.pools.is_empty() || self.pools.iter().any(|name| name == pool)
    }

    fn report(&self, mut running: Running, width: usize) -> String {
        let mut parts = vec![running.head(width)];
        if !self.is_filtered() {
            parts.push(running.listeners_table().fit(width));
        }
        running.pools.retain(|pool| self.wants(&pool.name));
        if self.down {
            for pool in &mut running.pools {
                pool.size = Some(pool.backends.len());
                pool.backends.retain(|backend| backend.state() != "up");
            }
            // One without any backend, as its names are not resolved, is as bad as one whose backends are all down.
            running.pools.retain(|pool| !pool.backends.is_empty() || pool.size == Some(0));
        }
        if running.pools.is_empty() {
            parts.push("no backend is out of service".to_owned());
            return parts.join("\n\n");
        }
        parts.push(running.pools_table().fit(width));
        parts.extend(running.backends_table().map(|table| table.fit(width)));
        if !self.is_filtered() {
            parts.extend(running.certificates_table().map(|table| table.fit(width)));
        }
        parts.join("\n\n")
    }

    /// The answer as it came, without what was not asked for.
    fn filtered(&self, body: &[u8]) -> Result<String> {
        if !self.is_filtered() {
            return Ok(String::from_utf8_lossy(body).trim_end().to_owned());
        }
        let mut status: Value = serde_json::from_slice(body)?;
        let name = |pool: &Value| pool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(pools) = status.get_mut("pools").and_then(Value::as_array_mut) {
            pools.retain(|pool| self.wants(&name(pool)));
            if self.down {
                pools.retain_mut(|pool| {
                    let Some(backends) = pool.get_mut("backends").and_then(Value::as_array_mut) else {
                        return true;
                    };
                    let none = backends.is_empty();
                    backends.retain(|backend| backend.get("state").and_then(Value::as_str) != Some("up"));
                    none || !backends.is_empty()
                });
            }
        }
        Ok(serde_json::to_string_pretty(&status)?)
    }
}

impl Running {
    fn head(&self, width: usize) -> String {
        let active: u64 = self.listeners.iter().map(|listener| listener.active).sum();
        let old: u64 =
            self.generations.iter().filter(|g| g.generation < self.generation).map(|g| g.connections).sum();
        let old = if old == 0 { String::new() } else { format!(", {old} of them from before a reload") };
        let (phase, uptime) = (&self.phase, spoken(self.uptime_seconds));
        let mut lines =
            vec![format!("weir {}: {phase}, generation {}, for {uptime}", self.version, self.generation)];
        lines.extend(self.draining.as_ref().map(|drain| {
            let rest = drain.ends_in_seconds.map(|left| format!("; the rest is closed in {}", spoken(left)));
            format!(
                "draining for {}, since {}{}",
                spoken(drain.seconds),
                drain.since,
                rest.unwrap_or_default()
            )
        }));
        let workers = counted(self.workers.len(), "worker");
        lines.push(format!("{active} of at most {} connections{old}, {workers}", self.max_connections));
        lines.iter().flat_map(|line| wrapped(line, width)).collect::<Vec<_>>().join("\n")
    }

    fn listeners_table(&self) -> Table<7> {
        let mut table =
            Table::new(["LISTENER", "MODE", "ADDRESS", "ACTIVE", "OPENED", "ROUTES", "DEFAULT POOL"]);
        for listener in &self.listeners {
            table.row([
                listener.name.clone(),
                listener.mode.clone(),
                listener.addresses.join(", "),
                listener.active.to_string(),
                listener.opened.to_string(),
                listener.routes.to_string(),
                listener.default_pool.clone().unwrap_or_default(),
            ]);
        }
        table
    }

    fn pools_table(&self) -> Table<5> {
        let mut table = Table::new(["POOL", "BALANCE", "USABLE", "CHECK", "NOTE"]);
        for pool in &self.pools {
            table.row([
                pool.name.clone(),
                pool.balance.clone().unwrap_or_default(),
                format!("{} of {}", pool.usable, pool.size.unwrap_or(pool.backends.len())),
                pool.health_check.clone(),
                pool.notes(),
            ]);
        }
        table
    }

    /// The certificates that end first, each with the listeners that show it.
    fn certificates_table(&self) -> Option<Table<5>> {
        let mut files: Vec<(&Certificate, Vec<&str>)> = Vec::new();
        // Not by the file's name alone: many folders may have a fullchain.pem.
        let mut places: HashMap<(&str, &str, &[String]), usize> = HashMap::new();
        for shown in &self.certificates {
            let same = (&*shown.file, &*shown.not_after, &*shown.names);
            let place = *places.entry(same).or_insert(files.len());
            match files.get_mut(place) {
                Some((_, listeners)) if listeners.contains(&shown.listener.as_str()) => {}
                Some((_, listeners)) => listeners.push(&shown.listener),
                None => files.push((shown, vec![&shown.listener])),
            }
        }
        files.sort_by(|(a, _), (b, _)| a.not_after.cmp(&b.not_after));
        let mut table = Table::new(["CERTIFICATE", "LISTENER", "ENDS", "DAYS LEFT", "NAMES"]);
        let more = files.len().saturating_sub(MOST_CERTIFICATES);
        for (certificate, listeners) in files.iter().take(MOST_CERTIFICATES) {
            let day = certificate.not_after.split('T').next().unwrap_or_default();
            let left = match certificate.days_left {
                Some(days) if days < 0 => "expired".to_owned(),
                Some(days) => days.to_string(),
                None => String::new(),
            };
            let names = certificate.names.join(", ");
            table.row([certificate.file.clone(), listeners.join(", "), day.to_owned(), left, names]);
        }
        if more > 0 {
            table.row([
                format!("{more} more"),
                String::new(),
                "later".to_owned(),
                String::new(),
                String::new(),
            ]);
        }
        (!files.is_empty()).then_some(table)
    }

    fn backends_table(&self) -> Option<Table<8>> {
        let mut table =
            Table::new(["POOL", "BACKEND", "ADDRESS", "STATE", "WEIGHT", "ACTIVE", "TOTAL", "WHY"]);
        for pool in &self.pools {
            for backend in &pool.backends {
                table.row([
                    pool.name.clone(),
                    backend.name.clone(),
                    // Without a name it is called by its address already.
                    if backend.name == backend.address { String::new() } else { backend.address.clone() },
                    backend.state().to_owned(),
                    backend.weight(),
                    backend.active.to_string(),
                    backend.connections.to_string(),
                    backend.why(),
                ]);
            }
        }
        self.pools.iter().any(|pool| !pool.backends.is_empty()).then_some(table)
    }
}

/// Of many certificates those that end first are shown; the JSON has all.
const MOST_CERTIFICATES: usize = 20;

/// A length of time with its two largest units: `3d 4h`, `5m 10s`.
pub(super) fn spoken(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut left = seconds;
    let counts = units.map(|(unit, name)| {
        let count = left / unit;
        left %= unit;
        (count, name)
    });
    let said =
        counts.into_iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    let said: Vec<String> = said.map(|(count, name)| format!("{count}{name}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        status: Status,
    }

    fn status(words: &[&str]) -> Status {
        Line::try_parse_from([&["status"], words].concat()).unwrap().status
    }

    fn answer() -> Value {
        json!({
            "version": "0.1.0", "phase": "serving", "uptime_seconds": 7_265, "generation": 3,
            "generations": [{"generation": 1, "connections": 1}, {"generation": 3, "connections": 2}],
            "max_connections": 1000, "workers": [{"worker": 0, "connections": 9}, {"worker": 1}],
            "listeners": [{"name": "edge", "addresses": ["[::]:443"], "mode": "passthrough", "opened": 12,
                           "active": 3, "routes": 2, "default_pool": null}],
            "pools": [
                {"name": "web", "balance": "round_robin", "usable": 1, "health_check": "tcp", "verify": false,
                 "backends": [
                    {"name": "10.0.0.1:80", "address": "10.0.0.1:80", "state": "up", "weight": 1, "active": 3,
                     "connections": 12, "last_failure": "long ago", "last_check_seconds_ago": 1.0},
                    {"name": "two", "address": "10.0.0.2:80", "state": "down", "weight": 1, "hand_weight": 5,
                     "active": 0, "connections": 0, "last_failure": "cannot connect: refused",
                     "last_check_seconds_ago": 2.4},
                    {"name": "three", "address": "10.0.0.3:80", "state": "drained", "weight": 2,
                     "backup": true},
                 ], "names": [{"name": "a.internal:80", "addresses": [], "failure": "there is no such name"}]},
                {"name": "api", "balance": "random_two", "usable": 2, "health_check": "none", "backends": [
                    {"name": "10.0.1.1:80", "address": "10.0.1.1:80", "state": "up", "weight": 1,
                     "dial_failures": {"count": 37, "last": "Connection refused (os error 111)",
                                       "last_seconds_ago": 2.1, "since_seconds_ago": 300.4}},
                    {"name": "10.0.1.2:80", "address": "10.0.1.2:80", "state": "up", "weight": 1,
                     "dial_failures": {"count": 1, "last": "timed out", "last_seconds_ago": 300.0},
                     "certificate": {"days_left": 12}},
                ]},
            ],
            "certificates": [
                {"listener": "edge", "file": "certs/late.pem", "names": ["late.example.com"],
                 "not_after": "2030-01-01T00:00:00Z", "days_left": 1_500},
                {"listener": "edge", "file": "certs/www.pem", "names": ["www.example.com", "*.example.com"],
                 "not_after": "2026-12-24T10:00:00Z", "days_left": 26},
                {"listener": "other", "file": "certs/www.pem", "names": ["www.example.com", "*.example.com"],
                 "not_after": "2026-12-24T10:00:00Z", "days_left": 26},
                {"listener": "other", "file": "certs/old.pem", "names": ["old.example.com"],
                 "not_after": "2026-01-01T00:00:00Z", "days_left": -7},
            ],
        })
    }

    fn report(words: &[&str]) -> String {
        status(words).report(serde_json::from_value(answer()).unwrap(), 80)
    }

    const HEAD: &str = "\
weir 0.1.0: serving, generation 3, for 2h 1m
3 of at most 1000 connections, 1 of them from before a reload, 2 workers";

    #[test]
    fn it_shows_backends_with_why_and_certificates_with_their_end() {
        assert_eq!(
            report(&[]),
            format!(
                "{HEAD}

LISTENER  MODE         ADDRESS   ACTIVE  OPENED  ROUTES
edge      passthrough  [::]:443  3       12      2

POOL  BALANCE      USABLE  CHECK  NOTE
web   round_robin  1 of 3  tcp    backend certificates are NOT verified; cannot
                                  resolve a.internal:80: there is no such name
api   random_two   2 of 2  none

POOL  BACKEND      ADDRESS      STATE    WEIGHT     ACTIVE  TOTAL
web   10.0.0.1:80               up       1          3       12
web   two          10.0.0.2:80  down     5 by hand  0       0
    cannot connect: refused, checked 2s ago
web   three        10.0.0.3:80  drained  2, backup  0       0
    by hand
api   10.0.1.1:80               up       1          0       0
    37 connections failed in 5m, the last 2s ago: Connection refused (os error
    111)
api   10.0.1.2:80               up       1          0       0
    its certificate ends in 12 days

CERTIFICATE     LISTENER     ENDS        DAYS LEFT  NAMES
certs/old.pem   other        2026-01-01  expired    old.example.com
certs/www.pem   edge, other  2026-12-24  26         www.example.com,
                                                    *.example.com
certs/late.pem  edge         2030-01-01  1500       late.example.com"
            )
        );
    }

    #[test]
    fn filters_leave_out_what_was_not_asked_for() {
        let down = "\
POOL  BALANCE      USABLE  CHECK  NOTE
web   round_robin  1 of 3  tcp    backend certificates are NOT verified; cannot
                                  resolve a.internal:80: there is no such name

POOL  BACKEND  ADDRESS      STATE    WEIGHT     ACTIVE  TOTAL
web   two      10.0.0.2:80  down     5 by hand  0       0
    cannot connect: refused, checked 2s ago
web   three    10.0.0.3:80  drained  2, backup  0       0
    by hand";
        assert_eq!(report(&["--down"]), format!("{HEAD}\n\n{down}"));
        assert_eq!(report(&["--down", "--pool", "web"]), format!("{HEAD}\n\n{down}"));
        assert_eq!(report(&["--down", "--pool", "api"]), format!("{HEAD}\n\nno backend is out of service"));
        let api = report(&["--pool", "api"]);
        assert!(api.contains("random_two") && !api.contains("web") && !api.contains("certs/"), "{api}");
    }

    #[test]
    fn filters_hold_for_json_too() {
        let filtered = |words: &[&str]| {
            let told = status(words).filtered(answer().to_string().as_bytes()).unwrap();
            serde_json::from_str::<Value>(&told).unwrap()
        };
        assert_eq!(filtered(&[]), answer());
        let api = filtered(&["--pool", "api"]);
        assert_eq!((&api["pools"][0], &api["pools"][1]), (&answer()["pools"][1], &Value::Null));
        assert_eq!(api["certificates"], answer()["certificates"]);
        let down = filtered(&["--down"]);
        assert_eq!(down["pools"].as_array().unwrap().len(), 1);
        assert_eq!(down["pools"][0]["backends"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_drain_says_since_when_and_until_when() {
        let head = |draining: Value| {
            let mut all = answer();
            (all["phase"], all["draining"]) = ("draining".into(), draining);
            serde_json::from_value::<Running>(all).unwrap().head(80)
        };
        let told = head(json!({"since": "2026-03-01T12:00:00Z", "seconds": 12, "ends_in_seconds": 288}));
        let line = "\ndraining for 12s, since 2026-03-01T12:00:00Z; the rest is closed in 4m 48s\n";
        assert!(told.contains(line), "{told}");
        let leaving = head(json!({"since": "2026-03-01T12:00:00Z", "seconds": 3, "ends_in_seconds": null}));
        assert!(leaving.contains("\ndraining for 3s, since 2026-03-01T12:00:00Z\n"), "{leaving}");
    }

    #[test]
    fn no_line_is_longer_than_80_characters() {
        let mut all = answer();
        let long = "a-name-that-is-as-long-as-people-make-them.internal.example.com:8443";
        for pool in all["pools"].as_array_mut().unwrap() {
            pool["name"] = "a-pool-with-a-long-name".into();
            for backend in pool["backends"].as_array_mut().unwrap() {
                backend["name"] = format!("{long}@[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535").into();
                backend["address"] = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535".into();
                backend["connections"] = 123_456_789_012_u64.into();
            }
        }
        all["listeners"][0]["addresses"] =
            json!(["[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:443", "0.0.0.0:443"]);
        all["listeners"][0]["default_pool"] = "a-pool-with-a-long-name".into();
        all["certificates"][0]["file"] = "/etc/weir/certificates/www.example.com/fullchain.pem".into();
        all["draining"] = json!({"since": "2026-03-01T12:00:00Z", "seconds": 99_999, "ends_in_seconds": 288});
        let told = status(&[]).report(serde_json::from_value(all).unwrap(), 80);
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    }

    #[test]
    fn of_many_certificates_the_first_to_end_are_shown() {
        let mut all = answer();
        let made = (0..5_000).map(|n| {
            json!({"listener": "edge", "file": format!("{n}.pem"), "not_after": format!("20{:02}-01-01T00:00:00Z", 99 - n % 70)})
        });
        all["certificates"] = made.collect();
        let told = status(&[]).report(serde_json::from_value(all).unwrap(), 80);
        let last = told.lines().last().unwrap();
        assert!(last.starts_with("4980 more ") && last.ends_with(" later"), "{told}");
        assert_eq!(told.matches("2030-01-01").count(), 20, "{told}");
    }

    #[test]
    fn certificates_in_files_of_the_same_name_are_told_apart() {
        let mut all = answer();
        all["certificates"] = ["a.example.com", "b.example.com"]
            .map(|name| {
                json!({"listener": "edge", "file": "fullchain.pem", "names": [name],
                       "not_after": "2030-01-01T00:00:00Z", "days_left": 9})
            })
            .into_iter()
            .collect();
        let told = status(&[]).report(serde_json::from_value(all).unwrap(), 80);
        assert!(told.contains("a.example.com") && told.contains("b.example.com"), "{told}");
    }

    #[test]
    fn an_answer_of_another_version_is_shown_as_far_as_it_goes() {
        let running: Running = serde_json::from_value(json!({
            "pools": [{"name": "web", "new": 1, "backends": [{"name": "a", "up": false}]}]
        }))
        .unwrap();
        assert!(status(&[]).report(running, 80).ends_with(
            "POOL  BACKEND  STATE  WEIGHT  ACTIVE  TOTAL\nweb   a        down   0       0       0"
        ));
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, want) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m 59s"), (3_601, "1h"), (90_061, "1d 1h")]
        {
            assert_eq!(spoken(seconds), want);
        }
    }
}

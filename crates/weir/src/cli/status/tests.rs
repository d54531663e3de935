//! What `weir status` shows.

use super::text;
use super::*;
use crate::cli::format::spoken;
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

fn read(answer: Value) -> api::Status {
    serde_json::from_value(answer).unwrap()
}

fn shown(words: &[&str], answer: Value) -> String {
    status(words).report(&read(answer), 80)
}

fn report(words: &[&str]) -> String {
    shown(words, answer())
}

const HEAD: &str = "\
weir 0.1.0: serving, generation 3, for 2h 1m
3 of at most 1000 connections, 1 of them from before a reload, 2 workers";

#[test]
fn the_report_shows_why_backends_are_down_and_when_certificates_end() {
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
fn filters_leave_out_other_pools_and_backends() {
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
fn drains_show_their_beginning_and_end() {
    let head = |draining: Value| {
        let mut all = answer();
        (all["phase"], all["draining"]) = ("draining".into(), draining);
        text::head(&read(all), 80)
    };
    let told = head(json!({"since": "2026-03-01T12:00:00Z", "seconds": 12, "ends_in_seconds": 288}));
    let line = "\ndraining for 12s, since 2026-03-01T12:00:00Z; the rest is closed in 4m 48s\n";
    assert!(told.contains(line), "{told}");
    let leaving = head(json!({"since": "2026-03-01T12:00:00Z", "seconds": 3, "ends_in_seconds": null}));
    assert!(leaving.contains("\ndraining for 3s, since 2026-03-01T12:00:00Z\n"), "{leaving}");
}

#[test]
fn weirs_own_servers_are_shown_with_what_they_ask() {
    let mut all = answer();
    all["admin"] = json!({"address": "[::]:9901", "tls": true, "client_certificate": true});
    all["metrics"] = json!({"address": "0.0.0.0:9902", "tls": true});
    let servers = |all: &Value| text::head(&read(all.clone()), 100).lines().nth(2).map(str::to_owned);
    let both = "admin on [::]:9901 over TLS with client certificates, metrics on 0.0.0.0:9902 over TLS";
    assert_eq!(servers(&all).as_deref(), Some(both));
    all["metrics"] = Value::Null;
    all["admin"] = json!({"address": "unix:/run/weir.sock"});
    assert_eq!(servers(&all).as_deref(), Some("admin on unix:/run/weir.sock"));
    assert_eq!(servers(&answer()), None);
}

#[test]
fn changed_files_that_are_not_in_force_are_warnings() {
    let mut all = answer();
    let refused = |of: &str, number: usize| json!({of: "a", "path": format!("/c/{number}.pem"), "at": "2026-03-01T12:00:00Z", "reason": "is empty"});
    all["refused_files"] = json!([refused("listener", 1), refused("pool", 2)]);
    let told = text::head(&read(all.clone()), 100);
    for line in [
        "WARNING: a change of a was refused at 2026-03-01T12:00:00Z: /c/1.pem: is empty",
        "WARNING: a change of the pool a was refused at 2026-03-01T12:00:00Z: /c/2.pem: is empty",
    ] {
        assert!(told.lines().any(|one| one == line), "{told}");
    }
    all["refused_files"] = (0..7).map(|number| refused("pool", number)).collect();
    let told = text::head(&read(all), 100);
    assert_eq!(told.matches("WARNING: a change of the pool").count(), 5, "{told}");
    assert!(told.contains("\nWARNING: further changes were refused (/api/v1/status): 2\n"), "{told}");
}

#[test]
fn lines_fit_80_characters() {
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
    all["listeners"][0]["addresses"] = json!(["[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:443", "0.0.0.0:443"]);
    all["listeners"][0]["default_pool"] = "a-pool-with-a-long-name".into();
    all["certificates"][0]["file"] = "/etc/weir/certificates/www.example.com/fullchain.pem".into();
    all["draining"] = json!({"since": "2026-03-01T12:00:00Z", "seconds": 99_999, "ends_in_seconds": 288});
    let told = shown(&[], all);
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
}

#[test]
fn the_first_certificates_to_end_are_shown() {
    let mut all = answer();
    let made = (0..5_000).map(|n| {
        json!({"listener": "edge", "file": format!("{n}.pem"), "not_after": format!("20{:02}-01-01T00:00:00Z", 99 - n % 70)})
    });
    all["certificates"] = made.collect();
    let told = shown(&[], all);
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
    let told = shown(&[], all);
    assert!(told.contains("a.example.com") && told.contains("b.example.com"), "{told}");
}

#[test]
fn answers_of_other_versions_are_shown() {
    let told = shown(
        &[],
        json!({
            "pools": [{"name": "web", "new": 1, "backends": [{"name": "a", "up": false}]}]
        }),
    );
    assert!(
        told.ends_with(
            "POOL  BACKEND  STATE  WEIGHT  ACTIVE  TOTAL\nweb   a        down   0       0       0"
        )
    );
}

#[test]
fn times_have_two_units_at_most() {
    for (seconds, want) in
        [(0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m 59s"), (3_601, "1h"), (90_061, "1d 1h")]
    {
        assert_eq!(spoken(seconds), want);
    }
}

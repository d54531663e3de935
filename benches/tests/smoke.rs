//! The whole program at a tiny scale, with weir alone: it must measure, check and write as documented. Its
//! figures mean nothing here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use weir_benches::work::{ALL, Section, Work};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir-benches");

/// Runs the program as a user does, with results in `folder`.
fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let beside = Path::new(PROGRAM).with_file_name("weir");
    assert!(
        std::env::var_os("WEIR").is_some() || beside.is_file(),
        "no weir at {}: build it with `cargo build -p weir`, or set WEIR",
        beside.display()
    );
    let mut command = Command::new(PROGRAM);
    command
        .args(["--rounds", "1", "--scale", "0.01", "--patience", "20", "--out"])
        .arg(folder)
        .args(arguments);
    command.output().unwrap()
}

fn json(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("result.json")).unwrap()).unwrap()
}

/// Has weir do these works, and checks that each has a figure; gives the whole result.
fn weir_does(folder: &Path, works: &[&Work]) -> Value {
    let names: Vec<_> = works.iter().map(|work| work.name).collect();
    let output = bench(folder, &["--peers", "weir", "--work", &names.join(",")]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let json = json(folder);
    let rows = json["summary"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), works.iter().map(|work| work.figures().len()).sum::<usize>());
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let median = row["peers"]["weir"]["median"].as_f64();
        assert!(median.is_some(), "{name} has no figure:\n{said}");
        // The memory of 40 connections may be less than a page, and an added latency less than the noise.
        let may_be_nothing = matches!(row["family"].as_str(), Some("memory" | "latency"));
        assert!(may_be_nothing || median > Some(0.0), "{name}: {median:?}");
    }
    json
}

/// The runs in which the client went directly to the backend.
fn direct(json: &Value) -> usize {
    json["runs"].as_array().unwrap().iter().filter(|run| run["peer"] == "direct").count()
}

#[test]
fn weir_balances_connections_and_the_figures_are_written() {
    let folder = TempDir::new().unwrap();
    // All kinds in all modes, except most of the downloads in flight, which take seconds each.
    let chosen = |work: &&Work| {
        work.section() == Section::Tcp
            && (!work.is_cut() || ["offload-active", "passthrough-slow"].contains(&work.name))
    };
    let works: Vec<_> = ALL.iter().filter(chosen).collect();
    let json = weir_does(folder.path(), &works);
    assert_eq!(direct(&json), 3, "each latency has a direct run");
    for file in ["result.md", "bulk.svg", "connections.svg"] {
        assert!(folder.path().join(file).is_file(), "no {file}");
    }
}

#[test]
fn weir_balances_requests_and_the_figures_are_written() {
    let folder = TempDir::new().unwrap();
    let works: Vec<_> = ALL.iter().filter(|work| work.section() == Section::Http).collect();
    let json = weir_does(folder.path(), &works);
    assert_eq!(direct(&json), 1, "the latency has a direct run");
    for run in json["runs"].as_array().unwrap().iter().filter(|run| run["peer"] == "weir") {
        let (client, backend) = (&run["client"], &run["backend"]);
        let requests = client["requests"].as_u64().unwrap();
        assert!(requests > 0, "{run}");
        assert_eq!(backend["forwarded"].as_u64(), Some(requests), "{run}");
        assert_eq!(client["agreed"], client["connections"], "{run}");
    }
    for file in ["result.md", "http-bulk.svg", "http-connections.svg"] {
        assert!(folder.path().join(file).is_file(), "no {file}");
    }
}

#[test]
fn records_are_read_and_missing_peers_are_named() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["--rounds", "1", "--scale", "0.01", "--work", "passthrough-connect,http-h2-8x16"])
        .args(["--peers", "weir-records,haproxy", "--out"])
        .arg(folder.path())
        .env("HAPROXY", "/nonexistent/haproxy");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("left out: haproxy: cannot run /nonexistent/haproxy"), "{said}");
    let json = json(folder.path());
    assert!(json["left_out"]["haproxy"].as_str().unwrap().contains("/nonexistent/haproxy"));
    assert_eq!(json["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_load_balancer_that_does_not_start_fails_the_run() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    // It prints a version, as it must, and ends.
    command
        .args(["--rounds", "1", "--scale", "0.01", "--work", "offload-full", "--peers", "haproxy", "--out"])
        .arg(folder.path())
        .env("HAPROXY", "echo HAProxy version 0");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("haproxy, offload-full, round 1: haproxy did not start"), "{said}");
}

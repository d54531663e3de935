//! The whole program at a tiny scale, with weir alone: it must measure, check and write as documented. Its
//! figures mean nothing here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

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

#[test]
fn weir_does_the_works_and_they_are_written() {
    let folder = TempDir::new().unwrap();
    // All kinds in all modes, except downloads in flight, which take seconds each.
    let works = "down,up,connect,full,resumed,request,idle,latency,offload-active,passthrough-slow";
    let output = bench(folder.path(), &["--peers", "weir", "--work", works]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let json = json(folder.path());
    let rows = json["summary"]["rows"].as_array().unwrap();
    // Each work makes one row, each of the three latencies two.
    assert_eq!(rows.len(), weir_benches::work::ALL.len() - 4 + 3);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let median = row["peers"]["weir"]["median"].as_f64();
        assert!(median.is_some(), "{name} has no figure:\n{said}");
        // The memory of 40 connections may be less than a page, and an added latency less than the noise.
        let may_be_nothing = matches!(row["family"].as_str(), Some("memory" | "latency"));
        assert!(may_be_nothing || median > Some(0.0), "{name}: {median:?}");
    }
    let direct = json["runs"].as_array().unwrap().iter().filter(|run| run["peer"] == "direct").count();
    assert_eq!(direct, 3, "each latency has a direct run");
    for file in ["result.md", "bulk.svg", "connections.svg"] {
        assert!(folder.path().join(file).is_file(), "no {file}");
    }
}

#[test]
fn records_are_read_and_missing_peers_are_named() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["--rounds", "1", "--scale", "0.01", "--work", "passthrough-connect,bridging-connect"])
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

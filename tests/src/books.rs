//! Conditions that must hold after every scenario, wherever its weir runs.

use crate::eventually::eventually;
use crate::weir::{Metrics, Record};
use std::time::Duration;

/// How long connections may take to be gone after the peers have gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running weir with books to check.
pub(crate) trait Books {
    /// The metrics now.
    async fn metrics(&self) -> Metrics;
    /// The records of connections that have ended, so far.
    fn records(&self) -> Vec<Record>;
    /// The lines of its log so far.
    fn log(&self) -> Vec<String>;
    /// Whether it has given back the resources that it shares with no other weir.
    fn own_resources(&self, metrics: &Metrics) -> Result<(), String>;
}

/// Waits for exactly `count` records.
///
/// # Panics
/// When they do not come, or more come.
pub(crate) async fn some_records(weir: &impl Books, count: usize) -> Vec<Record> {
    eventually(Duration::from_secs(15), &format!("{count} access records"), async || {
        let records = weir.records();
        assert!(records.len() <= count, "more records than connections: {records:#?}");
        if records.len() == count { Ok(records) } else { Err(format!("{records:#?}")) }
    })
    .await
}

/// Waits until the scenario has left nothing behind, and checks the books.
///
/// # Panics
/// When they are wrong.
pub(crate) async fn settle(weir: &impl Books) -> Metrics {
    eventually(PATIENCE, "all is closed and accounted for", async || {
        let metrics = weir.metrics().await;
        balanced(weir, &metrics)
    })
    .await;
    // Scrapes once more: a scrape reads one family after another, and may have read the bytes before a
    // connection moved its last ones, and the connections after it closed.
    let metrics = weir.metrics().await;
    check(weir, &metrics);
    metrics
}

fn balanced(weir: &impl Books, metrics: &Metrics) -> Result<(), String> {
    let opened = metrics.count("weir_connections_opened_total", &[]);
    let closed = metrics.count("weir_connections_closed_total", &[]);
    let active = metrics.sum("weir_connections_active", &[]);
    if opened != closed || active != 0.0 {
        return Err(format!("{opened} opened, {closed} closed, {active} active"));
    }
    let backends = metrics.sum("weir_backend_active_connections", &[]);
    if backends != 0.0 {
        return Err(format!("{backends} connections to backends are counted as active"));
    }
    let records = weir.records().len() as u64;
    if records != opened {
        return Err(format!("{opened} connections, but {records} records"));
    }
    weir.own_resources(metrics)
}

fn check(weir: &impl Books, metrics: &Metrics) {
    let records = weir.records();
    for (direction, field) in [("up", "bytes_up"), ("down", "bytes_down")] {
        let counted = metrics.count("weir_bytes_total", &[("direction", direction)]);
        let recorded: u64 = records.iter().map(|record| record.number(field)).sum();
        // A counter never falls: bytes that a scrape has shown and a reset then dropped are set off against
        // later bytes.
        let dropped = records.iter().any(|record| record.outcome() != "ok");
        assert!(
            counted == recorded || dropped && counted > recorded,
            "bytes {direction}: {counted} in the metrics, {recorded} in the records"
        );
    }
    let log = weir.log().join("\n");
    let internal = metrics.count("weir_connections_closed_total", &[("outcome", "internal")]);
    assert_eq!(internal, 0, "a connection ended with `internal`\n{log}");
    assert!(!log.contains("panicked"), "something panicked\n{log}");
}

/// Checks that nothing was logged above `debug`, apart from weir's own startup lines.
///
/// # Panics
/// When there is such a line.
pub(crate) fn quiet(weir: &impl Books) {
    for line in weir.log() {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let quiet = matches!(entry["level"].as_str(), Some("DEBUG" | "TRACE"));
        let own = entry["target"].as_str().is_some_and(|target| target.starts_with("weir::"));
        assert!(quiet || own, "a stranger can fill the log: {line}");
    }
}

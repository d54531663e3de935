//! What must hold after every scenario.

use super::metrics::Metrics;
use super::process::Weir;
use crate::eventually::eventually;
use std::time::Duration;

/// How long connections may take to be gone after the peers have gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Descriptors that may come and go by themselves: a health check, this scrape, a spare one.
const SLACK: usize = 8;

impl Weir {
    /// Waits until nothing is left of what the scenario did, and checks the books.
    ///
    /// Active gauges are 0, as many connections are closed as were opened, each has one record, descriptors are back
    /// where they were, the bytes of records and metrics agree, and nothing panicked.
    ///
    /// # Panics
    /// When one of these does not become true.
    pub async fn settle(&self) -> Metrics {
        let metrics = eventually(PATIENCE, "all is closed and accounted for", async || {
            let metrics = self.metrics().await;
            self.balanced(&metrics).map(|()| metrics)
        })
        .await;
        self.books(&metrics);
        metrics
    }

    fn balanced(&self, metrics: &Metrics) -> Result<(), String> {
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
        let records = self.records().iter().filter(|record| record.text("event") != "open").count() as u64;
        if records != opened {
            return Err(format!("{opened} connections, but {records} records"));
        }
        // A worker keeps some pipes for the next bulk transfer; each has two ends.
        let pipes = metrics.sum("weir_pipes", &[]) as usize;
        let (now, start) = (self.fds(), self.fds_at_start);
        if now > start + SLACK + 2 * pipes {
            return Err(format!("{now} descriptors, {start} at the start, {pipes} pipes kept"));
        }
        Ok(())
    }

    fn books(&self, metrics: &Metrics) {
        let records = self.records();
        for (direction, field) in [("up", "bytes_up"), ("down", "bytes_down")] {
            let counted = metrics.count("weir_bytes_total", &[("direction", direction)]);
            let recorded: u64 = records.iter().map(|record| record.number(field)).sum();
            // A counter does not fall: what a scrape has shown and a reset then dropped goes with the next bytes.
            let dropped = records.iter().any(|record| record.outcome() != "ok");
            assert!(
                counted == recorded || dropped && counted > recorded,
                "bytes {direction}: {counted} in the metrics, {recorded} in the records"
            );
        }
        let internal = metrics.count("weir_connections_closed_total", &[("outcome", "internal")]);
        assert_eq!(internal, 0, "a connection ended with `internal`\n{}", self.program.stderr.text());
        let log = self.program.stderr.text();
        assert!(!log.contains("panicked"), "something panicked\n{log}");
    }

    /// Checks that nothing was logged above `debug`, apart from what weir says of its own start.
    ///
    /// # Panics
    /// When there is such a line.
    pub fn quiet(&self) {
        for line in self.program.stderr.all() {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let quiet = matches!(entry["level"].as_str(), Some("DEBUG" | "TRACE"));
            let own = entry["target"].as_str().is_some_and(|target| target.starts_with("weir::"));
            assert!(quiet || own, "a stranger can fill the log: {line}");
        }
    }
}

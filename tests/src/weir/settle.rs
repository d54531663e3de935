//! The books of a weir that is a process of its own.

use super::metrics::Metrics;
use super::process::Weir;
use super::record::Record;
use crate::books::{self, Books};

/// Descriptors that may come and go without the scenario: a health check, this scrape, a spare one.
const SLACK: usize = 8;

impl Weir {
    /// Waits until the scenario has left nothing behind, and checks the books.
    ///
    /// Active gauges are 0, as many connections are closed as were opened, each has one record, descriptors are back
    /// where they were, the bytes of records and metrics agree, and nothing panicked.
    ///
    /// # Panics
    /// When one of these does not come true.
    pub async fn settle(&self) -> Metrics {
        books::settle(self).await
    }

    /// Checks that nothing was logged above `debug`, apart from weir's own startup lines.
    ///
    /// # Panics
    /// When there is such a line.
    pub fn quiet(&self) {
        books::quiet(self);
    }
}

impl Books for Weir {
    async fn metrics(&self) -> Metrics {
        Self::metrics(self).await
    }

    fn records(&self) -> Vec<Record> {
        Self::records(self)
    }

    fn log(&self) -> Vec<String> {
        self.program.stderr.all()
    }

    fn own_resources(&self, metrics: &Metrics) -> Result<(), String> {
        // A worker keeps some pipes for the next bulk transfer; each has two ends.
        let pipes = metrics.sum("weir_pipes", &[]) as usize;
        // And connections to backends, for the next request.
        let kept = metrics.sum("weir_backend_kept_connections", &[]) as usize;
        let (now, start) = (self.fds(), self.fds_at_start);
        if now > start + SLACK + 2 * pipes + kept {
            return Err(format!(
                "{now} descriptors, {start} at the start, {pipes} pipes and {kept} connections kept"
            ));
        }
        Ok(())
    }
}

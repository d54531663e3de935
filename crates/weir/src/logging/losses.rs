//! Warns of lost log lines and records, because not every operator watches the counters.

use std::time::Duration;
use tokio::time::sleep;
use weir_control::access;
use weir_metrics::{LostLines, Metrics};

/// Warns at most once a minute of the losses since the last warning. Never returns. `records` knows why records could
/// not be written.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn tell(metrics: &Metrics, records: &access::Writer) {
    let (mut log, mut access) = (Losses::of(metrics.log_dropped()), Losses::of(metrics.access_dropped()));
    loop {
        sleep(LOSS_POLL).await;
        if let Some(lost) = log.since_last() {
            tracing::warn!(lost, total = log.told, "lines of the log were lost: stderr does not take them");
        }
        if let Some(lost) = access.since_last() {
            let (total, last_error) = (access.told, records.failure());
            tracing::warn!(
                lost,
                total,
                last_error,
                "access records were lost: their output does not take them"
            );
        }
        if log.fresh || access.fresh {
            (log.fresh, access.fresh) = (false, false);
            sleep(EVERY).await;
        }
    }
}

/// How often losses are checked.
const LOSS_POLL: Duration = Duration::from_secs(5);
/// The further wait after a warning: with [`LOSS_POLL`], one a minute.
const EVERY: Duration = Duration::from_secs(55);

struct Losses {
    counters: LostLines,
    told: u64,
    /// A warning was logged since this was cleared.
    fresh: bool,
}

impl Losses {
    fn of(counters: LostLines) -> Self {
        Self { told: counters.total(), counters, fresh: false }
    }

    fn since_last(&mut self) -> Option<u64> {
        let total = self.counters.total();
        let lost = total - self.told;
        self.told = total;
        self.fresh |= lost > 0;
        (lost > 0).then_some(lost)
    }
}

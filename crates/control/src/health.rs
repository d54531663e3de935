//! Asks backends whether they are well, and tells the pools.
//!
//! Each backend has a task of its own: the first result decides, then `rise` successes or `fall` failures in a
//! row change the state. Intervals are jittered by ±10 %, so that checks do not march in step. A change is
//! logged once; the reason of the last failure is kept for the status API.

use crate::probe::{self, Failed, Passed};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::pool::{Backend, CheckKind, HealthCheck, Pool};
use weir_metrics::Metrics;

/// Starts a task for every backend that is checked. They end when `stop` is cancelled.
pub fn start(pools: &[Arc<Pool>], metrics: &Arc<Metrics>, tasks: &TaskTracker, stop: &CancellationToken) {
    for pool in pools {
        if matches!(pool.health_check.kind, CheckKind::None) {
            continue;
        }
        for backend in &pool.backends {
            let watch = watch(Arc::clone(pool), Arc::clone(backend), Arc::clone(metrics));
            let stop = stop.clone();
            tasks.spawn(async move {
                // Cancelled or finished: both are the end of it.
                let _ended = stop.run_until_cancelled_owned(watch).await;
            });
        }
    }
}

async fn watch(pool: Arc<Pool>, backend: Arc<Backend>, metrics: Arc<Metrics>) {
    let check = &pool.health_check;
    // The first checks are spread a little too, but a dead backend must not serve for long.
    sleep(check.interval.min(FIRST_WITHIN).mul_f64(random())).await;
    let mut streak = Streak::default();
    loop {
        let asked = probe::ask(&backend, check).await;
        note(&pool, &backend, &metrics, &asked);
        if let Some(up) = streak.after(asked.is_ok(), check) {
            change(&pool, &backend, up, asked.as_ref().err());
        }
        sleep(jittered(check.interval)).await;
    }
}

fn note(pool: &Pool, backend: &Backend, metrics: &Metrics, asked: &Result<Passed, Failed>) {
    backend.metrics.health_check(asked.as_ref().map_or_else(Failed::label, |_| "ok"));
    backend.health.note(Instant::now(), asked.as_ref().err().map(ToString::to_string));
    if let Ok(Passed { not_after: Some(not_after) }) = asked {
        metrics.certificate_not_after("", &format!("{}/{}", pool.name, backend.name), "backend", *not_after);
    }
}

fn change(pool: &Pool, backend: &Backend, up: bool, why: Option<&Failed>) {
    if !backend.health.set_up(up) {
        return;
    }
    backend.metrics.up.set(i64::from(up));
    pool.metrics.usable.set(i64::try_from(pool.usable()).unwrap_or(i64::MAX));
    let why = why.map(ToString::to_string);
    tracing::info!(
        pool = %pool.name, backend = %backend.name, address = %backend.address, up, why,
        "health of a backend changed"
    );
}

/// Results of one kind in a row.
#[derive(Debug, Default)]
struct Streak {
    good: Option<bool>,
    length: u32,
    decided: bool,
}

impl Streak {
    /// The state that a result decides, if it decides one.
    fn after(&mut self, good: bool, check: &HealthCheck) -> Option<bool> {
        self.length = if self.good == Some(good) { self.length.saturating_add(1) } else { 1 };
        self.good = Some(good);
        let needed = if good { check.rise } else { check.fall };
        let decides = !self.decided || self.length >= needed;
        self.decided = true;
        decides.then_some(good)
    }
}

/// The first check comes within this time of the start.
const FIRST_WITHIN: Duration = Duration::from_millis(200);

/// The interval, ±10 %.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random())
}

/// From 0 to 1. The keys of a hash map are random enough to spread checks.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let share = bits as f64 / (1u64 << 53) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rise: u32, fall: u32) -> HealthCheck {
        let second = Duration::from_secs(1);
        HealthCheck { kind: CheckKind::Tcp, port: None, interval: second, timeout: second, rise, fall }
    }

    #[test]
    fn the_first_result_decides_then_rise_and_fall() {
        let check = check(2, 3);
        let mut streak = Streak::default();
        let results = [false, true, true, false, false, true, false, false, false, false];
        let decided: Vec<_> = results.iter().map(|r| streak.after(*r, &check)).collect();
        let (up, down) = (Some(true), Some(false));
        assert_eq!(decided, [down, None, up, None, None, None, None, None, down, down]);
    }

    #[test]
    fn jitter_is_a_tenth_either_way() {
        let spread: Vec<_> = (0..1000).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(spread.iter().all(|d| (9.0..=11.0).contains(&d.as_secs_f64())));
        assert!(
            spread.iter().any(|d| d.as_secs_f64() < 9.5) && spread.iter().any(|d| d.as_secs_f64() > 10.5)
        );
    }
}

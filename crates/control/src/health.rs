//! Asks backends whether they are well, and tells the pools.
//!
//! Each backend has a task of its own, which outlives plans as the backend does: a reload gives it the new settings,
//! and no storm of checks. The first result decides, then `rise` successes or `fall` failures in a row change the
//! state. Intervals are jittered by ±10 %, so that checks do not march in step. A change is logged once; the reason
//! of the last failure is kept for the status API.

use crate::probe::{self, Failed, Passed};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::pool::{Backend, CheckKind, HealthCheck, OnUnhealthy, Pool, Reason};
use weir_metrics::Metrics;
use weir_router::data_plane::Orders;
use weir_router::worker::Whose;

/// The checks of all backends of the plan in force.
#[derive(Debug)]
pub struct Checks {
    tasks: HashMap<Key, watch::Sender<Watched>>,
    doctor: Doctor,
    tracker: TaskTracker,
    stop: CancellationToken,
}

type Key = (Arc<str>, Arc<str>, SocketAddr);

/// Whom a task watches: changes with the plan.
#[derive(Clone, Debug)]
struct Watched {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
}

/// What every task needs to tell of its findings.
#[derive(Clone, Debug)]
struct Doctor {
    metrics: Arc<Metrics>,
    orders: Orders,
}

impl Checks {
    /// None yet. Tasks run among `tracker`'s, until `stop` is cancelled.
    pub fn new(
        metrics: &Arc<Metrics>,
        orders: Orders,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let doctor = Doctor { metrics: Arc::clone(metrics), orders };
        Self { tasks: HashMap::new(), doctor, tracker: tracker.clone(), stop: stop.clone() }
    }

    /// Watches every backend of these pools that is to be checked, and no other.
    pub fn reconcile(&mut self, pools: &[Arc<Pool>]) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in pools {
            for backend in pool.members().all() {
                if matches!(pool.settings.health_check.kind, CheckKind::None) {
                    self.doctor.pronounce(pool, backend, true, None);
                    continue;
                }
                let key = (Arc::clone(&pool.name), Arc::clone(&backend.name), backend.address);
                let watched = Watched { pool: Arc::clone(pool), backend: Arc::clone(backend) };
                let task = match before.remove(&key) {
                    Some(task) => {
                        task.send_replace(watched);
                        task
                    }
                    None => self.start(watched),
                };
                self.tasks.insert(key, task);
            }
        }
        // The tasks that are left lose their senders here, and end.
    }

    fn start(&self, watched: Watched) -> watch::Sender<Watched> {
        let (sender, receiver) = watch::channel(watched);
        let (doctor, stop) = (self.doctor.clone(), self.stop.clone());
        self.tracker.spawn(async move {
            // Cancelled or finished: both are the end of it.
            let _ended = stop.run_until_cancelled_owned(watch_over(receiver, doctor)).await;
        });
        sender
    }
}

async fn watch_over(mut watched: watch::Receiver<Watched>, doctor: Doctor) {
    let interval = watched.borrow().pool.settings.health_check.interval;
    // The first checks are spread a little too, but a dead backend must not serve for long.
    sleep(interval.min(FIRST_WITHIN).mul_f64(fastrand::f64())).await;
    let mut streak = Streak::default();
    loop {
        let ended = {
            let Watched { pool, backend } = watched.borrow_and_update().clone();
            let check = &pool.settings.health_check;
            let asked = probe::ask(&backend, check).await;
            let first = doctor.note(&pool, &backend, &asked);
            if let Some(up) = streak.after(asked.is_ok(), first, check) {
                doctor.pronounce(&pool, &backend, up, asked.as_ref().err());
                if !up && pool.settings.on_unhealthy == OnUnhealthy::Close {
                    let whose = Whose::Backend { live: Arc::clone(&backend.live), drain: None };
                    doctor.orders.close(&whose, CLOSED_WITHIN).await;
                }
            }
            Instant::now()
        };
        // Nothing of the plan is held while it waits.
        if !wait(&mut watched, ended).await {
            return;
        }
    }
}

/// Waits for the next check; a new plan may have it earlier or later. False when there is none.
async fn wait(watched: &mut watch::Receiver<Watched>, ended: Instant) -> bool {
    loop {
        let next = ended + jittered(watched.borrow().pool.settings.health_check.interval);
        tokio::select! {
            () = sleep_until(next) => return true,
            changed = watched.changed() => if changed.is_err() {
                return false;
            },
        }
    }
}

impl Doctor {
    /// Notes a result. True for the first of a backend.
    fn note(&self, pool: &Pool, backend: &Backend, asked: &Result<Passed, Failed>) -> bool {
        let live = &backend.live;
        live.metrics.health_check(asked.as_ref().map_or_else(Failed::label, |_| "ok"));
        if let Ok(Passed { not_after: Some(not_after) }) = asked {
            let name = format!("{}/{}", pool.name, backend.name);
            self.metrics.certificate_not_after("", &name, "backend", *not_after);
        }
        live.note(Instant::now(), asked.as_ref().err().map(ToString::to_string))
    }

    fn pronounce(&self, pool: &Pool, backend: &Backend, up: bool, why: Option<&Failed>) {
        let changed = if up { backend.live.back(Reason::Down) } else { backend.live.out(Reason::Down) };
        if !changed {
            return;
        }
        pool.reassess();
        let why = why.map(ToString::to_string);
        tracing::info!(
            pool = %pool.name, backend = %backend.name, address = %backend.address, up, why,
            "health of a backend changed"
        );
    }
}

/// Results of one kind in a row.
#[derive(Debug, Default)]
struct Streak {
    good: Option<bool>,
    length: u32,
}

impl Streak {
    /// The state that a result decides, if it decides one. The `first` of a backend always does.
    fn after(&mut self, good: bool, first: bool, check: &HealthCheck) -> Option<bool> {
        self.length = if self.good == Some(good) { self.length.saturating_add(1) } else { 1 };
        self.good = Some(good);
        let needed = if good { check.rise } else { check.fall };
        (first || self.length >= needed).then_some(good)
    }
}

/// The first check comes within this time of the start.
const FIRST_WITHIN: Duration = Duration::from_millis(200);
/// Connections of a backend that fails its checks are closed within this time, where they are to be.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// The interval, ±10 %.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
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
        let decided: Vec<_> =
            results.iter().enumerate().map(|(n, r)| streak.after(*r, n == 0, &check)).collect();
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

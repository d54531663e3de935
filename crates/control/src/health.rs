//! Checks the health of backends, and updates the pools.
//!
//! Each backend has a task of its own, which outlives plans as the backend does: a reload only gives it new settings,
//! and causes no storm of checks. The first result decides; later, `rise` successes or `fall` failures in a row change
//! the state. Intervals are jittered by ±10 %, so that checks do not march in step. Changes are logged, a few lines at
//! a time for each backend ([`LogThrottle`]); the reason of the last failure is kept for the status API.

use crate::probe::{self, Checked, Failed, Verdict};
use crate::supervise::supervise;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use weir_core::account::failures::Failure;
use weir_log::throttle::LogThrottle;
use weir_metrics::labels::CheckResult;
use weir_pool::{Backend, BackendAddr, CheckKind, HealthCheck, OnUnhealthy, OutOfService, Pool};
use weir_router::data_plane::WorkerCommands;
use weir_router::worker::CloseScope;

/// The checks of all backends of the plan in force.
#[derive(Debug)]
pub struct Checks {
    tasks: HashMap<Key, watch::Sender<CheckTarget>>,
    shared: Shared,
    stop: CancellationToken,
}

/// What all tasks share.
#[derive(Clone, Debug)]
struct Shared {
    commands: WorkerCommands,
    not_made: Arc<NotMade>,
    tracker: TaskTracker,
}

type Key = (Arc<str>, Arc<str>, BackendAddr);

/// The backend that a task checks, and its pool; changes with the plan.
#[derive(Clone, Debug)]
struct CheckTarget {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
}

impl Checks {
    /// No checks yet. `tracker` runs their tasks until `stop` is cancelled.
    pub fn new(commands: WorkerCommands, tracker: &TaskTracker, stop: &CancellationToken) -> Self {
        let shared = Shared { commands, not_made: Arc::default(), tracker: tracker.clone() };
        Self { tasks: HashMap::new(), shared, stop: stop.clone() }
    }

    /// From now on checks exactly the backends of those of these pools that have a health check.
    pub fn reconcile(&mut self, pools: &[Arc<Pool>]) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in pools {
            for backend in pool.members().all() {
                if matches!(pool.settings.health_check.kind, CheckKind::None) {
                    backend.state.metrics.clear_certificate::<Verdict>();
                    if set_health(pool, backend, true) {
                        tell(pool, backend, 1, None);
                    }
                    continue;
                }
                let key = (Arc::clone(&pool.name), Arc::clone(&backend.name), backend.address.clone());
                let watched = CheckTarget { pool: Arc::clone(pool), backend: Arc::clone(backend) };
                let task = match before.remove(&key) {
                    Some(task) => {
                        task.send_replace(watched);
                        task
                    }
                    None => {
                        if backend.state.metrics.certificate().is_none() {
                            // The name may have belonged to another address, with another certificate.
                            backend.state.metrics.clear_certificate::<Verdict>();
                        }
                        self.start(watched)
                    }
                };
                self.tasks.insert(key, task);
            }
        }
        // The remaining tasks lose their senders here, and end.
    }

    fn start(&self, watched: CheckTarget) -> watch::Sender<CheckTarget> {
        let (sender, receiver) = watch::channel(watched);
        let (stop, shared) = (self.stop.clone(), self.shared.clone());
        self.shared.tracker.spawn(async move {
            // Cancelled or finished: either way it has ended.
            let watch = supervise("health checks", || watch_over(receiver.clone(), shared.clone()));
            let _ended = stop.run_until_cancelled_owned(watch).await;
        });
        sender
    }
}

async fn watch_over(mut watched: watch::Receiver<CheckTarget>, shared: Shared) {
    let interval = watched.borrow().pool.settings.health_check.interval;
    // The first checks are spread a little too, but a dead backend must not serve for long.
    sleep(interval.min(FIRST_WITHIN).mul_f64(fastrand::f64())).await;
    let mut streak = Streak::default();
    let mut log = HealthLog::default();
    loop {
        // The farewell of the last check, dropped before the next one, so that a backend has at most one.
        let _leaving;
        let ended = {
            let CheckTarget { pool, backend } = watched.borrow_and_update().clone();
            let check = &pool.settings.health_check;
            let mut checked = probe::ask(&backend, check, &pool.settings.origin, pool.own_addresses()).await;
            _leaving = checked
                .connection
                .take()
                .map(|open| AbortOnDropHandle::new(shared.tracker.spawn(probe::leave(open))));
            if watched.has_changed().is_err() {
                // The backend is no longer checked, so this result must not count.
                log.hurry();
                tell_news(&mut log, &pool, &backend);
                return;
            }
            if let Err(failed @ Failed::Tls(error)) = &checked.result
                && !failed.is_shortage()
            {
                shared.commands.failures().push(Failure::of_a_check(&backend, &pool.name, error));
            }
            let decided = take_up(&mut streak, &pool, &backend, &checked, &shared.not_made);
            shared.not_made.tell();
            if let Some(decided) = decided
                && set_health(&pool, &backend, decided)
            {
                log.note(checked.result.err().map(|why| why.text()));
                tell_news(&mut log, &pool, &backend);
                // Once: connections that begin later, in a panic, begin with a backend that is known to be unhealthy.
                if !decided && pool.settings.on_unhealthy == OnUnhealthy::Close {
                    let whose = CloseScope::Backend { state: Arc::clone(&backend.state), drain: None };
                    shared.commands.close(&whose, CLOSED_WITHIN).await;
                }
            }
            Instant::now()
        };
        // Nothing of the plan is held while it waits.
        if !wait(&mut watched, ended, &mut log).await {
            log.hurry();
            tell_of(&mut log, &watched);
            return;
        }
    }
}

/// Notes a finished check. `Some` if it decides the backend's health. A check that this machine could not make, for
/// want of a descriptor, for example, counts neither for the backend nor against it.
fn take_up(
    streak: &mut Streak,
    pool: &Pool,
    backend: &Backend,
    checked: &Checked,
    not_made: &NotMade,
) -> Option<bool> {
    if let Err(why) = &checked.result
        && why.is_shortage()
    {
        backend.state.metrics.health_check(CheckResult::NotMade);
        not_made.note(pool, backend, why);
        return None;
    }
    let check = &pool.settings.health_check;
    let first = note(backend, check, checked);
    streak.after(checked.result.is_ok(), first, check)
}

/// Checks of all backends that could not be made: a shortage of this machine affects each of them.
#[derive(Debug, Default)]
struct NotMade(LogThrottle<CheckNotMade>);

/// The last of them, by the names of pool and backend.
#[derive(Debug)]
struct CheckNotMade {
    pool: Arc<str>,
    backend: Arc<str>,
    why: String,
}

impl NotMade {
    fn note(&self, pool: &Pool, backend: &Backend, why: &Failed) {
        let (pool, backend) = (Arc::clone(&pool.name), Arc::clone(&backend.name));
        self.0.note(CheckNotMade { pool, backend, why: why.text() });
    }

    /// Logs those since the last line, if a line is due. Called after each check, whatever its result.
    fn tell(&self) {
        if let Some((checks, CheckNotMade { pool, backend, why })) = self.0.take() {
            tracing::warn!(
                %pool, %backend, why, checks,
                "health checks could not be made, and change nothing: this machine lacks something"
            );
        }
    }
}

/// Waits for the next check, which a new plan may move, and logs changes that are due. False if checks have ended.
async fn wait(watched: &mut watch::Receiver<CheckTarget>, ended: Instant, log: &mut HealthLog) -> bool {
    loop {
        let next = ended + jittered(watched.borrow().pool.settings.health_check.interval);
        tokio::select! {
            () = sleep_until(next) => return true,
            () = log.time() => tell_of(log, watched),
            changed = watched.changed() => if changed.is_err() {
                return false;
            },
        }
    }
}

/// Notes a finished check. True for the backend's first.
fn note(backend: &Backend, check: &HealthCheck, checked: &Checked) -> bool {
    let state = &backend.state;
    let why = checked.result.as_ref().err();
    state.metrics.health_check(why.map_or(CheckResult::Ok, Failed::result));
    match checked.certificate {
        Some(seen) => state.metrics.record_certificate(seen.not_after, seen.verdict),
        // The last certificate seen counts until another is seen, or until checks no longer look at it.
        None if check.kind.speaks_tls() => (),
        None => state.metrics.clear_certificate::<Verdict>(),
    }
    state.note(Instant::now(), why.map(Failed::text))
}

/// Puts a backend in or out of service. True if that is a change.
fn set_health(pool: &Pool, backend: &Backend, up: bool) -> bool {
    let changed =
        if up { backend.state.back(OutOfService::Down) } else { backend.state.out(OutOfService::Down) };
    if changed {
        pool.reassess();
    }
    changed
}

/// Logs a backend's health after `changes` changes; `why` is the reason of the last one.
fn tell(pool: &Pool, backend: &Backend, changes: u64, why: Option<String>) {
    let up = !backend.state.is(OutOfService::Down);
    let why = why.filter(|_| !up);
    tracing::info!(
        pool = %pool.name, backend = %backend.name, address = %backend.address, up, changes, why,
        "health of a backend changed"
    );
}

/// Changes of a backend's health on their way to the log, with the reason of the last one.
type HealthLog = LogThrottle<Option<String>>;

fn tell_news(log: &mut HealthLog, pool: &Pool, backend: &Backend) {
    if let Some((changes, why)) = log.take() {
        tell(pool, backend, changes, why);
    }
}

fn tell_of(log: &mut HealthLog, watched: &watch::Receiver<CheckTarget>) {
    let CheckTarget { pool, backend } = watched.borrow().clone();
    tell_news(log, &pool, &backend);
}

/// Results of one kind in a row.
#[derive(Debug, Default)]
struct Streak {
    good: Option<bool>,
    length: u32,
}

impl Streak {
    /// The state that a result decides, if it decides one. A backend's `first` result always does.
    fn after(&mut self, good: bool, first: bool, check: &HealthCheck) -> Option<bool> {
        self.length = if self.good == Some(good) { self.length.saturating_add(1) } else { 1 };
        self.good = Some(good);
        let needed = if good { check.rise } else { check.fall };
        (first || self.length >= needed).then_some(good)
    }
}

/// The first check comes within this time of the start.
const FIRST_WITHIN: Duration = Duration::from_millis(200);
/// Under `on_unhealthy: close` the connections of a backend that fails its checks are closed within this time.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// The interval, ±10 %.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_pool::SendProxyProtocol;

    fn check(rise: u32, fall: u32) -> HealthCheck {
        let second = Duration::from_secs(1);
        HealthCheck {
            kind: CheckKind::Tcp,
            port: None,
            interval: second,
            timeout: second,
            rise,
            fall,
            proxy_protocol: SendProxyProtocol::Off,
        }
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

//! Asks backends whether they are well, and tells the pools.
//!
//! Each backend has a task of its own, which outlives plans as the backend does: a reload gives it the new settings,
//! and no storm of checks. The first result decides, then `rise` successes or `fall` failures in a row change the
//! state. Intervals are jittered by ±10 %, so that checks do not march in step. Changes are logged, at most
//! [`LINES`] lines in a [`WHILE`] for each backend; the reason of the last failure is kept for the status API.

use crate::probe::{self, Checked, Failed};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::pool::{Backend, CheckKind, HealthCheck, OnUnhealthy, Pool, Reason};
use weir_router::data_plane::Orders;
use weir_router::worker::Whose;

/// The checks of all backends of the plan in force.
#[derive(Debug)]
pub struct Checks {
    tasks: HashMap<Key, watch::Sender<Watched>>,
    orders: Orders,
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

impl Checks {
    /// None yet. Tasks run among `tracker`'s, until `stop` is cancelled.
    pub fn new(orders: Orders, tracker: &TaskTracker, stop: &CancellationToken) -> Self {
        Self { tasks: HashMap::new(), orders, tracker: tracker.clone(), stop: stop.clone() }
    }

    /// Watches every backend of these pools that is to be checked, and no other.
    pub fn reconcile(&mut self, pools: &[Arc<Pool>]) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in pools {
            for backend in pool.members().all() {
                if matches!(pool.settings.health_check.kind, CheckKind::None) {
                    backend.live.metrics.looks_away(probe::verdicts());
                    if pronounce(pool, backend, true) {
                        tell(pool, backend, 1, None);
                    }
                    continue;
                }
                let key = (Arc::clone(&pool.name), Arc::clone(&backend.name), backend.address);
                let watched = Watched { pool: Arc::clone(pool), backend: Arc::clone(backend) };
                let task = match before.remove(&key) {
                    Some(task) => {
                        task.send_replace(watched);
                        task
                    }
                    None => {
                        if backend.live.metrics.certificate().is_none() {
                            // Its name may have been another address's, whose certificate it is not.
                            backend.live.metrics.looks_away(probe::verdicts());
                        }
                        self.start(watched)
                    }
                };
                self.tasks.insert(key, task);
            }
        }
        // The tasks that are left lose their senders here, and end.
    }

    fn start(&self, watched: Watched) -> watch::Sender<Watched> {
        let (sender, receiver) = watch::channel(watched);
        let (orders, stop) = (self.orders.clone(), self.stop.clone());
        self.tracker.spawn(async move {
            // Cancelled or finished: both are the end of it.
            let _ended = stop.run_until_cancelled_owned(watch_over(receiver, orders)).await;
        });
        sender
    }
}

async fn watch_over(mut watched: watch::Receiver<Watched>, orders: Orders) {
    let interval = watched.borrow().pool.settings.health_check.interval;
    // The first checks are spread a little too, but a dead backend must not serve for long.
    sleep(interval.min(FIRST_WITHIN).mul_f64(fastrand::f64())).await;
    let mut streak = Streak::default();
    let mut news = News::default();
    loop {
        let ended = {
            let Watched { pool, backend } = watched.borrow_and_update().clone();
            let check = &pool.settings.health_check;
            let checked = probe::ask(&backend, check).await;
            if watched.has_changed().is_err() {
                // Nobody wants it checked any more: this must not be the last word.
                news.told = 0;
                news.tell(&pool, &backend);
                return;
            }
            let first = note(&backend, check, &checked);
            let result = checked.result;
            let decided = streak.after(result.is_ok(), first, check);
            let changed = decided.is_some_and(|up| pronounce(&pool, &backend, up));
            if changed {
                news.note(result.err().map(|why| why.to_string()));
            }
            news.tell(&pool, &backend);
            // Once: what begins later, in a panic, begins with a backend that is known to be ill.
            if changed && decided == Some(false) && pool.settings.on_unhealthy == OnUnhealthy::Close {
                let whose = Whose::Backend { live: Arc::clone(&backend.live), drain: None };
                orders.close(&whose, CLOSED_WITHIN).await;
            }
            Instant::now()
        };
        // Nothing of the plan is held while it waits.
        if !wait(&mut watched, ended, &mut news).await {
            news.told = 0;
            news.tell_of(&watched);
            return;
        }
    }
}

/// Waits for the next check; a new plan may have it earlier or later. Tells news when it is time. False when there is
/// no next one.
async fn wait(watched: &mut watch::Receiver<Watched>, ended: Instant, news: &mut News) -> bool {
    loop {
        let next = ended + jittered(watched.borrow().pool.settings.health_check.interval);
        tokio::select! {
            () = sleep_until(next) => return true,
            () = news.time() => news.tell_of(watched),
            changed = watched.changed() => if changed.is_err() {
                return false;
            },
        }
    }
}

/// Notes a finished check. True for the first of a backend.
fn note(backend: &Backend, check: &HealthCheck, checked: &Checked) -> bool {
    let live = &backend.live;
    let why = checked.result.as_ref().err();
    live.metrics.health_check(why.map_or("ok", Failed::label));
    match checked.certificate {
        Some(certificate) => live.metrics.saw(certificate, probe::verdicts()),
        // What was seen last is true until something else is seen, unless nobody looks any more.
        None if check.kind.speaks_tls() => (),
        None => live.metrics.looks_away(probe::verdicts()),
    }
    live.note(Instant::now(), why.map(ToString::to_string))
}

/// Puts a backend in or out of service. True if that is a change.
fn pronounce(pool: &Pool, backend: &Backend, up: bool) -> bool {
    let changed = if up { backend.live.back(Reason::Down) } else { backend.live.out(Reason::Down) };
    if changed {
        pool.reassess();
    }
    changed
}

/// Logs what a backend's health is now, after so many changes; `why` is about the last of them.
fn tell(pool: &Pool, backend: &Backend, changes: u32, why: Option<String>) {
    let up = !backend.live.is(Reason::Down);
    let why = why.filter(|_| !up);
    tracing::info!(
        pool = %pool.name, backend = %backend.name, address = %backend.address, up, changes, why,
        "health of a backend changed"
    );
}

/// Changes of a backend's health on their way to the log: one that flaps must not flood it.
#[derive(Debug, Default)]
struct News {
    changes: u32,
    why: Option<String>,
    /// When the first of the last lines was written.
    since: Option<Instant>,
    /// Lines since then.
    told: u32,
}

impl News {
    /// Takes up a change.
    fn note(&mut self, why: Option<String>) {
        self.changes = self.changes.saturating_add(1);
        self.why = why;
    }

    /// Gives what is to be told now, if anything is: how many changes, and why the last one.
    fn take(&mut self) -> Option<(u32, Option<String>)> {
        let now = Instant::now();
        if self.changes == 0 || self.quiet_until().is_some_and(|until| now < until) {
            return None;
        }
        if self.since.is_none_or(|since| now >= since + WHILE) {
            (self.since, self.told) = (Some(now), 0);
        }
        self.told += 1;
        Some((std::mem::take(&mut self.changes), self.why.take()))
    }

    fn quiet_until(&self) -> Option<Instant> {
        self.since.filter(|_| self.told >= LINES).map(|since| since + WHILE)
    }

    /// Waits until there is something to tell.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn time(&self) {
        match self.quiet_until() {
            _ if self.changes == 0 => std::future::pending().await,
            Some(until) => sleep_until(until).await,
            None => (),
        }
    }

    fn tell(&mut self, pool: &Pool, backend: &Backend) {
        if let Some((changes, why)) = self.take() {
            tell(pool, backend, changes, why);
        }
    }

    fn tell_of(&mut self, watched: &watch::Receiver<Watched>) {
        let Watched { pool, backend } = watched.borrow().clone();
        self.tell(&pool, &backend);
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

/// So many lines of the log about a backend's health, enough for a restart and its end,
const LINES: u32 = 4;
/// in this time.
const WHILE: Duration = Duration::from_secs(10);
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
    use tokio::time::timeout;

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

    #[tokio::test(start_paused = true)]
    async fn a_few_changes_are_told_at_once_and_the_rest_of_a_flood_together() {
        let began = Instant::now();
        let mut news = News::default();
        assert!(timeout(10 * WHILE, news.time()).await.is_err(), "nothing to tell");
        news.note(Some("first".to_owned()));
        timeout(Duration::ZERO, news.time()).await.unwrap();
        assert_eq!(news.take(), Some((1, Some("first".to_owned()))));
        assert_eq!(began.elapsed(), 10 * WHILE);
        assert!(timeout(WHILE, news.time()).await.is_err(), "told already");

        // It may be told again by now; of a flood that begins here each while tells a few, and what it held back.
        let (mut told, mut noted) = (Vec::new(), 0);
        let end = Instant::now() + 3 * WHILE + WHILE / 2;
        while Instant::now() < end {
            news.note(None);
            noted += 1;
            told.extend(news.take());
            sleep(WHILE / 20).await;
        }
        let changes: Vec<_> = told.iter().map(|(changes, _)| *changes).collect();
        assert_eq!(changes, [1, 1, 1, 1, 17, 1, 1, 1, 17, 1, 1, 1, 17, 1, 1, 1]);
        // The last of them is told although nothing happens any more.
        timeout(WHILE / 2, news.time()).await.unwrap();
        let rest = news.take().unwrap().0;
        assert_eq!(told.iter().map(|(changes, _)| changes).sum::<u32>() + rest, noted);
        assert_eq!(news.take(), None);
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

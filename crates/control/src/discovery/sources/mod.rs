//! Asks for every source of the plan in force, again and again, and keeps the last good answers.
//!
//! Each source has a task of its own, which sleeps until its answer ends. The owner of the plan calls
//! [`Sources::first`] with a new plan's sources before it is in force, [`Sources::reconcile`] afterwards, and waits on
//! [`Sources::changed`]. An answer is kept over failures, however long they last: addresses that
//! were right yesterday are a better guess than none, and health checks judge them anyway.

mod log;

use super::answer::DnsAnswer;
use super::error::ResolveError;
use super::pace;
use super::resolve::DnsResolver;
use crate::supervise::supervise;
use arc_swap::ArcSwap;
use log::SourceLog;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use weir_metrics::Metrics;
use weir_metrics::labels::ResolutionResult;
use weir_pool::source::{Found, Source};

/// The sources of the plan in force that must be followed. One per process; belongs to the control plane's runtime.
#[derive(Debug)]
pub struct Sources {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The last results of a source, for the status API.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last good answer; `None` before the first.
    pub answer: Option<Arc<DnsAnswer>>,
    /// Why the last resolution failed; `None` when it did not.
    pub failure: Option<String>,
    /// When the last resolution ended; `None` before the first.
    pub at: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    resolver: ArcSwap<DnsResolver>,
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<Source, Known>>,
    /// Some source's `changed` is set.
    change: Notify,
    /// Bounds the resolutions at once.
    turns: Semaphore,
}

#[derive(Debug)]
struct Known {
    state: State,
    /// Failures in a row; an answer with a missing part counts.
    failures: u32,
    /// When to ask next.
    due: Instant,
    /// Not yet told by [`Sources::changed`].
    changed: bool,
    log: SourceLog,
    /// Ends the task when dropped; `None` while no plan in force has the source.
    task: Option<DropGuard>,
}

impl Sources {
    /// Nothing is asked before [`Self::first`] or [`Self::reconcile`]. The tasks are spawned through `tasks` and
    /// end with `stop`.
    pub fn new(
        resolver: DnsResolver,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let shared = Shared {
            resolver: ArcSwap::from_pointee(resolver),
            metrics: Arc::clone(metrics),
            known: Mutex::default(),
            change: Notify::new(),
            turns: Semaphore::new(AT_ONCE),
        };
        Self { shared: Arc::new(shared), tasks: tasks.clone(), stop: stop.clone() }
    }

    /// Resolves those of `sources` that were never resolved, at the same time, and waits for at most `within`.
    /// What has not come by then comes through [`Self::changed`], once [`Self::reconcile`] has the source.
    ///
    /// With `other` that resolver is asked, and only for sources that no plan in force has: those of the plan in force
    /// keep to its own resolver until [`Self::ask`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the resolutions under way and keeps those done.
    pub async fn first(
        &self,
        sources: impl IntoIterator<Item = Source>,
        other: Option<&DnsResolver>,
        within: Duration,
    ) {
        let mut asking = JoinSet::new();
        let sources: HashSet<Source> = sources.into_iter().collect();
        for source in sources {
            let asked_by_its_task = |one: &Known| other.is_some() && one.task.is_some();
            let mut known = self.shared.known();
            let one = known.entry(source.clone()).or_default();
            if one.state.at.is_none() && !asked_by_its_task(one) {
                let (shared, other) = (Arc::clone(&self.shared), other.cloned());
                asking.spawn(async move { shared.refresh_from(other, &source).await });
            }
        }
        let all = async { while asking.join_next().await.is_some() {} };
        if timeout(within, all).await.is_err() {
            tracing::debug!(?within, "some names were not resolved in time");
        }
    }

    /// Keeps exactly `sources` resolved from now on: starts and ends tasks, and forgets the answers of others.
    pub fn reconcile(&self, sources: impl IntoIterator<Item = Source>) {
        let wanted: HashSet<Source> = sources.into_iter().collect();
        let mut known = self.shared.known();
        let gone = known.extract_if(|source, _| !wanted.contains(source));
        let gone: Vec<String> = gone.map(|(source, _)| source.to_string()).collect();
        self.shared.metrics.forget_names(&gone.iter().map(String::as_str).collect());
        for source in wanted {
            let one = known.entry(source.clone()).or_default();
            if one.task.is_none() {
                let stop = self.stop.child_token();
                one.task = Some(stop.clone().drop_guard());
                let shared = Arc::clone(&self.shared);
                self.tasks.spawn(async move {
                    let refreshing = supervise("names", || refresh(Arc::clone(&shared), source.clone()));
                    // The task ends only by cancellation.
                    let _ended = stop.run_until_cancelled_owned(refreshing).await;
                });
            }
        }
    }

    /// Asks `resolver` from now on. Must be followed by [`Self::reconcile`], which then asks for every name anew.
    pub fn ask(&self, resolver: DnsResolver) {
        self.shared.resolver.store(Arc::new(resolver));
        for one in self.shared.known().values_mut() {
            one.task = None;
            one.due = Instant::now();
        }
    }

    /// Waits until answers have changed, and gives their sources. Changes gather until the next call: none is
    /// lost, and there are never more than sources. For one waiter.
    ///
    /// # Cancel safety
    /// Loses nothing when dropped.
    pub async fn changed(&self) -> Vec<Source> {
        loop {
            let mut changed = Vec::new();
            for (source, one) in self.shared.known().iter_mut() {
                if std::mem::take(&mut one.changed) {
                    changed.push(source.clone());
                }
            }
            if !changed.is_empty() {
                return changed;
            }
            self.shared.change.notified().await;
        }
    }

    /// What is known of a source; the default if it was never asked for.
    pub fn state(&self, source: &Source) -> State {
        self.shared.known().get(source).map(|one| one.state.clone()).unwrap_or_default()
    }

    /// The addresses of a source's last good answer; none before the first.
    pub fn found(&self, source: &Source) -> Vec<Found> {
        self.state(source).answer.map(|answer| answer.found.clone()).unwrap_or_default()
    }
}

/// Asks whenever the answer has ended.
async fn refresh(shared: Arc<Shared>, source: Source) {
    loop {
        // The first wait may be over; then the source is asked at once.
        let Some((due, told)) = shared.known().get(&source).map(|one| (one.due, one.log.due())) else {
            return;
        };
        if let Some(told) = told.filter(|told| *told < due) {
            sleep_until(told).await;
            if let Some(Known { log, state, .. }) = shared.known().get_mut(&source) {
                log.tell(&source, state);
            }
            continue;
        }
        sleep_until(due).await;
        shared.refresh(&source).await;
    }
}

impl Shared {
    async fn refresh(&self, source: &Source) {
        self.refresh_from(None, source).await;
    }

    /// Asks `other`, or else the resolver in force.
    async fn refresh_from(&self, other: Option<DnsResolver>, source: &Source) {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let resolver = other.unwrap_or_else(|| DnsResolver::clone(&self.resolver.load()));
        let asked = resolver.resolve(source).await;
        // A source that has left the plan meanwhile must not get its series back.
        if let Some(one) = self.known().get_mut(source) {
            let result = asked.as_ref().map_or_else(ResolveError::result, |_| ResolutionResult::Ok);
            self.metrics.resolution(&source.to_string(), result);
            match asked {
                Ok(answer) => one.answered(source, answer),
                Err(error) => one.failed(source, &error),
            }
            if one.changed {
                self.change.notify_one();
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Source, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn answered(&mut self, source: &Source, answer: DnsAnswer) {
        let before = self.state.answer.take();
        let answer = match &before {
            Some(before) => answer.completed_from(before),
            None => answer,
        };
        self.state.failure = None;
        self.failures = if answer.missing.is_empty() { 0 } else { self.failures.saturating_add(1) };
        let now = Instant::now();
        let wait = pace::after_answer(answer.ttl, fastrand::f64());
        // Missing parts are asked for again sooner than the TTL of the others.
        let retry = (self.failures > 0).then(|| pace::after_failure(self.failures, fastrand::f64()));
        self.due = now + retry.map_or(wait, |retry| retry.min(wait));
        self.state.at = Some(now);
        if before.as_ref().is_none_or(|before| before.found != answer.found) {
            self.log.addresses(before.as_ref().map_or(&[], |b| &b.found), &answer.found);
            // Without a task no plan in force has the source, so the change concerns nothing.
            self.changed = self.task.is_some();
        }
        self.state.answer = Some(Arc::new(answer));
        self.log.ended(source, &self.state);
    }

    fn failed(&mut self, source: &Source, error: &ResolveError) {
        self.failures = self.failures.saturating_add(1);
        let now = Instant::now();
        self.due = now + pace::after_failure(self.failures, fastrand::f64());
        self.state.at = Some(now);
        self.state.failure = Some(error.text());
        self.log.ended(source, &self.state);
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            state: State::default(),
            failures: 0,
            due: Instant::now(),
            changed: false,
            log: SourceLog::default(),
            task: None,
        }
    }
}

/// Resolutions at once: a thousand names at the start must not be a burst that DNS servers drop.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests;

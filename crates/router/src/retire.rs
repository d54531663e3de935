//! Connections that end for the good of others: old ones (`runtime.max_connection_age`), so that load spreads anew, and those of
//! backends with more than their share (`pools[].rebalance`). They end at an idle moment, and their clients come again.

use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use weir_core::stop::{ConnHandle, Retire};
use weir_metrics::PoolMetrics;
use weir_pool::BackendState;

/// How many connections of a backend all workers together may end.
#[derive(Clone, Debug)]
pub struct Quota(Arc<AtomicUsize>);

impl Quota {
    /// So many.
    pub fn of(connections: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(connections)))
    }

    fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// The connections of a backend that should end, within a quota.
#[derive(Clone, Debug)]
pub struct Surplus {
    /// The backend.
    pub backend: Arc<BackendState>,
    /// How many, on all workers.
    pub quota: Quota,
    /// The counters of its pool.
    pub metrics: PoolMetrics,
}

impl Worker {
    /// Asks the connections that have lived for about `age` to end at an idle moment; few at a time, also where many have grown
    /// old at once. Called every `since_last`.
    pub(crate) fn retire_old(&self, age: Duration, since_last: Duration) {
        let now = self.node.started.elapsed();
        let connections = self.connections();
        let share = since_last.as_secs_f64() / (age.as_secs_f64() * SPREAD);
        #[allow(clippy::cast_precision_loss, reason = "a count of connections")]
        let most = (connections.len() as f64 * share).ceil();
        let mut asked = 0.0;
        for (number, entry) in connections.iter() {
            let handle = &entry.handle;
            let lived = now.saturating_sub(handle.began());
            // They are in the order of their beginning.
            if asked >= most || lived < age.mul_f64(1.0 - JITTER) {
                break;
            }
            if !handle.retires() && lived >= age.mul_f64(jittered(*number)) {
                handle.retire(Retire::OnceIdle);
                asked += 1.0;
            }
        }
    }

    /// Ends connections of a backend that nothing has moved on for a while, those first on which it is longest ago.
    pub(crate) async fn end_surplus(self: Rc<Self>, surplus: Surplus) {
        let long_idle = Instant::now().checked_sub(LONG_IDLE);
        let mut idle: Vec<Rc<ConnHandle>> = self
            .connections()
            .values()
            .map(|entry| &entry.handle)
            .filter(|handle| handle.is_served_by(&surplus.backend))
            .filter(|handle| {
                handle.last_moved().is_some_and(|last| long_idle.is_some_and(|then| last <= then))
            })
            .cloned()
            .collect();
        idle.sort_by_key(|handle| handle.last_moved());
        idle.retain(|_| surplus.quota.take());
        idle.iter().for_each(|handle| handle.retire(Retire::IfIdle));
        sleep(SOON).await;
        let ended = idle.iter().filter(|handle| handle.is_cancelled()).count();
        surplus.metrics.rebalanced.inc_by(u64::try_from(ended).unwrap_or(u64::MAX));
    }
}

/// The part of the age at which a connection ends, other for each connection: clients that came together do not go together.
fn jittered(number: u64) -> f64 {
    // Fibonacci hashing: neighbours fall far apart.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    #[allow(clippy::cast_precision_loss, reason = "24 bits")]
    let of_one = spread as f64 / (1_u64 << 24) as f64;
    1.0 - JITTER + 2.0 * JITTER * of_one
}

/// The age of a connection at its end differs by this much, up and down.
const JITTER: f64 = 0.1;
/// All connections of a worker end within this part of the age at the earliest: as long as the jitter spreads them.
const SPREAD: f64 = 2.0 * JITTER;
/// A connection without a byte for so long has nothing under way.
const LONG_IDLE: Duration = Duration::from_secs(5);
/// A connection that is asked to end does so, or not, at the next turn of its task.
const SOON: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth() {
        let all: Vec<f64> = (0..1000).map(jittered).collect();
        assert!(all.iter().all(|part| (0.9..1.1).contains(part)));
        for tenth in 0..10 {
            let from = 0.9 + 0.02 * f64::from(tenth);
            let within = all.iter().filter(|part| (from..from + 0.02).contains(*part)).count();
            assert!((80..120).contains(&within), "{within} of 1000 from {from}");
        }
    }

    #[test]
    fn quotas_come_to_an_end() {
        let quota = Quota::of(2);
        assert!(quota.take() && quota.clone().take() && !quota.take());
    }
}

//! `pools[].rebalance`: after a scale-out, idle connections of backends with more than their share end, at a pace, and their
//! clients are balanced anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use weir_pool::{Backend, Pool};
use weir_router::data_plane::WorkerCommands;
use weir_router::retire::{Quota, Surplus};

/// The pools that are rebalanced, by name.
#[derive(Debug, Default)]
pub(super) struct Rebalance(HashMap<Arc<str>, Allowance>);

/// What a pool may end, and what the log has said.
#[derive(Debug)]
struct Allowance {
    /// Connections that may end now, in parts.
    connections: f64,
    counted: Instant,
    told: Instant,
    /// The pool's counter then.
    ended: u64,
}

impl Rebalance {
    /// Looks at the pools in force, and has the workers end what is too much.
    ///
    /// # Cancel safety
    /// Cancel safe; some workers may have heard of it, others not.
    pub(super) async fn look(&mut self, pools: &[Arc<Pool>], commands: &WorkerCommands) {
        if !self.0.is_empty() {
            let on: HashSet<&str> = pools
                .iter()
                .filter(|pool| pool.settings.rebalance.is_some())
                .map(|pool| &*pool.name)
                .collect();
            self.0.retain(|name, _| on.contains(&**name));
        }
        let now = Instant::now();
        for pool in pools {
            let Some(share) = pool.settings.rebalance else { continue };
            let allowance = self.0.entry(Arc::clone(&pool.name)).or_insert_with(|| Allowance::new(now, pool));
            for (backend, surplus) in allowance.ends(share, surpluses(pool), now) {
                let backend = Arc::clone(&backend.state);
                let surplus = Surplus { backend, quota: Quota::of(surplus), metrics: pool.metrics.clone() };
                commands.end_surplus(&surplus).await;
            }
            allowance.tell(pool, now);
        }
    }
}

/// The connections of a pool, and what each of its backends has in excess of its share.
struct Surpluses {
    all: f64,
    /// What others lack and have room for: to end more would have clients come back to where they were.
    lacking: f64,
    by_backend: Vec<(Arc<Backend>, usize)>,
}

/// Compares the primaries that take new connections; others are no choice for clients that come again. A backend that is near
/// its share has no surplus, because no policy is exact.
fn surpluses(pool: &Pool) -> Surpluses {
    let members = pool.members();
    let serving: Vec<&Arc<Backend>> =
        members.primaries.backends.iter().filter(|backend| backend.is_healthy()).collect();
    let all: f64 = serving.iter().map(|backend| f64::from(backend.active())).sum();
    let weights: f64 = serving.iter().map(|backend| f64::from(backend.weight)).sum();
    let share = |backend: &Backend| all * f64::from(backend.weight) / weights;
    let with_room = serving.iter().filter(|backend| backend.is_usable(false));
    let lacking = with_room.map(|backend| (share(backend) - f64::from(backend.active())).max(0.0)).sum();
    let surplus = |backend: &&Arc<Backend>| {
        let share = share(backend);
        let active = backend.active();
        let too_many = f64::from(active) > share * NEAR;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most as many as are active"
        )]
        let surplus = active.saturating_sub(share.ceil() as u32);
        too_many.then(|| (Arc::clone(backend), usize::try_from(surplus).unwrap_or(0)))
    };
    let by_backend = serving.iter().filter_map(surplus).filter(|(_, surplus)| *surplus > 0).collect();
    Surpluses { all, lacking, by_backend }
}

impl Allowance {
    fn new(now: Instant, pool: &Pool) -> Self {
        Self { connections: 0.0, counted: now, told: now, ended: pool.metrics.rebalanced.get() }
    }

    /// How many connections each backend may lose now. `share` of all may end in a second.
    fn ends(&mut self, share: f64, surpluses: Surpluses, now: Instant) -> Vec<(Arc<Backend>, usize)> {
        let Surpluses { all, lacking, mut by_backend } = surpluses;
        let a_second = all * share;
        let seconds = (now - std::mem::replace(&mut self.counted, now)).as_secs_f64();
        // What was not needed is not saved up.
        let most = (a_second * SAVED.as_secs_f64()).max(1.0);
        self.connections = (self.connections + a_second * seconds).min(most);
        by_backend.sort_by_key(|(_, surplus)| std::cmp::Reverse(*surplus));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to a few seconds' worth"
        )]
        let mut left = self.connections.min(lacking) as usize;
        by_backend.retain_mut(|(_, surplus)| {
            *surplus = left.min(*surplus);
            left -= *surplus;
            *surplus > 0
        });
        let ends: usize = by_backend.iter().map(|(_, surplus)| surplus).sum();
        #[allow(clippy::cast_precision_loss, reason = "a count of connections")]
        let spent = ends as f64;
        self.connections -= spent;
        by_backend
    }

    /// Logs how many have ended since the last line, now and then.
    fn tell(&mut self, pool: &Pool, now: Instant) {
        let ended = pool.metrics.rebalanced.get();
        if ended == self.ended || now < self.told + LINE_EVERY {
            return;
        }
        let closed = ended - self.ended;
        (self.ended, self.told) = (ended, now);
        tracing::info!(pool = %pool.name, closed, "idle connections were closed, to be balanced anew");
    }
}

/// A backend has too many connections above this part of its share.
const NEAR: f64 = 1.05;
/// The most that may be made up for.
const SAVED: Duration = Duration::from_secs(5);
const LINE_EVERY: Duration = Duration::from_secs(10);

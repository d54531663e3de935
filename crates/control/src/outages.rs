//! Logs pools that have no usable backend, and their recovery.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use weir_log::throttle::LogThrottle;
use weir_pool::{OutOfService, Pool};

/// The state last logged of each pool, by name. It outlives plans, so that a reload repeats nothing.
#[derive(Debug, Default)]
pub(super) struct Outages(HashMap<Arc<str>, Outage>);

#[derive(Debug, Default)]
struct Outage {
    out: bool,
    told_out: bool,
    log: LogThrottle<()>,
}

impl Outages {
    /// Checks the pools in force, and logs changes since the last call.
    pub(super) fn look(&mut self, pools: &[Arc<Pool>]) {
        if self.0.len() > pools.len() {
            let names: HashSet<&str> = pools.iter().map(|pool| &*pool.name).collect();
            self.0.retain(|name, _| names.contains(&**name));
        }
        for pool in pools {
            let out = !pool.can_serve();
            match self.0.get_mut(&pool.name) {
                Some(outage) => outage.seen(out),
                None => self.0.entry(Arc::clone(&pool.name)).or_default().seen(out),
            }
            if let Some(outage) = self.0.get_mut(&pool.name)
                && let Some(changes) = outage.news()
            {
                tell(pool, out, changes);
            }
        }
    }
}

impl Outage {
    fn seen(&mut self, out: bool) {
        if out != self.out {
            self.out = out;
            self.log.note(());
        }
    }

    /// The changes since the last line, if a line is due now.
    fn news(&mut self) -> Option<u64> {
        let (changes, ()) = self.log.take()?;
        // The state may be the one last logged: the pool was out only while lines were held back.
        (std::mem::replace(&mut self.told_out, self.out) != self.out).then_some(changes)
    }
}

fn tell(pool: &Pool, out: bool, changes: u64) {
    let members = pool.members();
    let backends = members.all().count();
    if out {
        // The last failed check is a reason only if checks have put the backend out of service.
        let down = members.all().filter(|backend| backend.state.is(OutOfService::Down));
        let why = down.filter_map(|backend| backend.state.last().failure).next();
        tracing::warn!(
            pool = %pool.name, backends, why, changes,
            "the pool has no usable backend: its connections end with no_backend"
        );
    } else {
        tracing::warn!(
            pool = %pool.name, backends, usable = pool.usable(), changes,
            "the pool has a usable backend again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_flapping_pool_is_told_of_a_few_times_and_its_last_state_later() {
        let mut outage = Outage::default();
        outage.seen(false);
        assert_eq!(outage.news(), None, "all is well from the start");
        let mut told = Vec::new();
        for second in 0..9 {
            outage.seen(second % 2 == 0);
            told.extend(outage.news().map(|changes| (second, changes)));
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [(0, 1), (1, 1), (2, 1), (3, 1)]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(outage.news(), Some(5), "it is out since the last change");
        assert!(outage.told_out);
        outage.seen(false);
        outage.seen(true);
        assert_eq!(outage.news(), None, "a moment between two looks");
    }
}

//! Passes new answers of the sources to the pools.

use crate::control::{Control, followed};
use weir_pool::OutOfService;
use weir_pool::source::Source;

impl Control {
    /// Follows the sources for ever: backends that a source no longer gives drain.
    ///
    /// # Cancel safety
    /// Dropping the future may leave an answer out until the next one.
    pub async fn follow_sources(&self) {
        // Begins with all, because an earlier run may have panicked between taking answers and passing them on.
        let mut changed: Vec<_> = followed(&self.node.plan()).collect();
        loop {
            self.take_answers(&changed).await;
            changed = self.sources.changed().await;
        }
    }

    async fn take_answers(&self, changed: &[Source]) {
        let mut checks = self.checks.lock().await;
        let plan = self.node.plan();
        for pool in &plan.pools {
            let gone = pool.resolved(changed.iter().map(|source| (source, self.sources.found(source))));
            for state in &gone {
                self.drain(state, OutOfService::Retired, pool.settings.drain_timeout).await;
            }
            for member in pool.members().all() {
                member.state.back(OutOfService::Retired);
            }
        }
        checks.reconcile(&plan.pools);
    }
}

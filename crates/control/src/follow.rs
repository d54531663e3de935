//! Takes what DNS answers.

use crate::control::{Control, targets};
use weir_pool::Reason;
use weir_pool::source::Target;

impl Control {
    /// Follows DNS for ever: what a name does not stand for any more drains.
    ///
    /// # Cancel safety
    /// Dropping the future may leave an answer out until the next one.
    pub async fn follow_names(&self) {
        // Answers that came before: those that an earlier run of this, which panicked, had taken and not passed on.
        let mut changed: Vec<_> = targets(&self.node.plan()).collect();
        loop {
            self.take_answers(&changed).await;
            changed = self.names.changed().await;
        }
    }

    async fn take_answers(&self, changed: &[Target]) {
        let mut checks = self.checks.lock().await;
        let plan = self.node.plan();
        for pool in &plan.pools {
            for target in changed {
                let gone = pool.resolved(target, &self.names.found(target));
                for live in &gone {
                    self.drain(live, Reason::Retired, pool.settings.drain_timeout).await;
                }
            }
            for member in pool.members().all() {
                member.live.back(Reason::Retired);
            }
        }
        checks.reconcile(&plan.pools);
    }
}

//! Watches the files of the configuration while `runtime.watch` is on.

use crate::aside::aside;
use crate::builder::Look;
use crate::control::Control;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

impl Control {
    /// Looks at the files of the configuration while `runtime.watch` is on, and tells of changes. For ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn watch_files(&self, tell: &Notify) {
        let mut plans = self.node.plans();
        let mut seen: Option<Look> = None;
        loop {
            sleep(WATCH).await;
            while !self.node.plan().runtime.watch {
                seen = None;
                // No node, no files.
                if plans.changed().await.is_err() {
                    return;
                }
            }
            let last = self.look.load_full();
            let before = seen.take().filter(|seen| seen.patterns == last.patterns);
            let Some(now) = self.look_again(&last, before.as_ref()).await else { continue };
            let settled = before.is_some_and(|before| before.print == now.print);
            // A file that is still being written is left alone until it has settled. Text that the last load has read is
            // no news, whether or not it gave a plan.
            if settled && last.print != now.print && Arc::ptr_eq(&last, &self.look.load()) {
                self.look.store(Arc::new(now.clone()));
                tell.notify_one();
            }
            seen = Some(now);
        }
    }

    /// What the files hold now that the `last` load read. `before` spares reading those that have not changed since.
    async fn look_again(&self, last: &Look, before: Option<&Look>) -> Option<Look> {
        let (path, patterns, folders) = (self.path.clone(), last.patterns.clone(), last.folders.clone());
        let before = before.unwrap_or(last).print.clone();
        let look = move || Look { print: before.retake(&path, &patterns), patterns, folders };
        aside(look).ok()?.await.ok()
    }
}

/// How often the files are looked at, while they are watched.
const WATCH: Duration = Duration::from_millis(500);

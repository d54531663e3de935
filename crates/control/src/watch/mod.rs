//! Watches files: those of the configuration while `runtime.watch` is on, those of TLS always (`tls`).

pub mod fingerprint;
mod tls;

use crate::aside::aside;
use crate::builder::ConfigSnapshot;
use crate::control::Control;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

impl Control {
    /// Checks the files of the configuration while `runtime.watch` is on, and reports changes. Never returns.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn watch_files(&self, tell: &Notify) {
        let mut plans = self.node.plans();
        let mut seen: Option<ConfigSnapshot> = None;
        loop {
            sleep(WATCH).await;
            while !self.node.plan().runtime.watch {
                seen = None;
                // No node, no files.
                if plans.changed().await.is_err() {
                    return;
                }
            }
            let last = self.snapshot.load_full();
            let before = seen.take().filter(|seen| seen.patterns == last.patterns);
            let Some(now) = self.take_again(&last, before.as_ref()).await else { continue };
            let settled = before.is_some_and(|before| before.fingerprint == now.fingerprint);
            // A file that is still being written is left alone until it has settled. Text that the last load has read
            // is no change, even if no plan came of it.
            if settled && last.fingerprint != now.fingerprint && Arc::ptr_eq(&last, &self.snapshot.load()) {
                self.snapshot.store(Arc::new(now.clone()));
                tell.notify_one();
            }
            seen = Some(now);
        }
    }

    /// The present contents of the files that the `last` load read. Files unchanged since `before` are not read.
    async fn take_again(
        &self,
        last: &ConfigSnapshot,
        before: Option<&ConfigSnapshot>,
    ) -> Option<ConfigSnapshot> {
        let (path, patterns, folders) = (self.path.clone(), last.patterns.clone(), last.folders.clone());
        let before = before.unwrap_or(last).fingerprint.clone();
        let take = move || ConfigSnapshot { fingerprint: before.retake(&path, &patterns), patterns, folders };
        aside(take).ok()?.await.ok()
    }
}

/// How often the files are checked while they are watched.
const WATCH: Duration = Duration::from_millis(500);

//! Watches the files of the configuration while `runtime.watch` is on.

use super::Control;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use weir_config::Fingerprint;

impl Control {
    /// Looks at the files of the configuration while `runtime.watch` is on, and tells of changes. For ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn watch_files(&self, tell: &Notify) {
        let mut seen: Option<Fingerprint> = None;
        loop {
            sleep(WATCH).await;
            if !self.node.plan().runtime.watch {
                seen = None;
                continue;
            }
            let Some(now) = self.look_at_files(seen.clone()).await else { continue };
            let settled = seen.as_ref() == Some(&now);
            // A file that is still being written is left alone until it has settled. What the last load has read,
            // whoever asked for it and whatever came of it, is no news.
            if settled && **self.print.load() != now {
                self.print.store(Arc::new(now.clone()));
                tell.notify_one();
            }
            seen = Some(now);
        }
    }

    /// What the files hold now. `before` spares reading those that have not changed.
    pub(super) async fn look_at_files(&self, before: Option<Fingerprint>) -> Option<Fingerprint> {
        let (path, patterns) = (self.path.clone(), self.patterns.load_full());
        let looked = spawn_blocking(move || before.unwrap_or_default().retake(&path, &patterns)).await;
        looked.ok()
    }
}

/// How often the files are looked at, while they are watched.
const WATCH: Duration = Duration::from_millis(500);

//! Watches the files of the configuration while `runtime.watch` is on.

use super::Control;
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
        let mut told: Option<Fingerprint> = None;
        loop {
            sleep(WATCH).await;
            if !self.node.plan().runtime.watch {
                (seen, told) = (None, None);
                continue;
            }
            let Some(now) = self.fingerprint(seen.clone()).await else { continue };
            let settled = seen.as_ref() == Some(&now);
            let known = told.get_or_insert_with(|| now.clone());
            // A file that is still being written is left alone until it has settled.
            if settled && *known != now {
                *known = now.clone();
                tell.notify_one();
            }
            seen = Some(now);
        }
    }

    async fn fingerprint(&self, before: Option<Fingerprint>) -> Option<Fingerprint> {
        let path = self.path.clone();
        let patterns = self.patterns.load_full();
        let looked = spawn_blocking(move || before.unwrap_or_default().retake(&path, &patterns)).await;
        looked.ok()
    }
}

/// How often the files are looked at, while they are watched.
const WATCH: Duration = Duration::from_millis(500);

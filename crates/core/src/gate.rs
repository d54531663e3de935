//! A gate in front of the accept loops: closed while the process has no room for more, whatever their permits say.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Closed by the control plane, passed by the accept loops. It begins open.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    opened: Notify,
}

impl Gate {
    /// Whether it may be passed now.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Closes it. What has passed goes on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Opens it, and wakes all that wait.
    pub fn open(&self) {
        // Release: who is woken, or asks after this, sees it.
        self.closed.store(false, Ordering::Release);
        self.opened.notify_waiters();
    }

    /// Waits until it is open.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn passed(&self) {
        loop {
            let mut opened = pin!(self.opened.notified());
            // Before the look: it may open between the two.
            opened.as_mut().enable();
            if self.is_open() {
                return;
            }
            opened.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn all_that_wait_pass_once_it_opens() {
        let gate = Gate::default();
        gate.passed().await;
        gate.close();
        assert!(!gate.is_open() && timeout(Duration::from_millis(5), gate.passed()).await.is_err());
        let opens = async { gate.open() };
        tokio::join!(biased; gate.passed(), gate.passed(), opens);
        assert!(gate.is_open());
    }
}

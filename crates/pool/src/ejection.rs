//! Health from real traffic: failures within a window eject a backend, for longer each time while it goes on.
//!
//! The caller passes failures of the backend only, never what a client can cause. The control plane polls for the end
//! of ejections; nothing on the data path waits for it.

use crate::settings::PassiveCheck;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The failures of one backend in its window, and its ejections.
#[derive(Debug, Default)]
pub(crate) struct EjectionTracker {
    recent: VecDeque<Instant>,
    /// How often in a row it was ejected.
    streak: u32,
    until: Option<Instant>,
}

/// Longest ejection, as a multiple of the first.
const LONGEST: u32 = 16;

impl EjectionTracker {
    /// Notes a failure. True when the failures suffice to eject.
    pub(crate) fn failed(&mut self, now: Instant, check: &PassiveCheck) -> bool {
        while self.recent.front().is_some_and(|at| now.duration_since(*at) > check.window) {
            self.recent.pop_front();
        }
        let most = usize::try_from(check.failures).unwrap_or(usize::MAX);
        if self.recent.len() >= most {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() >= most
    }

    /// Begins an ejection and gives its length. An ejection soon after the last one lasts twice as long.
    pub(crate) fn eject(&mut self, now: Instant, check: &PassiveCheck) -> Duration {
        self.recent.clear();
        let last = self.length(check);
        let goes_on = self.until.is_some_and(|until| now.duration_since(until) < last.max(check.window));
        self.streak = if goes_on { self.streak + 1 } else { 1 };
        let length = self.length(check);
        self.until = Some(now + length);
        length
    }

    /// Whether the ejection's time is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    fn length(&self, check: &PassiveCheck) -> Duration {
        check.eject * 2u32.saturating_pow(self.streak.saturating_sub(1)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: PassiveCheck = PassiveCheck {
        failures: 3,
        window: Duration::from_secs(10),
        eject: Duration::from_secs(30),
        max_ejected: 50,
    };

    #[tokio::test(start_paused = true)]
    async fn failures_within_the_window_eject_for_longer_each_time() {
        let mut tracker = EjectionTracker::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert!(!tracker.failed(start, &CHECK) && !tracker.failed(start + 6 * second, &CHECK));
        assert!(!tracker.failed(start + 11 * second, &CHECK), "the first has left the window");
        assert!(tracker.failed(start + 12 * second, &CHECK));
        assert_eq!(tracker.eject(start, &CHECK), CHECK.eject);
        assert_eq!(tracker.eject(start + 31 * second, &CHECK), CHECK.eject * 2);
        let much_later = start + 10_000 * second;
        assert_eq!(tracker.eject(much_later, &CHECK), CHECK.eject, "after a good time it begins anew");
        let mut at = much_later;
        for _ in 0..40 {
            at += tracker.eject(at, &CHECK);
        }
        assert_eq!(tracker.length(&CHECK), CHECK.eject * LONGEST);
    }
}

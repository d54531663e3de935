//! Throttles log lines that may repeat: a few pass at once, then none for a while, and later one line sums up the
//! others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Throttles the log lines about changes of one thing, or of one kind of thing. Held-back changes are counted and
/// logged together at the owner's next tick after the window, even if no further change happens. Threads may share it.
#[derive(Debug)]
pub struct LogThrottle<T = ()> {
    lines: u32,
    within: Duration,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    /// Changes since the last line.
    changes: u64,
    /// The description of the last of them.
    last: Option<T>,
    /// When the first line of the current window was written.
    since: Option<Instant>,
    /// The number of lines in the current window.
    told: u32,
}

impl<T> LogThrottle<T> {
    /// Allows at most `lines` lines in a window, which begins with a line and lasts for `within`.
    pub const fn new(lines: u32, within: Duration) -> Self {
        Self { lines, within, state: Mutex::new(State { changes: 0, last: None, since: None, told: 0 }) }
    }

    /// Notes a change, described by `what`.
    pub fn note(&self, what: T) {
        let mut state = self.state();
        state.changes = state.changes.saturating_add(1);
        state.last = Some(what);
    }

    /// The number of changes since the last line, and the description of the last change; `None` without changes, or
    /// while no line may be written.
    pub fn take(&self) -> Option<(u64, T)> {
        let mut state = self.state();
        state.last.as_ref()?;
        let now = Instant::now();
        if self.quiet_until(&state).is_some_and(|until| now < until) {
            return None;
        }
        if state.since.is_none_or(|since| now >= since + self.within) {
            (state.since, state.told) = (Some(now), 0);
        }
        state.told += 1;
        Some((std::mem::take(&mut state.changes), state.last.take()?))
    }

    /// Notes a change, and takes the line if one may be written now.
    pub fn line(&self, what: T) -> Option<(u64, T)> {
        self.note(what);
        self.take()
    }

    /// Makes held-back changes due at once, for an owner that is about to end.
    pub fn hurry(&self) {
        self.state().told = 0;
    }

    /// When the held-back changes are due, which may be in the past; `None` without any.
    pub fn due(&self) -> Option<Instant> {
        let state = self.state();
        state.last.as_ref().map(|_| self.quiet_until(&state).unwrap_or_else(Instant::now))
    }

    /// Waits until the changes held back now are due; waits forever if there are none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn time(&self) {
        match self.due() {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn quiet_until(&self, state: &State<T>) -> Option<Instant> {
        state.since.filter(|_| state.told >= self.lines).map(|since| since + self.within)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Four lines in ten seconds: for one thing that flaps, this shows a restart and its end.
impl<T> Default for LogThrottle<T> {
    fn default() -> Self {
        Self::new(4, Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, sleep, timeout};

    const WHILE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn floods_give_few_lines_and_every_change_is_counted() {
        let throttle = LogThrottle::new(2, WHILE);
        let mut told = Vec::new();
        for number in 0..45 {
            told.extend(throttle.line(number));
            advance(Duration::from_millis(500)).await;
        }
        assert_eq!(told, [(1, 0), (1, 1), (19, 20), (1, 21), (19, 40), (1, 41)]);
        assert_eq!(throttle.take(), None, "too early");
        advance(WHILE).await;
        assert_eq!((throttle.take(), throttle.take()), (Some((3, 44)), None));
    }

    #[tokio::test(start_paused = true)]
    async fn held_back_changes_are_due_without_further_changes() {
        let throttle = LogThrottle::default();
        assert!(timeout(10 * WHILE, throttle.time()).await.is_err(), "nothing to tell");
        let begun = Instant::now();
        assert!((0..4).all(|number| throttle.line(number) == Some((1, number))));
        assert!(timeout(WHILE, throttle.time()).await.is_err(), "told already");
        sleep(Duration::ZERO).await;
        let begun_again = Instant::now();
        assert_eq!(begun_again - begun, WHILE);
        assert_eq!(throttle.line(4), Some((1, 4)), "another while");
        assert!((5..8).all(|number| throttle.line(number).is_some()));
        assert!((8..11).all(|number| throttle.line(number).is_none()));
        assert_eq!(throttle.due(), Some(begun_again + WHILE));
        throttle.time().await;
        assert_eq!((begun_again.elapsed(), throttle.take()), (WHILE, Some((3, 10))));
        assert_eq!((throttle.take(), throttle.due()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn held_back_changes_are_logged_at_once_at_the_end() {
        let throttle = LogThrottle::default();
        (0..6).for_each(|number| throttle.note(number));
        throttle.hurry();
        assert!((6..10).all(|number| throttle.line(number).is_some()));
        (10..12).for_each(|number| throttle.note(number));
        assert_eq!(throttle.take(), None);
        throttle.hurry();
        assert_eq!(throttle.take(), Some((2, 11)));
    }
}

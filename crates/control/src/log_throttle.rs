//! Holds back lines of the log about things that change again and again, so that flapping does not flood it.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Changes of one thing on their way to the log. Changes that are held back are counted, and logged together later.
#[derive(Debug)]
pub(crate) struct LogThrottle<T> {
    changes: u32,
    last: Option<T>,
    /// When the first of the last lines was written.
    since: Option<Instant>,
    /// Lines since then.
    told: u32,
}

impl<T> LogThrottle<T> {
    /// Notes a change; `what` describes it.
    pub(crate) fn note(&mut self, what: T) {
        self.changes = self.changes.saturating_add(1);
        self.last = Some(what);
    }

    /// The number of changes since the last line, and the description of the last one; `None` if no line is due.
    pub(crate) fn take(&mut self) -> Option<(u32, T)> {
        let now = Instant::now();
        if self.quiet_until().is_some_and(|until| now < until) {
            return None;
        }
        let last = self.last.take()?;
        if self.since.is_none_or(|since| now >= since + WHILE) {
            (self.since, self.told) = (Some(now), 0);
        }
        self.told += 1;
        Some((std::mem::take(&mut self.changes), last))
    }

    /// Makes changes that are held back due at once, because there is no later.
    pub(crate) fn hurry(&mut self) {
        self.told = 0;
    }

    /// When the next line is due, which may be in the past; `None` without a change.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.last.as_ref().map(|_| self.quiet_until().unwrap_or_else(Instant::now))
    }

    /// Waits until a line is due.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn time(&self) {
        match self.due() {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn quiet_until(&self) -> Option<Instant> {
        self.since.filter(|_| self.told >= LINES).map(|since| since + WHILE)
    }
}

impl<T> Default for LogThrottle<T> {
    fn default() -> Self {
        Self { changes: 0, last: None, since: None, told: 0 }
    }
}

/// Lines about one thing in a [`WHILE`]: enough for a restart and its end.
const LINES: u32 = 4;
/// The time in which [`LINES`] lines may be written.
const WHILE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_few_changes_are_told_at_once_and_the_rest_of_a_flood_together() {
        let began = Instant::now();
        let mut log = LogThrottle::default();
        assert!(timeout(10 * WHILE, log.time()).await.is_err(), "nothing to tell");
        log.note("first");
        timeout(Duration::ZERO, log.time()).await.unwrap();
        assert_eq!(log.take(), Some((1, "first")));
        assert_eq!(began.elapsed(), 10 * WHILE);
        assert!(timeout(WHILE, log.time()).await.is_err(), "told already");

        // It may be told again by now; of a flood that begins here each while tells a few, and what it held back.
        let (mut told, mut noted) = (Vec::new(), 0);
        let end = Instant::now() + 3 * WHILE + WHILE / 2;
        while Instant::now() < end {
            log.note("flood");
            noted += 1;
            told.extend(log.take());
            sleep(WHILE / 20).await;
        }
        let changes: Vec<_> = told.iter().map(|(changes, _)| *changes).collect();
        assert_eq!(changes, [1, 1, 1, 1, 17, 1, 1, 1, 17, 1, 1, 1, 17, 1, 1, 1]);
        // The last of them is told although nothing happens any more.
        timeout(WHILE / 2, log.time()).await.unwrap();
        let rest = log.take().unwrap().0;
        assert_eq!(told.iter().map(|(changes, _)| changes).sum::<u32>() + rest, noted);
        assert_eq!(log.take(), None);
        for _ in 0..=LINES {
            log.note("end");
            log.take();
        }
        assert!(log.due().is_some() && log.take().is_none(), "held back");
        log.hurry();
        assert!(log.take().is_some());
    }
}

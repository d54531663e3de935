//! A pace for log lines that may repeat: a few at once, then none for a while, and a count of those held back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Limits how many lines are written in a period. Threads may share it.
#[derive(Debug)]
pub struct Pace {
    lines: u32,
    within: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the first of the last lines was let through.
    since: Option<Instant>,
    /// Lines since then.
    told: u32,
    /// Causes since the last line that was let through.
    causes: u64,
}

impl Pace {
    /// At most `lines` lines in any stretch of time that begins with a line and is `within` long.
    pub const fn new(lines: u32, within: Duration) -> Self {
        Self { lines, within, state: Mutex::new(State { since: None, told: 0, causes: 0 }) }
    }

    /// `Some` when the last cause was held back and a line may be written again: how many causes that line stands for.
    pub fn late(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.causes > 0).then(|| self.take(&mut state)).flatten()
    }

    /// Notes a cause for a line. `Some` when the line may be written: how many causes there were since the last line,
    /// this one included.
    pub fn now(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.causes = state.causes.saturating_add(1);
        self.take(&mut state)
    }

    fn take(&self, state: &mut State) -> Option<u64> {
        let now = Instant::now();
        if state.since.is_none_or(|since| now >= since + self.within) {
            (state.since, state.told) = (Some(now), 0);
        } else if state.told >= self.lines {
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.causes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_flood_gives_a_few_lines_in_a_while_and_every_cause_is_counted() {
        let pace = Pace::new(2, Duration::from_secs(10));
        let mut told = Vec::new();
        for _ in 0..45 {
            told.push(pace.now().unwrap_or_default());
            advance(Duration::from_millis(500)).await;
        }
        let lines: Vec<_> = told.iter().copied().filter(|causes| *causes > 0).collect();
        assert_eq!(lines, [1, 1, 19, 1, 19, 1]);
        assert_eq!(told.len(), 45);
        assert_eq!(pace.late(), None, "too early");
        advance(Duration::from_secs(10)).await;
        assert_eq!((pace.late(), pace.late()), (Some(3), None));
    }
}

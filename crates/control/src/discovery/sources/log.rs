//! Lines of the log about a name: a few at a time, so that flapping answers do not flood it.

use super::State;
use crate::discovery::error::Dropped;
use tokio::time::Instant;
use weir_log::throttle::LogThrottle;
use weir_pool::source::{Found, Source};

/// The state of a name that was logged last, and changes that still wait for a line.
#[derive(Debug, Default)]
pub(super) struct SourceLog {
    lines: LogThrottle<()>,
    told_failing: bool,
    told_dropped: Vec<Dropped>,
    added: usize,
    removed: usize,
}

impl SourceLog {
    /// Notes a change of the addresses.
    pub(super) fn addresses(&mut self, before: &[Found], now: &[Found]) {
        let lacking = |of: &[Found], from: &[Found]| of.iter().filter(|f| !from.contains(f)).count();
        self.added += lacking(now, before);
        self.removed += lacking(before, now);
        self.lines.note(());
    }

    /// Notes the end of a resolution, and logs changes if a line is due.
    pub(super) fn ended(&mut self, source: &Source, state: &State) {
        let dropped = state.answer.as_ref().map_or(&[][..], |answer| &answer.dropped);
        if state.failure.is_some() != self.told_failing || dropped != self.told_dropped {
            self.lines.note(());
        }
        self.tell(source, state);
    }

    /// When the changes that were held back are due; `None` if there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lines.due()
    }

    /// Logs the changes since the last lines, if a line is due.
    pub(super) fn tell(&mut self, source: &Source, state: &State) {
        let Some((changes, ())) = self.lines.take() else { return };
        let answer = state.answer.as_deref();
        let addresses = answer.map_or(0, |answer| answer.found.len());
        let failing = std::mem::replace(&mut self.told_failing, state.failure.is_some());
        match &state.failure {
            Some(why) if !failing => {
                tracing::warn!(name = %source, why, kept = addresses, changes, "a name cannot be resolved");
            }
            None if failing => tracing::info!(name = %source, changes, "a name is resolved again"),
            _ => {}
        }
        if self.added + self.removed > 0 {
            let (added, removed) = (std::mem::take(&mut self.added), std::mem::take(&mut self.removed));
            tracing::info!(
                name = %source, addresses, added, removed, changes,
                "the addresses of a name have changed"
            );
        }
        let dropped = answer.map(|answer| answer.dropped.as_slice()).unwrap_or_default();
        if dropped != self.told_dropped {
            self.told_dropped = dropped.to_vec();
            let dropped = dropped.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            if dropped.is_empty() {
                tracing::info!(name = %source, "a name has no more addresses that weir never connects to");
            } else {
                tracing::warn!(name = %source, dropped, "a name has addresses that weir never connects to");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_flapping_name_is_told_of_a_few_times_and_its_last_state_later() {
        let source = Source::Dns { host: "a.test".into(), port: 80 };
        let mut log = SourceLog::default();
        let state = |failing: bool| State { failure: failing.then(|| "why".to_owned()), ..State::default() };
        log.ended(&source, &state(false));
        assert!(log.due().is_none(), "nothing to tell");
        let mut told = 0;
        for turn in 1..=41 {
            log.ended(&source, &state(turn % 2 == 1));
            told += usize::from(log.due().is_none());
        }
        assert_eq!(told, 4);
        assert!(!log.told_failing, "the last line said that it is resolved");
        let due = log.due().expect("its last state is still to tell");
        tokio::time::sleep_until(due).await;
        log.tell(&source, &state(true));
        assert!(log.told_failing && log.due().is_none());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(log.due().is_none());
    }
}

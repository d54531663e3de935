//! Which records of connections are written: `log.access`.

use std::num::NonZeroU32;
use std::time::Duration;

/// Which records of a connection are written. A connection keeps what was in force at its accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// How often an open connection is recorded, in milliseconds.
    every: Option<NonZeroU32>,
    /// Whether anything is written at all.
    pub on: bool,
    /// Whether a connection is recorded once it has its route, too.
    pub open: bool,
    /// Whether connections that end without a byte from their client are recorded.
    pub probes: bool,
}

impl Recording {
    /// A record of each connection that has ended, and of each request.
    pub const ENDS: Self = Self { every: None, on: true, open: false, probes: true };

    /// The same, and records of open connections at this interval, to a millisecond; at most 49 days.
    #[must_use]
    pub fn every(self, interval: Option<Duration>) -> Self {
        let millis = |interval: Duration| u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        Self { every: interval.and_then(|interval| NonZeroU32::new(millis(interval))), ..self }
    }

    /// How often an open connection is recorded; `None` = never.
    pub fn interval(self) -> Option<Duration> {
        self.every.filter(|_| self.on).map(|millis| Duration::from_millis(millis.get().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_kept_to_a_millisecond() {
        let every = |interval| Recording::ENDS.every(interval).interval();
        assert_eq!(every(None), None);
        assert_eq!(every(Some(Duration::from_micros(1_500_400))), Some(Duration::from_millis(1500)));
        assert_eq!(every(Some(Duration::from_secs(u64::MAX))), Some(Duration::from_millis(u32::MAX.into())));
        assert_eq!(
            Recording { on: false, ..Recording::ENDS.every(Some(Duration::from_secs(1))) }.interval(),
            None
        );
    }
}

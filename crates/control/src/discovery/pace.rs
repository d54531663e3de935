//! When to ask again.

use std::time::Duration;

/// The wait after an answer: its TTL, between a second and an hour, up to a tenth earlier. Never later, so
/// that a change is seen in time; earlier by chance (`random` is from 0 to 1), so that many names, and many
/// nodes, do not ask in step.
pub(super) fn after_answer(ttl: Duration, random: f64) -> Duration {
    earlier(ttl.min(CEILING), random).max(FLOOR)
}

/// The wait after the `failures`th failure in a row, the first being 1: a second, doubling to half a minute.
pub(super) fn after_failure(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(5);
    earlier((FLOOR * (1 << doublings)).min(SLOWEST_RETRY), random)
}

fn earlier(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(1.0 - 0.1 * random.clamp(0.0, 1.0))
}

/// A TTL of 0 means "do not cache"; asking for every connection would be a storm.
const FLOOR: Duration = Duration::from_secs(1);
/// Records may say a week, which is too long for a service that moves.
const CEILING: Duration = Duration::from_secs(3600);
/// A name that comes back is noticed within this.
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_ttl_has_a_floor_a_ceiling_and_is_never_exceeded() {
        let cases = [(0.0, 1.0, 1.0), (1.0, 1.0, 1.0), (60.0, 54.0, 60.0), (604_800.0, 3240.0, 3600.0)];
        for (ttl, soonest, latest) in cases {
            assert_eq!(after_answer(seconds(ttl), 1.0), seconds(soonest), "{ttl}");
            assert_eq!(after_answer(seconds(ttl), 0.0), seconds(latest), "{ttl}");
        }
    }

    #[test]
    fn failures_are_retried_ever_more_slowly() {
        let waits: Vec<_> = (1..8).map(|n| after_failure(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(after_failure(u32::MAX, 1.0), seconds(27.0));
    }
}

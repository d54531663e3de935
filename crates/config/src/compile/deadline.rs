//! Deadlines of listeners, pools and health checks.

use std::time::Duration;

use crate::diagnostics::Report;
use crate::key::Key;
use crate::units::Time;

/// Reads a deadline; `value` is that of the key, or its default. Zero is refused: it would end everything before it
/// begins, and people who write 0 mean "never".
pub(super) fn deadline(report: &mut Report<'_>, key: &Key<Time>, value: Time) -> Duration {
    if value.0.is_zero()
        && let Some(place) = key.place()
    {
        report
            .error(place, "0s is no time to wait")
            .hint("there is no `never`; a long time, such as 1d, is close");
    }
    value.0
}

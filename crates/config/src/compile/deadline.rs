//! How long something may take, where that is a deadline: of listeners and of health checks.

use crate::diagnostics::Report;
use crate::place::Place;
use crate::units::Time;

/// A deadline of no time at all ends everything before it begins; people who write 0 mean "never".
pub(super) fn refuse_zero(report: &mut Report<'_>, place: &Place<'_>, value: Time) {
    if value.0.is_zero() {
        report
            .error(place, "0s is no time to wait")
            .hint("there is no `never`; a long time, such as 1d, is close");
    }
}

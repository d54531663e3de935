//! `$NAME` in a text: a shell's notation for a variable, which weir takes literally.
//!
//! In: the complete report, and the texts with such a `$NAME`. Out: an error at such a text gets a hint that
//! shows weir's notation for a variable; an accepted text gets a warning.

use crate::diagnostics::Report;
use crate::source::Position;

/// Points out every `$NAME` that was taken literally.
pub(super) fn point_out(report: &mut Report<'_>, variables: &[(Position, String)]) {
    for (at, name) in variables {
        let hint = format!("a variable is written `${{{name}}}`");
        let refused = report.hint_errors_at(*at, &hint);
        // A lower-case name may well be meant literally.
        if !refused && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
            report.warning_at(*at, format!("`${name}` stays as it is")).hint(hint);
        }
    }
}

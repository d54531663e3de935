//! What every part of the draft needs: the report, what files and keys are read with, and how a text is refused.

use weir_tls::Sessions;

use crate::diagnostics::Report;
use crate::place::Place;

/// What every part of the draft needs.
pub(super) struct Compiler<'r> {
    pub(super) report: Report<'r>,
    pub(super) sessions: &'r Sessions,
}

/// Why a text is refused, before it is known where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn report(self, report: &mut Report<'_>, place: &Place<'_>) {
        let refused = report.error(place, self.message);
        if let Some(hint) = self.hint {
            refused.hint(hint);
        }
    }
}

/// The value, if it was accepted; else its refusal is reported at `place`.
pub(super) fn accept<T>(report: &mut Report<'_>, place: &Place<'_>, result: Result<T, Refusal>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(refusal) => {
            refusal.report(report, place);
            None
        }
    }
}

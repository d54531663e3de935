//! State shared by all parts of the draft: the report, and how a text is refused.

use weir_tls::Sessions;

use crate::diagnostics::Report;
use crate::key::Spot;

/// State shared by all parts of the draft.
pub(super) struct Compiler<'r> {
    pub(super) report: Report<'r>,
    pub(super) sessions: &'r Sessions,
}

/// Why a text is refused, before its position is known.
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

    pub(super) fn report(self, report: &mut Report<'_>, spot: impl Into<Spot>) {
        let refused = report.error(spot, self.message);
        if let Some(hint) = self.hint {
            refused.hint(hint);
        }
    }
}

/// Returns an accepted value; otherwise reports its refusal at `spot`.
pub(super) fn accept<T>(
    report: &mut Report<'_>,
    spot: impl Into<Spot>,
    result: Result<T, Refusal>,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(refusal) => {
            refusal.report(report, spot);
            None
        }
    }
}

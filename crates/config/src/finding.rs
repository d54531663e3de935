//! What `load` and `decode` hand on of a mistake, before `diagnostics` makes it readable; and how many are enough.

use crate::source::Position;

/// Something that does not fit, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: Position,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// More errors than anybody reads at once; the rest shows after these are mended.
pub(crate) const MOST_ERRORS: usize = 100;

//! What `load` and `decode` hand on of a mistake, before `diagnostics` makes it readable; and how many are enough.

use crate::source::Position;

/// Something that does not fit, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: Position,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Findings, of which only the first are kept. A file may have a mistake in every place, and nobody reads on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kept: Vec<Finding>,
    /// How many came after those that are kept.
    pub(crate) more: usize,
}

impl Found {
    pub(crate) fn push(&mut self, finding: Finding) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.kept.push(finding);
        }
    }

    /// Is whatever comes now only counted?
    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() >= MOST_ERRORS
    }

    /// Takes a finding of a room that keeps few enough itself.
    pub(crate) fn push_kept(&mut self, finding: Finding) {
        self.kept.push(finding);
    }

    /// Takes findings of another room behind its own. Each room's first ones are kept: in the order of the files
    /// they may come before others.
    pub(crate) fn append(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.more += other.more;
    }
}

/// More errors than anybody reads at once; the rest shows after these are mended.
pub(crate) const MOST_ERRORS: usize = 100;

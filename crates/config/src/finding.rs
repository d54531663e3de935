//! A mistake as `load` and `decode` report it, before `diagnostics` makes it readable; and how many are
//! enough.

use crate::source::Position;

/// A value that does not fit, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: Position,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// The first findings, and the number of the others, because a file may have a mistake in every place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kept: Vec<Finding>,
    /// The number of findings beyond those kept.
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

    /// Whether further findings are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() >= MOST_ERRORS
    }

    /// Takes a finding from a module with a bound of its own.
    pub(crate) fn push_kept(&mut self, finding: Finding) {
        self.kept.push(finding);
    }

    /// Takes another module's findings behind its own. The first of each module are kept, because in the
    /// order of the files they may come before others.
    pub(crate) fn append(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.more += other.more;
    }
}

/// More errors than anyone reads at once; the rest appears after these are mended.
pub(crate) const MOST_ERRORS: usize = 100;

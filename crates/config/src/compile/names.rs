//! The names of listeners, pools, profiles and backends: uniqueness, and references to them.

use std::collections::HashMap;

use super::compiler::Refusal;
use crate::diagnostics::Report;
use crate::finding::MOST_ERRORS;
use crate::key::{Item, Key, Spot};
use crate::nearest::nearest;

/// The names in one list of the file.
#[derive(Debug)]
pub(super) struct NameIndex<'f> {
    /// The kind of thing they name: `pool`.
    what: &'static str,
    by_name: HashMap<&'f str, usize>,
    /// False when an element of the list was refused: a missing name may then have been in it.
    whole: bool,
}

impl<'f> NameIndex<'f> {
    /// Collects the names of a list in the order of the file. Reports names that are missing, duplicate or
    /// unusable.
    pub(super) fn collect<T>(
        report: &mut Report<'_>,
        list: &'f Key<Vec<Item<T>>>,
        what: &'static str,
        name_of: impl Fn(&'f T) -> &'f Key<String>,
    ) -> Self {
        let mut known = Self { what, by_name: HashMap::new(), whole: !list.has_refused() };
        for (index, element) in list.items().iter().enumerate() {
            let key = name_of(element);
            let (Some(name), Some(place)) = (key.get(), key.place()) else {
                known.whole = false;
                if !key.is_written() {
                    report.error(element, format!("this {what} has no `name`"));
                }
                continue;
            };
            if let Err(refusal) = check(what, name) {
                refusal.report(report, place);
            }
            if let Some(first) = known.by_name.insert(name, index) {
                let there = list.items().get(first).and_then(|element| name_of(element).place());
                let line = report.line_from(place, there.unwrap_or(place));
                report.error(place, format!("there is another {what} `{name}`, in {line}"));
            }
        }
        known
    }

    /// Stops references from being called dangling, because the missing names are already reported.
    pub(super) fn expect_more(&mut self) {
        self.whole = false;
    }

    /// The index of a name.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The index of a referenced name; a dangling reference is reported at `spot`.
    pub(super) fn find(&self, report: &mut Report<'_>, spot: impl Into<Spot>, name: &str) -> Option<usize> {
        let found = self.by_name.get(name).copied();
        if found.is_none() && self.whole {
            let what = self.what;
            // The scheme of a URL, or quotes pasted from a word processor, are not part of the name.
            let bare = name.split_once("://").map_or(name, |(_, rest)| rest.trim_end_matches('/'));
            let bare = bare.trim_matches(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']);
            let bare = self.by_name.get_key_value(bare).map(|(known, _)| *known);
            // Beyond the ceiling no hint is shown, so 10,000 wrong names are not compared with each known one.
            let near = nearest(name, self.by_name.keys().copied().filter(|_| report.errors() < MOST_ERRORS));
            let error = report.error(spot, format!("there is no {what} `{name}`"));
            if let Some(near) = bare.or(near) {
                error.hint(format!("did you mean `{near}`?"));
            }
        }
        found
    }
}

/// Checks a name, because names go into logs, metric labels and URLs.
pub(super) fn check(what: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(format!("the name of a {what} is empty")));
    }
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let message =
            format!("the name of a {what} has at most {LONGEST_NAME} characters and no control characters");
        return Err(Refusal::new(message));
    }
    Ok(())
}

/// Longer names are unreadable in a metric label.
const LONGEST_NAME: usize = 128;

//! The names of listeners, pools, profiles and backends: each once, and references to them.

use std::collections::HashMap;

use super::compiler::Refusal;
use crate::diagnostics::Report;
use crate::finding::MOST_ERRORS;
use crate::nearest::nearest;
use crate::place::Place;

/// The names in one list of the file.
#[derive(Debug)]
pub(super) struct NameIndex<'f> {
    /// What they name, in words: `pool`.
    what: &'static str,
    by_name: HashMap<&'f str, usize>,
    /// False when something in the list was refused: a name that is missing may then have been meant.
    whole: bool,
}

impl<'f> NameIndex<'f> {
    /// Collects the names of a list in the order of the file. Reports those that are missing, stand twice or cannot
    /// be used.
    pub(super) fn collect(
        report: &mut Report<'_>,
        list: &Place<'_>,
        what: &'static str,
        names: impl IntoIterator<Item = Option<&'f str>>,
    ) -> Self {
        // A list that is not there at all is whole too: nothing in it was refused.
        let whole = report.is_whole(list) || !report.mentions(list);
        let mut known = Self { what, by_name: HashMap::new(), whole };
        for (index, name) in names.into_iter().enumerate() {
            let element = list.index(index);
            let place = element.key("name");
            let Some(name) = name else {
                known.whole = false;
                if !report.mentions(&place) {
                    report.error(&element, format!("this {what} has no `name`"));
                }
                continue;
            };
            if let Err(refusal) = check(what, name) {
                refusal.report(report, &place);
            }
            if let Some(first) = known.by_name.insert(name, index) {
                let line = report.line_from(&place, &list.index(first).key("name"));
                report.error(&place, format!("there is another {what} `{name}`, in {line}"));
            }
        }
        known
    }

    /// Keeps references from being called dangling: that names are missing is reported already.
    pub(super) fn expect_more(&mut self) {
        self.whole = false;
    }

    /// The number of what a name names.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The number of what a reference names; a dangling one is reported at `place`.
    pub(super) fn find(&self, report: &mut Report<'_>, place: &Place<'_>, name: &str) -> Option<usize> {
        let found = self.by_name.get(name).copied();
        if found.is_none() && self.whole {
            let what = self.what;
            // Beyond the ceiling nobody sees the hint, and 10,000 wrong names would be compared with each known one.
            // A URL, or quotes out of a word processor.
            let bare = name.split_once("://").map_or(name, |(_, rest)| rest.trim_end_matches('/'));
            let bare = bare.trim_matches(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']);
            let bare = self.by_name.get_key_value(bare).map(|(known, _)| *known);
            let near = nearest(name, self.by_name.keys().copied().filter(|_| report.errors() < MOST_ERRORS));
            let error = report.error(place, format!("there is no {what} `{name}`"));
            if let Some(near) = bare.or(near) {
                error.hint(format!("did you mean `{near}`?"));
            }
        }
        found
    }
}

/// Names go into logs, metric labels and URLs.
pub(super) fn check(what: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(format!("the name of a {what} is empty")));
    }
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let message = format!(
            "the name of a {what} has at most {LONGEST_NAME} characters, none of them control characters"
        );
        return Err(Refusal::new(message));
    }
    Ok(())
}

/// As long as anybody reads in a metric label.
const LONGEST_NAME: usize = 128;

//! Errors and warnings of a configuration, each with file, line, column, the line with a marker, and a hint.
//!
//! In: findings of `load`, `decode` and `compile`. Out: text for people, JSON for programs. A diagnostic
//! holds its own piece of the file, so that it can be shown after the file is gone. Because a file of
//! megabytes may have a mistake in every place, the first diagnostics are kept, the others are counted, and
//! each is short.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::finding::{Finding, Found, MOST_ERRORS};
use crate::key::{Places, Spot};
use crate::secret::Secrets;
use crate::source::{Position, Source, Sources, Window};

/// Whether a diagnostic makes weir refuse the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, but needs attention.
    Warning,
}

/// One error or warning, and its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file: the main one as the user named it, an included one with its folder in front.
    pub file: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0 for the file as a whole.
    pub column: usize,
    /// The place in the configuration, such as `listeners[0].routes[2].pool`; empty for the whole. List elements
    /// are counted over all files.
    pub key: String,
    /// The mistake, in one sentence.
    pub message: String,
    /// A way to mend it.
    pub hint: Option<String>,
    /// Advice for the author of the file: the configuration may well be intended.
    #[serde(skip)]
    advice: bool,
    /// The piece of the line around it.
    #[serde(skip)]
    window: Option<Window>,
    /// The file's number, because sorting by name would differ from the order of reading.
    #[serde(skip)]
    number: usize,
}

impl Diagnostic {
    fn new(file: &str, at: Position, message: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            key: String::new(),
            message: printable(message),
            hint: None,
            advice: false,
            window: None,
            number: at.file,
        }
    }

    /// An error found before places in the configuration are known.
    pub(crate) fn found(source: &Source, finding: &Finding, secrets: &Secrets) -> Self {
        let hint = finding.hint.clone().map(printable);
        let mut found = Self { hint, ..Self::new(&source.name, finding.at, finding.message.clone()) };
        found.finish(source, secrets);
        found
    }

    /// An error of the file as a whole.
    pub(crate) fn whole_file(file: &str, message: impl Into<String>) -> Self {
        Self::new(file, Position::default(), message.into())
    }

    /// Prepares it for people: adds the piece of its line, removes secrets, shortens it.
    fn finish(&mut self, source: &Source, secrets: &Secrets) {
        let at = Position { file: self.number, line: self.line, column: self.column };
        self.window = source.window(at);
        self.clean(source, secrets);
    }

    fn clean(&mut self, source: &Source, secrets: &Secrets) {
        let at = Position { file: self.number, line: self.line, column: self.column };
        let clean = |text: &mut String| *text = short(secrets.clean(std::mem::take(text), at, source));
        clean(&mut self.message);
        self.hint.iter_mut().for_each(clean);
    }

    /// Whether it is for the author of the file only, and not for an operator while weir runs.
    pub fn is_advice(&self) -> bool {
        self.advice
    }

    /// Makes it advice.
    pub(crate) fn as_advice(&mut self) -> &mut Self {
        self.advice = true;
        self
    }

    /// Adds a hint.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(printable(hint.into()));
        self
    }

    /// For people: the message, file:line:column, the line with a marker, the hint. Without colours; several
    /// lines, without a line break at the end.
    pub fn render(&self) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
        group = match &self.window {
            Some(window) => group.element(
                Snippet::source(&window.text)
                    .path(&self.file)
                    .line_start(self.line)
                    .annotation(AnnotationKind::Primary.span(window.marked.clone())),
            ),
            None => group.element(Origin::path(&self.file)),
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint));
        }
        let text = Renderer::plain().render(&[group]);
        match &self.window {
            Some(window) if window.shift > 0 => text.replacen(
                &format!(":{}:{}", self.line, self.column - window.shift),
                &format!(":{}:{}", self.line, self.column),
                1,
            ),
            _ => text,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

/// The errors of a refused configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.brief(usize::MAX))]
pub struct Rejected(
    /// The first errors, in the order of the files.
    pub Vec<Diagnostic>,
    /// The number of further errors.
    pub usize,
);

impl Rejected {
    /// A refusal for one error.
    pub(crate) fn one(error: Diagnostic) -> Self {
        Self(vec![error], 0)
    }

    /// The number of all errors.
    pub fn count(&self) -> usize {
        self.0.len() + self.1
    }

    /// The first errors for people, at most `most`, and the number of the others.
    pub fn brief(&self, most: usize) -> String {
        let mut parts: Vec<String> = self.0.iter().take(most).map(Diagnostic::render).collect();
        match self.count() - parts.len() {
            0 => {}
            1 => parts.push("and 1 more error".to_owned()),
            more => parts.push(format!("and {more} more errors")),
        }
        parts.join("\n\n")
    }
}

/// Escapes control characters, because messages quote texts of the file and a terminal obeys control
/// characters.
fn printable(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Cuts a message short, because a value may have megabytes and a longer message cannot be read.
fn short(text: String) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// Collects diagnostics, and knows the file and position of each place of the configuration.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    sources: &'s Sources,
    places: &'s Places,
    secrets: &'s Secrets,
    /// The first ones of either severity, and all found since the last thinning.
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl<'s> Report<'s> {
    pub(crate) fn new(sources: &'s Sources, places: &'s Places, secrets: &'s Secrets, found: &Found) -> Self {
        let errors = found.kept.len() + found.more;
        let found = found.kept.iter().map(|one| Diagnostic::found(sources.of(one.at), one, secrets));
        let mut report = Self { sources, places, secrets, found: found.collect(), errors, warnings: 0 };
        report.thin();
        report
    }

    /// An error at the value of a place, or at the section that lacks it.
    pub(crate) fn error(&mut self, spot: impl Into<Spot>, message: impl Into<String>) -> &mut Diagnostic {
        let spot = spot.into();
        self.push(Severity::Error, self.places.position(spot), self.places.path(spot), message.into())
    }

    /// An error at the key of a place: the key itself is wrong, whatever its value.
    pub(crate) fn error_at_key(
        &mut self,
        spot: impl Into<Spot>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let spot = spot.into();
        self.push(Severity::Error, self.places.key_position(spot), self.places.path(spot), message.into())
    }

    /// A warning at the value of a place.
    pub(crate) fn warning(&mut self, spot: impl Into<Spot>, message: impl Into<String>) -> &mut Diagnostic {
        let spot = spot.into();
        self.push(Severity::Warning, self.places.position(spot), self.places.path(spot), message.into())
    }

    /// A warning at a position.
    pub(crate) fn warning_at(&mut self, at: Position, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, at, String::new(), message.into())
    }

    /// The place of a key within a section, by its name; the section itself if it lacks the key.
    pub(crate) fn within(&self, section: impl Into<Spot>, key: &'static str) -> Spot {
        self.places.within(section, key)
    }

    /// Replaces the hints of the errors at a position. Returns whether there are any.
    pub(crate) fn hint_errors_at(&mut self, at: Position, hint: &str) -> bool {
        let mut any = false;
        let here = |found: &&mut Diagnostic| {
            (found.number, found.line, found.column) == (at.file, at.line, at.column)
        };
        for found in self.found.iter_mut().filter(here).filter(|found| found.severity == Severity::Error) {
            found.hint(hint);
            any = true;
        }
        any
    }

    fn push(&mut self, severity: Severity, at: Position, key: String, message: String) -> &mut Diagnostic {
        if self.found.len() >= 4 * MOST_ERRORS {
            self.thin();
        }
        let source = self.sources.of(at);
        let mut diagnostic = Diagnostic::new(&source.name, at, message);
        diagnostic.severity = severity;
        diagnostic.key = key;
        if diagnostic.message.len() > LARGEST_HELD {
            diagnostic.clean(source, self.secrets);
        }
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        let index = self.found.len();
        self.found.push(diagnostic);
        // The index was this vector's length just before the push, so it names the pushed element.
        #[allow(clippy::indexing_slicing, reason = "the element was pushed on the line above")]
        &mut self.found[index]
    }

    /// How many errors have been found so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// The line of a place, for messages that point at a second place of the same listener or pool. Needs no
    /// file name, because only the lists at the top may span several files.
    pub(crate) fn line(&self, spot: impl Into<Spot>) -> usize {
        self.places.position(spot).line
    }

    /// The position of `there`, in words for a message at `here`: `line 12`, or `line 12 of conf.d/a.yaml`.
    pub(crate) fn line_from(&self, here: impl Into<Spot>, there: impl Into<Spot>) -> String {
        let (here, there) = (self.places.position(here), self.places.position(there));
        match here.file == there.file {
            true => format!("line {}", there.line),
            false => format!("line {} of {}", there.line, self.sources.of(there).name),
        }
    }

    /// The folder that a relative path at this place starts from: that of its file.
    pub(crate) fn folder(&self, spot: impl Into<Spot>) -> &'s Path {
        &self.sources.of(self.places.position(spot)).folder
    }

    /// Keeps only the first errors and the first warnings.
    fn thin(&mut self) {
        sort(&mut self.found);
        let (mut errors, mut warnings, mut advice) = (0_usize, 0_usize, 0_usize);
        self.found.retain(|one| {
            // Counted apart, because advice must not displace warnings for an operator.
            let count = match one.severity {
                Severity::Error => &mut errors,
                Severity::Warning if one.advice => &mut advice,
                Severity::Warning => &mut warnings,
            };
            *count += 1;
            *count <= MOST_ERRORS
        });
    }

    /// The first findings in the order of the files, and the number of the others.
    pub(crate) fn finish(mut self) -> Findings {
        self.thin();
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        for mut diagnostic in self.found {
            let at = Position { file: diagnostic.number, ..Position::default() };
            diagnostic.finish(self.sources.of(at), self.secrets);
            match diagnostic.severity {
                Severity::Error => errors.push(diagnostic),
                Severity::Warning => warnings.push(diagnostic),
            }
        }
        let more = self.warnings - warnings.len();
        if more > 0 {
            let mut rest =
                Diagnostic::whole_file(&self.sources.main.name, format!("and {more} more warnings"));
            rest.severity = Severity::Warning;
            warnings.push(rest);
        }
        let more = self.errors - errors.len();
        Findings { errors, more, warnings }
    }
}

/// The result of a report.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Diagnostic>,
    /// The number of further errors.
    pub(crate) more: usize,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Brings diagnostics into the order of the files.
pub(crate) fn sort(diagnostics: &mut [Diagnostic]) {
    // Of two findings at one place, an unknown key, which the schema does not have, is the cause of the
    // other.
    let order = |found: &Diagnostic| (found.number, found.line, found.column, !found.key.is_empty());
    diagnostics.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.message.cmp(&b.message)));
}

/// Characters of a message, and of a hint: enough for a long path twice over, or for a list of words.
const LONGEST_MESSAGE: usize = 1_000;
/// Bytes of a message that is held until the first ones are known: a longer one is cut at once to the part
/// that would be shown.
const LARGEST_HELD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: &Source, at: Position) -> Diagnostic {
        let finding = Finding { at, message: "no".to_owned(), hint: None };
        Diagnostic::found(source, &finding, &Secrets::default())
    }

    #[test]
    fn very_many_errors_are_counted_and_the_first_are_kept() {
        let text = "a: 1\n".repeat(10_000);
        let main = Source::new("weir.yaml".into(), Path::new("."), text);
        let (sources, places) = (Sources { main, included: Vec::new() }, Places::new(Position::default()));
        let (secrets, found) = (Secrets::default(), Found::default());
        let mut report = Report::new(&sources, &places, &secrets, &found);
        for line in (1..=10_000).rev() {
            let message = "x".repeat(if line % 100 == 0 { 100_000 } else { 10 });
            report.push(Severity::Error, Position { file: 0, line, column: 1 }, String::new(), message);
            let longest = report.found.iter().map(|one| one.message.len()).max();
            assert!(longest.is_some_and(|bytes| bytes <= LARGEST_HELD), "{longest:?} bytes at line {line}");
            report.warning_at(Position { file: 0, line, column: 1 }, "");
        }
        assert_eq!(report.errors(), 10_000);
        assert!(report.found.len() < 1_000);
        let Findings { errors, more, warnings } = report.finish();
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, (1..=100).collect::<Vec<_>>());
        assert_eq!((more, warnings.len()), (9_900, 101));
        assert_eq!(warnings.last().unwrap().message, "and 9900 more warnings");
        let rejected = Rejected(errors, more);
        assert_eq!(rejected.count(), 10_000);
        assert!(rejected.to_string().ends_with("and 9900 more errors"));
        assert!(rejected.brief(3).ends_with("and 9997 more errors"));
        assert!(rejected.to_string().len() < 100_000);
    }

    #[test]
    fn lines_wider_than_a_screen_are_shown_in_part() {
        let line = format!("a: [{}, wrong, {}]", "x".repeat(900), "y".repeat(900));
        let source = Source::new("weir.yaml".into(), Path::new("."), line);
        let rendered = at(&source, Position { file: 0, line: 1, column: 907 }).render();
        assert!(rendered.contains("weir.yaml:1:907"), "{rendered}");
        assert!(
            rendered.contains("xx, wrong, yy") && rendered.contains("^^^^^\n") || rendered.ends_with("^^^^^")
        );
        assert!(rendered.len() < 1_000, "{rendered}");
    }

    #[test]
    fn all_positions_can_be_rendered() {
        let source = Source::new("weir.yaml".into(), Path::new("."), "é: \u{1b}[31m\n\n".into());
        for (line, column) in [(0, 0), (1, 1), (1, 4), (1, 99), (2, 1), (3, 7), (9, 9)] {
            let rendered = at(&source, Position { file: 0, line, column }).hint("yes").render();
            assert!(
                rendered.contains("no") && rendered.contains("yes") && !rendered.contains('\u{1b}'),
                "{rendered}"
            );
        }
    }
}

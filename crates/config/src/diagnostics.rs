//! What is wrong with a configuration, and where: file, line, column, the line with a marker, a hint.
//!
//! In: findings of `load`, `decode` and `compile`. Out: text for people, JSON for programs. A diagnostic holds its
//! own line of the file, so that it can be shown after the file is gone.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::finding::{Finding, MOST_ERRORS};
use crate::place::Place;
use crate::source::{Position, Source, Sources};
use crate::tree::Node;

/// Whether the configuration is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is used; somebody should look.
    Warning,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file: the main one as it was named by the user, an included one with its folder in front.
    pub file: String,
    /// From 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// From 1, in characters; 0 when the file as a whole is meant.
    pub column: usize,
    /// The place in the configuration, such as `listeners[0].routes[2].pool`; empty for the whole. List elements
    /// are counted over all files.
    pub key: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line, and how many of its characters are marked from `column`.
    #[serde(skip)]
    marked: Option<(String, usize)>,
    /// The file's number: names would bring files into another order than the one they are read in.
    #[serde(skip)]
    number: usize,
}

impl Diagnostic {
    /// An error at a place of the file.
    pub(crate) fn at(source: &Source, at: Position, message: impl Into<String>) -> Self {
        let marked = (at.line > 0).then(|| (source.line(at.line).to_owned(), source.token_width(at)));
        Self {
            severity: Severity::Error,
            file: source.name.clone(),
            line: at.line,
            column: at.column,
            key: String::new(),
            message: printable(message.into()),
            hint: None,
            marked,
            number: at.file,
        }
    }

    /// An error that was found before places in the configuration were known.
    pub(crate) fn found(source: &Source, finding: &Finding) -> Self {
        let hint = finding.hint.clone().map(printable);
        Self { hint, ..Self::at(source, finding.at, finding.message.clone()) }
    }

    /// An error of the file as a whole.
    pub(crate) fn whole_file(file: &str, message: impl Into<String>) -> Self {
        let source = Source::new(file.to_owned(), Path::new(""), String::new());
        Self::at(&source, Position::default(), message)
    }

    /// Says what to do about it.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(printable(hint.into()));
        self
    }

    /// For people: the message, file:line:column, the line with a marker, the hint. Without colours, several lines,
    /// no line break at the end.
    pub fn render(&self) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
        let window = self.marked.as_ref().map(|(line, width)| Window::around(line, self.column, *width));
        group = match &window {
            Some(window) => group.element(
                Snippet::source(&window.text)
                    .path(&self.file)
                    .line_start(self.line)
                    .annotation(AnnotationKind::Primary.span(window.start..window.end)),
            ),
            None => group.element(Origin::path(&self.file)),
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint));
        }
        let text = Renderer::plain().render(&[group]);
        match &window {
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

/// Why a configuration is refused: every error that was found, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n\n"))]
pub struct Rejected(pub Vec<Diagnostic>);

/// Texts of the file are quoted in messages, and a terminal obeys control characters.
fn printable(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The part of a line that is shown: all of it, unless it is one of those lines no screen holds.
struct Window {
    text: String,
    /// Bytes of `text` that are marked.
    start: usize,
    end: usize,
    /// Characters cut off in front.
    shift: usize,
}

impl Window {
    fn around(line: &str, column: usize, width: usize) -> Self {
        let column = column.saturating_sub(1);
        let shift =
            if line.chars().count() > LONGEST_LINE { column.saturating_sub(LONGEST_LINE / 2) } else { 0 };
        let text: String = line.chars().skip(shift).take(LONGEST_LINE).collect();
        let byte = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let (start, end) = (byte(column - shift), byte(column - shift + width));
        Self { text, start, end, shift }
    }
}

/// Collects what is wrong, and knows where each place of the configuration stands, and in which file.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    sources: &'s Sources,
    tree: &'s Node,
    found: Vec<Diagnostic>,
    errors: usize,
}

impl<'s> Report<'s> {
    pub(crate) fn new(sources: &'s Sources, tree: &'s Node, findings: &[Finding]) -> Self {
        let found = findings.iter().map(|finding| Diagnostic::found(sources.of(finding.at), finding));
        Self { sources, tree, found: found.collect(), errors: findings.len() }
    }

    /// An error at the value of `place`, or at its nearest ancestor that is there.
    pub(crate) fn error(&mut self, place: &Place<'_>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, self.tree.position(place), place, message.into())
    }

    /// An error at the key of `place`: the key itself is wrong here, whatever its value.
    pub(crate) fn error_at_key(&mut self, place: &Place<'_>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, self.tree.key_position(place), place, message.into())
    }

    /// A warning at the value of `place`.
    pub(crate) fn warning(&mut self, place: &Place<'_>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, self.tree.position(place), place, message.into())
    }

    /// A warning at a position.
    pub(crate) fn warning_at(&mut self, at: Position, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, at, &Place::Root, message.into())
    }

    /// Gives the errors at a position another hint. Whether there are any.
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

    fn push(
        &mut self,
        severity: Severity,
        at: Position,
        place: &Place<'_>,
        message: String,
    ) -> &mut Diagnostic {
        let mut diagnostic = Diagnostic::at(self.sources.of(at), at, message);
        diagnostic.severity = severity;
        diagnostic.key = place.to_string();
        self.errors += usize::from(severity == Severity::Error);
        let index = self.found.len();
        self.found.push(diagnostic);
        // The index was this vector's length a line ago, so it names the element just pushed.
        #[allow(clippy::indexing_slicing, reason = "the element was pushed on the line above")]
        &mut self.found[index]
    }

    /// Is there a value, even one that was refused?
    pub(crate) fn mentions(&self, place: &Place<'_>) -> bool {
        self.tree.mentions(place)
    }

    /// Is the list or section there, with nothing in it refused?
    pub(crate) fn is_whole(&self, place: &Place<'_>) -> bool {
        self.tree.is_whole(place)
    }

    /// How many errors have been found so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// The line on which a place stands, for messages that point at a second place of the same listener or pool:
    /// no list goes over several files but those at the top.
    pub(crate) fn line(&self, place: &Place<'_>) -> usize {
        self.tree.position(place).line
    }

    /// Where `there` stands, in words for a message at `here`: `line 12`, or `line 12 of conf.d/a.yaml`.
    pub(crate) fn line_from(&self, here: &Place<'_>, there: &Place<'_>) -> String {
        let (here, there) = (self.tree.position(here), self.tree.position(there));
        match here.file == there.file {
            true => format!("line {}", there.line),
            false => format!("line {} of {}", there.line, self.sources.of(there).name),
        }
    }

    /// The folder that a relative path at this place starts from: that of the file in which it is written.
    pub(crate) fn folder(&self, place: &Place<'_>) -> &'s Path {
        &self.sources.of(self.tree.position(place)).folder
    }

    /// Everything found, in the order of the files.
    pub(crate) fn finish(self) -> Findings {
        let mut findings = Findings::default();
        for diagnostic in self.found {
            match diagnostic.severity {
                Severity::Error => findings.errors.push(diagnostic),
                Severity::Warning => findings.warnings.push(diagnostic),
            }
        }
        sort(&mut findings.errors);
        sort(&mut findings.warnings);
        findings.errors.truncate(MOST_ERRORS);
        findings.warnings.truncate(MOST_ERRORS);
        findings
    }
}

/// What a report came to.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Brings diagnostics into the order of the files.
pub(crate) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        (a.number, a.line, a.column, &a.message).cmp(&(b.number, b.line, b.column, &b.message))
    });
}

/// Characters of a line that are shown.
const LONGEST_LINE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_no_screen_holds_is_shown_in_part() {
        let line = format!("a: [{}, wrong, {}]", "x".repeat(900), "y".repeat(900));
        let source = Source::new("weir.yaml".into(), Path::new("."), line);
        let rendered = Diagnostic::at(&source, Position { file: 0, line: 1, column: 907 }, "no").render();
        assert!(rendered.contains("weir.yaml:1:907"), "{rendered}");
        assert!(
            rendered.contains("xx, wrong, yy") && rendered.contains("^^^^^\n") || rendered.ends_with("^^^^^")
        );
        assert!(rendered.len() < 1_000, "{rendered}");
    }

    #[test]
    fn every_place_can_be_rendered() {
        let source = Source::new("weir.yaml".into(), Path::new("."), "é: \u{1b}[31m\n\n".into());
        for (line, column) in [(0, 0), (1, 1), (1, 4), (1, 99), (2, 1), (3, 7), (9, 9)] {
            let rendered =
                Diagnostic::at(&source, Position { file: 0, line, column }, "no").hint("yes").render();
            assert!(
                rendered.contains("no") && rendered.contains("yes") && !rendered.contains('\u{1b}'),
                "{rendered}"
            );
        }
    }
}

//! The texts of a configuration's files, and positions in them.
//!
//! In: the texts. Out: lines, and the piece of a line that a diagnostic shows. Columns count characters from
//! 1, like the YAML parser and editors. A file may be one line of megabytes, and may contain pasted keys: so
//! a piece is short, costs little wherever it is cut out, and shows nothing of a key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::pasted::Pasted;

/// A position in a file; line and column begin at 1. Line 0 means the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Position {
    /// The index in [`Sources`]: 0 is the main file.
    pub(crate) file: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// The file as a whole.
    pub(crate) fn whole(file: usize) -> Self {
        Self { file, line: 0, column: 0 }
    }
}

/// All files of a configuration: the main one, then the included ones in the order of reading.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) main: Source,
    pub(crate) included: Vec<Source>,
}

impl Sources {
    /// The file of a position. Every position has the index of a file that was read, so the fallback to the
    /// main file is never used; it only spares an `Option`.
    pub(crate) fn of(&self, at: Position) -> &Source {
        at.file.checked_sub(1).and_then(|index| self.included.get(index)).unwrap_or(&self.main)
    }
}

/// A file's name for messages, its folder, its text, and the starts of its lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// Relative paths in the file start here.
    pub(crate) folder: PathBuf,
    pub(crate) text: String,
    line_starts: Vec<usize>,
    /// Pasted keys and certificates, which no message may repeat.
    pub(crate) pasted: Pasted,
}

/// The visible part of a line, with a marked part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) text: String,
    /// The marked bytes of `text`.
    pub(crate) marked: Range<usize>,
    /// Characters cut off at the front.
    pub(crate) shift: usize,
}

impl Source {
    pub(crate) fn new(name: String, folder: &Path, text: String) -> Self {
        let mut line_starts = vec![0];
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            // YAML 1.1 line breaks, as libyaml counts them; CR LF is one.
            let pair = c == '\r' && chars.next_if(|(_, next)| *next == '\n').is_some();
            if matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') {
                line_starts.push(at + c.len_utf8() + usize::from(pair));
            }
        }
        let pasted = Pasted::of(&text);
        Self { name, folder: folder.to_owned(), text, line_starts, pasted }
    }

    /// The line's text without its end; empty beyond the last line.
    pub(crate) fn line(&self, line: usize) -> &str {
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied();
        let Some(start) = start else { return "" };
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or("");
        text.trim_end_matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
    }

    /// The piece of a line around a position; all of a short line. `None` for the file as a whole.
    pub(crate) fn window(&self, at: Position) -> Option<Window> {
        let line = self.line(at.line);
        let start = *self.line_starts.get(at.line.checked_sub(1)?)?;
        let column = at.column.saturating_sub(1);
        let mut after = line.chars();
        if let Some(passed) = column.checked_sub(1) {
            after.nth(passed);
        }
        let (before, after) = line.split_at(line.len() - after.as_str().len());
        let long = line.chars().nth(LONGEST_LINE).is_some();
        // Characters before the position, possibly fewer than its column says.
        let kept = match long {
            true => before.chars().rev().take(LONGEST_LINE / 2).count(),
            false => before.chars().count(),
        };
        let cut = before.char_indices().rev().take(kept).last().map_or(before.len(), |(at, _)| at);
        let mut shown =
            line.get(cut..)?.char_indices().take(LONGEST_LINE).map(|(at, c)| (start + cut + at, c));
        let text: String =
            shown.by_ref().map(|(at, c)| if self.pasted.holds(at) { HIDDEN } else { c }).collect();
        let byte = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let marked = byte(kept)..byte(kept + token_width(after));
        Some(Window { marked, shift: if long { column.saturating_sub(kept) } else { 0 }, text })
    }
}

/// The length in characters of the token at the beginning of this text: a quoted text with its quotes, a key
/// without its colon, a plain value without a comment behind it. At least 1, and at most the number of
/// visible characters.
fn token_width(text: &str) -> usize {
    let rest: Vec<char> = text.chars().take(LONGEST_LINE + 1).collect();
    let width = match rest.first() {
        Some(quote @ ('"' | '\'')) => quoted_width(&rest, *quote),
        Some('[' | ']' | '{' | '}' | ',') | None => 1,
        Some(_) => plain_width(&rest),
    };
    width.max(1)
}

fn quoted_width(rest: &[char], quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in rest.iter().enumerate().skip(1) {
        match (*c, escaped) {
            (_, true) => escaped = false,
            ('\\', false) if quote == '"' => escaped = true,
            (c, false) if c == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn plain_width(rest: &[char]) -> usize {
    let ends = |index: usize, c: char| {
        let next = rest.get(index + 1);
        let before_blank = next.is_none_or(|next| next.is_whitespace());
        match c {
            ',' | ']' | '}' => true,
            ':' => before_blank,
            '#' => index > 0 && rest.get(index - 1).is_some_and(|before| before.is_whitespace()),
            _ => false,
        }
    };
    let end =
        rest.iter().enumerate().find(|(index, c)| ends(*index, **c)).map_or(rest.len(), |(index, _)| index);
    let trailing = rest.iter().take(end).rev().take_while(|c| c.is_whitespace()).count();
    end - trailing
}

/// Characters of a line to show.
const LONGEST_LINE: usize = 200;
/// Replaces each character of a key.
const HIDDEN: char = '*';

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("test".into(), Path::new("."), text.into())
    }

    #[test]
    fn lines_end_at_the_breaks_of_yaml() {
        let source = source("a\nb\r\nc\rd\u{2028}e");
        let lines: Vec<&str> = (0..7).map(|line| source.line(line)).collect();
        assert_eq!(lines, ["", "a", "b", "c", "d", "e", ""]);
    }

    #[test]
    fn tokens_end_where_readers_expect() {
        let source = source("name: edge # why\n- {sni: \"a # b\", pool: x}\nempty:\n'it''s': 1");
        let width =
            |line, column: usize| token_width(source.line(line).get(column - 1..).unwrap_or_default());
        assert_eq!(width(1, 1), 4);
        assert_eq!(width(1, 7), 4);
        assert_eq!(width(2, 9), 7);
        assert_eq!(width(2, 24), 1);
        assert_eq!(width(3, 1), 5);
        assert_eq!(width(4, 1), 4, "a doubled quote ends the mark early, which only shortens it");
        assert_eq!(width(9, 9), 1);
    }

    #[test]
    fn long_lines_are_shown_around_the_position() {
        for filler in ["x", "é"] {
            let text = format!("{}wrong{}", filler.repeat(5_000), filler.repeat(5_000));
            let window = source(&text).window(Position { file: 0, line: 1, column: 5_001 }).unwrap();
            assert_eq!(window.text.chars().count(), LONGEST_LINE);
            assert_eq!(window.shift, 5_000 - LONGEST_LINE / 2);
            assert!(window.text.get(window.marked.start..).unwrap().starts_with("wrong"));
        }
        let beyond = source("ab").window(Position { file: 0, line: 1, column: 9 }).unwrap();
        assert_eq!((beyond.text.as_str(), beyond.marked), ("ab", 2..2));
        assert_eq!(source("ab").window(Position::whole(0)), None);
    }
}

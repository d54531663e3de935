//! The texts of a configuration's files, and places in them.
//!
//! In: the texts. Out: lines, and the piece of a line that a diagnostic marks. Columns count characters from 1, as
//! the YAML parser and editors count them.

use std::path::{Path, PathBuf};

/// A place in a file; line and column begin at 1. Line 0 means the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// Which of [`Sources`]: 0 is the main file.
    pub(crate) file: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// A file as a whole.
    pub(crate) fn whole(file: usize) -> Self {
        Self { file, line: 0, column: 0 }
    }
}

/// All files of a configuration: the main one, and those it includes in the order in which they were read.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) main: Source,
    pub(crate) included: Vec<Source>,
}

impl Sources {
    /// The file in which a place is. Positions are made with the number of the file that is being read, so the
    /// main file is never a stand-in here; it only spares an `Option`.
    pub(crate) fn of(&self, at: Position) -> &Source {
        at.file.checked_sub(1).and_then(|index| self.included.get(index)).unwrap_or(&self.main)
    }
}

/// A file's name for messages, the folder it stands in, its text, and where its lines begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// Where relative paths in the file start.
    pub(crate) folder: PathBuf,
    pub(crate) text: String,
    line_starts: Vec<usize>,
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
        Self { name, folder: folder.to_owned(), text, line_starts }
    }

    /// The line's text without its end; empty beyond the last line.
    pub(crate) fn line(&self, line: usize) -> &str {
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied();
        let Some(start) = start else { return "" };
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or("");
        text.trim_end_matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
    }

    /// How many characters the token at this place has: a quoted text with its quotes, a key without its colon, a
    /// plain value without a comment behind it. At least 1.
    pub(crate) fn token_width(&self, at: Position) -> usize {
        let rest: Vec<char> = self.line(at.line).chars().skip(at.column.saturating_sub(1)).collect();
        let width = match rest.first() {
            Some(quote @ ('"' | '\'')) => quoted_width(&rest, *quote),
            Some('[' | ']' | '{' | '}' | ',') | None => 1,
            Some(_) => plain_width(&rest),
        };
        width.max(1)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("test".into(), Path::new("."), text.into())
    }

    #[test]
    fn lines_end_as_yaml_says() {
        let source = source("a\nb\r\nc\rd\u{2028}e");
        let lines: Vec<&str> = (0..7).map(|line| source.line(line)).collect();
        assert_eq!(lines, ["", "a", "b", "c", "d", "e", ""]);
    }

    #[test]
    fn tokens_end_where_a_reader_sees_them_end() {
        let source = source("name: edge # why\n- {sni: \"a # b\", pool: x}\nempty:\n'it''s': 1");
        let width = |line, column| source.token_width(Position { file: 0, line, column });
        assert_eq!(width(1, 1), 4);
        assert_eq!(width(1, 7), 4);
        assert_eq!(width(2, 9), 7);
        assert_eq!(width(2, 24), 1);
        assert_eq!(width(3, 1), 5);
        assert_eq!(width(4, 1), 4, "a doubled quote ends the mark early, which only shortens it");
        assert_eq!(width(9, 9), 1);
    }
}

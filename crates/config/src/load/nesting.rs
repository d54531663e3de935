//! How deep a text is nested, before the YAML parser reads it: its time grows with the nesting times the length.
//!
//! In: a text. Out: where it is nested too deep, if it is. The text is taken apart as libyaml's scanner takes it
//! apart: brackets in quoted, plain and block texts and in comments nest nothing. Where the scanner would stop at a
//! mistake this goes on; what is nested too deep behind a mistake is refused for the nesting.

use crate::source::Position;

/// The first place at which more than `deepest` brackets are open, or as many sections and lists without brackets
/// stand in each other.
pub(super) fn too_deep(file: usize, text: &str, deepest: usize) -> Option<Position> {
    let mut scan = Scan { chars: text.chars(), line: 1, column: 1, open: 0, columns: Vec::new() };
    let mut last = None;
    loop {
        let first_on_line = scan.skip_blanks();
        let at = Position { file, line: scan.line, column: scan.column };
        if first_on_line {
            last = None;
        }
        let c = scan.peek()?;
        match c {
            '%' if scan.column == 1 => scan.skip_line(),
            '-' | '.' if scan.column == 1 && scan.is_document_mark() => {
                scan.skip_line();
                (scan.open, last) = (0, None);
                scan.columns.clear();
            }
            '[' | '{' => {
                scan.next();
                scan.open += 1;
                last = last.or(Some(at.column));
            }
            ']' | '}' => {
                scan.next();
                scan.open = scan.open.saturating_sub(1);
            }
            ',' => scan.skip(1),
            '-' | '?' if scan.open == 0 && scan.is_blank_at(1) => {
                scan.begin(at.column);
                scan.skip(1);
                last = None;
            }
            ':' if scan.open > 0 || scan.is_blank_at(1) => {
                if scan.open == 0 {
                    scan.begin(last.unwrap_or(at.column));
                }
                scan.skip(1);
            }
            '|' | '>' if scan.open == 0 => scan.block_text(),
            '"' | '\'' => {
                scan.quoted(c);
                last = last.or(Some(at.column));
            }
            '&' | '*' | '!' => {
                scan.word();
                last = last.or(Some(at.column));
            }
            _ => {
                scan.plain();
                last = last.or(Some(at.column));
            }
        }
        if scan.open > deepest || scan.columns.len() > deepest {
            return Some(at);
        }
    }
}

/// A walk through a text.
struct Scan<'t> {
    chars: std::str::Chars<'t>,
    line: usize,
    /// From 1.
    column: usize,
    /// Brackets that are open.
    open: usize,
    /// The columns of the sections and lists without brackets that this place is in.
    columns: Vec<usize>,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.clone().next()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.clone().nth(ahead)
    }

    /// Is there a blank, a line break or the end?
    fn is_blank_at(&self, ahead: usize) -> bool {
        self.peek_at(ahead).is_none_or(|c| is_blank(c) || is_break(c))
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if is_break(c) && !(c == '\r' && self.peek() == Some('\n')) {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn skip_while(&mut self, mut wanted: impl FnMut(char) -> bool) {
        while self.peek().is_some_and(&mut wanted) {
            self.next();
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|c| !is_break(c));
    }

    /// Passes blanks, line breaks and comments. Says whether a line has begun.
    fn skip_blanks(&mut self) -> bool {
        let line = self.line;
        loop {
            self.skip_while(|c| is_blank(c) || is_break(c) || c == '\u{feff}');
            match self.peek() {
                Some('#') => self.skip_line(),
                _ => return self.line != line,
            }
        }
    }

    fn is_document_mark(&self) -> bool {
        let rest = self.chars.as_str();
        (rest.starts_with("---") || rest.starts_with("...")) && self.is_blank_at(3)
    }

    /// A section or a list without brackets has an entry in this column.
    fn begin(&mut self, column: usize) {
        self.columns.truncate(self.columns.partition_point(|outer| *outer <= column));
        if self.columns.last() != Some(&column) {
            self.columns.push(column);
        }
    }

    /// The column that a text without brackets has to go beyond to go on in the next line.
    fn margin(&self) -> usize {
        self.columns.last().copied().unwrap_or(0)
    }

    /// A text behind `|` or `>`: all lines that are indented further than what it belongs to.
    fn block_text(&mut self) {
        self.skip_line();
        // The line of the `|` may itself stand deeper than a shallower section that goes on below it.
        loop {
            self.next();
            let rest = self.chars.as_str();
            let indent = rest.len() - rest.trim_start_matches(' ').len();
            let empty = rest.get(indent..).is_none_or(|rest| rest.is_empty() || rest.starts_with(is_break));
            if rest.is_empty() || !(empty || indent + 1 > self.margin()) {
                return;
            }
            self.skip_line();
        }
    }

    fn quoted(&mut self, quote: char) {
        self.next();
        while let Some(c) = self.next() {
            if c == '\\' && quote == '"' {
                self.next();
            } else if c == quote {
                // A doubled one stands for itself; taken for the end and a new beginning it comes to the same.
                return;
            }
        }
    }

    /// An anchor, an alias or a tag.
    fn word(&mut self) {
        let flow = self.open > 0;
        self.next();
        self.skip_while(|c| {
            !(is_blank(c) || is_break(c) || flow && matches!(c, ',' | '[' | ']' | '{' | '}'))
        });
    }

    /// A text without quotes, over as many lines as it has.
    fn plain(&mut self) {
        let flow = self.open > 0;
        self.next();
        loop {
            let mut before = ' ';
            while let Some(c) = self.peek().filter(|c| !is_break(*c)) {
                let colon = c == ':' && (self.is_blank_at(1) || flow && self.peek_at(1).is_some_and(is_flow));
                let comment = c == '#' && is_blank(before);
                if colon || comment || flow && is_flow(c) {
                    return;
                }
                before = c;
                self.next();
            }
            // Does it go on in the next line that says something?
            let mut ahead = Scan { chars: self.chars.clone(), columns: Vec::new(), ..*self };
            ahead.skip_while(|c| is_blank(c) || is_break(c));
            let goes_on = match ahead.peek() {
                None | Some('#') => false,
                Some(_) if ahead.column == 1 && ahead.is_document_mark() => false,
                Some(_) => flow || ahead.column > self.margin(),
            };
            (self.chars, self.line, self.column) = (ahead.chars, ahead.line, ahead.column);
            if !goes_on {
                return;
            }
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// The line breaks of YAML 1.1.
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_flow(c: char) -> bool {
    matches!(c, ',' | '[' | ']' | '{' | '}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How deep a text is nested, by asking for every depth.
    fn depth(text: &str) -> usize {
        (0..200).find(|deepest| too_deep(0, text, *deepest).is_none()).unwrap_or(200)
    }

    #[test]
    fn brackets_count_where_the_parser_sees_them() {
        for (text, deep) in [
            ("a: [[[1]]]", 3),
            ("a: [\"]\",[\"]\",[1]]]", 3),
            ("a: ['it''s ]', [1]]", 2),
            ("a: [\"\\\"]\", [\"\\\\\", [1]]]", 3),
            ("# [[[[[[\na: 1 # [[[[[", 1),
            ("a: x[[[[[[", 1),
            ("a: x\n  [[[[[ y\nb: 1", 1),
            ("a: x\n  \"\nb: [[[[1]]]]\n", 4),
            ("a: don't\nb: [[[1]]]\nc: don't", 3),
            ("a: |\n  [[[[[[\n  \"\n\n  it's\nb: [[1]]", 2),
            ("a:\n- >-\n  [[[[[\n- b: |\n    '[[[\n  c: [[1]]", 2),
            ("a:\n  |\n  '[[[\nb: [[1]]", 2),
            ("{\"a\": {\"b\": [{\"c\": \"}}}\"}]}}", 4),
            ("a: [x\n  \"y, z], [1]\nb: 1", 1),
            ("- - - - x", 4),
            ("- a:\n  - b:\n    - c", 3),
            ("a: !x [[1]]\nb: &y [[[1]]]\nc: *y", 3),
            ("---\na: [1\n---\nb: [[1]]", 2),
            ("%YAML 1.1\n---\na: [[1]]", 2),
            ("? a\n: - b", 2),
            ("a: http://x/[[[\nb: -[[[\nc: 1", 1),
        ] {
            assert_eq!(depth(text), deep, "{text}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_first_bracket_too_many() {
        let at = too_deep(3, "a: 1\nb: [[\n  [", 2).unwrap();
        assert_eq!(at, Position { file: 3, line: 3, column: 3 });
    }
}

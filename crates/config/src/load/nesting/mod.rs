//! Measures a text's nesting and counts its directives before the YAML parser reads it, because the parser's
//! time grows with the nesting times the length, and with the square of the directives.
//!
//! In: a text. Out: the first position that exceeds either ceiling, if any. The text is tokenised as
//! libyaml's scanner does it: brackets in quoted, plain and block texts and in comments nest nothing. The
//! scanner stops at a mistake, this module goes on; a text nested too deep after a mistake is refused for the
//! nesting. A test compares the results with the parser's, text for text.

#[cfg(test)]
mod tests;

use crate::source::Position;

/// The exceeded ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Nesting,
    Directives,
}

/// The ceilings for a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Open brackets, plus nested sections and lists without brackets.
    pub(super) nesting: usize,
    /// Lines that begin with `%`.
    pub(super) directives: usize,
}

/// The first position that exceeds a ceiling, and which one.
pub(super) fn excess(file: usize, text: &str, most: Most) -> Option<(Position, Excess)> {
    let mut scan = Scan { chars: text.chars(), line: 1, column: 1, open: 0, columns: Vec::new() };
    let mut last = None;
    let mut directives = 0;
    loop {
        let first_on_line = scan.skip_blanks();
        let at = Position { file, line: scan.line, column: scan.column };
        if first_on_line {
            last = None;
        }
        let c = scan.peek()?;
        match c {
            '%' if scan.column == 1 => {
                directives += 1;
                if directives > most.directives {
                    return Some((at, Excess::Directives));
                }
                scan.skip_line();
            }
            '-' | '.' if scan.column == 1 && scan.is_document_mark() => {
                // The marked document may begin on the same line.
                scan.skip(3);
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
            '?' if scan.open > 0 => scan.skip(1),
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
            '&' | '*' => {
                scan.anchor();
                last = last.or(Some(at.column));
            }
            '!' => {
                scan.tag();
                last = last.or(Some(at.column));
            }
            _ => {
                scan.plain();
                last = last.or(Some(at.column));
            }
        }
        if scan.open > most.nesting || scan.columns.len() > most.nesting {
            return Some((at, Excess::Nesting));
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
    /// The columns of the enclosing sections and lists without brackets.
    columns: Vec<usize>,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.clone().next()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.clone().nth(ahead)
    }

    /// Whether a blank, a line break or the end follows.
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

    /// Skips blanks, line breaks and comments. Returns whether a line has begun.
    fn skip_blanks(&mut self) -> bool {
        let line = self.line;
        loop {
            self.skip_while(|c| is_blank(c) || is_break(c));
            match self.peek() {
                // The scanner skips a byte order mark there, and nowhere else.
                Some('\u{feff}') if self.column == 1 => self.skip(1),
                Some('#') => self.skip_line(),
                _ => return self.line != line,
            }
        }
    }

    fn is_document_mark(&self) -> bool {
        let rest = self.chars.as_str();
        (rest.starts_with("---") || rest.starts_with("...")) && self.is_blank_at(3)
    }

    /// Records an entry of a section or a list without brackets in this column.
    fn begin(&mut self, column: usize) {
        self.columns.truncate(self.columns.partition_point(|outer| *outer <= column));
        if self.columns.last() != Some(&column) {
            self.columns.push(column);
        }
    }

    /// The column that a text without brackets must exceed to continue on the next line.
    fn margin(&self) -> usize {
        self.columns.last().copied().unwrap_or(0)
    }

    /// Skips a text behind `|` or `>`: all lines indented further than its parent.
    fn block_text(&mut self) {
        self.skip_line();
        // The line of the `|` may itself be indented deeper than a shallower section that continues below it.
        loop {
            self.next();
            let rest = self.chars.as_str();
            let indent = rest.len() - rest.trim_start_matches(' ').len();
            let empty = rest.get(indent..).is_none_or(|rest| rest.is_empty() || rest.starts_with(is_break));
            if rest.is_empty() || !(empty || indent >= self.margin().max(1)) {
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
                // A doubled quote stands for itself; reading it as an end and a new beginning has the same
                // effect.
                return;
            }
        }
    }

    /// Skips an anchor or an alias, up to the end of its name.
    fn anchor(&mut self) {
        self.next();
        self.skip_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    }

    /// Skips a tag: `!name`, or `!<…>` with brackets and commas in it.
    fn tag(&mut self) {
        let written_out = self.peek_at(1) == Some('<');
        let flow = self.open > 0 && !written_out;
        self.next();
        self.skip_while(|c| !(is_blank(c) || is_break(c) || flow && is_flow(c) || written_out && c == '>'));
        if written_out && self.peek() == Some('>') {
            self.next();
        }
    }

    /// Skips a text without quotes, over all its lines.
    fn plain(&mut self) {
        let flow = self.open > 0;
        let mut before = self.next().unwrap_or(' ');
        loop {
            while let Some(c) = self.peek().filter(|c| !is_break(*c)) {
                let colon = c == ':' && (self.is_blank_at(1) || flow && self.peek_at(1).is_some_and(is_flow));
                let comment = c == '#' && is_blank(before);
                if colon || comment || flow && is_flow(c) {
                    return;
                }
                before = c;
                self.next();
            }
            // Looks for a continuation on the next line that is not blank.
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
            before = ' ';
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

//! Tables and counts for human readers.

use std::{fmt, io};
use terminal_size::{Width, terminal_size_of};

/// Rows of text under a header, as wide as a terminal: text too long for its column continues on the next line.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&'static str; N]) -> Self {
        Self { head, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// The table in lines of at most `width` characters. Columns are as wide as their longest text; empty ones are left
    /// out. The last column is prose: it gets the remaining space, or its own lines below the row.
    pub(super) fn fit(&self, width: usize) -> String {
        let empty = |n: &usize| !self.rows.is_empty() && self.rows.iter().all(|row| cell(row, *n).is_empty());
        self.lines((0..N).filter(|n| !empty(n)).collect(), width).join("\n")
    }

    /// The columns in `shown`, in lines of at most `width` characters.
    fn lines(&self, mut shown: Vec<usize>, width: usize) -> Vec<String> {
        let natural = |n: usize| {
            let cells = self.rows.iter().map(|row| cell(row, n));
            cells.chain([cell(&self.head, n)]).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let Some(last) = shown.pop() else { return Vec::new() };
        let mut widths: Vec<usize> = shown.iter().map(|n| natural(*n)).collect();
        shrink(&mut widths, width);
        let left = width.saturating_sub(taken(&widths) + if widths.is_empty() { 0 } else { GAP.len() });
        let prose = natural(last).min(left);
        let beside = natural(last) <= left || left >= BESIDE;
        let mut lines = Vec::new();
        let mut add = |texts: &dyn Fn(usize) -> String, below: bool| {
            let mut cells: Vec<Vec<String>> =
                shown.iter().zip(&widths).map(|(n, width)| wrapped(&texts(*n), *width)).collect();
            let mut widths = widths.clone();
            if beside {
                cells.push(wrapped(&texts(last), prose));
                widths.push(prose);
            }
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for line in 0..height {
                let padded = cells.iter().zip(&widths).map(|(cell, width)| {
                    let text = cell.get(line).map_or("", String::as_str);
                    format!("{text:width$}")
                });
                lines.push(padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned());
            }
            if below {
                let below = wrapped(&texts(last), width.saturating_sub(INDENT.len()));
                lines.extend(
                    below.iter().filter(|text| !text.is_empty()).map(|text| format!("{INDENT}{text}")),
                );
            }
        };
        add(&|n| cell(&self.head, n).to_owned(), false);
        for row in &self.rows {
            add(&|n| cell(row, n).to_owned(), !beside);
        }
        lines
    }
}

/// All columns, each as wide as its longest text.
impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines((0..N).collect(), usize::MAX).join("\n"))
    }
}

/// The space between two columns.
const GAP: &str = "  ";
/// The indentation of prose below its row.
const INDENT: &str = "    ";
/// The least width of a prose column; narrower ones are hard to read.
const BESIDE: usize = 20;
/// Columns are not made narrower than this.
const NARROWEST: usize = 8;
/// The least line width, and the default for output to a file or a pipe.
const LINE: usize = 80;

fn cell<T: AsRef<str>>(row: &[T], n: usize) -> &str {
    row.get(n).map_or("", AsRef::as_ref)
}

fn taken(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Makes the widest columns narrower until all of them fit.
fn shrink(widths: &mut [usize], width: usize) {
    while taken(widths) > width {
        let Some(widest) = widths.iter_mut().max_by_key(|w| **w).filter(|w| **w > NARROWEST) else { return };
        *widest -= 1;
    }
}

/// `text` in lines of at most `width` characters, broken between words, and inside words that are longer than a line.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let width = width.max(1);
    let mut lines = Vec::new();
    let (mut line, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for c in word.chars() {
            if length == width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            line.push(c);
            length += 1;
        }
    }
    lines.push(line);
    lines
}

/// The width of lines on stdout: that of the terminal; for a file or a pipe `COLUMNS` from the environment, if set. At
/// least 80, and 80 by default.
pub(super) fn line_width() -> usize {
    let terminal = terminal_size_of(io::stdout()).map(|(Width(columns), _)| usize::from(columns));
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(told).map_or(LINE, |width| width.max(LINE))
}

/// `1 change`, `2 changes`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `text` with its control characters escaped: a terminal obeys them, and the reason of a failed check may quote what a
/// backend sent.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_show() {
        let mut table = Table::new(["A", "LONG HEAD", "C"]);
        table.row(["wide cell".into(), "é".into(), "last".into()]);
        table.row(["x\ny".into(), "\u{1b}[31m".into(), String::new()]);
        assert_eq!(
            table.fit(80),
            "A          LONG HEAD   C\nwide cell  é           last\nx\\ny       \\u{1b}[31m"
        );
    }

    #[test]
    fn prose_continues_beside_its_row_or_below_it() {
        let mut table = Table::new(["NAME", "STATE", "EMPTY", "WHY"]);
        table.row(["one".into(), "up".into(), String::new(), String::new()]);
        table.row(["two".into(), "down".into(), String::new(), "cannot connect: refused, 2s ago".into()]);
        assert_eq!(
            table.fit(35),
            "NAME  STATE  WHY\none   up\ntwo   down   cannot connect:\n             refused, 2s ago"
        );
        assert_eq!(
            table.fit(30),
            "NAME  STATE\none   up\ntwo   down\n    cannot connect: refused,\n    2s ago"
        );
    }

    #[test]
    fn lines_fit_their_width() {
        let mut table =
            Table::new(["POOL", "BACKEND", "ADDRESS", "STATE", "WEIGHT", "ACTIVE", "TOTAL", "WHY"]);
        for long in ["x".repeat(70), "word ".repeat(30), "[2001:db8::1]:8443".to_owned()] {
            let cells = [&long, &long, &long, "ejected", "65535 by hand, backup", "4294967295", "1", &long];
            table.row(cells.map(|cell: &str| cell.to_owned()));
        }
        for width in [80, 100, 200] {
            let fitted = table.fit(width);
            assert!(fitted.lines().all(|line| line.chars().count() <= width), "{fitted}");
            let told: String = fitted.split_whitespace().collect();
            assert!(told.matches('x').count() >= 70 * 4, "something is left out: {fitted}");
        }
    }
}

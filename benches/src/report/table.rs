//! The table: for a terminal, and as markdown.

use super::{Row, Summary};
use crate::peer::Peer;
use crate::statistics::Spread;
use crate::work::Section;

/// One of the tables as markdown: medians with their spread, and weir's share of the best competitor's.
pub fn markdown(summary: &Summary, section: Section) -> String {
    let rows = cells(summary, summary.rows(section), true);
    let mut lines: Vec<String> = rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    let columns = rows.first().map_or(0, Vec::len);
    lines.insert(1, format!("|---|---|{}", "--:|".repeat(columns.saturating_sub(2))));
    lines.join("\n") + "\n"
}

/// All tables in one for a terminal, with aligned columns.
pub fn terminal(summary: &Summary) -> String {
    let rows = cells(summary, summary.rows.iter(), false);
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let line: Vec<String> = cells
            .map(
                |(at, (cell, &width))| {
                    if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A figure with a suitable number of digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn cells<'a>(summary: &Summary, rows: impl Iterator<Item = &'a Row>, spreads: bool) -> Vec<Vec<String>> {
    let peers = summary.peers();
    let both = |peer| peers.contains(&peer) && peers.iter().any(|peer| peer.is_other());
    let (weir, records) = (both(Peer::Weir), both(Peer::WeirRecords));
    let mut head = vec!["work".to_owned(), "unit".to_owned()];
    head.extend(peers.iter().map(|peer| peer.title().to_owned()));
    if weir {
        head.push("weir : best other".to_owned());
    }
    if records {
        head.push("with records : best other".to_owned());
    }
    let row = |row: &Row| {
        let mut line = vec![row.title.clone(), row.family.unit().to_owned()];
        line.extend(peers.iter().map(|peer| cell(row.peers.get(peer), spreads)));
        let share = |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        line.extend(weir.then(|| share(row.ratio)));
        line.extend(records.then(|| share(row.ratio_records)));
        line
    };
    std::iter::once(head).chain(rows.map(row)).collect()
}

fn cell(spread: Option<&Spread>, with_range: bool) -> String {
    match spread {
        None => "–".to_owned(),
        Some(spread) if with_range && spread.rounds > 1 => {
            format!("{} ({}–{})", figure(spread.median), figure(spread.min), figure(spread.max))
        }
        Some(spread) => figure(spread.median),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::summary;

    #[test]
    fn markdown_has_spreads_and_shares() {
        let text = markdown(&summary(), Section::Tcp);
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "| work | unit | weir | weir, records and metrics on | HAProxy | nginx | weir : best other | with records : best other |"
        );
        assert_eq!(lines.next().unwrap(), "|---|---|--:|--:|--:|--:|--:|--:|");
        assert_eq!(
            lines.next().unwrap(),
            "| offload, bulk download | CPU s/GiB | 1.10 (1.00–1.50) | 1.50 (1.50–1.50) | 3.00 (3.00–3.00) | 2.00 (2.00–2.00) | 0.55 | 0.75 |"
        );
    }

    #[test]
    fn a_table_has_the_rows_of_its_section_only() {
        assert_eq!(markdown(&summary(), Section::Tcp).lines().count(), 2 + 3);
        assert_eq!(markdown(&summary(), Section::Http).lines().count(), 2);
    }

    #[test]
    fn a_terminal_has_columns() {
        let text = terminal(&summary());
        let ends: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(text.contains("0.55"));
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [0.1234, 1.234, 12.34, 123.4, 1234.0].map(figure),
            ["0.123", "1.23", "12.3", "123", "1234"]
        );
    }
}

//! Writes the tables of advice in docs/operations.md. A test that changes the page fails, so that the change is reviewed
//! and committed; run again, it passes.

use super::{Advice, alert, handshake, others};
use crate::account::outcome::{Outcome, Reason};
use std::fs;
use std::path::Path;
use weir_metrics::labels::{DialResult, Limit};
use weir_tls::{Alert, HandshakeFailure};

/// Words with their advice: one text for both sides, or one for each.
type Entry = (&'static str, Sides);
/// The advice for each side, behind its word.
type Sides = Vec<(&'static str, Advice)>;

/// Entries with the same advice share a row.
fn table(entries: impl IntoIterator<Item = Entry>) -> String {
    let mut rows: Vec<(Vec<&str>, Sides)> = Vec::new();
    for (word, advice) in entries {
        match rows.iter_mut().find(|(_, same)| *same == advice) {
            Some((words, _)) => words.push(word),
            None => rows.push((vec![word], advice)),
        }
    }
    let cell = |parts: Vec<String>| match parts.split_first() {
        Some((first, others)) if others.iter().all(|part| part == first) => first.clone(),
        _ => parts.join("<br>"),
    };
    let means =
        |sides: &[(&str, Advice)]| cell(sides.iter().map(|(_, advice)| advice.means.to_owned()).collect());
    let hints = |sides: &[(&str, Advice)]| match sides {
        [(_, one), others @ ..] if others.iter().all(|(_, other)| other.hint == one.hint) => {
            one.hint.to_owned()
        }
        _ => cell(sides.iter().map(|(side, advice)| format!("{side}{}", advice.hint)).collect()),
    };
    let mut table = "| cause | means | what to do |\n|---|---|---|\n".to_owned();
    for (words, sides) in rows {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        table.push_str(&format!("| {} | {} | {} |\n", words.join(", "), means(&sides), hints(&sides)));
    }
    table
}

fn handshakes() -> String {
    let sides = |failure| {
        vec![("client: ", handshake::of_a_client(failure)), ("backend: ", handshake::of_a_backend(failure))]
    };
    table(HandshakeFailure::ALL.iter().map(|failure| (failure.label(), sides(*failure))))
}

fn alerts() -> String {
    let sides =
        |alert| vec![("client: ", alert::of_a_client(alert)), ("backend: ", alert::of_a_backend(alert))];
    table(Alert::ALL.iter().map(|alert| (alert.label(), sides(*alert))))
}

fn all_others() -> String {
    let one = |advice| vec![("", advice)];
    let outcomes = Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Ok);
    let outcomes = outcomes.map(|outcome| (outcome.label(), one(others::of_an_outcome(*outcome))));
    let limits = Limit::ALL.iter().map(|limit| Reason::Limit(*limit));
    let dials =
        DialResult::ALL.iter().filter(|result| !matches!(result, DialResult::Ok | DialResult::TlsFailed));
    let reasons = [Reason::Malformed, Reason::BadSni].into_iter();
    let reasons = reasons.chain(limits).chain(dials.map(|result| Reason::Dial(*result)));
    let reasons = reasons.chain([Reason::Alerted, Reason::BadRecord]);
    table(outcomes.chain(reasons.map(|reason| (reason.label(), one(others::of_a_reason(reason))))))
}

#[test]
fn the_page_has_the_advice() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let before = fs::read_to_string(&path).unwrap();
    let mut page = before.clone();
    for (heading, table) in [
        ("\n## Why a TLS handshake failed\n", handshakes()),
        ("\n## Alerts\n", alerts()),
        ("\n### What to do about the others\n", all_others()),
    ] {
        let at = page.find(heading).unwrap_or_else(|| panic!("no {heading:?}")) + heading.len();
        let start = at + page[at..].find("\n| ").expect("a table") + 1;
        let end = page[start..].find("\n\n").map_or(page.len(), |end| start + end + 1);
        page.replace_range(start..end, &table);
    }
    if page != before {
        fs::write(&path, &page).unwrap();
        panic!("docs/operations.md had other advice, and was written anew: look at it, and commit it");
    }
}

#[test]
fn advice_is_in_one_form() {
    let pages = [handshakes(), alerts(), all_others()].concat();
    for row in pages.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').skip(2).take(2).flat_map(|cell| cell.split("<br>")).collect();
        for cell in cells {
            let text = cell.trim();
            assert!(text.len() > 3 && !text.ends_with('.') && !text.contains("  "), "{row}");
            assert!(text.is_ascii(), "{row}");
        }
    }
}

//! `$NAME` in a text: a variable as a shell writes it, and here nothing but a text.
//!
//! In: the report, once everything is found, and the tree. Out: where such a text was refused, the hint says how a
//! variable is written; where it was taken as it stands, a warning does.

use crate::diagnostics::Report;
use crate::tree::{Value, YamlNode};

/// Points out every variable that was not put in.
pub(super) fn point_out(report: &mut Report<'_>, node: &YamlNode) {
    match &node.value {
        Value::Text { text, substituted: false } => {
            let Some(name) = variable(text) else { return };
            let hint = format!("a variable is written `${{{name}}}`");
            let refused = report.hint_errors_at(node.at, &hint);
            // In small letters it may well be what it seems.
            if !refused && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
                report.warning_at(node.at, format!("`${name}` stays as it is")).hint(hint);
            }
        }
        Value::List(nodes) => nodes.iter().for_each(|node| point_out(report, node)),
        Value::Map(entries) => entries.iter().for_each(|entry| point_out(report, &entry.node)),
        _ => {}
    }
}

/// The name behind the first `$` that has one.
fn variable(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let behind = text.get(at + 1..)?;
        let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
        let name = behind.get(..end)?;
        (name.len() <= LONGEST_NAME && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
            .then_some(name)
    })
}

/// Longer names of variables are none.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_shell() {
        assert_eq!(variable("$PORT"), Some("PORT"));
        assert_eq!(variable("a$ $1 $b-c"), Some("b"));
        assert_eq!(variable("price: 5$"), None);
    }
}

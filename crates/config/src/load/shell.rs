//! `$NAME` in a text: a variable in a shell's notation, which weir takes literally.
//!
//! In: the tree. Out: the positions of such texts, and the names in them.

use crate::source::Position;
use crate::tree::{Value, YamlNode};

/// Finds every variable that was taken literally.
pub(super) fn shell_variables(root: &YamlNode) -> Vec<(Position, String)> {
    let mut found = Vec::new();
    collect(root, &mut found);
    found
}

fn collect(node: &YamlNode, found: &mut Vec<(Position, String)>) {
    match &node.value {
        Value::Text { text, substituted: false } => {
            found.extend(variable(text).map(|name| (node.at, name.to_owned())));
        }
        Value::List(nodes) => nodes.iter().for_each(|node| collect(node, found)),
        Value::Map(entries) => entries.iter().for_each(|entry| collect(&entry.node, found)),
        _ => {}
    }
}

/// The name after the first `$` that has one.
fn variable(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let behind = text.get(at + 1..)?;
        let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
        let name = behind.get(..end)?;
        (name.len() <= LONGEST_NAME && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
            .then_some(name)
    })
}

/// Longer names are not taken for variables.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_variables_are_found() {
        assert_eq!(variable("$PORT"), Some("PORT"));
        assert_eq!(variable("a$ $1 $b-c"), Some("b"));
        assert_eq!(variable("price: 5$"), None);
    }
}

//! Values written as YAML on one line, for hints that can be copied.

use crate::tree::{KeyValue, Value, YamlNode};
use crate::units::{Percent, Size, Time};

/// A value on one line; `None` where it is too long to be copied, or came out of a variable: what a variable holds is
/// never repeated.
pub(super) fn flow(node: &YamlNode) -> Option<String> {
    let text = match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Unsigned(value) => value.to_string(),
        Value::Signed(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text { substituted: true, .. } => return None,
        Value::Text { text, .. } => scalar(text),
        Value::List(nodes) => {
            let parts: Option<Vec<_>> = nodes.iter().take(MOST_PARTS).map(flow).collect();
            format!("[{}]", parts?.join(", "))
        }
        Value::Map(entries) => format!("{{{}}}", pairs(entries)?),
    };
    let all = match &node.value {
        Value::List(nodes) => nodes.len() < MOST_PARTS,
        _ => true,
    };
    (all && text.len() <= LONGEST).then_some(text)
}

/// The keys and values of a section on one line, without its braces.
pub(super) fn pairs(entries: &[KeyValue]) -> Option<String> {
    if entries.len() > MOST_PARTS {
        return None;
    }
    let pair = |entry: &KeyValue| Some(format!("{}: {}", scalar(&entry.key), flow(&entry.node)?));
    let pairs: Option<Vec<_>> = entries.iter().map(pair).collect();
    Some(pairs?.join(", "))
}

/// A text, with quotes where YAML would take it for something else.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let word =
        matches!(text, "true" | "false" | "null" | "True" | "False" | "Null" | "TRUE" | "FALSE" | "NULL");
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let unit = Time::parse(text).is_ok() || Size::parse(text).is_ok() || Percent::parse(text).is_ok();
    if unit || starts && !word && text.chars().all(plain) {
        return text.to_owned();
    }
    // JSON's quoting is YAML's.
    serde_json::Value::from(text).to_string()
}

/// Elements, or keys, of something that is repeated in a hint.
const MOST_PARTS: usize = 8;
/// Bytes of a value that is repeated in a hint.
const LONGEST: usize = 160;

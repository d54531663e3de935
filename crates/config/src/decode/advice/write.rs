//! Values written as YAML on one line, for hints that can be copied.

use crate::speeds::{Pace, Speed};
use crate::tree::{KeyValue, Value, YamlNode};
use crate::units::{Percent, Rate, Size, Time};

/// A scalar in its plain form, without quotes.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Unsigned(value) => Some(value.to_string()),
        Value::Signed(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Text { text, .. } => Some(text.clone()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// A value on one line; `None` if it is too long to be copied, or contains a variable, because values of
/// variables are never repeated.
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

/// A text, in quotes if YAML would read it as another type.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let word =
        matches!(text, "true" | "false" | "null" | "True" | "False" | "Null" | "TRUE" | "FALSE" | "NULL");
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let unit = Time::parse(text).is_ok()
        || Size::parse(text).is_ok()
        || Percent::parse(text).is_ok()
        || Rate::parse(text).is_ok()
        || Speed::parse(text).is_ok()
        || Pace::parse(text).is_ok();
    if unit || starts && !word && text.chars().all(plain) {
        return text.to_owned();
    }
    // A JSON string is a valid YAML string.
    serde_json::Value::from(text).to_string()
}

/// Elements or keys to repeat in a hint.
const MOST_PARTS: usize = 8;
/// Bytes of a value to repeat in a hint.
const LONGEST: usize = 160;

//! serde's errors in the words of the file: the key, the expected value, the value found, a suggestion.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::finding::Finding;
use crate::tree::{KeyValue, Value, YamlNode};
use crate::words::shown;

/// An error of serde, in words for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(super) struct DecodeError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The closed set of words that lacks the value, or the keys that the section may have.
    pub(super) known: &'static [&'static str],
    /// The message makes sense only after the key's name.
    pub(super) names_key: bool,
    /// It is in the list already.
    pub(super) pinned: bool,
}

impl DecodeError {
    fn new(message: String, hint: Option<String>, names_key: bool) -> Self {
        Self { message, hint, known: &[], names_key, pinned: false }
    }

    /// The finding at a value, the key it belongs to, and a hint.
    pub(super) fn at_value(
        &self,
        node: &YamlNode,
        key: Option<&KeyValue>,
        advice: Option<String>,
    ) -> Finding {
        let message = self.message.as_str();
        match key {
            Some(entry) if self.names_key => {
                Finding { at: node.at, message: format!("`{}`: {message}", shown(&entry.key)), hint: advice }
            }
            _ => Finding {
                at: node.at,
                message: message.to_owned(),
                hint: advice.or_else(|| self.hint.clone()),
            },
        }
    }
}

impl de::Error for DecodeError {
    /// The first line is the message, the second is the hint.
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Self::new(message.to_owned(), Some(hint.to_owned()), false),
            None => Self::new(text, None, false),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", plain(expected), plainly(found)), None, true)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(wrong: &str, known: &'static [&'static str]) -> Self {
        let choices = format!("one of: {}", known.join(", "));
        Self {
            known,
            ..Self::new(format!("`{}` is not a value of this key", shown(wrong)), Some(choices), false)
        }
    }

    fn unknown_field(wrong: &str, known: &'static [&'static str]) -> Self {
        Self { known, ..Self::new(format!("unknown key `{}`", shown(wrong)), None, false) }
    }
}

/// A closed set of values, as serde's expectation.
pub(super) struct OneOf(pub(super) &'static [&'static str]);

impl Expected for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of: {}", self.0.join(", "))
    }
}

/// A value in serde's terms.
pub(super) fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Unsigned(value) => Unexpected::Unsigned(*value),
        Value::Signed(value) => Unexpected::Signed(*value),
        Value::Float(value) => Unexpected::Float(*value),
        Value::Text { text, .. } => Unexpected::Str(text),
        Value::List(_) => Unexpected::Seq,
        Value::Map(_) => Unexpected::Map,
    }
}

/// serde's expectation, in the words of the file.
fn plain(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "a string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        structure if structure.starts_with("struct ") => "a section (keys and values)".to_owned(),
        other => other.to_owned(),
    }
}

fn plainly(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the switch {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {}", number(value)),
        Unexpected::Str(text) => format!("the text \"{}\"", shown(&text.escape_debug().to_string())),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}

/// A float as YAML writes it.
fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => ".nan".to_owned(),
        _ if value.is_infinite() && value > 0.0 => ".inf".to_owned(),
        _ if value.is_infinite() => "-.inf".to_owned(),
        _ => value.to_string(),
    }
}

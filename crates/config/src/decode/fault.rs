//! serde's errors in the words of the file: which key, what was expected, what was found, what may have been meant.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::finding::Finding;
use crate::nearest::nearest;
use crate::schema::NOT_YET;
use crate::tree::{Entry, Node, Value};

/// An error of serde, in words for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The message needs the key's name in front to be understood.
    pub(super) names_key: bool,
    /// It is in the list already.
    pub(super) pinned: bool,
}

impl Fault {
    fn new(message: String, hint: Option<String>, names_key: bool) -> Self {
        Self { message, hint, names_key, pinned: false }
    }

    /// The finding at a value, and the key it stands behind.
    pub(super) fn at_value(&self, node: &Node, key: Option<&Entry>) -> Finding {
        let (message, hint) = (self.message.as_str(), self.hint.clone());
        match key {
            Some(entry) if message == NOT_YET => Finding {
                at: entry.at,
                message: format!("`{}` is not supported yet", entry.key),
                hint: Some("remove this key; a later version of weir will know it".to_owned()),
            },
            Some(entry) if self.names_key => {
                Finding { at: node.at, message: format!("`{}`: {message}", entry.key), hint }
            }
            _ => Finding { at: node.at, message: message.to_owned(), hint },
        }
    }

    /// The finding at a key that is wrong itself.
    pub(super) fn at_key(&self, entry: &Entry) -> Finding {
        Finding { at: entry.at, message: self.message.clone(), hint: self.hint.clone() }
    }
}

impl de::Error for Fault {
    /// The first line is the message, the second the hint.
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Self::new(message.to_owned(), Some(hint.to_owned()), false),
            None => Self::new(text, None, false),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let hint = match found {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) | Unexpected::Bool(_)
                if expected.to_string() == "a string" =>
            {
                Some("write it in quotes".to_owned())
            }
            _ => None,
        };
        Self::new(format!("expected {}, found {}", plain(expected), plainly(found)), hint, true)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(wrong: &str, known: &'static [&'static str]) -> Self {
        let choices = format!("one of: {}", known.join(", "));
        let hint = match nearest(wrong, known.iter().copied()) {
            Some(word) => format!("did you mean `{word}`? {choices}"),
            None => choices,
        };
        Self::new(format!("`{wrong}` is not a value of this key"), Some(hint), false)
    }

    fn unknown_field(wrong: &str, known: &'static [&'static str]) -> Self {
        let hint = match nearest(wrong, known.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        Self::new(format!("unknown key `{wrong}`"), Some(hint), false)
    }
}

/// A value of a closed set.
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

/// serde's words for what it wants, in the words of the file.
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
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text \"{}\"", text.escape_debug()),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}

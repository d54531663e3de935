//! The file as a tree of values with positions.
//!
//! In: the result of `load`. Out: the values that `decode` walks. A value that `decode` has refused is
//! marked, and from then on skipped, by the walk and by the counting of list elements, so that the rest of
//! the file can be read as if the value were absent.

use std::cell::Cell;

use crate::source::Position;

/// One value.
#[derive(Debug, Clone, Default)]
pub(crate) struct YamlNode {
    /// For a map or a list, the position of its first entry.
    pub(crate) at: Position,
    pub(crate) value: Value,
    refused: Cell<bool>,
    /// The key that must have been meant by the unknown key of this value.
    meant: Cell<Option<&'static str>>,
}

/// The content of a value.
#[derive(Debug, Clone, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    /// Zero and up.
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
    Text {
        text: String,
        /// It contains a variable, so a number or a switch is accepted here too, although it came as text.
        substituted: bool,
    },
    List(Vec<YamlNode>),
    Map(Vec<KeyValue>),
}

/// One key with its value.
#[derive(Debug, Clone)]
pub(crate) struct KeyValue {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) node: YamlNode,
}

impl KeyValue {
    /// The key as written, or the key of the schema that the user must have meant.
    pub(crate) fn name(&self) -> &str {
        self.node.meant.get().unwrap_or(&self.key)
    }

    /// Records the key that must have been meant.
    pub(crate) fn mean(&self, key: &'static str) {
        self.node.meant.set(Some(key));
    }
}

impl YamlNode {
    pub(crate) fn new(at: Position, value: Value) -> Self {
        Self { at, value, refused: Cell::new(false), meant: Cell::new(None) }
    }

    pub(crate) fn refuse(&self) {
        self.refused.set(true);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get()
    }
}

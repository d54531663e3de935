//! The file as a tree of values that know where they stand.
//!
//! In: what `load` read. Out: look-ups of places for diagnostics, and the values that `decode` walks. A value that
//! `decode` refused is marked and from then on passed over, in the walk and in the counting of list elements, so
//! that the rest of the file can be read as if it were not there.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;

use crate::place::Place;
use crate::source::Position;

/// One value.
#[derive(Debug, Clone, Default)]
pub(crate) struct YamlNode {
    /// Of a map or a list: where its first entry stands.
    pub(crate) at: Position,
    pub(crate) value: Value,
    refused: Cell<bool>,
    /// The key that must have been meant by the unknown one in front of it.
    meant: Cell<Option<&'static str>>,
    /// What spares walking a long list or section for each place in it. Made when the first place is asked for, and by
    /// then all that is refused has been.
    index: OnceCell<Option<Box<Index>>>,
}

/// Where the parts of a list or a section are.
#[derive(Debug, Clone)]
enum Index {
    /// Of a list in which something is refused: the numbers of what is not.
    Kept(Vec<usize>),
    /// Of a long section: its keys.
    Keys(HashMap<String, usize>),
}

/// What a value is.
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
        /// A variable was put in: then a number or a switch may stand here too, although it came as text.
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
    /// The key, or what must have been meant by it.
    pub(crate) fn name(&self) -> &str {
        self.node.meant.get().unwrap_or(&self.key)
    }

    /// Says which key must have been meant.
    pub(crate) fn mean(&self, key: &'static str) {
        self.node.meant.set(Some(key));
    }
}

impl YamlNode {
    pub(crate) fn new(at: Position, value: Value) -> Self {
        Self { at, value, refused: Cell::new(false), meant: Cell::new(None), index: OnceCell::new() }
    }

    pub(crate) fn refuse(&self) {
        self.refused.set(true);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get()
    }

    /// Where the value of a place stands, or its nearest ancestor that is in the file.
    pub(crate) fn position(&self, place: &Place<'_>) -> Position {
        self.find(place).node.at
    }

    /// Where the key of a place stands; of a list element, the element.
    pub(crate) fn key_position(&self, place: &Place<'_>) -> Position {
        let found = self.find(place);
        found.key.unwrap_or(found.node.at)
    }

    /// Is there a value at this place, refused or not? `key: null` is no value. What was refused as a whole may have
    /// had one.
    pub(crate) fn mentions(&self, place: &Place<'_>) -> bool {
        let found = self.find(place);
        found.node.is_refused() || found.exact && !matches!(found.node.value, Value::Null)
    }

    /// Is the list or section at this place in the file, with nothing in it refused? Else what seems to be missing
    /// in it may only have been refused.
    pub(crate) fn is_whole(&self, place: &Place<'_>) -> bool {
        let found = self.find(place);
        let intact = match &found.node.value {
            Value::List(_) => found.node.index().is_none(),
            Value::Map(entries) => entries.iter().all(|entry| !entry.node.is_refused()),
            _ => true,
        };
        found.exact && intact && !found.node.is_refused()
    }

    /// `None` where a list or a section is as it is read: nothing in the list is refused, or the section is short.
    fn index(&self) -> Option<&Index> {
        let index = || match &self.value {
            Value::List(nodes) if nodes.iter().any(Self::is_refused) => {
                let kept = nodes.iter().enumerate().filter(|(_, node)| !node.is_refused());
                Some(Box::new(Index::Kept(kept.map(|(number, _)| number).collect())))
            }
            Value::Map(entries) if entries.len() > LONG_SECTION => {
                let keys =
                    entries.iter().enumerate().map(|(number, entry)| (entry.name().to_owned(), number));
                // Of two that are meant alike the first one counts.
                Some(Box::new(Index::Keys(keys.rev().collect())))
            }
            _ => None,
        };
        self.index.get_or_init(index).as_deref()
    }

    fn find(&self, place: &Place<'_>) -> Found<'_> {
        let (parent, child) = match place {
            Place::Root => return Found { node: self, key: None, exact: true },
            Place::Key(parent, key) => (self.find(parent), Child::Key(key)),
            Place::Index(parent, index) => (self.find(parent), Child::Index(*index)),
        };
        if !parent.exact {
            return parent;
        }
        let found = match (&parent.node.value, child) {
            (Value::Map(entries), Child::Key(key)) => match parent.node.index() {
                Some(Index::Keys(keys)) => keys.get(key).and_then(|number| entries.get(*number)),
                _ => entries.iter().find(|entry| entry.name() == key),
            }
            .map(|entry| Found { node: &entry.node, key: Some(entry.at), exact: true }),
            (Value::List(nodes), Child::Index(index)) => match parent.node.index() {
                Some(Index::Kept(kept)) => kept.get(index).and_then(|number| nodes.get(*number)),
                _ => nodes.get(index),
            }
            .map(|node| Found { node, key: None, exact: true }),
            _ => None,
        };
        found.unwrap_or(Found { exact: false, ..parent })
    }
}

enum Child<'p> {
    Key(&'p str),
    Index(usize),
}

struct Found<'t> {
    node: &'t YamlNode,
    key: Option<Position>,
    /// False: this is an ancestor of what was asked for.
    exact: bool,
}

/// Keys from which a section is looked up by hash: none of the schema has so many.
const LONG_SECTION: usize = 64;

//! The tree into the schema's types, past every mistake.
//!
//! In: the tree. Out: the schema, and a finding for each key or value that does not fit. serde stops at the first
//! error; so the node where it happened is marked as refused and the walk begins anew without it, until a walk comes
//! through. Every error is pinned to the innermost node that was being read.

mod fault;

use std::cell::RefCell;

use serde::Deserialize;
use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use crate::finding::{Finding, MOST_ERRORS};
use crate::tree::{Entry, Node, Value};

use fault::{Fault, OneOf, unexpected};

/// Reads `T` from the tree. What does not fit is refused in the tree and listed.
pub(crate) fn decode<'t, T: Deserialize<'t> + Default>(root: &'t Node) -> (T, Vec<Finding>) {
    let found = RefCell::new(Vec::new());
    loop {
        let walk = Walk { node: root, key: None, found: &found };
        match T::deserialize(walk) {
            Ok(value) => return (value, found.into_inner()),
            // Each failed walk has refused one more node, so this ends; the ceiling bounds it for hopeless files.
            Err(_pinned) if root.is_refused() || found.borrow().len() >= MOST_ERRORS => {
                return (T::default(), found.into_inner());
            }
            Err(_pinned) => {}
        }
    }
}

/// The finding for a value that is none of what has to stand there: `a sequence`, `struct …` in serde's words.
pub(crate) fn wrong_kind(node: &Node, key: Option<&Entry>, expected: &'static str) -> Finding {
    let fault: Fault = de::Error::invalid_type(unexpected(&node.value), &expected);
    fault.at_value(node, key)
}

/// The finding for a key that is none of the known ones.
pub(crate) fn unknown_key(entry: &Entry, known: &'static [&'static str]) -> Finding {
    let fault: Fault = de::Error::unknown_field(&entry.key, known);
    fault.at_key(entry)
}

/// A value being read, and the key it stands behind.
#[derive(Clone, Copy)]
struct Walk<'t, 'f> {
    node: &'t Node,
    key: Option<&'t Entry>,
    found: &'f RefCell<Vec<Finding>>,
}

impl<'t> Walk<'t, '_> {
    /// Pins an error that came out of this node to it, unless a node further in already has it.
    fn pin<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        let fault = match result {
            Err(fault) if !fault.pinned => fault,
            other => return other,
        };
        self.node.refuse();
        self.found.borrow_mut().push(fault.at_value(self.node, self.key));
        Err(Fault { pinned: true, ..fault })
    }

    fn visit<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(nodes) => visitor.visit_seq(List { nodes: nodes.iter(), found: self.found }),
            Value::Map(entries) => {
                visitor.visit_map(Map { entries: entries.iter(), value: None, found: self.found })
            }
        }
    }

    /// A text that came out of a variable may be a number or a switch.
    fn visit_scalar<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Value::Text { text, substituted: true } = &self.node.value {
            if let Ok(number) = text.parse() {
                return visitor.visit_u64(number);
            }
            if let Ok(switch) = text.parse() {
                return visitor.visit_bool(switch);
            }
        }
        self.visit(visitor)
    }
}

impl<'t> de::Deserializer<'t> for Walk<'t, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.pin(self.visit(visitor))
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => self.pin(visitor.visit_some(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            // `routes:` with nothing behind it is an empty list.
            Value::Null => self.pin(visitor.visit_seq(List { nodes: [].iter(), found: self.found })),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.node.value {
            // serde would take a list for the fields in their order.
            Value::List(_) => self.pin(Err(de::Error::invalid_type(Unexpected::Seq, &"struct section"))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.pin(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word = match &self.node.value {
            Value::Text { text, .. } => text.clone(),
            // YAML reads some of these words as switches; the words are then still what the user wrote.
            other => return self.pin(Err(de::Error::invalid_type(unexpected(other), &OneOf(variants)))),
        };
        let word: StringDeserializer<Fault> = word.into_deserializer();
        self.pin(visitor.visit_enum(word))
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.pin(self.visit_scalar(visitor))
    }

    fn deserialize_u16<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.pin(self.visit_scalar(visitor))
    }

    fn deserialize_u32<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.pin(self.visit_scalar(visitor))
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'t>>
        i8 i16 i32 i64 i128 u8 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}

struct List<'t, 'f> {
    nodes: std::slice::Iter<'t, Node>,
    found: &'f RefCell<Vec<Finding>>,
}

impl<'t> de::SeqAccess<'t> for List<'t, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.nodes.find(|node| !node.is_refused()) else { return Ok(None) };
        seed.deserialize(Walk { node, key: None, found: self.found }).map(Some)
    }
}

struct Map<'t, 'f> {
    entries: std::slice::Iter<'t, Entry>,
    value: Option<&'t Entry>,
    found: &'f RefCell<Vec<Finding>>,
}

impl<'t> de::MapAccess<'t> for Map<'t, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.find(|entry| !entry.node.is_refused()) else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        match seed.deserialize(key) {
            Ok(key) => Ok(Some(key)),
            Err(fault) => {
                entry.node.refuse();
                self.found.borrow_mut().push(fault.at_key(entry));
                Err(Fault { pinned: true, ..fault })
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        // serde asks for a value only after a key.
        let entry =
            self.value.take().ok_or_else(|| <Fault as de::Error>::custom("a value without its key"))?;
        seed.deserialize(Walk { node: &entry.node, key: Some(entry), found: self.found })
    }
}

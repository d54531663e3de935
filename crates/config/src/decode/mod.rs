//! The tree into the schema's types, past every mistake.
//!
//! In: the tree. Out: the schema, and a finding for each key or value that does not fit. serde stops at the first
//! error; so the node where it happened is marked as refused and the walk begins anew without it, until a walk comes
//! through. Every error is pinned to the innermost node that was being read. What to do about it is said by `advice`.
//! An unknown key that must have been meant as another one is read as that, so that one mistake gives one error.

mod advice;
mod error;

use std::cell::RefCell;

use serde::Deserialize;
use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use crate::finding::{Finding, MOST_ERRORS};
use crate::shape::ROOT;
use crate::tree::{KeyValue, Value, YamlNode};

use advice::Spot;
use error::{DecodeError, OneOf, unexpected};

/// Reads `T` from the tree. What does not fit is refused in the tree and listed.
pub(crate) fn decode<'t, T: Deserialize<'t> + Default>(root: &'t YamlNode) -> (T, Vec<Finding>) {
    let found = RefCell::new(Vec::new());
    loop {
        let walk = Walk { root, node: root, key: None, at: None, found: &found };
        match T::deserialize(walk) {
            Ok(value) => return (value, found.into_inner()),
            // Each failed walk has refused one more node, or renamed one more key, so this ends; the ceiling bounds it
            // for hopeless files.
            Err(_pinned) if root.is_refused() || found.borrow().len() >= MOST_ERRORS => {
                return (T::default(), found.into_inner());
            }
            Err(_pinned) => {}
        }
    }
}

/// The finding for a value behind a key at the top of a file that is none of what has to stand there: `a sequence`,
/// `struct …` in serde's words.
pub(crate) fn wrong_kind(node: &YamlNode, key: Option<&KeyValue>, expected: &'static str) -> Finding {
    let error: DecodeError = de::Error::invalid_type(unexpected(&node.value), &expected);
    let spot = key.map(|entry| Spot { root: node, section: ROOT, key: &entry.key, element: false, node });
    error.at_value(node, key, spot.and_then(|spot| advice::value(spot, error.known)))
}

/// The finding for a key at the top of a file that is none of the known ones; those in `taken` stand there already.
pub(crate) fn unknown_key(entry: &KeyValue, taken: &[&str], known: &[&'static str]) -> Finding {
    let error: DecodeError = de::Error::unknown_field(&entry.key, &[]);
    let free: Vec<&'static str> = known.iter().copied().filter(|key| !taken.contains(key)).collect();
    let advice = advice::unknown_key(&entry.node, ROOT, entry, &[], &free);
    Finding { at: entry.at, message: error.message, hint: Some(advice.hint) }
}

/// A value being read, and where it stands.
#[derive(Clone, Copy)]
struct Walk<'t, 'f> {
    root: &'t YamlNode,
    node: &'t YamlNode,
    /// The key in front of it; none for elements of lists.
    key: Option<&'t KeyValue>,
    /// The section and the key that it stands behind, be it as an element.
    at: Option<(&'static str, &'t str)>,
    found: &'f RefCell<Vec<Finding>>,
}

impl<'t, 'f> Walk<'t, 'f> {
    /// Pins an error that came out of this node to it, unless a node further in already has it.
    fn pin<T>(self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        let error = match result {
            Err(error) if !error.pinned => error,
            other => return other,
        };
        self.node.refuse();
        let spot = self.at.map(|(section, key)| Spot {
            root: self.root,
            section,
            key,
            element: self.key.is_none(),
            node: self.node,
        });
        let advice = match spot {
            Some(spot) => advice::value(spot, error.known),
            None => Some("a configuration is keys and values: `listeners:` and `pools:`".to_owned()),
        };
        self.found.borrow_mut().push(error.at_value(self.node, self.key, advice));
        Err(DecodeError { pinned: true, ..error })
    }

    fn list(self, nodes: &'t [YamlNode]) -> List<'t, 'f> {
        List { walk: self, nodes: nodes.iter() }
    }

    fn section(self, name: &'static str, entries: &'t [KeyValue]) -> Map<'t, 'f> {
        Map { walk: self, name, all: entries, entries: entries.iter(), value: None }
    }

    fn visit<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(nodes) => visitor.visit_seq(self.list(nodes)),
            Value::Map(entries) => visitor.visit_map(self.section("", entries)),
        }
    }

    /// A number or a switch may come as a text: from a variable, or in quotes, which change nothing here.
    fn visit_scalar<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if let Value::Text { text, .. } = &self.node.value {
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
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.pin(self.visit(visitor))
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => self.pin(visitor.visit_some(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            // `routes:` with nothing behind it is an empty list.
            Value::Null => self.pin(visitor.visit_seq(self.list(&[]))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            // serde would take a list for the fields in their order.
            Value::List(_) => self.pin(Err(de::Error::invalid_type(Unexpected::Seq, &visitor))),
            Value::Map(entries) => self.pin(visitor.visit_map(self.section(name, entries))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.pin(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let word = match &self.node.value {
            Value::Text { text, .. } => text.clone(),
            // YAML reads some of these words as switches; the words are then still what the user wrote.
            other => {
                let error: DecodeError = de::Error::invalid_type(unexpected(other), &OneOf(variants));
                return self.pin(Err(DecodeError { known: variants, ..error }));
            }
        };
        let word: StringDeserializer<DecodeError> = word.into_deserializer();
        self.pin(visitor.visit_enum(word))
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.pin(self.visit_scalar(visitor))
    }

    fn deserialize_u16<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.pin(self.visit_scalar(visitor))
    }

    fn deserialize_u32<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.pin(self.visit_scalar(visitor))
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'t>>
        i8 i16 i32 i64 i128 u8 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}

struct List<'t, 'f> {
    /// The list itself.
    walk: Walk<'t, 'f>,
    nodes: std::slice::Iter<'t, YamlNode>,
}

impl<'t> de::SeqAccess<'t> for List<'t, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'t>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.nodes.find(|node| !node.is_refused()) else { return Ok(None) };
        seed.deserialize(Walk { node, key: None, ..self.walk }).map(Some)
    }
}

struct Map<'t, 'f> {
    /// The section itself.
    walk: Walk<'t, 'f>,
    /// What the schema calls it; empty where it may have any keys.
    name: &'static str,
    all: &'t [KeyValue],
    entries: std::slice::Iter<'t, KeyValue>,
    value: Option<&'t KeyValue>,
}

impl Map<'_, '_> {
    /// Lists an unknown key. One that must have been meant as another is read as that from now on, if its value fits.
    fn refuse(&self, entry: &KeyValue, error: &DecodeError) {
        let advice = advice::unknown_key(self.walk.root, self.name, entry, self.all, error.known);
        if let Some(meant) = advice.meant {
            entry.mean(meant);
        }
        if !(advice.adopt && advice.meant.is_some()) {
            entry.node.refuse();
        }
        let finding = Finding { at: entry.at, message: error.message.clone(), hint: Some(advice.hint) };
        self.walk.found.borrow_mut().push(finding);
    }
}

impl<'t> de::MapAccess<'t> for Map<'t, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some(entry) = self.entries.find(|entry| !entry.node.is_refused()) else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, DecodeError> = entry.name().into_deserializer();
        match seed.deserialize(key) {
            Ok(key) => Ok(Some(key)),
            Err(error) => {
                self.refuse(entry, &error);
                Err(DecodeError { pinned: true, ..error })
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        // serde asks for a value only after a key.
        let entry =
            self.value.take().ok_or_else(|| <DecodeError as de::Error>::custom("a value without its key"))?;
        let at = Some((self.name, entry.name()));
        seed.deserialize(Walk { node: &entry.node, key: Some(entry), at, ..self.walk })
    }
}

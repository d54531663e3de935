//! Reads the tree into the schema's types, and reports every mistake.
//!
//! In: the tree. Out: the schema, and a finding for each key or value that does not fit. serde stops at the
//! first error; so the failing node is marked as refused and the walk starts again without it, until a walk
//! succeeds. Every error is pinned to the innermost node being read. `advice` adds the hints. An unknown key
//! that must have been meant as another one is read as that key, so that one mistake gives one error.

mod advice;
mod error;

use std::cell::RefCell;

use serde::Deserialize;
use serde::de::value::{StrDeserializer, StringDeserializer, UnitDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use crate::finding::{Finding, MOST_ERRORS};
use crate::key::{PLACED, PlaceId, Places, ROOT, Step};
use crate::shape;
use crate::tree::{KeyValue, Value, YamlNode};

use advice::Spot;
use error::{DecodeError, OneOf, unexpected};

/// Reads `T` from the tree. Values that do not fit are refused in the tree and listed.
pub(crate) fn decode<'t, T: Deserialize<'t> + Default>(root: &'t YamlNode) -> (T, Places, Vec<Finding>) {
    let found = RefCell::new(Vec::new());
    loop {
        let places = RefCell::new(Places::new(root.at));
        let within = Within { place: ROOT, step: Step::Root };
        let walk = Walk { root, node: root, key: None, at: None, within, places: &places, found: &found };
        match T::deserialize(walk) {
            Ok(value) => return (value, places.into_inner(), found.into_inner()),
            // This ends, because each failed walk has refused one more node or renamed one more key; the
            // ceiling bounds it for hopeless files.
            Err(_pinned) if root.is_refused() || found.borrow().len() >= MOST_ERRORS => {
                return (T::default(), places.into_inner(), found.into_inner());
            }
            Err(_pinned) => {}
        }
    }
}

/// The finding for a value of the wrong kind behind a key at the top of a file; `expected` is in serde's
/// words: `a sequence`, `struct …`.
pub(crate) fn wrong_kind(node: &YamlNode, key: Option<&KeyValue>, expected: &'static str) -> Finding {
    let error: DecodeError = de::Error::invalid_type(unexpected(&node.value), &expected);
    let spot =
        key.map(|entry| Spot { root: node, section: shape::ROOT, key: &entry.key, element: false, node });
    error.at_value(node, key, spot.and_then(|spot| advice::value(spot, error.known)))
}

/// The finding for an unknown key at the top of a file; the keys in `taken` are used already.
pub(crate) fn unknown_key(entry: &KeyValue, taken: &[&str], known: &[&'static str]) -> Finding {
    let error: DecodeError = de::Error::unknown_field(&entry.key, &[]);
    let free: Vec<&'static str> = known.iter().copied().filter(|key| !taken.contains(key)).collect();
    let advice = advice::unknown_key(&entry.node, shape::ROOT, entry, &[], &free);
    Finding { at: entry.at, message: error.message, hint: Some(advice.hint) }
}

/// A value being read, and its position.
#[derive(Clone, Copy)]
struct Walk<'t, 'f> {
    root: &'t YamlNode,
    node: &'t YamlNode,
    /// The value's key; `None` for elements of lists.
    key: Option<&'t KeyValue>,
    /// The section and the key of the value, or of the list that it is an element of.
    at: Option<(&'static str, &'t str)>,
    within: Within,
    places: &'f RefCell<Places>,
    found: &'f RefCell<Vec<Finding>>,
}

/// The place that contains a value, and the step from there to it.
#[derive(Clone, Copy)]
struct Within {
    place: PlaceId,
    step: Step,
}

impl<'t, 'f> Walk<'t, 'f> {
    /// Pins an error from this node to it, unless a node further in already has it.
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
        List { walk: self, nodes: nodes.iter(), number: 0 }
    }

    /// Adds the place of this value, and continues below it.
    fn placed(self) -> Placed<'t, 'f> {
        let key = self.key.map_or(self.node.at, |entry| entry.at);
        let substituted = matches!(self.node.value, Value::Text { substituted: true, .. });
        let Within { place, step } = self.within;
        let place = self.places.borrow_mut().add(place, step, (self.node.at, key), substituted);
        Placed { walk: Self { within: Within { place, step: Step::Root }, ..self }, part: 0 }
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

    /// A number or a switch may be written as text: from a variable, or in quotes, which change nothing here.
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
            // `routes:` without a value is an empty list.
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

    fn deserialize_tuple_struct<V: Visitor<'t>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            PLACED => visitor.visit_seq(self.placed()),
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
            // YAML reads some of these words as switches, but the user wrote them as words.
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
        tuple map identifier ignored_any
    }
}

struct List<'t, 'f> {
    /// The list itself.
    walk: Walk<'t, 'f>,
    nodes: std::slice::Iter<'t, YamlNode>,
    /// The index of the next element, without refused ones.
    number: usize,
}

impl<'t> de::SeqAccess<'t> for List<'t, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'t>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.nodes.find(|node| !node.is_refused()) else { return Ok(None) };
        let within = Within { step: Step::Index(self.number), ..self.walk.within };
        self.number += 1;
        seed.deserialize(Walk { node, key: None, within, ..self.walk }).map(Some)
    }
}

/// The parts of a [`Key`](crate::key::Key), one after the other.
struct Placed<'t, 'f> {
    walk: Walk<'t, 'f>,
    part: usize,
}

impl Placed<'_, '_> {
    /// Whether nothing of a list or a section was refused.
    fn is_whole(&self) -> bool {
        match &self.walk.node.value {
            Value::List(nodes) => !nodes.iter().any(YamlNode::is_refused),
            Value::Map(entries) => !entries.iter().any(|entry| entry.node.is_refused()),
            _ => true,
        }
    }
}

impl<'t> de::SeqAccess<'t> for Placed<'t, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'t>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.part += 1;
        let (walk, refused) = (self.walk, self.walk.node.is_refused());
        match self.part {
            1 => seed.deserialize(u32::from(walk.within.place).into_deserializer()).map(Some),
            2 if refused => Ok(None),
            // `key: null` is as good as no key, unless `null` is a value of the key. A list must not contain
            // it.
            2 if matches!(walk.node.value, Value::Null) && walk.key.is_some() => {
                let null: UnitDeserializer<DecodeError> = ().into_deserializer();
                Ok(seed.deserialize(null).ok())
            }
            2 => walk.pin(seed.deserialize(walk)).map(Some),
            3 => seed.deserialize(refused.into_deserializer()).map(Some),
            4 => seed.deserialize(self.is_whole().into_deserializer()).map(Some),
            _ => Ok(None),
        }
    }
}

struct Map<'t, 'f> {
    /// The section itself.
    walk: Walk<'t, 'f>,
    /// The section's name in the schema; empty if it may have any keys.
    name: &'static str,
    all: &'t [KeyValue],
    entries: std::slice::Iter<'t, KeyValue>,
    value: Option<&'t KeyValue>,
}

impl Map<'_, '_> {
    /// Whether serde is shown this entry. A refused entry is shown only as a key of the schema without a
    /// value; of two entries for the same key the accepted one is shown.
    fn is_told(&self, entry: &KeyValue) -> bool {
        if !entry.node.is_refused() {
            return true;
        }
        // Compares no further here, because there may be very many unknown keys.
        if shape::key(self.name, entry.name()).is_none() {
            return false;
        }
        let mut same = self.all.iter().filter(|other| other.name() == entry.name());
        let first = same.clone().next().is_some_and(|first| std::ptr::eq(first, entry));
        first && !same.any(|other| !other.node.is_refused())
    }

    /// Lists an unknown key. If it must have been meant as another key and its value fits, it is read as that
    /// from now on.
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
        let entry = loop {
            let Some(entry) = self.entries.next() else { return Ok(None) };
            if self.is_told(entry) {
                break entry;
            }
        };
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
        let step = shape::key(self.name, entry.name()).map_or(Step::Root, Step::Key);
        let within = Within { step, ..self.walk.within };
        seed.deserialize(Walk { node: &entry.node, key: Some(entry), at, within, ..self.walk })
    }
}

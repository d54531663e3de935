//! Values of the configuration that carry their position.
//!
//! A [`Key`] is the value of a section's key, an [`Item`] is an element of a list. Each holds the number of
//! its place; [`Places`] maps the number to the position and the path. `decode` makes both. A refused value
//! keeps its place, so that a missing value can be told apart from a wrong one.

use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::source::Position;

/// The number of a place in [`Places`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaceId(u32);

/// The value of a key: absent, given or refused. Comparing looks at the value alone.
#[derive(Debug, Clone)]
pub struct Key<T> {
    value: Option<T>,
    /// `None` for an absent key. `key: null` has a place and no value.
    place: Option<PlaceId>,
    refused: bool,
    /// No part of the list or section was refused.
    whole: bool,
}

impl<T> Key<T> {
    /// The value, unless it is absent, `null` or refused.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value, to be changed.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }

    /// Whether there is no usable value.
    pub fn is_none(&self) -> bool {
        self.value.is_none()
    }

    /// Whether there is a usable value.
    pub fn is_some(&self) -> bool {
        self.value.is_some()
    }

    /// Whether a value was written, even if it was refused.
    pub(crate) fn is_written(&self) -> bool {
        self.refused || self.value.is_some()
    }

    /// Whether a value was written, and no part of it was refused.
    pub(crate) fn is_whole(&self) -> bool {
        self.place.is_some() && self.whole && !self.refused
    }

    /// Whether something is missing because it was refused.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused || self.value.is_some() && !self.whole
    }

    /// Gives the key a value if it has none.
    pub(crate) fn fill(&mut self, value: impl FnOnce() -> T) {
        self.value.get_or_insert_with(value);
    }

    /// The key's place; `None` for an absent key.
    pub(crate) fn place(&self) -> Option<PlaceId> {
        self.place
    }

    /// The key's place; for an absent key, its section's place with the key's name.
    pub(crate) fn or(&self, section: impl Into<Spot>, name: &'static str) -> Spot {
        match self.place {
            Some(place) => place.into(),
            None => Spot { missing: Some(name), ..section.into() },
        }
    }
}

impl<T> Key<Vec<T>> {
    /// The accepted elements; empty for an absent key.
    pub fn items(&self) -> &[T] {
        self.value.as_deref().unwrap_or_default()
    }
}

impl<T> Default for Key<T> {
    fn default() -> Self {
        Self { value: None, place: None, refused: false, whole: true }
    }
}

impl<T: PartialEq> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for Key<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Key<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(PLACED, 4, KeyVisitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Key<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        Option::<T>::schema_id()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// An element of a list.
#[derive(Debug, Clone)]
pub struct Item<T> {
    value: T,
    place: PlaceId,
    whole: bool,
}

impl<T> Item<T> {
    pub(crate) fn place(&self) -> PlaceId {
        self.place
    }

    /// Whether no part of it was refused.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn value_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for Item<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key: Key<T> = Key::deserialize(deserializer)?;
        match (key.value, key.place) {
            (Some(value), Some(place)) => Ok(Self { value, place, whole: key.whole }),
            // `decode` passes over refused elements, and reports `null` as the missing element type.
            _ => Err(D::Error::custom("an element without a value")),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Item<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// This name tells `decode` that a value is wanted together with its place.
pub(crate) const PLACED: &str = "$weir::Placed";

/// Takes the four parts of a [`Key`]: the place, the value if there is one, whether it was refused, whether
/// it is whole.
struct KeyVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for KeyVisitor<T> {
    type Value = Key<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Key<T>, A::Error> {
        let place = parts.next_element::<u32>()?.map(PlaceId);
        let value = parts.next_element::<T>()?;
        let refused = parts.next_element()?.unwrap_or_default();
        let whole = parts.next_element()?.unwrap_or_default();
        Ok(Key { value, place, refused, whole })
    }
}

/// A place that a message is about: an existing one, or a missing key of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    place: PlaceId,
    missing: Option<&'static str>,
}

impl From<PlaceId> for Spot {
    fn from(place: PlaceId) -> Self {
        Self { place, missing: None }
    }
}

impl<T> From<&Item<T>> for Spot {
    fn from(item: &Item<T>) -> Self {
        item.place.into()
    }
}

/// Every place of the configuration: its position in the files, and its path from the root.
#[derive(Debug)]
pub(crate) struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    /// The root is its own parent.
    parent: PlaceId,
    step: Step,
    /// Of the value; for a list or a section, of its first entry.
    at: Position,
    /// Of the value's key; for an element, its own.
    key: Position,
    /// Its text contains the value of a variable.
    substituted: bool,
}

/// The last step of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Root,
    Key(&'static str),
    /// Refused elements are not counted.
    Index(usize),
}

impl Places {
    /// Contains the root alone.
    pub(crate) fn new(at: Position) -> Self {
        Self(vec![Place { parent: ROOT, step: Step::Root, at, key: at, substituted: false }])
    }

    /// Adds a place, and returns its number.
    pub(crate) fn add(
        &mut self,
        parent: PlaceId,
        step: Step,
        (at, key): (Position, Position),
        substituted: bool,
    ) -> PlaceId {
        // Never reached: the ceiling for the values of all files is far below.
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(Place { parent, step, at, key, substituted });
        PlaceId(number)
    }

    /// The position of a place's value; for a missing key, of its section.
    pub(crate) fn position(&self, spot: impl Into<Spot>) -> Position {
        self.get(spot.into().place).map(|place| place.at).unwrap_or_default()
    }

    /// The position of a place's key; for an element, of the element.
    pub(crate) fn key_position(&self, spot: impl Into<Spot>) -> Position {
        self.get(spot.into().place).map(|place| place.key).unwrap_or_default()
    }

    /// The path, such as `listeners[0].routes[2].pool`; empty for the root.
    pub(crate) fn path(&self, spot: impl Into<Spot>) -> String {
        let Spot { place, missing } = spot.into();
        let mut path = String::new();
        let steps = self.steps(place).into_iter().chain(missing.map(Step::Key));
        for step in steps {
            match step {
                Step::Root => {}
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.extend([".", key]),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// The place of a key within a section, by its name; the section itself if it lacks the key.
    pub(crate) fn within(&self, section: impl Into<Spot>, key: &'static str) -> Spot {
        let section = section.into();
        let from = usize::try_from(section.place.0).unwrap_or(usize::MAX).saturating_add(1);
        let inner = self.0.iter().enumerate().skip(from);
        // A section's contents follow it in one piece.
        let mut inner = inner.take_while(|(_, place)| place.parent.0 >= section.place.0);
        let found = inner.find(|(_, place)| {
            place.parent == section.place && matches!(place.step, Step::Key(name) if name == key)
        });
        let place = found.and_then(|(number, _)| u32::try_from(number).ok()).map(PlaceId);
        place.map_or(Spot { missing: Some(key), ..section }, Into::into)
    }

    /// The texts that contain variables: the position of each, and the steps to it.
    pub(crate) fn substituted(&self) -> impl Iterator<Item = (Position, Vec<Step>)> {
        let numbered = self.0.iter().zip(0_u32..).filter(|(place, _)| place.substituted);
        numbered.map(|(place, number)| (place.at, self.steps(PlaceId(number))))
    }

    fn steps(&self, place: PlaceId) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = place;
        // Ends at the root, because parents come before their contents.
        while at != ROOT
            && let Some(place) = self.get(at)
        {
            steps.push(place.step);
            at = place.parent;
        }
        steps.reverse();
        steps
    }

    fn get(&self, place: PlaceId) -> Option<&Place> {
        self.0.get(usize::try_from(place.0).ok()?)
    }
}

/// The configuration as a whole.
pub(crate) const ROOT: PlaceId = PlaceId(0);

impl From<PlaceId> for u32 {
    fn from(place: PlaceId) -> Self {
        place.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> (Position, Position) {
        let position = |column| Position { file: 0, line, column };
        (position(9), position(1))
    }

    #[test]
    fn places_have_a_path_and_two_positions() {
        let mut places = Places::new(Position::default());
        let list = places.add(ROOT, Step::Key("listeners"), at(1), false);
        let first = places.add(list, Step::Index(0), at(2), false);
        let name = places.add(first, Step::Key("name"), at(3), true);
        let second = places.add(list, Step::Index(1), at(4), false);
        let other = places.add(second, Step::Key("mode"), at(5), false);
        assert_eq!(places.path(other), "listeners[1].mode");
        assert_eq!(places.path(ROOT), "");
        assert_eq!((places.position(name).column, places.key_position(name).column), (9, 1));
        assert_eq!(places.path(places.within(second, "mode")), "listeners[1].mode");
        let missing = places.within(first, "mode");
        assert_eq!(places.path(missing), "listeners[0].mode");
        assert_eq!(places.position(missing).line, 2, "the section that lacks it");
        assert_eq!(places.substituted().count(), 1);
    }

    #[test]
    fn absent_keys_have_the_place_of_their_section() {
        let mut places = Places::new(Position::default());
        let section = places.add(ROOT, Step::Key("admin"), at(7), false);
        let absent: Key<String> = Key::default();
        assert!(absent.is_none() && !absent.is_written() && !absent.is_whole() && !absent.has_refused());
        assert_eq!(places.path(absent.or(section, "address")), "admin.address");
        assert_eq!(places.position(absent.or(section, "address")).line, 7);
    }
}

//! Values with two forms: one text or a list, a number or `auto`, a switch or a section.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::key::{Item, Key, PlaceId, ROOT};

/// One text, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Texts {
    /// A single text.
    One(String),
    /// A list, which may be empty.
    List(Vec<Item<String>>),
}

impl Texts {
    /// Each text with its place; a single text is at the key's place.
    pub(crate) fn placed(&self, key: PlaceId) -> impl Iterator<Item = (PlaceId, &str)> {
        let (one, list) = match self {
            Self::One(text) => (Some((key, text.as_str())), None),
            Self::List(list) => (None, Some(list.iter().map(|item| (item.place(), item.as_str())))),
        };
        one.into_iter().chain(list.into_iter().flatten())
    }

    /// The texts without their places.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.placed(ROOT).map(|(_, text)| text)
    }

    /// Whether it is a list without elements.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::List(list) if list.is_empty())
    }
}

impl Key<Texts> {
    /// Each text with its place; none for an absent key.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (PlaceId, &str)> {
        let place = self.place().unwrap_or(ROOT);
        self.get().into_iter().flat_map(move |texts| texts.placed(place))
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// A whole number from 1, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// weir decides.
    Auto,
    /// This many.
    Count(u32),
}

/// Whether each connection leaves a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Access(pub bool);

/// The protocols to offer to a backend by ALPN.
#[derive(Debug, Clone, PartialEq)]
pub enum BackendAlpn {
    /// The protocol that the client and weir agreed on.
    Same,
    /// These, in order.
    List(Vec<Item<String>>),
}

fn elements<'de, A: SeqAccess<'de>>(list: &mut A) -> Result<Vec<Item<String>>, A::Error> {
    let mut texts = Vec::new();
    while let Some(text) = list.next_element()? {
        texts.push(text);
    }
    Ok(texts)
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        elements(&mut list).map(Texts::List)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "description": "One text, or a list of them."
        })
    }
}

struct AutoVisitor;

impl Visitor<'_> for AutoVisitor {
    type Value = Auto;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto, or a whole number from 1")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Auto, E> {
        match (text, text.parse::<u64>()) {
            ("auto", _) => Ok(Auto::Auto),
            // Numbers arrive as text from `${NAME}`.
            (_, Ok(number)) => self.visit_u64(number),
            (_, Err(_not_a_number)) => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Auto, E> {
        match u32::try_from(number) {
            Ok(count) if count > 0 => Ok(Auto::Count(count)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for Auto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AutoVisitor)
    }
}

impl Serialize for Auto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u32(*count),
        }
    }
}

impl JsonSchema for Auto {
    fn schema_name() -> Cow<'static, str> {
        "Auto".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"const": "auto", "description": "weir decides."},
                {"type": "integer", "minimum": 1, "description": "This many."}
            ],
            "description": "A whole number from 1, or `auto`."
        })
    }
}

struct AccessVisitor;

impl<'de> Visitor<'de> for AccessVisitor {
    type Value = Access;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Access, E> {
        Ok(Access(on))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Access, E> {
        match text {
            "true" => Ok(Access(true)),
            "false" => Ok(Access(false)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Access, A::Error> {
        while map.next_entry::<String, IgnoredAny>()?.is_some() {}
        Err(A::Error::custom("`access` as a section is not supported yet\nwrite `true` or `false`"))
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AccessVisitor)
    }
}

impl JsonSchema for Access {
    fn schema_name() -> Cow<'static, str> {
        "Access".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "boolean", "description": "Whether each connection leaves a record."})
    }
}

struct BackendAlpnVisitor;

impl<'de> Visitor<'de> for BackendAlpnVisitor {
    type Value = BackendAlpn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("same, or a list of protocol names")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<BackendAlpn, E> {
        match text {
            "same" => Ok(BackendAlpn::Same),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<BackendAlpn, A::Error> {
        elements(&mut list).map(BackendAlpn::List)
    }
}

impl<'de> Deserialize<'de> for BackendAlpn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BackendAlpnVisitor)
    }
}

impl Serialize for BackendAlpn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same => serializer.serialize_str("same"),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl JsonSchema for BackendAlpn {
    fn schema_name() -> Cow<'static, str> {
        "BackendAlpn".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"const": "same", "description": "What the client and weir agreed on."},
                {"type": "array", "items": {"type": "string"}, "description": "These, in order."}
            ],
            "description": "What is offered to a backend by ALPN."
        })
    }
}

//! Values that may be written in two ways: one text or a list, a number or `auto`, a switch or a section.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::later::NOT_YET;

/// One text, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Texts(pub Vec<String>);

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

/// What is offered to a backend by ALPN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendAlpn {
    /// What the client and weir agreed on.
    Same,
    /// These, in order.
    List(Vec<String>),
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            texts.push(text);
        }
        Ok(Texts(texts))
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
        Err(A::Error::custom(format!("`access` as a section is {NOT_YET}\nwrite `true` or `false`")))
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

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<BackendAlpn, A::Error> {
        TextsVisitor.visit_seq(list).map(|texts| BackendAlpn::List(texts.0))
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

/// Whether a hello may go to another backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloReplay {
    /// After a reset and after a FIN.
    Always,
    /// After a reset alone.
    ResetOnly,
    /// Never.
    Never,
}

struct HelloReplayVisitor;

impl Visitor<'_> for HelloReplayVisitor {
    type Value = HelloReplay;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, reset_only or false")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<HelloReplay, E> {
        Ok(if on { HelloReplay::Always } else { HelloReplay::Never })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HelloReplay, E> {
        match text {
            "true" => Ok(HelloReplay::Always),
            "reset_only" => Ok(HelloReplay::ResetOnly),
            "false" => Ok(HelloReplay::Never),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for HelloReplay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HelloReplayVisitor)
    }
}

impl Serialize for HelloReplay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Always => serializer.serialize_bool(true),
            Self::ResetOnly => serializer.serialize_str("reset_only"),
            Self::Never => serializer.serialize_bool(false),
        }
    }
}

impl JsonSchema for HelloReplay {
    fn schema_name() -> Cow<'static, str> {
        "HelloReplay".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                {"const": true, "description": "After a reset and after a FIN."},
                {"const": "reset_only", "description": "After a reset alone."},
                {"const": false, "description": "Never."}
            ],
            "description": "Whether a hello may go to another backend."
        })
    }
}

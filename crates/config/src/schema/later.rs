//! Keys of planned features. They are in the schema so that weir can say "not supported yet" at the right
//! place instead of "unknown key", and never ignores a key silently.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key that exists in the reference and is refused. Used as `Option<Later>`, so that `null` passes, because
/// it asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Later {}

/// The refusal's text for the decoder, which turns it into a diagnostic at the key.
pub(crate) const NOT_YET: &str = "not supported yet";

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(NOT_YET))
    }
}

impl Serialize for Later {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl JsonSchema for Later {
    fn schema_name() -> Cow<'static, str> {
        "NotSupportedYet".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        // The key's own description is used instead of one here; the title stays.
        json_schema!({"type": "null", "title": NOT_YET})
    }
}

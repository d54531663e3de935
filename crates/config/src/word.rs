//! Keys whose value is one word of a closed set: each word is written only once, here or beside its enum.
//!
//! [`words!`] declares the words of an enum and their meanings; a [`Word`] is the value of such a key.
//! Reading, the JSON Schema, the tables of the docs and "did you mean" all come from that list.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// The words of an enum.
pub trait Words: Copy + PartialEq + fmt::Debug + 'static {
    /// The set's name in the JSON Schema.
    const NAME: &'static str;
    /// The choice that the words describe.
    const ABOUT: &'static str;
    /// Each value, its word, and its meaning.
    const ALL: &'static [(Self, &'static str, &'static str)];
    /// All words.
    const WORDS: &'static [&'static str];
    /// The expectation in messages, for sets whose words YAML reads as switches or numbers.
    const LOOSE: Option<&'static str> = None;

    /// The value of a word.
    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == word).map(|(value, ..)| *value)
    }

    /// The word of a value.
    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(value, ..)| *value == self).map_or("", |(_, word, _)| word)
    }
}

/// One of the words of `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<T>(pub T);

/// Declares the words of an enum: the doc comment of each is its meaning.
macro_rules! words {
    (
        #[doc = $about:literal]
        $name:literal $ty:ty {
            $( #[doc = $meaning:literal] $variant:ident = $word:expr, )*
            $( expecting $loose:literal )?
        }
    ) => {
        impl $crate::word::Words for $ty {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about.trim_ascii_start();
            const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$( (<$ty>::$variant, $word, $meaning.trim_ascii_start()), )*];
            const WORDS: &'static [&'static str] = &[$( $word, )*];
            $( const LOOSE: Option<&'static str> = Some($loose); )?
        }
    };
}
pub(crate) use words;

/// A word as a YAML scalar: `true`, `false` and `1.2` are not texts there.
fn scalar(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_text| json!(word))
}

impl<T: Words> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.word() {
            "true" => serializer.serialize_bool(true),
            "false" => serializer.serialize_bool(false),
            word => serializer.serialize_str(word),
        }
    }
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = WordVisitor(std::marker::PhantomData);
        match T::LOOSE {
            Some(_) => deserializer.deserialize_any(visitor),
            None => deserializer.deserialize_enum(T::NAME, T::WORDS, visitor),
        }
    }
}

struct WordVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Words> Visitor<'de> for WordVisitor<T> {
    type Value = Word<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match T::LOOSE {
            Some(expected) => f.write_str(expected),
            None => write!(f, "one of: {}", T::WORDS.join(", ")),
        }
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, word: A) -> Result<Word<T>, A::Error> {
        let (word, _unit) = word.variant::<String>()?;
        self.visit_str(&word)
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Word<T>, E> {
        match T::of(if on { "true" } else { "false" }) {
            Some(value) => Ok(Word(value)),
            None => Err(E::invalid_type(Unexpected::Bool(on), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Word<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Word<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Word<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word<T>, E> {
        match T::of(text) {
            Some(value) => Ok(Word(value)),
            None if T::of("true").is_some() => Err(E::invalid_value(Unexpected::Str(text), &self)),
            None => Err(E::unknown_variant(text, T::WORDS)),
        }
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let choice = |word: Value, meaning: &str| match T::LOOSE {
            None => json!({"type": "string", "const": word, "description": meaning}),
            Some(_) => json!({"const": word, "description": meaning}),
        };
        let mut choices: Vec<Value> = T::ALL
            .iter()
            .map(|(_, word, meaning)| match scalar(word) {
                Value::Bool(on) => choice(json!(on), meaning),
                _ => choice(json!(word), meaning),
            })
            .collect();
        // A version without quotes is a number.
        choices.extend(T::ALL.iter().filter_map(|(_, word, meaning)| match scalar(word) {
            Value::Number(number) => Some(choice(json!(number), meaning)),
            _ => None,
        }));
        json_schema!({"oneOf": choices, "description": T::ABOUT})
    }
}

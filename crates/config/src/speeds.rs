//! Rates of bytes and of shares, in the notation of weir.yaml: `10MiB/s`, `1%/m`.
//!
//! In: a scalar of the file. Out: [`Speed`], [`Pace`]. Both are a value with a unit of [`units`](crate::units) and a time.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Per, Percent, Size, Unit, UnitError, UnitVisitor};

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed(pub Size);

/// A share of something within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// This share.
    pub share: Percent,
    /// Within this time.
    pub per: Per,
}

impl Speed {
    /// Reads `512B/s`, `10MiB/s`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        match text.strip_suffix("/s") {
            Some(size) => Size::parse(size).map(Self),
            // A size without a time says more about itself than that it lacks a time.
            None => Size::parse(text).and(Err(UnitError::UnknownUnit)),
        }
    }
}

impl Pace {
    /// Reads `1%/m`, `10%/h`.
    ///
    /// # Errors
    /// When the text is anything else, or no share at all.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let Some((share, time)) = text.split_once('/') else {
            return Percent::parse(text).and(Err(UnitError::UnknownUnit));
        };
        let per = match time {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(UnitError::UnknownUnit),
        };
        match Percent::parse(share)? {
            Percent(0) => Err(UnitError::Nothing),
            share => Ok(Self { share, per }),
        }
    }

    /// The share of a second, of 1.
    pub fn a_second(self) -> f64 {
        f64::from(self.share.0) / 100.0 / self.per.time().as_secs_f64()
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.share, self.per)
    }
}

impl Unit for Speed {
    const EXPECTED: &'static str = "bytes a second";
    fn read(text: &str) -> Result<Self, UnitError> {
        Self::parse(text)
    }
}

impl Unit for Pace {
    const EXPECTED: &'static str = "a share within a time";
    fn read(text: &str) -> Result<Self, UnitError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor::new())
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor::new())
    }
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Pace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Speed {
    fn schema_name() -> Cow<'static, str> {
        // The name of the definition in the published schema.
        "Speed".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)/s$|\\$\\{", "examples": ["10MiB/s", "1GiB/s"],
            "description": "Bytes a second: a size, and `/s`."
        })
    }
}

impl JsonSchema for Pace {
    fn schema_name() -> Cow<'static, str> {
        // The name of the definition in the published schema.
        "Pace".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+%/(s|m|h)$|\\$\\{", "examples": ["1%/m", "10%/h"],
            "description": "A share within a time: whole percent, and `/s`, `/m` or `/h`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read_and_written_back() {
        for (text, bytes) in
            [("512B/s", 512), ("16KiB/s", 16 << 10), ("10MiB/s", 10 << 20), ("1GiB/s", 1 << 30)]
        {
            let speed = Speed::parse(text).unwrap();
            assert_eq!((speed.0.0, speed.to_string()), (bytes, text.to_owned()));
        }
        assert_eq!(Speed::parse("10MiB"), Err(UnitError::UnknownUnit));
        assert_eq!(Speed::parse("10"), Err(UnitError::NoUnit));
        assert_eq!(Speed::parse("10MiB/m"), Err(UnitError::UnknownUnit));
        assert_eq!(Speed::parse("1.5MiB/s"), Err(UnitError::NotWhole));
        assert_eq!(Speed::parse("80Mbit/s"), Err(UnitError::UnknownUnit));
        assert_eq!(Speed::parse(""), Err(UnitError::NoNumber));
    }

    #[test]
    fn paces_are_read_and_written_back() {
        for (text, a_second) in [("1%/m", 0.01 / 60.0), ("36%/h", 0.0001), ("50%/s", 0.5)] {
            let pace = Pace::parse(text).unwrap();
            assert_eq!(pace.to_string(), text);
            assert!((pace.a_second() - a_second).abs() < 1e-9, "{text}");
        }
        assert_eq!(Pace::parse("1%"), Err(UnitError::UnknownUnit));
        assert_eq!(Pace::parse("1/m"), Err(UnitError::NoUnit));
        assert_eq!(Pace::parse("0%/m"), Err(UnitError::Nothing));
        assert_eq!(Pace::parse("1%/d"), Err(UnitError::UnknownUnit));
        assert_eq!(Pace::parse("1"), Err(UnitError::NoUnit));
    }
}

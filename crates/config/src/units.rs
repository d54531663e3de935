//! Values with a unit, in the notation of weir.yaml: `5s`, `16KiB`.
//!
//! In: a scalar of the file. Out: [`Time`], [`Size`], [`Percent`], [`Rate`]. A bare number is refused, because no
//! reader can tell whether `timeout: 30` means seconds or milliseconds; the refusal shows the right notation.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A number of bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A share, in whole percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// How often something may happen: a whole number, and `/s`, `/m` or `/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// This often.
    pub count: u32,
    /// Within this time.
    pub per: Per,
}

/// The time of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// Why a text is not a value with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No digits at the start.
    #[error("it does not begin with a whole number")]
    NoNumber,
    /// Below zero.
    #[error("it is below zero")]
    Negative,
    /// Digits without anything behind them.
    #[error("a bare number has no unit")]
    NoUnit,
    /// A decimal point, and more digits.
    #[error("it is not a whole number")]
    NotWhole,
    /// Digits, a unit, and digits again.
    #[error("it has more than one unit")]
    Compound,
    /// A blank between the digits and the unit.
    #[error("it has a blank before its unit")]
    Blank,
    /// An unknown unit behind the digits.
    #[error("its unit is unknown")]
    UnknownUnit,
    /// The value is out of range.
    #[error("it is too large")]
    TooLarge,
    /// A rate of nothing.
    #[error("it allows nothing")]
    Nothing,
}

impl Time {
    /// A whole number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A whole number of seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Reads `500ms`, `5s`, `10m`, `12h`, `7d`.
    ///
    /// # Errors
    /// When the text is anything else, or longer than [`LONGEST_TIME`].
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            "d" => number.checked_mul(86_400_000),
            _ => return Err(UnitError::UnknownUnit),
        };
        let time = millis.map(Self::from_millis).ok_or(UnitError::TooLarge)?;
        if time.0 > LONGEST_TIME { Err(UnitError::TooLarge) } else { Ok(time) }
    }
}

impl Size {
    /// Reads `512B`, `64KiB`, `1MiB`, `2GiB`.
    ///
    /// # Errors
    /// When the text is anything else, or does not fit into 63 bits.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let bytes = match unit {
            "B" => Some(number),
            "KiB" => number.checked_mul(1 << 10),
            "MiB" => number.checked_mul(1 << 20),
            "GiB" => number.checked_mul(1 << 30),
            _ => return Err(UnitError::UnknownUnit),
        };
        bytes.filter(|bytes| *bytes <= i64::MAX.unsigned_abs()).map(Self).ok_or(UnitError::TooLarge)
    }
}

impl Percent {
    /// Reads `50%`, `125%`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        if unit != "%" {
            return Err(UnitError::UnknownUnit);
        }
        // Only overflow can fail here.
        u32::try_from(number).map(Self).map_err(|_overflow| UnitError::TooLarge)
    }
}

impl Rate {
    /// Reads `100/s`, `600/m`, `1/h`.
    ///
    /// # Errors
    /// When the text is anything else, or zero.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let per = match unit {
            "/s" => Per::Second,
            "/m" => Per::Minute,
            "/h" => Per::Hour,
            _ => return Err(UnitError::UnknownUnit),
        };
        match u32::try_from(number) {
            Ok(0) => Err(UnitError::Nothing),
            Ok(count) => Ok(Self { count, per }),
            Err(_overflow) => Err(UnitError::TooLarge),
        }
    }

    /// The time for one.
    pub fn interval(self) -> Duration {
        self.per.time() / self.count.max(1)
    }
}

impl Per {
    /// Its length.
    pub fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        })
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
    }
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(UnitError::NoNumber);
    }
    match unit.chars().next() {
        None => return Err(UnitError::NoUnit),
        Some('.' | ',') => return Err(UnitError::NotWhole),
        Some(c) if c.is_whitespace() => return Err(UnitError::Blank),
        Some(_) if unit.contains(|c: char| c.is_ascii_digit()) => return Err(UnitError::Compound),
        Some(_) => {}
    }
    // Only overflow can fail here: the text is digits alone.
    let number = digits.parse().map_err(|_overflow| UnitError::TooLarge)?;
    Ok((number, unit))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match units.iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
            // Up to ten minutes the reference writes seconds (300s, 350s), and so does this code.
            Some((_, "m")) if millis <= 600_000 => write!(f, "{}s", millis / 1_000),
            Some((unit, name)) => write!(f, "{}{name}", millis / unit),
            None if millis == 0 => f.write_str("0s"),
            None => write!(f, "{millis}ms"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The common part of all kinds, so that one visitor reads them.
pub(crate) trait Unit: Sized {
    const EXPECTED: &'static str;
    fn read(text: &str) -> Result<Self, UnitError>;
}

impl Unit for Time {
    const EXPECTED: &'static str = "a duration";
    fn read(text: &str) -> Result<Self, UnitError> {
        Self::parse(text)
    }
}

impl Unit for Size {
    const EXPECTED: &'static str = "a size";
    fn read(text: &str) -> Result<Self, UnitError> {
        Self::parse(text)
    }
}

impl Unit for Percent {
    const EXPECTED: &'static str = "a share";
    fn read(text: &str) -> Result<Self, UnitError> {
        Self::parse(text)
    }
}

impl Unit for Rate {
    const EXPECTED: &'static str = "a rate";
    fn read(text: &str) -> Result<Self, UnitError> {
        Self::parse(text)
    }
}

pub(crate) struct UnitVisitor<T>(std::marker::PhantomData<T>);

impl<T: Unit> UnitVisitor<T> {
    pub(crate) fn new() -> Self {
        Self(std::marker::PhantomData)
    }

    /// Without a hint: `decode` adds one, because it knows the key's range.
    fn refuse<E: Error>(found: &dyn fmt::Display, why: UnitError) -> E {
        E::custom(format!("`{found}` is not {}: {why}", T::EXPECTED))
    }
}

impl<T: Unit> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let shown: String = text.chars().take(LONGEST_SHOWN).collect();
        T::read(text).map_err(|why| Self::refuse(&shown, why))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Err(Self::refuse(&number, UnitError::NoUnit))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(Self::refuse(&number, UnitError::Negative))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        match number {
            _ if number.is_nan() => Err(Self::refuse(&".nan", UnitError::NoNumber)),
            _ if number.is_infinite() && number > 0.0 => Err(Self::refuse(&".inf", UnitError::NoNumber)),
            _ if number.is_infinite() => Err(Self::refuse(&"-.inf", UnitError::NoNumber)),
            _ if number < 0.0 => Err(Self::refuse(&number, UnitError::Negative)),
            _ => Err(Self::refuse(&number, UnitError::NoUnit)),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor::new())
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor::new())
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        // The name of the definition in the published schema.
        "Percent".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+%$|\\$\\{", "examples": ["50%", "125%"],
            "description": "A share, in whole percent: 50%."
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor::new())
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+/(s|m|h)$|\\$\\{", "examples": ["100/s", "600/m"],
            "description": "How often: a whole number, and `/s`, `/m` or `/h`."
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor::new())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$|\\$\\{",
            "examples": ["500ms", "5s", "10m", "12h", "7d"],
            "description": "A whole number with its unit: ms, s, m, h or d."
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$|\\$\\{", "examples": ["64KiB", "1MiB"],
            "description": "A whole number with its unit: B, KiB, MiB or GiB."
        })
    }
}

/// The longest time accepted: about ten years. Timers take any `Duration` and add it to the current time;
/// this limit stays far from overflow, and a longer time is surely a slip.
pub const LONGEST_TIME: Duration = Duration::from_secs(3_650 * 86_400);

/// Characters of a text to repeat in a message.
const LONGEST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("90s", 90_000),
            ("20m", 1_200_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
        ] {
            let time = Time::parse(text).unwrap();
            assert_eq!(time, Time::from_millis(millis));
            assert_eq!(time.to_string(), text);
        }
        for (text, micros) in [("100/s", 10_000), ("600/m", 100_000), ("1/h", 3_600_000_000)] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.interval(), rate.to_string()), (Duration::from_micros(micros), text.to_owned()));
        }
        assert_eq!(Time::parse("0s").unwrap().to_string(), "0s");
        assert_eq!(Time::parse("300s").unwrap().to_string(), "300s");
        for (text, bytes) in [("12B", 12), ("16KiB", 16_384), ("1MiB", 1 << 20), ("3GiB", 3 << 30)] {
            let size = Size::parse(text).unwrap();
            assert_eq!(size, Size(bytes));
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn values_without_a_unit_or_sense_are_refused() {
        assert_eq!(Time::parse("5"), Err(UnitError::NoUnit));
        assert_eq!(Time::parse(""), Err(UnitError::NoNumber));
        assert_eq!(Time::parse("-5s"), Err(UnitError::NoNumber));
        assert_eq!(Time::parse("1.5s"), Err(UnitError::NotWhole));
        assert_eq!(Time::parse("5 s"), Err(UnitError::Blank));
        assert_eq!(Time::parse("1h30m"), Err(UnitError::Compound));
        assert_eq!(Percent::parse("50.5%"), Err(UnitError::NotWhole));
        assert_eq!(Time::parse("5S"), Err(UnitError::UnknownUnit));
        assert_eq!(Time::parse("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(Time::parse("4000d"), Err(UnitError::TooLarge));
        assert_eq!(Rate::parse("100"), Err(UnitError::NoUnit));
        assert_eq!(Rate::parse("0/s"), Err(UnitError::Nothing));
        assert_eq!(Rate::parse("100/d"), Err(UnitError::UnknownUnit));
        assert_eq!(Rate::parse("0.5/s"), Err(UnitError::NotWhole));
        assert_eq!(Rate::parse("4294967296/s"), Err(UnitError::TooLarge));
        assert_eq!(Size::parse("5KB"), Err(UnitError::UnknownUnit));
        assert_eq!(Size::parse("18446744073709551615GiB"), Err(UnitError::TooLarge));
    }
}

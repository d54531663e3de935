//! One access record.

use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};

/// A line of weir's standard output.
#[derive(Debug, Clone)]
pub struct Record(Map<String, Value>);

impl Record {
    /// Reads one JSON line.
    ///
    /// # Panics
    /// When it is not a JSON object.
    pub fn parse(line: &str) -> Self {
        match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => Self(fields),
            other => panic!("standard output has a line that is no record: {line:?} ({other:?})"),
        }
    }

    /// A field as text; empty when absent or null.
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field as a whole number, rounded down; 0 when absent or null.
    pub fn number(&self, field: &str) -> u64 {
        let value = self.field(field);
        value.as_u64().or_else(|| value.as_f64().map(|value| value as u64)).unwrap_or_default()
    }

    /// A field as it is; null when absent.
    pub fn field(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }

    /// Whether it tells this of a connection.
    pub fn is_of_a_connection(&self, event: &str) -> bool {
        self.field("method").is_null() && self.text("event") == event
    }

    /// How the connection ended.
    pub fn outcome(&self) -> &str {
        self.text("outcome")
    }

    /// Checks how the connection ended and which side ended it.
    ///
    /// # Panics
    /// When either differs.
    pub fn ended(&self, outcome: &str, side: &str) {
        assert_eq!((self.outcome(), self.side()), (outcome, side), "{self:#?}");
    }

    /// The side that ended it.
    pub fn side(&self) -> &str {
        self.text("side")
    }

    /// When the connection was closed, to the millisecond.
    pub fn closed_at(&self) -> SystemTime {
        moment(self.text("ts"))
    }

    /// When the connection was accepted, to a millisecond or two.
    pub fn opened_at(&self) -> SystemTime {
        let lasted = self.field("duration_ms").as_f64().unwrap_or_default();
        self.closed_at() - Duration::from_secs_f64(lasted / 1000.0)
    }

    /// Bytes from client to backend.
    pub fn up(&self) -> u64 {
        self.number("bytes_up")
    }

    /// Bytes from backend to client.
    pub fn down(&self) -> u64 {
        self.number("bytes_down")
    }
}

/// The time in a timestamp of a record or a log line.
///
/// # Panics
/// When it is not a timestamp.
pub fn moment(text: &str) -> SystemTime {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.unwrap_or_else(|error| panic!("no timestamp: {text:?}: {error}")).into()
}

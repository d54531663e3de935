//! The last early ends of connections: what `GET /api/v1/failures` answers. Fields keep their order in the JSON.

use super::{FAILURES, RESERVED, Word};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use weir_config::units::Time;

/// Which failures are wanted; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only clients that asked for this name, in lower case without a final dot; empty: only clients without a name.
    pub sni: Option<String>,
    /// Only those of this listener.
    pub listener: Option<String>,
    /// Only those of this long ago at most.
    pub last: Option<Duration>,
}

impl Wanted {
    /// Reads the query of a request: `sni=NAME&listener=NAME&last=10m`, percent-encoded.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                percent_decode_str(value).decode_utf8().map_err(|_not_text| format!("{key}: not UTF-8"))?;
            match key {
                "sni" => wanted.sni = Some(name(&value)),
                "listener" => wanted.listener = Some(value.into_owned()),
                "last" => wanted.last = Some(time(&value)?),
                _ => return Err("the query may have sni, listener and last".to_owned()),
            }
        }
        Ok(wanted)
    }

    /// The path and query that ask for it.
    pub fn path(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let last = self.last.map(|last| format!("last={}ms", last.as_millis()));
        let parts = [
            self.sni.as_ref().map(|sni| format!("sni={}", encoded(sni))),
            self.listener.as_ref().map(|listener| format!("listener={}", encoded(listener))),
            last,
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { FAILURES.to_owned() } else { format!("{FAILURES}?{}", parts.join("&")) }
    }
}

/// A name as hellos have it: in lower case, without a final dot.
pub fn name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_suffix('.').unwrap_or(&lower).to_owned()
}

/// A length of time, as in the configuration.
///
/// # Errors
/// That it is none, with an example.
pub fn time(text: &str) -> Result<Duration, String> {
    match Time::parse(text) {
        Ok(Time(time)) => Ok(time),
        Err(_no_time) => Err("last: a length of time such as 10m, 90s or 2h".to_owned()),
    }
}

/// The failures that were asked for, in groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    /// How many they are.
    pub count: usize,
    /// The groups, that of the latest failure first.
    pub groups: Vec<Group>,
}

/// Failures of one listener, name, backend and cause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// How many they are.
    pub count: usize,
    /// When the first of them happened, RFC 3339.
    pub first: String,
    /// When the last of them did.
    pub last: String,
    /// The same, as an age.
    pub last_seconds_ago: f64,
    /// The listener; `null` for health checks.
    pub listener: Option<Arc<str>>,
    /// The name in the client's hello: a claim by a stranger. `null` if there was none, or if the hello was not read.
    pub sni: Option<Box<str>>,
    /// The pool of the route; `null` before there is one.
    pub pool: Option<Arc<str>>,
    /// The backend tried last; `null` before there is one.
    pub backend: Option<Arc<str>>,
    /// Why.
    pub cause: Cause,
    /// The address of the side at which the last one failed: the client's, or the backend's.
    pub peer: Option<String>,
    /// The client of the last one; `null` for health checks.
    pub client: Option<String>,
    /// What the cause means.
    pub means: Word,
    /// What to do about it.
    pub hint: Word,
}

/// A cause, in words of closed sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// hello, route, client_handshake, connect, backend_handshake, relay or health_check.
    pub stage: Word,
    /// The outcome, as in records.
    pub outcome: Word,
    /// The side that caused it: client, backend or weir.
    pub side: Word,
    /// The reason, as in records; `null` if the outcome says all.
    pub reason: Option<Word>,
    /// The fatal alert.
    pub alert: Option<Word>,
    /// The side that sent the alert.
    pub alert_by: Option<Word>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn queries_are_read_as_they_are_written() {
        let wanted = Wanted {
            sni: Some("www.example.com".to_owned()),
            listener: Some("a b&c=\u{e9}".to_owned()),
            last: Some(Duration::from_secs(600)),
        };
        let path = wanted.path();
        assert_eq!(path, "/api/v1/failures?sni=www.example.com&listener=a%20b%26c%3D%C3%A9&last=600000ms");
        assert_eq!(Wanted::parse(path.split_once('?').unwrap().1), Ok(wanted));
        assert_eq!(Wanted::parse(""), Ok(Wanted::default()));
        assert_eq!(Wanted::default().path(), FAILURES);
        assert_eq!(Wanted::parse("sni=WWW.Example.COM.").unwrap().sni.as_deref(), Some("www.example.com"));
        assert_eq!(Wanted::parse("last=10m").unwrap().last, Some(Duration::from_secs(600)));
        for bad in ["last=soon", "last=", "last=-1s", "sni=%ff", "since=1h", "last=10"] {
            assert!(Wanted::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_of_other_versions_are_read() {
        let failures: Failures =
            serde_json::from_value(json!({"groups": [{"count": 2, "new": 1, "cause": {"reason": "eof"}}]}))
                .unwrap();
        assert_eq!((failures.groups[0].count, failures.groups[0].cause.reason.as_deref()), (2, Some("eof")));
    }
}

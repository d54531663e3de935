//! The text of changes: `+ listener edge (:443)`, `~ pool web: balance round_robin → random_two`.

use std::fmt;

use serde_json::Value;

use super::{Change, Difference, KeyChange, Kind, What};

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, change) in self.changes.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed => '~',
        };
        write!(f, "{sign} {}", self.what.label())?;
        if !self.name.is_empty() {
            write!(f, " {}", short(&self.name))?;
        }
        if self.kind == Kind::Changed {
            let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
            return write!(f, ": {}", keys.join(", "));
        }
        if let Some(remark) = self.remark() {
            write!(f, " ({})", short(&remark))?;
        }
        if self.needs_restart() { f.write_str(NEEDS_RESTART) } else { Ok(()) }
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.key, short(&plain(&self.old)), short(&plain(&self.new)))?;
        if self.restart { f.write_str(NEEDS_RESTART) } else { Ok(()) }
    }
}

impl Change {
    /// A detail about an added or removed part, beside its name.
    fn remark(&self) -> Option<String> {
        let value = |key: &str| {
            let found = self.keys.iter().find(|k| k.key == key)?;
            Some(if self.kind == Kind::Removed { &found.old } else { &found.new })
        };
        match self.what {
            What::Listener | What::Admin | What::Metrics => value("address").map(bare),
            // Without a name of its own, the address is the name already.
            What::Backend => {
                value("address").map(bare).filter(|address| !self.name.ends_with(&format!("/{address}")))
            }
            What::Route => value("pool").map(|pool| format!("to pool {}", plain(pool))),
            What::Runtime | What::Log | What::Fleet | What::TlsProfile | What::Pool => None,
        }
    }
}

impl What {
    /// Its name in a sentence.
    pub fn label(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Log => "log",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Fleet => "fleet",
            Self::TlsProfile => "TLS profile",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Pool => "pool",
            Self::Backend => "backend",
        }
    }
}

/// A value roughly as it would be written in the file.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(section) => {
            let keys: Vec<String> =
                section.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
            format!("{{{}}}", keys.join(", "))
        }
        other => other.to_string(),
    }
}

/// A list of addresses without its brackets.
fn bare(value: &Value) -> String {
    match value {
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => plain(other),
    }
}

/// Cuts long lists and escapes control characters, so that one line stays one line and the terminal obeys
/// nothing.
fn short(text: &str) -> String {
    let mut shown = String::new();
    for (number, c) in text.chars().enumerate() {
        if number == LONGEST_TEXT {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

const NEEDS_RESTART: &str = " (needs an upgrade)";
/// Characters to show of one value: enough for a short list of names, and a line or two on a screen.
const LONGEST_TEXT: usize = 120;

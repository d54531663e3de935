//! Parts of values in messages: a value cut short, its port, the host in it.
//!
//! In: the values of variables, and a message. Out: the message with `${NAME}` for each run of six or more
//! bytes that is part of a value, in upper or lower case. Runs that are in the file, or are words of the
//! schema, are no secrets and stay. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;

use super::forms;

/// The parts of all values.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// Every stretch of the values, and the index of its variable's name.
    stretches: HashMap<[u8; STRETCH], u32>,
    names: Vec<String>,
}

impl Parts {
    /// Collects the parts of these values, each mapped to its variable's name.
    pub(super) fn of(values: &BTreeMap<String, String>) -> Self {
        let mut parts = Self::default();
        for (number, (value, name)) in (0..).zip(values) {
            parts.names.push(name.clone());
            for form in forms(value) {
                let folded = form.to_ascii_lowercase();
                for stretch in folded.as_bytes().windows(STRETCH).filter_map(stretch) {
                    parts.stretches.entry(stretch).or_insert(number);
                }
            }
        }
        parts
    }

    /// Whether the message contains any part.
    pub(super) fn is_in(&self, message: &str) -> bool {
        let folded = message.to_ascii_lowercase();
        let mut stretches = folded.as_bytes().windows(STRETCH).filter_map(stretch);
        stretches.any(|stretch| self.stretches.contains_key(&stretch))
    }

    /// The message with each part replaced by `shown` of its variable's name.
    pub(super) fn replaced(&self, message: &str, source: &str, shown: &dyn Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(message.len());
        let mut done = 0;
        for (range, name) in self.runs(message) {
            if range.start < done || is_public(message, &range, source) {
                continue;
            }
            out.push_str(message.get(done..range.start).unwrap_or_default());
            out.push_str(&shown(name));
            done = range.end;
        }
        out.push_str(message.get(done..).unwrap_or_default());
        out
    }

    /// The longest runs of the message that are parts of values, each with a variable's name.
    fn runs(&self, message: &str) -> Vec<(Range<usize>, &str)> {
        let folded = message.to_ascii_lowercase();
        let mut runs: Vec<(Range<usize>, &str)> = Vec::new();
        for (at, bytes) in folded.as_bytes().windows(STRETCH).enumerate() {
            let number = stretch(bytes).and_then(|stretch| self.stretches.get(&stretch)).copied();
            let name = number.and_then(|number| self.names.get(usize::try_from(number).ok()?));
            match (name, runs.last_mut()) {
                (Some(_), Some((run, _))) if at < run.end => run.end = at + STRETCH,
                (Some(name), _) => runs.push((at..at + STRETCH, name)),
                (None, _) => {}
            }
        }
        for (run, _) in &mut runs {
            // A stretch may begin or end within a character.
            while !message.is_char_boundary(run.start) {
                run.start -= 1;
            }
            while !message.is_char_boundary(run.end) {
                run.end += 1;
            }
        }
        runs
    }
}

fn stretch(bytes: &[u8]) -> Option<[u8; STRETCH]> {
    bytes.try_into().ok()
}

/// Whether the word around this part is one of weir's own, or is in the file.
fn is_public(message: &str, part: &Range<usize>, source: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || matches!(c, '`' | '"');
    let start = message.get(..part.start).and_then(|before| before.rfind(ends)).map_or(0, |at| at + 1);
    let behind = message.get(part.end..).unwrap_or_default();
    let end = part.end + behind.find(ends).unwrap_or(behind.len());
    let word = message.get(start..end).or_else(|| message.get(part.clone())).unwrap_or_default();
    let word =
        word.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '.' | ';' | ':' | '?' | '…'));
    // A part that spans a blank is no word.
    let one = !message.get(part.clone()).unwrap_or_default().contains(ends);
    one && !word.is_empty() && (is_spoken(word) || source.contains(word))
}

/// Whether this is a key of the schema, or a value of a closed set.
pub(super) fn is_word(text: &str) -> bool {
    words().0.contains(text)
}

/// Whether this word occurs in the schema's descriptions.
fn is_spoken(text: &str) -> bool {
    is_word(text) || words().1.contains(text.to_lowercase().as_str())
}

/// The words of the schema: keys and the values of closed sets, and the words of its descriptions.
fn words() -> &'static (BTreeSet<String>, BTreeSet<String>) {
    static WORDS: OnceLock<(BTreeSet<String>, BTreeSet<String>)> = OnceLock::new();
    fn collect(schema: &Value, words: &mut BTreeSet<String>, spoken: &mut BTreeSet<String>) {
        match schema {
            Value::Object(map) => {
                if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                    words.extend(properties.keys().cloned());
                }
                let constants = map.get("enum").and_then(Value::as_array).into_iter().flatten();
                words.extend(constants.chain(map.get("const")).filter_map(Value::as_str).map(str::to_owned));
                let description = map.get("description").and_then(Value::as_str).unwrap_or_default();
                let plain = description.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
                spoken.extend(plain.map(str::to_lowercase));
                map.values().for_each(|inner| collect(inner, words, spoken));
            }
            Value::Array(list) => list.iter().for_each(|inner| collect(inner, words, spoken)),
            _ => {}
        }
    }
    WORDS.get_or_init(|| {
        let mut words = BTreeSet::from(["true".to_owned(), "false".to_owned()]);
        let mut spoken = BTreeSet::new();
        collect(&crate::schema::json_schema(), &mut words, &mut spoken);
        (words, spoken)
    })
}

/// A message that shares this many bytes with a value quotes it; fewer may be chance.
const STRETCH: usize = 6;

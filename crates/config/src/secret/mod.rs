//! Removes secrets from messages: pasted keys, and the values of variables.
//!
//! In: texts of the files, the variables filled into them, messages. Out: the positions of pasted keys, and
//! messages with `${NAME}` in place of its value and of every part of it. Many modules make messages from
//! texts after variables were filled in, and may quote half of a value, or a value cut short; so messages are
//! cleaned in one place, before they are shown. The text of the file itself is no secret. Pure.

mod parts;

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use crate::source::{Position, Source};

use parts::{Parts, is_word};

/// The values that messages must not repeat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    /// The texts that contain variables, by position. A text repeated by an alias has the position of its
    /// anchor.
    written: HashMap<Position, Written>,
    /// Every value, and the name of its variable.
    values: BTreeMap<String, String>,
    /// The parts of all values. Made for the first message that needs them.
    parts: OnceLock<Parts>,
}

/// A text that contains variables.
#[derive(Debug, Clone)]
struct Written {
    /// Its form in the file, with `${NAME}`.
    text: String,
    /// Its form with the values.
    completed: String,
    /// The values in it, and the names of their variables.
    values: Vec<(String, String)>,
}

impl Secrets {
    /// Records a text of the file, its form with values, and its variables: their values, and their names.
    pub(crate) fn note(&mut self, at: Position, text: &str, completed: &str, values: Vec<(String, String)>) {
        self.values.extend(values.iter().cloned());
        self.parts.take();
        let written = Written { text: text.to_owned(), completed: completed.to_owned(), values };
        self.written.insert(at, written);
    }

    /// Takes over the records of another file.
    pub(crate) fn extend(&mut self, other: Self) {
        self.written.extend(other.written);
        self.values.extend(other.values);
        self.parts.take();
    }

    /// The form in the file of a text that contains variables, by its position.
    pub(crate) fn written(&self, at: Position) -> Option<&str> {
        self.written.get(&at).map(|written| written.text.as_str())
    }

    /// A message about a position in this file, without values and parts of values, and without keys pasted
    /// into the file. A long message also loses its end.
    pub(crate) fn clean(&self, mut message: String, at: Position, source: &Source) -> String {
        let own = self.written.get(&at);
        if let Some(own) = own {
            message = replace_words(message, &own.completed, &own.text);
        }
        if let Some((end, _)) = message.char_indices().nth(MOST_LOOKED_AT) {
            message.truncate(end);
            message.push('…');
        }
        if let Some(own) = own {
            for (value, name) in &own.values {
                message = replace_words(message, value, &shown(name));
            }
        }
        if !self.values.is_empty() {
            message = self.without_values(message, &source.text);
        }
        if let Some(own) = own {
            message = without_short_pieces(&message, own, &source.text);
        }
        source.pasted.hide(&source.text, message)
    }

    fn without_values(&self, mut message: String, source: &str) -> String {
        let parts = self.parts.get_or_init(|| Parts::of(&self.values));
        let whole = parts.is_in(&message);
        for (value, name) in &self.values {
            if value.len() < SHORTEST_SECRET {
                message = replace_quoted(message, value, &shown(name));
            } else if whole && !is_word(value) {
                message = replace(message, value, &shown(name));
            }
        }
        if whole { parts.replaced(&message, source, &shown) } else { message }
    }
}

fn shown(name: &str) -> String {
    format!("${{{name}}}")
}

/// The forms in which messages quote a text.
fn forms(text: &str) -> Vec<String> {
    let controls = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let debug = format!("{text:?}");
    let mut forms = vec![
        text.to_owned(),
        text.escape_debug().to_string(),
        debug.get(1..debug.len().saturating_sub(1)).unwrap_or_default().to_owned(),
        text.chars().map(controls).collect(),
        text.to_lowercase(),
    ];
    forms.sort_unstable();
    forms.dedup();
    forms.retain(|form| !form.is_empty());
    // Longest first, because a form may be part of another one.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms
}

fn replace(message: String, value: &str, by: &str) -> String {
    // Skips messages that repeat nothing, which are most.
    forms(value).iter().fold(message, |message, form| {
        if message.contains(form.as_str()) { message.replace(form.as_str(), by) } else { message }
    })
}

/// Replaces a short value, which may also be a word of the message: only where it is quoted, and only if it
/// is not a key or value of the schema.
fn replace_quoted(message: String, value: &str, by: &str) -> String {
    if value.is_empty() || !message.contains(value) && value.is_ascii() || is_word(value) {
        return message;
    }
    let message = replace(message, &format!("`{value}`"), &format!("`{by}`"));
    replace(message, &format!("\"{value}\""), &format!("\"{by}\""))
}

/// Replaces a text where it is not part of a word; a short one only where it is quoted.
fn replace_words(message: String, value: &str, by: &str) -> String {
    let mut message = message;
    for form in &forms(value) {
        if !message.contains(form.as_str()) {
            continue;
        }
        let mut out = String::with_capacity(message.len());
        let mut rest = message.as_str();
        let mut quotes = 0;
        while let Some((before, after)) = rest.split_once(form.as_str()) {
            out.push_str(before);
            quotes += before.matches(['`', '"']).count();
            let in_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
            let told = FOUND.iter().any(|found| out.ends_with(found));
            // After `${` comes a name that has already replaced a value.
            let replaced = !in_word
                && !before.ends_with("${")
                && (form.len() >= SHORTEST_SECRET || quotes % 2 == 1 || told);
            out.push_str(if replaced { by } else { form });
            rest = after;
        }
        out.push_str(rest);
        message = out;
    }
    message
}

/// Hides quoted pieces of a message that are too short to be searched for everywhere, and part of the value
/// at its position.
fn without_short_pieces(message: &str, own: &Written, source: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for piece in message.split_inclusive(['`', '"']) {
        let word = piece.trim_end_matches(['`', '"']);
        let bare = word.trim_end_matches('…');
        let short = (SHORTEST_QUOTED..SHORTEST_SECRET).contains(&bare.len());
        let owner = own.values.iter().filter(|_| short && !out.is_empty()).find(|(value, _)| {
            forms(value).iter().any(|form| form.contains(bare)) && !is_word(bare) && !source.contains(bare)
        });
        match owner {
            Some((_, name)) => {
                out.push_str(&shown(name));
                out.push_str(piece.get(word.len()..).unwrap_or_default());
            }
            None => out.push_str(piece),
        }
    }
    out
}

/// Words before a value that a message does not quote.
const FOUND: [&str; 3] = ["the number ", "the switch ", "found "];
/// Values of this many bytes and more are replaced everywhere. Shorter ones may be words and numbers of
/// messages too.
const SHORTEST_SECRET: usize = 8;
/// Quoted parts of this many bytes and more are replaced in messages about the value's own position.
const SHORTEST_QUOTED: usize = 3;
/// Characters of a message to process: twice as many as are shown.
const MOST_LOOKED_AT: usize = 2_000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn clean(secrets: &Secrets, message: &str, at: Position) -> String {
        let source = Source::new("weir.yaml".into(), Path::new("."), "listeners: [web.example]".into());
        secrets.clean(message.to_owned(), at, &source)
    }

    #[test]
    fn values_are_replaced_by_their_variables() {
        let mut secrets = Secrets::default();
        let own = Position { file: 0, line: 3, column: 9 };
        secrets.note(own, "${PORT}", "70000", vec![("70000".into(), "PORT".into())]);
        let other = Position { file: 0, line: 4, column: 9 };
        secrets.note(other, "x${TOKEN}", "xTop-Secret", vec![("Top-Secret".into(), "TOKEN".into())]);
        secrets.note(other, "${POOL}", "wob", vec![("wob".into(), "POOL".into())]);
        secrets.note(other, "${MODE}", "tcp", vec![("tcp".into(), "MODE".into())]);
        assert_eq!(clean(&secrets, "from 0 to 65535, found 70000", own), "from 0 to 65535, found ${PORT}");
        assert_eq!(clean(&secrets, "no `top-secret`, no Top-Secret", own), "no `${TOKEN}`, no ${TOKEN}");
        assert_eq!(clean(&secrets, "did you mean `wob`? wobbly", own), "did you mean `${POOL}`? wobbly");
        assert_eq!(clean(&secrets, "`tcp` is a key", own), "`tcp` is a key", "a word of the schema");
    }

    #[test]
    fn parts_of_values_are_replaced_too() {
        let mut secrets = Secrets::default();
        let own = Position { file: 0, line: 3, column: 9 };
        let value = "svc:hunter2-listeners-\"x\"\t.web.example";
        secrets.note(own, "${AUTH}", value, vec![(value.into(), "AUTH".into())]);
        let other = Position { file: 0, line: 9, column: 9 };
        for (message, wanted) in [
            ("`svc:hunter2-lis…` is no name", "`${AUTH}…` is no name"),
            ("`hunter2-listeners` is not a port", "`${AUTH}` is not a port"),
            ("no HUNTER2- here", "no ${AUTH} here"),
            ("`hunter` is a part", "`${AUTH}` is a part"),
            ("`ners-\"x\"\\t.we` is a part", "`${AUTH}` is a part"),
            ("`web.example` is in the file", "`web.example` is in the file"),
            ("there is no listeners section", "there is no listeners section"),
        ] {
            assert_eq!(clean(&secrets, message, own), wanted);
            assert_eq!(clean(&secrets, message, other), wanted);
        }
        assert_eq!(clean(&secrets, "write `svc` or `hunt`", own), "write `${AUTH}` or `${AUTH}`");
    }

    #[test]
    fn short_values_are_replaced_only_where_quoted() {
        let mut secrets = Secrets::default();
        let own = Position { file: 0, line: 3, column: 9 };
        secrets.note(own, "${X}", "is", vec![("is".into(), "X".into())]);
        assert_eq!(clean(&secrets, "`is` is not a port", own), "`${X}` is not a port");
    }
}

//! What no message may repeat: keys that were pasted where a path belongs, and the values of variables.
//!
//! In: texts of the files, the variables that were put into them, messages. Out: where keys stand, and messages in
//! which `${NAME}` stands for its value. A message is made from what the configuration says after variables were put
//! in, in many places; so it is cleaned in one place, before anybody sees it. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;

use crate::source::Position;

/// Is this text a key or a certificate, or does it have one in it?
pub(crate) fn is_pem(text: &str) -> bool {
    text.contains(PEM_BEGIN) || text.contains(PEM_BEGIN_IN_BASE64)
}

/// Where keys and certificates stand in a file's text, in their order.
pub(crate) fn pasted(text: &str) -> Vec<Range<usize>> {
    let begins: Vec<usize> = text.match_indices(PEM_BEGIN).map(|(at, _)| at).collect();
    let ends: Vec<usize> = text.match_indices(PEM_END).map(|(at, _)| at).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for (number, begin) in begins.iter().copied().enumerate() {
        let next = begins.get(number + 1).copied().unwrap_or(text.len());
        let end = ends.get(ends.partition_point(|end| *end < begin)).copied().filter(|end| *end < next);
        found.push(begin..end.map_or_else(|| unended(text, begin), |end| after_label(text, end, PEM_END)));
    }
    for (at, _) in text.match_indices(PEM_BEGIN_IN_BASE64) {
        found.push(at..body(text, at));
    }
    found.sort_by_key(|range| range.start);
    found
}

/// The end of a key that has no end of its own: behind its first line, and the lines of base64 after it.
fn unended(text: &str, begin: usize) -> usize {
    body(text, after_label(text, begin, PEM_BEGIN))
}

/// Behind the dashes that end `-----BEGIN …-----`, or at the end of the line.
fn after_label(text: &str, at: usize, label: &str) -> usize {
    let start = at + label.len();
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    start + line.find("-----").map_or(line.len(), |dashes| dashes + 5)
}

/// Behind the base64 that begins here, over whole lines of it, and over line breaks that are written as `\n`.
fn body(text: &str, start: usize) -> usize {
    let mut end = start;
    for (number, line) in text.get(start..).unwrap_or_default().split_inclusive('\n').enumerate() {
        let is_body = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\\');
        if number == 0 {
            let length = line.find(|c| !is_body(c)).unwrap_or(line.len());
            end += length;
            if !line.get(length..).unwrap_or_default().trim().is_empty() {
                break;
            }
            end += line.len() - length;
            continue;
        }
        let content = line.trim();
        if content.len() < SHORTEST_PIECE || !content.chars().all(is_body) {
            break;
        }
        end += line.len();
    }
    end
}

/// What messages must not repeat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    /// The texts that variables were put into, by their place. What an alias repeats has the place of its anchor.
    written: HashMap<Position, Written>,
    /// Every value, and the name of its variable.
    values: BTreeMap<String, String>,
}

/// A text that variables were put into.
#[derive(Debug, Clone)]
struct Written {
    /// As it stands in the file, with `${NAME}`.
    text: String,
    /// What became of it.
    completed: String,
    /// The values in it, and the names of their variables.
    values: Vec<(String, String)>,
}

impl Secrets {
    /// Notes a text of the file, what became of it, and the variables in it: their values, and their names.
    pub(crate) fn note(&mut self, at: Position, text: &str, completed: &str, values: Vec<(String, String)>) {
        self.values.extend(values.iter().cloned());
        let written = Written { text: text.to_owned(), completed: completed.to_owned(), values };
        self.written.insert(at, written);
    }

    /// Takes what was noted in another file.
    pub(crate) fn extend(&mut self, other: Self) {
        self.written.extend(other.written);
        self.values.extend(other.values);
    }

    /// The text at a place as it stands in the file, where variables were put into it.
    pub(crate) fn written(&self, at: Position) -> Option<&str> {
        self.written.get(&at).map(|written| written.text.as_str())
    }

    /// A message about a place, without values, and without what was pasted into that place's file.
    pub(crate) fn clean<'p>(
        &self,
        mut message: String,
        at: Position,
        pasted: impl Iterator<Item = &'p str> + Clone,
    ) -> String {
        if let Some(own) = self.written.get(&at) {
            message = replace_words(&message, &own.completed, &own.text);
            for (value, name) in &own.values {
                message = replace_words(&message, value, &shown(name));
            }
        }
        for (value, name) in &self.values {
            message = match value.len() >= SHORTEST_SECRET {
                true => replace(message, value, &shown(name)),
                false => replace_quoted(message, value, &shown(name)),
            };
        }
        if is_pem(&message) || pasted.clone().next().is_some() {
            message = without_pem(message, pasted);
        }
        message
    }
}

fn shown(name: &str) -> String {
    format!("${{{name}}}")
}

/// A text in the forms in which messages quote it.
fn forms(text: &str) -> [String; 3] {
    [text.to_owned(), text.escape_debug().to_string(), text.to_lowercase()]
}

fn replace(message: String, value: &str, by: &str) -> String {
    // Most messages repeat nothing.
    forms(value).iter().filter(|form| !form.is_empty()).fold(message, |message, form| {
        if message.contains(form.as_str()) { message.replace(form.as_str(), by) } else { message }
    })
}

/// A short value may be a word of the message too. It is replaced where it is quoted, if no key and no value of the
/// schema is called so.
fn replace_quoted(message: String, value: &str, by: &str) -> String {
    if value.is_empty() || words().binary_search_by(|word| word.as_str().cmp(value)).is_ok() {
        return message;
    }
    let message = replace(message, &format!("`{value}`"), &format!("`{by}`"));
    replace(message, &format!("\"{value}\""), &format!("\"{by}\""))
}

/// Replaces a text where it does not stand within a word.
fn replace_words(message: &str, value: &str, by: &str) -> String {
    let mut message = message.to_owned();
    for form in forms(value).iter().filter(|form| !form.is_empty()) {
        let mut out = String::with_capacity(message.len());
        let mut rest = message.as_str();
        while let Some((before, after)) = rest.split_once(form.as_str()) {
            out.push_str(before);
            let in_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
            // Behind `${` stands a name that took a value's place already.
            let replaced = !in_word && !before.ends_with("${");
            out.push_str(if replaced { by } else { form });
            rest = after;
        }
        out.push_str(rest);
        message = out;
    }
    message
}

/// The words of the schema: keys, and the values of closed sets. Sorted.
fn words() -> &'static [String] {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    fn collect(schema: &Value, words: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                    words.extend(properties.keys().cloned());
                }
                let constants = map.get("enum").and_then(Value::as_array).into_iter().flatten();
                words.extend(constants.chain(map.get("const")).filter_map(Value::as_str).map(str::to_owned));
                map.values().for_each(|inner| collect(inner, words));
            }
            Value::Array(list) => list.iter().for_each(|inner| collect(inner, words)),
            _ => {}
        }
    }
    WORDS.get_or_init(|| {
        let mut words = vec!["true".to_owned(), "false".to_owned()];
        collect(&crate::schema::json_schema(), &mut words);
        words.sort_unstable();
        words.dedup();
        words
    })
}

/// A message without keys and certificates, and without pieces of those that were pasted.
fn without_pem<'p>(message: String, pasted: impl Iterator<Item = &'p str> + Clone) -> String {
    let mut out = String::with_capacity(message.len());
    let mut done = 0;
    for range in self::pasted(&message) {
        if range.start >= done {
            out.push_str(message.get(done..range.start).unwrap_or_default());
            out.push_str(NOT_SHOWN);
            done = range.end;
        }
    }
    out.push_str(message.get(done..).unwrap_or_default());
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let pieces: Vec<String> = out
        .split(|c| !is_base64(c))
        .filter(|piece| piece.len() >= SHORTEST_PIECE)
        .map(str::to_owned)
        .collect();
    for piece in pieces {
        if pasted.clone().any(|key| key.contains(&piece)) {
            out = out.replace(&piece, NOT_SHOWN);
        }
    }
    out
}

const PEM_BEGIN: &str = "-----BEGIN";
const PEM_END: &str = "-----END";
/// `-----BEGIN` as the first bytes of a text in base64, as Kubernetes keeps its secrets.
const PEM_BEGIN_IN_BASE64: &str = "LS0tLS1CRUdJTi";
const NOT_SHOWN: &str = "[a key or certificate, not shown]";
/// Characters from which a piece of base64 is one of a key: PEM lines have 64, the last one often fewer.
const SHORTEST_PIECE: usize = 16;
/// Bytes from which a value is replaced wherever it stands. Shorter ones are words and numbers of messages, too.
const SHORTEST_SECRET: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2";

    fn clean(secrets: &Secrets, message: &str, at: Position) -> String {
        secrets.clean(message.to_owned(), at, std::iter::empty())
    }

    #[test]
    fn a_pasted_key_is_found_in_every_form() {
        let begin = "-----BEGIN PRIVATE KEY-----";
        let end = "-----END PRIVATE KEY-----";
        for text in [
            format!("a: |\n  {begin}\n  {KEY}\n  {end}\nb: 1\n"),
            format!("a: \"{begin}\\n{KEY}\\n{end}\\n\"\nb: 1\n"),
            format!("a: {begin}\n  {KEY}\nb: 1\n"),
            format!("{{\"a\": \"{begin} {KEY} {end}\", \"b\": 1}}"),
            format!("a: LS0tLS1CRUdJTi{KEY}\nb: 1\n"),
            format!("a: {begin}\\n{KEY}\nb: 1\n"),
        ] {
            let ranges = pasted(&text);
            let mut shown = text.clone();
            for range in ranges.iter().rev() {
                shown.replace_range(range.clone(), "*");
            }
            assert!(!shown.contains(&KEY[..16]) && shown.contains("b"), "{text}: {shown}");
        }
        assert!(pasted("no key in here -----").is_empty());
    }

    #[test]
    fn a_value_is_replaced_by_its_variable() {
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
    fn a_message_shows_nothing_of_a_key() {
        let secrets = Secrets::default();
        let at = Position::default();
        let whole = format!("`-----BEGIN PRIVATE KEY-----\\n{KEY}\\n-----END PRIVATE KEY-----` is no path");
        assert_eq!(clean(&secrets, &whole, at), format!("`{NOT_SHOWN}` is no path"));
        let piece = secrets.clean(format!("unknown key `{KEY}`"), at, [KEY].into_iter());
        assert_eq!(piece, format!("unknown key `{NOT_SHOWN}`"));
        let path = "/etc/letsencrypt/live/example/privkey cannot be read";
        assert_eq!(secrets.clean(path.to_owned(), at, [KEY].into_iter()), path);
    }
}

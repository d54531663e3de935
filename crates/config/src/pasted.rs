//! Keys, certificates and secrets that were pasted into a text.
//!
//! In: texts of the files, and messages. Out: the positions of keys, and messages without them. Pure, and
//! linear in the length of the text, because a file of megabytes may contain nothing but beginnings of keys.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

/// Whether this text is or contains a key or a certificate.
pub(crate) fn is_pem(text: &str) -> bool {
    text.contains(PEM_BEGIN) || text.contains(PEM_BEGIN_IN_BASE64)
}

/// Whether this text is a secret in hexadecimal digits or base64, and no path.
pub(crate) fn is_secret(text: &str) -> bool {
    let all = |is_digit: fn(&u8) -> bool| text.bytes().all(|byte| is_digit(&byte));
    let any = |is_one: fn(&u8) -> bool| text.bytes().any(|byte| is_one(&byte));
    if text.len() < SHORTEST_SECRET || text.starts_with('/') {
        return false;
    }
    // A path of this length without a dot, with capitals and digits in it, is rare.
    let is_base64 = all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte));
    let is_mixed = any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase) && any(u8::is_ascii_digit);
    all(u8::is_ascii_hexdigit) || is_base64 && is_mixed
}

/// The keys, certificates and secrets that were pasted into a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pasted {
    /// Their byte ranges, in order.
    ranges: Vec<Range<usize>>,
    /// Every eighth stretch of eight bytes in them. Made for the first message that needs it.
    stretches: OnceLock<HashSet<[u8; STRETCH]>>,
}

impl Pasted {
    /// Finds those in a file's text.
    pub(crate) fn of(text: &str) -> Self {
        Self { ranges: find(text), stretches: OnceLock::new() }
    }

    /// Whether the byte at this index is part of one.
    pub(crate) fn holds(&self, at: usize) -> bool {
        let next = self.ranges.partition_point(|range| range.end <= at);
        self.ranges.get(next).is_some_and(|range| range.contains(&at))
    }

    /// The message without keys and certificates of this text, and without pieces of them.
    pub(crate) fn hide(&self, text: &str, message: String) -> String {
        if self.ranges.is_empty() && !is_pem(&message) {
            return message;
        }
        let mut out = String::with_capacity(message.len());
        let mut done = 0;
        for range in find(&message) {
            if range.start >= done {
                out.push_str(message.get(done..range.start).unwrap_or_default());
                out.push_str(NOT_SHOWN);
            }
            done = done.max(range.end);
        }
        out.push_str(message.get(done..).unwrap_or_default());
        if self.ranges.is_empty() { out } else { self.without_pieces(text, &out) }
    }

    fn without_pieces(&self, text: &str, message: &str) -> String {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
        let stretches = self.stretches.get_or_init(|| {
            let keys = self.ranges.iter().filter_map(|range| text.get(range.clone()));
            keys.flat_map(|key| key.as_bytes().chunks_exact(STRETCH)).filter_map(stretch).collect()
        });
        let mut out = String::with_capacity(message.len());
        for piece in message.split_inclusive(|c| !is_base64(c)) {
            let word = piece.trim_end_matches(|c| !is_base64(c));
            let mut inside = word.as_bytes().windows(STRETCH).filter_map(stretch);
            if word.len() >= SHORTEST_PIECE && inside.any(|stretch| stretches.contains(&stretch)) {
                out.push_str(NOT_SHOWN);
                out.push_str(piece.get(word.len()..).unwrap_or_default());
            } else {
                out.push_str(piece);
            }
        }
        out
    }
}

fn stretch(bytes: &[u8]) -> Option<[u8; STRETCH]> {
    bytes.try_into().ok()
}

/// The ranges of keys and certificates in a text, by their beginning. They may overlap.
fn find(text: &str) -> Vec<Range<usize>> {
    let begins: Vec<usize> = text.match_indices(PEM_BEGIN).map(|(at, _)| at).collect();
    let ends: Vec<usize> = text.match_indices(PEM_END).map(|(at, _)| at).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for (number, begin) in begins.iter().copied().enumerate() {
        let next = begins.get(number + 1).copied().unwrap_or(text.len());
        let end = ends.get(ends.partition_point(|end| *end < begin)).copied().filter(|end| *end < next);
        found.push(begin..end.map_or_else(|| unended(text, begin), |end| after_label(text, end, PEM_END)));
    }
    let mut done = 0;
    for (at, _) in text.match_indices(PEM_BEGIN_IN_BASE64) {
        // A key inside another one ends where the outer one does.
        if at >= done {
            done = body(text, at);
            found.push(at..done);
        }
    }
    found.extend(secrets(text));
    found.sort_by_key(|range| range.start);
    found
}

/// The secrets near the words that announce one.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut done = 0;
    for word in ["fleet", "secret"] {
        for (at, _) in text.match_indices(word) {
            if at < done {
                continue;
            }
            let rest = text.get(at..).unwrap_or_default();
            let near = rest.char_indices().nth(NEAR).map_or(rest.len(), |(end, _)| end);
            done = at + near;
            let mut start = at;
            for piece in rest.get(..near).unwrap_or_default().split_inclusive(|c| !is_of_secret(c)) {
                let word = piece.trim_end_matches(|c| !is_of_secret(c));
                if is_secret(word) {
                    found.push(start..start + word.len());
                }
                start += piece.len();
            }
        }
        done = 0;
    }
    found
}

/// The characters of a secret, and those that show a path.
fn is_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=' | '.' | '~')
}

/// The end of a key without an end line: after its first line and the following lines of base64.
fn unended(text: &str, begin: usize) -> usize {
    body(text, after_label(text, begin, PEM_BEGIN))
}

/// The index after the dashes that end `-----BEGIN …-----`, or at the end of the line, or after the longest
/// label.
fn after_label(text: &str, at: usize, label: &str) -> usize {
    let start = at + label.len();
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.char_indices().take(LONGEST_LABEL).find(|(_, c)| *c == '\n').map(|(end, _)| end);
    let end =
        end.or_else(|| rest.char_indices().nth(LONGEST_LABEL).map(|(end, _)| end)).unwrap_or(rest.len());
    let line = rest.get(..end).unwrap_or_default();
    start + line.find("-----").map_or(line.len(), |dashes| dashes + 5)
}

/// The index after the base64 that begins here, over whole lines of it, and over line breaks written as `\n`.
/// Reads no further than the first character that ends it.
fn body(text: &str, start: usize) -> usize {
    let is_body = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\\');
    let rest = |at: usize| text.get(at..).unwrap_or_default();
    let after = |at: usize, wanted: fn(char) -> bool| {
        let rest = text.get(at..).unwrap_or_default();
        at + rest.find(|c| !wanted(c)).unwrap_or(rest.len())
    };
    let blank = |c: char| c != '\n' && c.is_whitespace();
    let mut end = after(start, is_body);
    let mut line_end = after(end, blank);
    while rest(line_end).starts_with('\n') {
        end = line_end + 1;
        let content = after(end, blank);
        let content_end = after(content, is_body);
        line_end = after(content_end, blank);
        let ends = line_end == text.len() || rest(line_end).starts_with('\n');
        if content_end - content < SHORTEST_PIECE || !ends {
            return end;
        }
        end = line_end;
    }
    if line_end == text.len() { line_end } else { end }
}

const PEM_BEGIN: &str = "-----BEGIN";
const PEM_END: &str = "-----END";
/// `-----BEGIN` at the start of a text in base64, as in Kubernetes secrets.
const PEM_BEGIN_IN_BASE64: &str = "LS0tLS1CRUdJTi";
pub(crate) const NOT_SHOWN: &str = "[a key or certificate, not shown]";
/// A run of base64 this long is a piece of a key: PEM lines have 64 characters, the last one often fewer.
const SHORTEST_PIECE: usize = 16;
/// The digits of a secret of 16 bytes in hexadecimal digits, and of 24 bytes in base64.
const SHORTEST_SECRET: usize = 32;
/// How many characters after the word `fleet` or `secret` a secret may be.
const NEAR: usize = 2_000;
/// The length in bytes of a stretch. Each piece of a key contains a whole stretch, which gives it away.
const STRETCH: usize = 8;
/// Characters of a label, far more than `RSA PRIVATE KEY` and similar ones have.
const LONGEST_LABEL: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2";

    #[test]
    fn pasted_keys_are_found_in_every_form() {
        let begin = "-----BEGIN PRIVATE KEY-----";
        let end = "-----END PRIVATE KEY-----";
        for text in [
            format!("a: |\n  {begin}\n  {KEY}\n  {end}\nb: 1\n"),
            format!("a: \"{begin}\\n{KEY}\\n{end}\\n\"\nb: 1\n"),
            format!("a: {begin}\n  {KEY}\nb: 1\n"),
            format!("a: {begin}\r\n  {KEY}\r\n  {KEY}\nb: 1\n"),
            format!("a: -----BEGIN x {begin}\n  {KEY}\nb: 1\n"),
            format!("{{\"a\": \"{begin} {KEY} {end}\", \"b\": 1}}"),
            format!("a: LS0tLS1CRUdJTi{KEY}\nb: 1\n"),
            format!("a: LS0tLS1CRUdJTiLS0tLS1CRUdJTi\n{KEY}\nb: 1\n"),
            format!("a: {begin}\\n{KEY}\nb: 1\n"),
        ] {
            let pasted = Pasted::of(&text);
            let shown: String =
                text.char_indices().map(|(at, c)| if pasted.holds(at) { '*' } else { c }).collect();
            assert!(!shown.contains(&KEY[..16]) && shown.contains("b"), "{text}: {shown}");
        }
        assert!(find("no key in here -----").is_empty());
    }

    #[test]
    fn messages_show_nothing_of_a_key() {
        let pasted = Pasted::of("");
        let whole = format!("`-----BEGIN PRIVATE KEY-----\\n{KEY}\\n-----END PRIVATE KEY-----` is no path");
        assert_eq!(pasted.hide("", whole), format!("`{NOT_SHOWN}` is no path"));
        let text = format!("a: -----BEGIN X-----\n  {KEY}\n");
        let pasted = Pasted::of(&text);
        assert_eq!(pasted.hide(&text, format!("unknown key `{KEY}`")), format!("unknown key `{NOT_SHOWN}`"));
        for cut in 0..KEY.len() - SHORTEST_PIECE {
            let piece = format!("`{}`", &KEY[cut..cut + SHORTEST_PIECE]);
            assert_eq!(pasted.hide(&text, piece), format!("`{NOT_SHOWN}`"), "{cut}");
        }
        let path = "/etc/letsencrypt/live/example/privkey cannot be read";
        assert_eq!(pasted.hide(&text, path.to_owned()), path);
    }

    #[test]
    fn secrets_are_found_where_a_word_announces_them() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let base64 = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
        let url = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg";
        for secret in [hex, base64, url, &hex[..32]] {
            for text in [
                format!("fleet: {{secret_files: [{secret}]}}\n"),
                format!("fleet:\n  secret_files:\n    - fleet.key\n    - \"{secret}\"\n"),
                format!("fleet: {secret}"),
                format!("secrets: {secret}"),
            ] {
                let pasted = Pasted::of(&text);
                let shown: String =
                    text.char_indices().map(|(at, c)| if pasted.holds(at) { '*' } else { c }).collect();
                assert!(!shown.contains(&secret[..16]), "{text}: {shown}");
                assert_eq!(
                    pasted.hide(&text, format!("`{secret}` is no path")),
                    format!("`{NOT_SHOWN}` is no path")
                );
            }
            assert!(find(&format!("name: {secret}\n")).is_empty(), "nothing announces it");
        }
        for path in
            ["/run/secrets/Fleet2026/TheSecretOfTheFleetOfNode1", "certs/the-secret-of-the-whole-fleet.key"]
        {
            assert!(find(&format!("fleet: {{secret_files: [{path}]}}")).is_empty(), "{path}");
        }
    }
}

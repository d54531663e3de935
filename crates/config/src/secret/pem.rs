//! Keys and certificates that were pasted into a text.
//!
//! In: texts of the files, and messages. Out: where keys stand, and messages without them. Pure, and linear in the
//! length of the text: a file of megabytes may hold nothing but beginnings of keys.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

/// Is this text a key or a certificate, or does it have one in it?
pub(crate) fn is_pem(text: &str) -> bool {
    text.contains(PEM_BEGIN) || text.contains(PEM_BEGIN_IN_BASE64)
}

/// The keys and certificates that were pasted into a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pasted {
    /// Their bytes, in their order.
    ranges: Vec<Range<usize>>,
    /// Every eighth stretch of eight bytes in them. Made when the first message asks.
    stretches: OnceLock<HashSet<[u8; STRETCH]>>,
}

impl Pasted {
    /// Those of a file's text.
    pub(crate) fn of(text: &str) -> Self {
        Self { ranges: find(text), stretches: OnceLock::new() }
    }

    /// Is the byte at this place part of one?
    pub(crate) fn holds(&self, at: usize) -> bool {
        let next = self.ranges.partition_point(|range| range.end <= at);
        self.ranges.get(next).is_some_and(|range| range.contains(&at))
    }

    /// A message without keys and certificates, and without pieces of these, which stand in this text.
    pub(super) fn hide(&self, text: &str, message: String) -> String {
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
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
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

/// Where keys and certificates stand in a text, by where they begin. They may overlap.
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
        // One within another ends where that one does.
        if at >= done {
            done = body(text, at);
            found.push(at..done);
        }
    }
    found.sort_by_key(|range| range.start);
    found
}

/// The end of a key that has no end of its own: behind its first line, and the lines of base64 after it.
fn unended(text: &str, begin: usize) -> usize {
    body(text, after_label(text, begin, PEM_BEGIN))
}

/// Behind the dashes that end `-----BEGIN …-----`, or at the end of the line, or where no label is so long.
fn after_label(text: &str, at: usize, label: &str) -> usize {
    let start = at + label.len();
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.char_indices().take(LONGEST_LABEL).find(|(_, c)| *c == '\n').map(|(end, _)| end);
    let end =
        end.or_else(|| rest.char_indices().nth(LONGEST_LABEL).map(|(end, _)| end)).unwrap_or(rest.len());
    let line = rest.get(..end).unwrap_or_default();
    start + line.find("-----").map_or(line.len(), |dashes| dashes + 5)
}

/// Behind the base64 that begins here, over whole lines of it, and over line breaks that are written as `\n`. Looks no
/// further than at what ends it.
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
/// `-----BEGIN` as the first bytes of a text in base64, as Kubernetes keeps its secrets.
const PEM_BEGIN_IN_BASE64: &str = "LS0tLS1CRUdJTi";
pub(super) const NOT_SHOWN: &str = "[a key or certificate, not shown]";
/// Characters from which a piece of base64 is one of a key: PEM lines have 64, the last one often fewer.
const SHORTEST_PIECE: usize = 16;
/// Length in bytes of the stretches by which pieces of a key are recognised: each piece contains a whole one.
const STRETCH: usize = 8;
/// Characters of a label: `RSA PRIVATE KEY` and its like are far shorter.
const LONGEST_LABEL: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2";

    #[test]
    fn a_pasted_key_is_found_in_every_form() {
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
    fn a_message_shows_nothing_of_a_key() {
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
}

//! Texts that YAML reads differently from what was meant, with messages that name the slip and correct it.
//!
//! In: the line at which the YAML library gave up, and its error. Out: the position of the slip, the message,
//! and the corrected text. Pure.

use std::net::Ipv6Addr;

use super::shown;

/// A slip in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slip {
    /// Its line, possibly the one before.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Explains an error of the YAML library. `line` gives the text of a line, from 1.
pub(crate) fn at<'l>(
    (number, column): (usize, usize),
    error: &str,
    line: impl Fn(usize) -> &'l str,
) -> Option<Slip> {
    let slip = |number: usize, column: usize, message: String, hint: String| {
        Some(Slip { line: number, column, message, hint })
    };
    let text: Vec<char> = line(number).chars().take(LONGEST_LINE).collect();
    let at = column.saturating_sub(1).min(text.len());
    if error.contains("scanning an alias") || error.contains("unknown anchor") {
        let start = text.iter().take(at + 1).rposition(|c| *c == '*')?;
        let token = token(&text, start);
        let (message, hint) = alias(&token, error.contains("unknown anchor"));
        return slip(number, start + 1, message, hint);
    }
    if let Some((start, token, mended)) = bracketed(&text, at) {
        let message = format!("`{token}` needs quotes: in YAML `[` begins a list");
        return slip(number, start + 1, message, format!("write `\"{mended}\"`"));
    }
    if error.contains("scanning an anchor") {
        let start = text.iter().take(at + 1).rposition(|c| *c == '&')?;
        let token = token(&text, start);
        let message = format!("`{}` is not an anchor: in YAML `&` begins one", shown(&token));
        return slip(number, start + 1, message, "a text that begins with & needs quotes".to_owned());
    }
    if error.contains("did not find expected node content") {
        let token = token(&text, at);
        if token.starts_with([':', '?']) && token.len() > 1 {
            let message = format!("`{}` needs quotes within brackets", shown(&token));
            return slip(number, at + 1, message, format!("write `\"{}\"`", shown(&token)));
        }
        let message = "a value is missing here, or a bracket closes that is not open".to_owned();
        return slip(number, at + 1, message, "a list is `[a, b]`, a section `{key: value}`".to_owned());
    }
    if let Some(start) = find(&text, "{{").or_else(|| find(&text, "{%")) {
        let message = "`{{` and `{%` are of a template, which has to be filled in first".to_owned();
        return slip(number, start + 1, message, "weir's own variables are written \"${NAME}\"".to_owned());
    }
    let (opened, opened_column) = context(error).unwrap_or((number, column));
    if error.contains("cannot start any token") {
        let start = at;
        let first = text.get(start)?;
        if *first != '\t' {
            let token = token(&text, start);
            let message = format!("`{}` needs quotes: in YAML no text begins with `{first}`", shown(&token));
            return slip(number, start + 1, message, format!("write `\"{}\"`", shown(&token)));
        }
    }
    if let Some(number) =
        [number, number.saturating_sub(1)].into_iter().find(|number| dashed(line(*number)).is_some())
    {
        let (column, rest) = dashed(line(number))?;
        return slip(
            number,
            column,
            "a space is missing after the dash".to_owned(),
            format!("write `- {rest}`"),
        );
    }
    if error.contains("could not find expected ':'") || error.contains("mapping values are not allowed") {
        for number in [number, opened, number.saturating_sub(1)] {
            if let Some((column, key, value)) = glued(line(number)) {
                let message = format!("a space is missing after `{key}:`");
                return slip(number, column, message, format!("write `{key}: {value}`"));
            }
        }
    }
    let message_and_hint = structure(error, number, &text, at, (opened, opened_column))?;
    let (here, message, hint) = message_and_hint;
    slip(here.0, here.1, message, hint)
}

type Place = (usize, usize);

/// Slips in the file's structure: colons, brackets, quotes, indentation.
fn structure(
    error: &str,
    number: usize,
    text: &[char],
    at: usize,
    opened: Place,
) -> Option<(Place, String, String)> {
    let here = (number, at + 1);
    let slip = |place: Place, message: &str, hint: &str| Some((place, message.to_owned(), hint.to_owned()));
    if error.contains("mapping values are not allowed") {
        let hint = "a text with `: ` in it needs quotes; a section begins on a line of its own";
        return slip(here, "this line has a second `: `", hint);
    }
    if error.contains("could not find expected ':'") {
        let hint = "a line is `key: value` or `- element`";
        return slip(opened, "this is neither a key with a colon nor a list element", hint);
    }
    if error.contains("did not find expected ',' or") {
        let open = if error.contains("flow sequence") { '[' } else { '{' };
        let message = format!("the `{open}` is not closed, or a comma is missing after an element");
        return slip(opened, &message, &format!("found out in line {number}"));
    }
    if error.contains("quoted scalar") {
        return slip(opened, "the quote is not closed", &format!("found out in line {number}"));
    }
    let unexpected = error.contains("did not find expected key") || error.contains("expected '-' indicator");
    if unexpected && !text.contains(&'\t') {
        let indent = text.iter().take_while(|c| **c == ' ').count();
        let (line, column) = opened;
        if indent != at {
            let hint = "a quote may be missing, here or in a line above";
            return slip(here, "there is text after the end of a value", hint);
        }
        if here.1 == column && error.contains("'-' indicator") {
            let hint = "an element begins with `- `; a key of the section around the list is further left";
            return slip(
                here,
                &format!("this is in the list of line {line}, but is not an element of it"),
                hint,
            );
        }
        let hint =
            format!("the keys of a section begin in one column: here in column {column}, as in line {line}");
        return slip(here, "the indentation of this line fits nothing above it", &hint);
    }
    None
}

fn alias(token: &str, unknown: bool) -> (String, String) {
    let message = format!("`{}` needs quotes: in YAML `*` begins an alias", shown(token));
    let port = token.strip_prefix("*:").filter(|port| port.parse::<u16>().is_ok());
    let mended = match (port, token.strip_prefix('*')) {
        (Some(port), _) => format!(":{port}"),
        // Without the dot it is no wildcard.
        (None, Some(rest)) if !rest.is_empty() && !rest.starts_with(['.', ':']) && rest.contains('.') => {
            format!("*.{rest}")
        }
        _ => token.to_owned(),
    };
    if unknown {
        let message = format!("there is no anchor `&{}` before this", shown(token.trim_start_matches('*')));
        return (message, "in YAML `*` begins an alias; a text that begins with it needs quotes".to_owned());
    }
    (message, format!("write `\"{}\"`", shown(&mended)))
}

/// The plain text that begins here.
fn token(text: &[char], start: usize) -> String {
    let ends = |index: usize, c: char| {
        c.is_whitespace()
            || matches!(c, ',' | ']' | '}')
            || c == ':' && text.get(index + 1).is_none_or(|next| next.is_whitespace())
    };
    let rest = text.iter().enumerate().skip(start);
    rest.take_while(|(index, c)| !ends(*index, **c)).map(|(_, c)| *c).collect()
}

/// The IPv6 address in brackets without quotes that is nearest to `at`: its start, its text, and the
/// corrected text.
fn bracketed(text: &[char], at: usize) -> Option<(usize, String, String)> {
    let networks = text.iter().collect::<String>().contains("source:");
    let starts: Vec<usize> = (0..text.len()).filter(|index| text.get(*index) == Some(&'[')).collect();
    let read = |start: usize| {
        let inside: String = text.iter().skip(start + 1).take_while(|c| **c != ']').collect();
        let address = inside.split('%').next().unwrap_or_default();
        // In a list of such addresses one without a bracket behind it is an element.
        address.parse::<Ipv6Addr>().ok()?;
        let quoted =
            start.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|c| matches!(c, '"' | '\''));
        let behind = start + inside.chars().count() + 2;
        let port: String = match text.get(behind) {
            Some(':') => text.iter().skip(behind + 1).take_while(|c| c.is_ascii_digit()).collect(),
            _ => String::new(),
        };
        let token = if port.is_empty() { format!("[{inside}]") } else { format!("[{inside}]:{port}") };
        let mended = match (port.is_empty(), networks) {
            // A network has neither brackets nor a port.
            (true, true) => inside,
            (true, false) => format!("{token}:443"),
            (false, _) => token.clone(),
        };
        (!quoted).then_some((start, token, mended))
    };
    let found = starts.into_iter().filter_map(read);
    found.min_by_key(|(start, ..)| start.abs_diff(at))
}

fn find(text: &[char], wanted: &str) -> Option<usize> {
    let wanted: Vec<char> = wanted.chars().collect();
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// `key:value`, as its column, key and value, if the key could be one of weir's.
fn glued(line: &str) -> Option<(usize, String, String)> {
    let content = line.trim_start_matches([' ', '-', '{', '?']);
    let column = line.chars().count() - content.chars().count() + 1;
    let (key, value) = content.split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let value = value.split(" #").next().unwrap_or_default().trim_end();
    let glued = is_key && value.chars().next().is_some_and(|c| !c.is_whitespace() && c != ':');
    (glued && value.len() < LONGEST_VALUE).then(|| (column, key.to_owned(), value.to_owned()))
}

/// `-name: web`, as its column and the text after the dash.
fn dashed(line: &str) -> Option<(usize, String)> {
    let content = line.trim_start();
    let rest = content.strip_prefix('-')?;
    let (key, _) = rest.split_once(": ")?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let column = line.chars().count() - content.chars().count() + 1;
    (is_key && rest.len() < LONGEST_VALUE).then(|| (column, rest.trim_end().to_owned()))
}

/// The line of the second document in a text of which only one is read.
pub(crate) fn second_document(text: &str) -> Option<usize> {
    let mut any = false;
    text.lines().enumerate().find_map(|(index, line)| {
        if any && line.trim_end() == "---" {
            return Some(index + 1);
        }
        any |= !line.trim().is_empty() && !line.starts_with(['#', '%']) && line.trim_end() != "---";
        None
    })
}

/// The start of the structure that the parser was reading: `… at line 3 column 5` behind `while`.
fn context(error: &str) -> Option<(usize, usize)> {
    let (_, behind) = error.rsplit_once(", while ")?;
    let (_, place) = behind.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// Characters of a line to look at.
const LONGEST_LINE: usize = 10_000;
/// Bytes of a value to repeat in a hint.
const LONGEST_VALUE: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_read_as_aliases_are_explained() {
        let one = |line: &str, column| at((1, column), "while scanning an alias", |_| line).unwrap();
        let found = one("      - match: {sni: [*.example.com, b]}", 25);
        assert_eq!((found.column, found.hint.as_str()), (23, "write `\"*.example.com\"`"));
        assert_eq!(one("sni: *example.com", 13).hint, "write `\"*.example.com\"`");
        assert_eq!(one("address: *:443", 11).hint, "write `\":443\"`");
        assert_eq!(one("sni: *", 7).hint, "write `\"*\"`");
    }

    #[test]
    fn addresses_in_brackets_are_explained() {
        let text = |line: &str| line.chars().collect::<Vec<_>>();
        let found = bracketed(&text("address: [::1]:443"), 10);
        assert_eq!(found, Some((9, "[::1]:443".to_owned(), "[::1]:443".to_owned())));
        let found = bracketed(&text("backends: [\"[::1]:1\", [fd00::2]:80]"), 23);
        assert_eq!(found, Some((22, "[fd00::2]:80".to_owned(), "[fd00::2]:80".to_owned())));
        let found = bracketed(&text("source: [::1]"), 9);
        assert_eq!(found, Some((8, "[::1]".to_owned(), "::1".to_owned())));
        assert_eq!(bracketed(&text("backends: [a, b]"), 3), None);
    }

    #[test]
    fn keys_without_a_space_are_explained() {
        assert_eq!(glued("  - name:web"), Some((5, "name".into(), "web".into())));
        assert_eq!(glued("  - name: web"), None);
        assert_eq!(glued("  - ::1"), None);
    }
}

//! Text from elsewhere, made fit for a line of the log, the status and a terminal.

/// Longer texts help no reader.
const LONGEST: usize = 300;

/// The text, at most 300 characters of it, with control characters and those that are invisible or change the direction
/// of writing escaped as `\u{…}`: a certificate, a DNS answer or a backend's error must not forge a line or move a
/// cursor.
pub fn tamed(text: &str) -> String {
    let escaped = |c: char| {
        let plain = !c.is_control() && !is_invisible(c);
        let (plain, escaped) = if plain { (Some(c), None) } else { (None, Some(c.escape_unicode())) };
        plain.into_iter().chain(escaped.into_iter().flatten())
    };
    text.chars().take(LONGEST).flat_map(escaped).collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        let text = tamed(&format!("a\u{1b}[2J\r\nb\u{202e}c\u{7f}{}", "x".repeat(1000)));
        assert!(text.starts_with("a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}c\\u{7f}xxx"), "{text}");
        assert!(!text.chars().any(char::is_control) && text.len() < 400, "{text}");
        assert_eq!(tamed("connection refused: é"), "connection refused: é");
    }
}

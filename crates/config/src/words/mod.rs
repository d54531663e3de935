//! Other programs' words and weir's equivalents: one table, for hints.
//!
//! In: a word of a file, and its key or section. Out: weir's word. The tables hold words without case and
//! separators ([`squash`]), so `maxConn`, `max-conn` and `max_conn` are one. Pure.
//!
//! - `keys`: keys, section by section; `values`: values, key by key.
//! - `programs`: files that are another program's configuration, or in another language.
//! - `slips`: texts that YAML reads differently from what was meant: `*.example.com`, `[::1]:443`,
//!   `name:edge`.

mod keys;
pub(crate) mod programs;
pub(crate) mod slips;
mod values;

pub(crate) use keys::{Means, key};
pub(crate) use values::{NEVER, NO, YES, value};

/// A word without case and separators.
pub(crate) fn squash(word: &str) -> String {
    let plain = word.chars().take(LONGEST_WORD).filter(|c| c.is_alphanumeric());
    plain.flat_map(char::to_lowercase).collect()
}

/// A text of the file for a message, cut to a readable length.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST_WORD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Characters of a word to look at, and of a text to show.
const LONGEST_WORD: usize = 60;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The words of the LEXICON's "not" column, row by row, for these words.
    fn not(word: &str) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/LEXICON.md");
        let text = std::fs::read_to_string(path).unwrap();
        let row = text.lines().find(|line| line.starts_with(&format!("| {word} |"))).unwrap().to_owned();
        let cell = row.trim_matches('|').rsplit('|').next().unwrap().trim().to_owned();
        cell.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn words_that_the_lexicon_avoids_lead_to_its_own() {
        let keys = [
            ("listener", "File", "listeners"),
            ("pool", "File", "pools"),
            ("backend", "Pool", "backends"),
            ("route", "Listener", "routes"),
            ("default pool", "Listener", "default_pool"),
            ("TLS profile", "File", "tls_profiles"),
            ("mode", "Listener", "mode"),
        ];
        for (row, section, wanted) in keys {
            for word in not(row) {
                let found = key(section, &word);
                assert!(matches!(found, Some(Means::Key(key)) if key == wanted), "{word}: {found:?}");
            }
        }
        for mode in ["passthrough", "offload", "bridging"] {
            for word in not(mode) {
                assert_eq!(value("mode", &word), Some(mode), "{word}");
            }
        }
    }
}

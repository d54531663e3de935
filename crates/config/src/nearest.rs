//! What a wrong word may have been meant to be: a key, a value, the name of a pool.
//!
//! In: the wrong word and those that are known here. Out: the nearest of them, or none if none is near enough. Pure.

/// The known word nearest to a wrong one, if one is near enough to be meant.
pub fn nearest<'w>(wrong: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .take(MOST_CANDIDATES)
        .map(|word| (likeness(&wrong, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
        .max_by(|(a, one), (b, other)| a.total_cmp(b).then_with(|| other.cmp(one)))
        .map(|(_, word)| word)
}

/// From 0 to 1. Two measures: common beginnings (`pol`, `pool`), and swapped letters, which the first one does not
/// see in short words (`wbe`, `web`).
fn likeness(wrong: &str, word: &str) -> f64 {
    let length = wrong.chars().count().max(1);
    let slips = strsim::osa_distance(wrong, word);
    let slipped = if slips <= length / 3 { NEAR_ENOUGH + 0.1 } else { 0.0 };
    strsim::jaro_winkler(wrong, word).max(slipped)
}

/// Known names compared with a wrong one: bounds the work for a file in which thousands of references are wrong.
const MOST_CANDIDATES: usize = 5_000;
/// Jaro-Winkler similarity from which a word is suggested: `pol` finds `pool`, `web` not `api`.
const NEAR_ENOUGH: f64 = 0.80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["listeners", "pools", "web", "api"];
        let nearest = |wrong| nearest(wrong, known);
        assert_eq!(nearest("listner"), Some("listeners"));
        assert_eq!(nearest("POOL"), Some("pools"));
        assert_eq!(nearest("wbe"), Some("web"));
        assert_eq!(nearest("a"), None);
        assert_eq!(nearest("database"), None);
    }
}

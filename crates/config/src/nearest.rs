//! What a wrong word may have been meant to be: a key, a value, the name of a pool.
//!
//! In: the wrong word and those that are known here. Out: the nearest of them, or none if none is near enough. Pure.

/// The known word nearest to a wrong one, if one is near enough to be meant: a few slips of the hand away, or the same
/// word cut short.
pub fn nearest<'w>(wrong: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if wrong.len() > LONGEST_WORD {
        return None;
    }
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .filter(|word| word.len() <= LONGEST_WORD)
        .take(MOST_CANDIDATES)
        .filter_map(|word| Some((likeness(&wrong, &word.to_lowercase())?, word)))
        .max_by(|(a, one), (b, other)| a.total_cmp(b).then_with(|| other.cmp(one)))
        .map(|(_, word)| word)
}

/// How alike two words are, if that is no chance.
fn likeness(wrong: &str, word: &str) -> Option<f64> {
    let (letters, wanted) = (wrong.chars().count(), word.chars().count());
    if letters < SHORTEST_WORD || wanted > LONGEST_WORD || wrong == word {
        return (wrong == word).then_some(1.0);
    }
    let slips = strsim::osa_distance(wrong, word);
    let slipped = slips <= letters.min(wanted) / 3;
    let cut = (word.starts_with(wrong) || wrong.starts_with(word))
        && letters.min(wanted) * 5 >= letters.max(wanted) * 3;
    (slipped || cut).then(|| strsim::jaro_winkler(wrong, word))
}

/// Known names compared with a wrong one: bounds the work for a file in which thousands of references are wrong.
const MOST_CANDIDATES: usize = 5_000;
/// Of two letters one may be anything.
const SHORTEST_WORD: usize = 3;
/// Longer words are not typed: the time grows with the product of their lengths.
const LONGEST_WORD: usize = 128;

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
        assert_eq!(nearest("Web"), Some("web"));
        assert_eq!(nearest("acme"), None);
        assert_eq!(nearest("a"), None);
        assert_eq!(nearest("database"), None);
    }

    #[test]
    fn long_words_are_not_compared() {
        let long = "p".repeat(1 << 20);
        assert_eq!(nearest(&long, ["pools"]), None);
        assert_eq!(nearest("listner", [long.as_str(), "listener"]), Some("listener"));
    }
}

//! Suggestions for a wrong word: a key, a value, the name of a pool.
//!
//! In: the wrong word and the known ones. Out: the nearest known word, or none if none is near enough. Pure.

/// The known word nearest to a wrong one, if it is near enough to be meant: a few typing mistakes away, or
/// the same word cut short.
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

/// How similar two words are; `None` if the similarity may be chance.
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

/// Known names to compare with a wrong one; bounds the work for a file with thousands of wrong references.
const MOST_CANDIDATES: usize = 5_000;
/// A word of two letters could be meant for anything.
const SHORTEST_WORD: usize = 3;
/// Longer words are not typing mistakes, and the time grows with the product of the lengths.
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

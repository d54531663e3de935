//! The order of certificates that share a name, and the time for which it holds.
//!
//! Valid ones go before others; then the kinds of keys in the order of [`Candidate::rank`], within a rank as the
//! configuration lists them; then, of one kind, the one that lasts longest. The others of a kind stay behind it, for
//! clients that cannot check its chain.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::candidate::Candidate;
use crate::certificate::Served;
use crate::warning::Warning;

/// Certificates with what clients must support for them.
pub(super) type Ordered<'s> = Vec<(&'s Served, Arc<Candidate>)>;

/// `served`, which is in the order of the configuration, in the order in which a name's certificates are tried at
/// `now`.
pub(super) fn ordered(served: &[Served], now: i64) -> Ordered<'_> {
    let mut all: Ordered<'_> = served
        .iter()
        .map(|one| (one, Arc::new(Candidate::new(&one.certified, is_valid(one, now)))))
        .collect();
    let mut firsts: HashMap<Option<usize>, usize> = HashMap::new();
    for (place, (_, candidate)) in all.iter().enumerate() {
        firsts.entry(candidate.kind()).or_insert(place);
    }
    all.sort_by_cached_key(|(one, candidate)| {
        let first = firsts.get(&candidate.kind()).copied();
        (!candidate.is_valid, candidate.rank(), first, Reverse(one.facts.not_after))
    });
    all
}

/// The times, from and to, between which the order is the same as at `now`: no certificate begins or ends in between.
pub(super) fn holds(served: &[Served], now: i64) -> (i64, i64) {
    let changes = served.iter().flat_map(|one| [one.facts.not_before, one.facts.not_after.saturating_add(1)]);
    changes.fold(
        (i64::MIN, i64::MAX),
        |(from, to), at| {
            if at <= now { (from.max(at), to) } else { (from, to.min(at - 1)) }
        },
    )
}

/// Certificates that another one hides: with a name of theirs, and a key of the same kind. One warning for each.
pub(super) fn hidden(order: &Ordered<'_>) -> Vec<Warning> {
    let mut winners: HashMap<(&str, Option<usize>), &Served> = HashMap::new();
    let mut told = HashSet::new();
    let mut warnings = Vec::new();
    for (one, candidate) in order {
        for name in &one.facts.names {
            let winner = *winners.entry((name, candidate.kind())).or_insert(one);
            // The same certificate by another path, or once more in a directory, is no other one.
            if winner.certified.cert != one.certified.cert && told.insert(&one.facts.path) {
                let (served, path) = (winner.facts.path.clone(), one.facts.path.clone());
                warnings.push(Warning::SameName { served, path, name: name.clone() });
            }
        }
    }
    warnings
}

fn is_valid(one: &Served, now: i64) -> bool {
    (one.facts.not_before..=one.facts.not_after).contains(&now)
}

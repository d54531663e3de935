//! The cipher suites and groups of a TLS profile, and whether the versions that it speaks can use them.

use weir_tls::{Group, MinVersion, Suite};

use crate::diagnostics::Report;
use crate::key::{Item, Key, PlaceId};
use crate::schema::Profile;
use crate::word::{Word, Words};

/// The chosen suites and groups, in order; empty lists leave the choice to weir-tls. `None` if no handshake could succeed.
pub(super) fn read(
    report: &mut Report<'_>,
    place: PlaceId,
    profile: &Profile,
) -> Option<(Vec<Suite>, Vec<Group>)> {
    let suites = list(report, &profile.cipher_suites);
    let groups = list(report, &profile.groups);
    // What a refused word would have been is not known.
    if profile.cipher_suites.has_refused() || profile.groups.has_refused() {
        return None;
    }
    let [tls12, tls13] = versions(report, place, profile, &suites)?;
    if tls12 && !groups.is_empty() && !groups.iter().any(|group| group.is_for_tls12()) {
        let spot = profile.groups.or(place, "groups");
        let hint = "TLS 1.2 has X25519, P-256 and P-384";
        if !tls13 {
            report.error(spot, "no group of this list is for TLS 1.2, and no suite for TLS 1.3").hint(hint);
            return None;
        }
        let message = "no group of this list is for TLS 1.2, so clients of TLS 1.2 are refused";
        report.warning(spot, message).hint(format!("{hint}; or say `min_version: \"1.3\"`"));
    }
    Some((suites, groups))
}

/// The words of a list; a word that stands there twice is reported.
fn list<T: Words>(report: &mut Report<'_>, key: &Key<Vec<Item<Word<T>>>>) -> Vec<T> {
    let mut words: Vec<T> = Vec::new();
    for item in key.items() {
        let value = item.0;
        if words.contains(&value) {
            report
                .error(item, format!("`{}` is here twice", value.word()))
                .hint("the first place decides; remove the other");
        } else {
            words.push(value);
        }
    }
    words
}

/// Whether TLS 1.2 and 1.3 are spoken, by `min_version` and the suites. `None` if neither is.
fn versions(
    report: &mut Report<'_>,
    place: PlaceId,
    profile: &Profile,
    suites: &[Suite],
) -> Option<[bool; 2]> {
    let from_tls12 = profile.min_version().0 == MinVersion::Tls12;
    if suites.is_empty() {
        return Some([from_tls12, true]);
    }
    let [tls12, tls13] = [false, true].map(|new| suites.iter().any(|suite| suite.is_tls13() == new));
    let spot = profile.cipher_suites.or(place, "cipher_suites");
    match (from_tls12, tls12, tls13) {
        (false, _, false) => {
            let message = "no suite of this list is for TLS 1.3, and `min_version` excludes TLS 1.2";
            report.error(spot, message).hint(OF_TLS13);
            return None;
        }
        (true, _, false) => {
            let message = "no suite of this list is for TLS 1.3, so weir speaks TLS 1.2 alone";
            report.warning(spot, message).hint(OF_TLS13);
        }
        (true, false, true) => {
            let message = "no suite of this list is for TLS 1.2, so clients of TLS 1.2 are refused";
            report.warning(spot, message).hint("if that is meant, say `min_version: \"1.3\"`");
        }
        _ => {}
    }
    if !from_tls12 {
        for item in profile.cipher_suites.items().iter().filter(|item| !item.0.is_tls13()) {
            let message = format!("`{}` is for TLS 1.2, which `min_version` excludes", item.0.word());
            report.warning(item, message);
        }
    }
    Some([from_tls12 && tls12, tls13])
}

const OF_TLS13: &str =
    "suites of TLS 1.3: TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256";

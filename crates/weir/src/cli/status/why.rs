//! What is wrong with a backend, in one line.

use crate::cli::format::spoken;
use crate::cli::table::counted;
use weir_admin::api::status::{Backend, DialFailures};

/// Why the backend is not up, and what else is wrong with it.
pub(super) fn why(backend: &Backend) -> String {
    // The reason of a failed check outlives it, and would mislead behind a backend that is up.
    let failure = backend.last_failure.as_deref().unwrap_or_default();
    let state = match (backend.state(), backend.last_check_seconds_ago) {
        ("up", _) => String::new(),
        ("drained", _) => "by hand".to_owned(),
        ("down", Some(ago)) => format!("{failure}, checked {ago:.0}s ago"),
        (_, _) => failure.to_owned(),
    };
    let traffic = backend.dial_failures.as_ref().and_then(dial_failures).unwrap_or_default();
    let certificate = match backend.certificate.as_ref().and_then(|seen| seen.days_left) {
        Some(days) if days < 0 => "its certificate has expired".to_owned(),
        Some(days) if days < SOON => format!("its certificate ends in {}", spoken_days(days)),
        _ => String::new(),
    };
    let mut why = vec![state, traffic, certificate];
    why.retain(|part| !part.is_empty());
    why.join("; ")
}

/// How many connections failed, since when and why; `None` where the last one is long past.
fn dial_failures(failures: &DialFailures) -> Option<String> {
    let [ago, since] = [failures.last_seconds_ago, failures.since_seconds_ago].map(whole);
    let last = &failures.last;
    (ago < RECENT).then(|| match failures.count {
        1 => format!("a connection failed {} ago: {last}", spoken(ago)),
        count => {
            let (since, ago) = (spoken(since), spoken(ago));
            format!("{count} connections failed in {since}, the last {ago} ago: {last}")
        }
    })
}

/// `1 day`, `2 days`.
fn spoken_days(days: i64) -> String {
    counted(usize::try_from(days).unwrap_or_default(), "day")
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as far as a u64 goes; a negative one is 0"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

/// Days before its end from which a backend's certificate is worth a word.
const SOON: i64 = 30;
/// Seconds for which a failed connection is worth a word.
const RECENT: u64 = 300;

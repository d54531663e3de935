//! The certificates that listeners show, as they stand in [`Status`](super::Status).

use super::Word;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A certificate that clients of a listener are shown. An older weir says less.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The name of its file.
    pub file: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// RFC 3339.
    pub not_after: String,
    /// Whole days until then; negative once it has ended.
    pub days_left: Option<i64>,
    /// RFC 3339.
    pub not_before: String,
    /// The path of its file.
    pub path: String,
    /// The kind of its key, such as `RSA 2048`, `ECDSA P-256`, `Ed25519` or `ML-DSA-65`.
    pub key: String,
    /// The name of its issuer.
    pub issuer: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// Its OCSP response; `null` if it has no file of one.
    pub ocsp: Option<Ocsp>,
    /// Does it demand a stapled OCSP response (RFC 7633)?
    pub must_staple: bool,
    /// Since when this certificate is served from its file, RFC 3339.
    pub since: Option<String>,
    /// Why newer content of its files is not served, or why nothing is; `null` if all is served.
    pub refused: Option<Refused>,
    /// What is wrong with it and with its chain.
    pub faults: Vec<Fault>,
}

impl Certificate {
    /// Has it ended, or does it end within this time? An end that cannot be read counts as one.
    pub fn ends_within(&self, time: Duration) -> bool {
        let time = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let until = jiff::Timestamp::now().as_second().saturating_add(time);
        self.not_after.parse::<jiff::Timestamp>().map_or(true, |end| end.as_second() <= until)
    }
}

/// An OCSP response beside a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ocsp {
    /// stapled, expired, not_yet_valid, revoked, unknown or unusable.
    pub state: Word,
    /// Until when a stapled one is valid, RFC 3339; `null` for others.
    pub next_update: Option<String>,
}

/// Content of files that is not served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// When it was read, RFC 3339.
    pub at: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A file of authorities, of revoked certificates or of weir's own certificate towards backends, whose content is not in
/// force: what it had before is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedFile {
    /// The listener whose clients it is about, `admin` or `metrics` for a server of weir's own; `null` for a pool's.
    pub listener: Option<Arc<str>>,
    /// The pool whose backends it is about; `null` for a listener's.
    pub pool: Option<Arc<str>>,
    /// The file.
    pub path: String,
    /// When it was read, RFC 3339.
    pub at: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A fault of a certificate or its chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// expired, not_yet_valid, no_names, incomplete, wrong_order, misplaced, unreadable, root_included, ocsp,
    /// must_staple or refused.
    pub code: Word,
    /// The fault, for people.
    pub message: String,
    /// Can clients connect all the same?
    pub note: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_compared_to_the_second() {
        let ends = |seconds: i64| Certificate {
            not_after: jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds)
                .unwrap()
                .to_string(),
            ..Certificate::default()
        };
        let hour = Duration::from_secs(3600);
        assert!(ends(3500).ends_within(hour) && ends(-10).ends_within(Duration::ZERO));
        assert!(!ends(3700).ends_within(hour) && !ends(i64::from(i32::MAX)).ends_within(hour));
        assert!(Certificate::default().ends_within(hour));
        assert!(ends(3700).ends_within(Duration::MAX));
    }
}

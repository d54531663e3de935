//! The JSON of the admin API, as the server writes it and the command line reads it: one description for both.
//!
//! A weir may be asked by the command line of another version, so every field has a default when it is read, and
//! unknown fields are ignored. A new field is added here, set by the server, and shown by the command line.
//!
//! - this file: paths, and the answers to changes.
//! - [`status`]: the state of the process.
//! - [`certificates`]: the certificates in it.
//! - [`failures`]: the last early ends of connections.
//! - [`clients`]: the clients with the most open connections.

pub mod certificates;
pub mod clients;
pub mod failures;
pub mod status;

pub use clients::Clients;
pub use failures::Failures;
pub use status::Status;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use weir_config::Difference;

/// A word of a closed set: borrowed where it is written, owned where it is read.
pub type Word = Cow<'static, str>;

/// GET: the state of the process, a [`Status`].
pub const STATUS: &str = "/api/v1/status";
/// GET: the configuration in force, as `weir_config::effective` gives it.
pub const CONFIG: &str = "/api/v1/config";
/// GET: the last early ends, a [`Failures`]; its query is a [`failures::Wanted`].
pub const FAILURES: &str = "/api/v1/failures";
/// GET: the clients with the most open connections, a [`Clients`].
pub const CLIENTS: &str = "/api/v1/clients";
/// POST: answered by [`Reloaded`], [`Rejected`] or [`Refused`].
pub const RELOAD: &str = "/api/v1/reload";
/// POST: answered by [`Done`].
pub const DRAIN: &str = "/api/v1/drain";

/// POST: answered by [`Upgraded`] or [`Refused`].
pub const UPGRADE: &str = "/api/v1/upgrade";

/// A change of one backend: POST to its [`path`](Self::path), answered by [`Done`] or [`Refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendChange {
    /// No new connections.
    Drain,
    /// Back into service.
    Ready,
    /// Another weight: the body is a [`Weight`].
    Weight,
}

impl BackendChange {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Drain, Self::Ready, Self::Weight];

    /// Its word at the end of a path.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Ready => "ready",
            Self::Weight => "weight",
        }
    }

    /// The path of this change of a backend, with both names percent-encoded.
    pub fn path(self, pool: &str, backend: &str) -> String {
        let encoded = |name| utf8_percent_encode(name, RESERVED);
        format!("{POOLS}{}/backends/{}/{}", encoded(pool), encoded(backend), self.label())
    }

    /// Reads a path: the pool, the backend and the change; `None` if it is not of this kind.
    pub fn parse(path: &str) -> Option<(String, String, Self)> {
        let rest = path.strip_prefix(POOLS)?;
        let [pool, "backends", backend, word] = rest.split('/').collect::<Vec<_>>()[..] else { return None };
        let change = Self::ALL.into_iter().find(|change| change.label() == word)?;
        let name = |text| percent_decode_str(text).decode_utf8().ok().map(String::from);
        Some((name(pool)?, name(backend)?, change))
    }
}

const POOLS: &str = "/api/v1/pools/";
/// All but the unreserved characters of RFC 3986, so also `/` and `:`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The body of [`BackendChange::Weight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// 0 takes no new connections.
    pub weight: u16,
}

/// The answer to a change that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// What was done, in one line.
    pub message: String,
}

/// The answer to an upgrade that was done: another process accepts connections now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upgraded {
    /// The number of that process.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

/// The answer to a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why, in one line.
    pub error: String,
}

/// The answer to a reload that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The generation in force now.
    pub generation: u64,
    /// The first of its changes.
    pub changes: Difference,
    /// How many more changes there are.
    #[serde(default)]
    pub more: usize,
    /// What is doubtful in the configuration, each with its place.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The answer to a reload of a configuration that is wrong, or cannot be put in force: nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The first errors, each with its place.
    pub errors: Vec<String>,
    /// How many more errors there are.
    #[serde(default)]
    pub more: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_changes_are_read_as_they_are_written() {
        for (pool, backend) in [("web-2_a.b~", "[::1]:80"), ("a/b?c#d%e f", "é"), ("", "")] {
            for change in BackendChange::ALL {
                let path = change.path(pool, backend);
                assert_eq!(
                    BackendChange::parse(&path),
                    Some((pool.into(), backend.into(), change)),
                    "{path}"
                );
            }
        }
        assert_eq!(
            BackendChange::Drain.path("a/b?c#d%e f", "[::1]:80"),
            "/api/v1/pools/a%2Fb%3Fc%23d%25e%20f/backends/%5B%3A%3A1%5D%3A80/drain"
        );
        assert_eq!(
            BackendChange::Weight.path("web-2_a.b~", "é"),
            "/api/v1/pools/web-2_a.b~/backends/%C3%A9/weight"
        );
    }

    #[test]
    fn other_paths_are_no_change_of_a_backend() {
        for bad in [
            "/api/v1/pools/a/backends/b",
            "/api/v1/pools/a/backends/b/kill",
            "/api/v1/pools/a/b/c/drain",
            "/api/v1/pools/a/backends/b/drain/",
            "/api/v1/pools/a/backends/%FF/drain",
            "/api/v1/reload",
        ] {
            assert_eq!(BackendChange::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_of_other_versions_are_read() {
        let reloaded: Reloaded =
            serde_json::from_value(json!({"generation": 2, "changes": [], "new": 1})).unwrap();
        assert_eq!((reloaded.generation, reloaded.more, reloaded.warnings.len()), (2, 0, 0));
        let rejected: Rejected = serde_json::from_value(json!({"errors": ["error: x"]})).unwrap();
        assert_eq!(rejected, Rejected { errors: vec!["error: x".to_owned()], more: 0 });
    }

    #[test]
    fn weights_are_whole_numbers_without_other_keys() {
        let read = |body: &str| serde_json::from_str::<Weight>(body).ok().map(|body| body.weight);
        assert_eq!((read("{\"weight\": 0}"), read("{\"weight\": 65535}")), (Some(0), Some(65_535)));
        for bad in [
            "{}",
            "{\"weight\": -1}",
            "{\"weight\": 65536}",
            "{\"weight\": 1.5}",
            "{\"weight\": 1, \"x\": 1}",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

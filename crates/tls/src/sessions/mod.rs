//! What sessions are resumed by, over the whole life of a process: the secret behind tickets, and the caches of
//! sessions that are in use.
//!
//! A configuration that is loaded anew builds every profile and every pool anew. A new one takes over the caches
//! of an old one if, and only if, their *digests* are equal: hashes of all that decides what a session in them stands
//! for. Tickets are good in every profile with the same client-auth policy, whatever its certificates (`tickets`). No
//! session is resumed under a client-auth policy or a trust that it did not begin with.
//!
//! Caches are held weakly: one that neither a plan nor a connection has any more is gone, and so are its sessions.

pub(crate) mod server_cache;
mod weak_cache;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::ClientConfig;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::CertifiedKey;

use crate::provider::TlsError;
use crate::tickets::TicketSecret;
use weak_cache::WeakCache;

/// What a process resumes sessions by. Cheap to clone, and clones share everything; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Sessions {
    pub(crate) secret: TicketSecret,
    served: Arc<WeakCache<(Digest, usize), ServerSessionMemoryCache>>,
    /// No session, but of the same life: certificates with their keys, by all their bytes. Those of a configuration that
    /// is loaded anew are mostly the same, and are neither checked nor held twice.
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) backends: Arc<BackendSessions>,
}

/// Certificates with their keys that are in use.
pub(crate) type Certificates = WeakCache<Digest, CertifiedKey>;

/// The clients of backends, each with its sessions, by what they trust and where the backend is. The whole client is
/// kept, because rustls resumes no session under another verifier than the one it began with, be it an equal one.
pub(crate) type BackendSessions = WeakCache<(Digest, SocketAddr), ClientConfig>;

impl Sessions {
    /// None yet, and a fresh secret: tickets are good in this process alone.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, TlsError> {
        let secret = TicketSecret::random()?;
        Ok(Self { secret, served: Arc::default(), certificates: Arc::default(), backends: Arc::default() })
    }

    /// The cache, of `size` sessions, of every profile with this digest.
    pub(crate) fn cache(&self, digest: Digest, size: usize) -> Arc<ServerSessionMemoryCache> {
        self.served.find((digest, size), || ServerSessionMemoryCache::new(size))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

/// A hash of all that decides what a session stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// `parts` in their order, each with its length, so that no two lists run together to the same bytes.
    pub(crate) fn of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_where_a_part_ends() {
        let digest = |parts: &[&str]| Digest::of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["ab", "c", ""], &["c", "ab"]] {
            assert_ne!(digest(&["ab", "c"]), digest(other), "{other:?}");
        }
    }
}

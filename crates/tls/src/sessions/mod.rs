//! The state of TLS that outlives plans: the secrets behind tickets, the caches of sessions in use, and the store of
//! certificates.
//!
//! A configuration that is loaded anew builds every profile and every pool anew. A new one takes over the caches
//! of an old one if, and only if, their *digests* are equal: hashes of everything that a session in them depends on.
//! Tickets are good in every profile with the same client-auth policy, whatever its certificates (`tickets`). No
//! session is resumed under a client-auth policy or a trust that it did not begin with.
//!
//! Caches are held weakly: a cache goes, with its sessions, when neither a plan nor a connection uses it.

pub(crate) mod client_cache;
mod secret_files;
pub(crate) mod server_cache;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::ServerSessionMemoryCache;

use crate::certificate::{CertificateStore, Staging};
use crate::cookie_keys::CookieKeys;
use crate::digest::Digest;
use crate::fleet::FleetSecrets;
use crate::key_log::KeyLog;
use crate::provider::TlsError;
use crate::secret::{ProcessSecret, Secret};
use crate::tickets::{SecretRing, SharedRing, unix_now};
use crate::weak_cache::WeakCache;
use client_cache::BackendSession;

pub use secret_files::SecretFiles;

/// The state of TLS that outlives plans. Cheap to clone, and clones share everything; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Sessions {
    pub(crate) secrets: SharedRing,
    cookies: CookieKeys,
    /// Of this process alone.
    own: Secret,
    /// The secrets in force, next to `own`.
    fleet: Arc<ArcSwap<FleetSecrets>>,
    /// Held while another fleet is put in force.
    joining: Arc<Mutex<()>>,
    served: Arc<WeakCache<(Digest, usize), ServerSessionMemoryCache>>,
    /// No session, but of the same life: the certificates that are served now.
    pub(crate) store: Arc<CertificateStore>,
    /// The certificates read for one plan; `None` reads files whenever they are named.
    pub(crate) staging: Option<Arc<Staging>>,
    pub(crate) backends: Arc<BackendSessions>,
    pub(crate) key_log: Option<KeyLog>,
}

/// The sessions with backends, by what they depend on and where the backend is.
pub(crate) type BackendSessions = WeakCache<(Digest, Box<str>), BackendSession>;

impl Sessions {
    /// No sessions, and a fresh secret: tickets are good in this process alone.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, TlsError> {
        Ok(Self::of(&ProcessSecret::random()?))
    }

    /// No sessions, and the secret of this process: tickets are good in it, and in those that it is handed over to.
    #[must_use]
    pub fn of(secret: &ProcessSecret) -> Self {
        let (own, fleet) = (secret.secret(), FleetSecrets::default());
        let secrets = Arc::new(ArcSwap::from_pointee(SecretRing::new(&fleet, &own)));
        Self {
            cookies: CookieKeys::new(&secrets),
            secrets,
            own,
            fleet: Arc::new(ArcSwap::from_pointee(fleet)),
            joining: Arc::default(),
            served: Arc::default(),
            store: Arc::default(),
            staging: None,
            backends: Arc::default(),
            key_log: None,
        }
    }

    /// The same, in a process that writes the secrets of all its sessions to this log.
    #[must_use]
    pub fn logged(self, key_log: Option<KeyLog>) -> Self {
        Self { key_log, ..self }
    }

    /// The log of secrets, if there is one.
    pub fn key_log(&self) -> Option<&KeyLog> {
        self.key_log.as_ref()
    }

    /// The same, for the making of one plan: its profiles read each certificate once. Nothing that is served changes
    /// before [`ServerProfile::put_in_force`](crate::ServerProfile::put_in_force).
    #[must_use]
    pub fn for_a_plan(&self) -> Self {
        Self { staging: Some(Arc::default()), ..self.clone() }
    }

    /// Takes OCSP responses that have expired off the certificates that are served. True if there were any; profiles
    /// take that up by [`ServerProfile::follow`](crate::ServerProfile::follow). Costs little: it reads no file.
    pub fn end_staples(&self) -> bool {
        self.store.end_staples(i64::try_from(unix_now()).unwrap_or(i64::MAX))
    }

    /// Puts the secrets of a fleet in force, from the next handshake on; equal ones change nothing. Tickets of the
    /// process's own secret stay good beside them; those of secrets that are not among them any more end. True if
    /// anything changed.
    pub fn join(&self, fleet: &FleetSecrets) -> bool {
        let _turn = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(fleet)
    }

    /// The same, but only where `before` is in force still.
    fn rejoin(&self, before: &FleetSecrets, fleet: &FleetSecrets) -> bool {
        let _turn = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        **self.fleet.load() == *before && self.put(fleet)
    }

    fn put(&self, fleet: &FleetSecrets) -> bool {
        if **self.fleet.load() == *fleet {
            return false;
        }
        self.fleet.store(Arc::new(fleet.clone()));
        self.secrets.store(Arc::new(SecretRing::new(fleet, &self.own)));
        true
    }

    /// The secrets of the fleet that are in force.
    #[must_use]
    pub fn fleet(&self) -> FleetSecrets {
        (**self.fleet.load()).clone()
    }

    /// Keys for the cookies of clients; whenever they are used, those of the secrets in force.
    #[must_use]
    pub fn cookie_keys(&self) -> CookieKeys {
        self.cookies.clone()
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

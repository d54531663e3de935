//! The sessions with one backend. They end with the certificate that they began with: rustls verifies none when it
//! resumes a session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};

use crate::tickets::unix_now;

/// What the connections to one backend share: rustls resumes no session under another configuration than the one it
/// began with, be it an equal one.
pub(crate) struct BackendSession {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) cache: Arc<ClientCache>,
}

/// Sessions with one backend, by name.
#[derive(Debug)]
pub(crate) struct ClientCache(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    cache: Arc<ClientSessionMemoryCache>,
    /// When the first of the certificates behind these sessions ends, in seconds since 1970.
    end: u64,
}

impl ClientCache {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner::new())))
    }

    /// Notes that a session began with a certificate that ends then, in seconds since 1970.
    pub(crate) fn ends(&self, not_after: u64) {
        let mut inner = self.lock();
        inner.end = inner.end.min(not_after);
    }

    /// The sessions; none once a certificate behind one of them has ended.
    fn live(&self) -> Arc<ClientSessionMemoryCache> {
        let mut inner = self.lock();
        if inner.end < unix_now() {
            *inner = Inner::new();
        }
        Arc::clone(&inner.cache)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new() -> Self {
        Self { cache: Arc::new(ClientSessionMemoryCache::new(SESSIONS)), end: u64::MAX }
    }
}

impl ClientSessionStore for ClientCache {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.live().set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.live().kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.live().set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.live().tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.live().remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.live().insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.live().take_tls13_ticket(server_name)
    }
}

/// The most sessions kept for one backend. rustls keeps up to 8 tickets for each name, so this allows 32 names:
/// enough for the few names of a backend, and a bound on the memory that clients' names can take.
const SESSIONS: usize = 256;

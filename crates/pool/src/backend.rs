//! One backend as a plan has it, and a place at it.

use crate::endpoint::BackendAddr;
use crate::identity::BackendIdentity;
use crate::pick::Share;
use crate::state::BackendState;
use std::sync::Arc;
use std::time::Duration;
use weir_tls::BackendClient;

/// One address in a pool.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the configuration; its address where it has none. One of several addresses of a DNS name has its
    /// address in its name.
    pub name: Arc<str>,
    /// The name of the element of `backends` that it comes from; where that has none, the address as it is written
    /// there.
    pub entry: Arc<str>,
    /// Its name for clients, the same on every node.
    pub identity: BackendIdentity,
    /// Where it listens.
    pub address: BackendAddr,
    /// The name that its certificate is checked against unless the client's name is: its host name, or its address.
    pub host: Arc<str>,
    /// Its weight, or the one set by hand; with 0 it takes no new connections.
    pub weight: u16,
    /// The most connections that it gets.
    pub max_connections: Option<u32>,
    /// How to speak TLS to it; only in pools with a `tls` section.
    pub tls: Option<BackendClient>,
    /// Its connections, its health.
    pub state: Arc<BackendState>,
}

impl Backend {
    /// In service, with a weight, and below its cap. In a panic its health is ignored.
    pub fn is_usable(&self, panic: bool) -> bool {
        self.weight > 0 && self.serves(panic) && self.has_room()
    }

    /// Ejected, and usable otherwise.
    pub(crate) fn is_last_resort(&self) -> bool {
        self.weight > 0 && self.state.is_ejected_alone() && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.max_connections.is_none_or(|cap| self.active() < cap)
    }

    /// In service. In a panic its health is ignored.
    pub(crate) fn serves(&self, panic: bool) -> bool {
        if panic { self.state.is_in_service_but_for_health() } else { self.state.is_in_service() }
    }

    /// In service and with a weight, whether or not it is at its cap.
    pub fn is_healthy(&self) -> bool {
        self.weight > 0 && self.state.is_in_service()
    }

    /// Connections that it serves now.
    pub fn active(&self) -> u32 {
        self.state.active()
    }

    /// The part of its weight that it gets now: all of it, except in slow start.
    pub fn share(&self, slow_start: Duration) -> Share {
        self.state.share(slow_start)
    }

    /// Takes a place at the backend, or `None` when it is at its cap.
    pub fn reserve(self: &Arc<Self>) -> Option<Reserved> {
        self.state.enter(self.cap()).then(|| Reserved(Arc::clone(self)))
    }

    fn cap(&self) -> u32 {
        self.max_connections.unwrap_or(u32::MAX)
    }
}

/// A place at a backend, given back when dropped.
#[derive(Debug)]
pub struct Reserved(Arc<Backend>);

impl Reserved {
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.state.leave();
    }
}

//! One backend as a plan has it, and a place at it.

use crate::pick::Share;
use crate::state::Live;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_tls::BackendClient;

/// One address in a pool.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the configuration; its address where it has none.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The name that its certificate is checked against where the client's is not: its host name, or its address.
    pub host: Arc<str>,
    /// Its share, the one set by hand where there is one; 0 takes no new connections.
    pub weight: u16,
    /// More connections than this it does not get.
    pub max_connections: Option<u32>,
    /// How to speak TLS to it; only in pools with a `tls` section.
    pub tls: Option<BackendClient>,
    /// Its connections, its health.
    pub live: Arc<Live>,
}

impl Backend {
    /// In service, with a weight, and below its cap. In a panic its health is ignored.
    pub fn is_usable(&self, panic: bool) -> bool {
        self.weight > 0 && self.serves(panic) && self.max_connections.is_none_or(|cap| self.active() < cap)
    }

    /// In service. In a panic its health is ignored.
    pub(crate) fn serves(&self, panic: bool) -> bool {
        if panic { self.live.is_in_service_but_for_health() } else { self.live.is_in_service() }
    }

    /// In service and with a weight, whether or not it is at its cap.
    pub fn is_healthy(&self) -> bool {
        self.weight > 0 && self.live.is_in_service()
    }

    /// Connections that it serves now.
    pub fn active(&self) -> u32 {
        self.live.active()
    }

    /// Its part of its weight: the whole, but for a while after it has become healthy again.
    pub fn share(&self, slow_start: Duration) -> Share {
        self.live.share(slow_start)
    }

    /// Takes a place at the backend, or `None` when it is at its cap.
    pub fn reserve(self: &Arc<Self>) -> Option<Reserved> {
        self.live.enter(self.cap()).then(|| Reserved(Arc::clone(self)))
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
        self.0.live.leave();
    }
}

//! Who may connect to a listener, and who may speak for clients.

use crate::networks::Networks;
use crate::rates::{Prefixes, Rate, Scope};
use std::net::IpAddr;
use std::sync::Arc;

/// What is decided of a connection before its first byte is read as the client's.
#[derive(Debug)]
pub struct Admission {
    /// Which connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// The proxies in front of weir.
    pub trusted: Arc<Networks>,
    /// The clients that may connect; `None` = everyone.
    pub allow: Option<Networks>,
    /// The clients that may not, though they are allowed.
    pub deny: Networks,
    /// What each client may do.
    pub per_client: Option<PerClient>,
}

/// What one client may do.
#[derive(Clone, Copy, Debug)]
pub struct PerClient {
    /// Which addresses are one client.
    pub prefixes: Prefixes,
    /// Its connections at once.
    pub connections: Option<u32>,
    /// Its new connections, and the name of that rate.
    pub rate: Option<(Rate, Scope)>,
    /// Its handshakes that may fail, and the name of that rate.
    pub failed_handshakes: Option<(Rate, Scope)>,
    /// What would be refused is counted, and let in.
    pub shadow: bool,
}

impl Admission {
    /// Whether a client of this address may connect.
    pub fn lets_in(&self, client: IpAddr) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.has(client)) && !self.deny.has(client)
    }
}

weir_metrics::closed_set! {
    /// Which connections begin with a PROXY header: a word in the configuration. It is never guessed.
    pub ProxyProtocol {
        /// None does.
        Off = "off",
        /// Each must; others than the trusted proxies are refused.
        Required = "required",
        /// Each of a trusted proxy must; others are clients.
        Trusted = "trusted",
    }
}

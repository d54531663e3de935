//! The clients with the most open connections: what `GET /api/v1/clients` answers.

use serde::{Deserialize, Serialize};

/// The clients with the most open connections, most first: at most 100.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clients {
    /// Clients with an open connection, each counted once a listener.
    pub count: u64,
    /// Those with the most.
    pub clients: Vec<Client>,
}

/// One client of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// Its address, or its network where `limits.per_client` or IPv6 makes a network one client.
    pub client: String,
    /// The listener; null if the configuration in force does not have it any more.
    pub listener: Option<String>,
    /// Its open connections.
    pub connections: u32,
}

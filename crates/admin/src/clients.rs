//! The clients with the most open connections, for `GET /api/v1/clients`.

use crate::api::clients::{Client, Clients};
use weir_router::node::Node;

/// Most clients that are told.
const MOST: usize = 100;

/// Reads them from the table of clients.
pub fn clients(node: &Node) -> Clients {
    let plan = node.plan();
    let name = |scope| plan.listeners.iter().find(|listener| listener.scope == scope);
    let busiest = node.clients.busiest(MOST).into_iter();
    let client = busiest.map(|(scope, client, connections)| Client {
        client: client.to_string(),
        listener: name(scope).map(|listener| listener.name.to_string()),
        connections,
    });
    Clients { clients: client.collect(), count: node.clients.count() }
}

//! May traffic come? A load balancer or an orchestrator in front asks this.

use std::collections::BTreeSet;
use weir_router::node::{Node, Phase};

/// Whether pools count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pools {
    /// Every pool that a listener needs must have a healthy backend.
    Needed,
    /// Listening is enough.
    Ignored,
}

/// `Ok` when traffic may come.
///
/// # Errors
/// Why it should not, in one line.
pub fn ready(node: &Node, pools: Pools) -> Result<(), String> {
    match node.phase() {
        Phase::Serving => {}
        Phase::Leaving | Phase::Draining { .. } => return Err("draining".to_owned()),
    }
    if pools == Pools::Ignored {
        return Ok(());
    }
    let plan = node.plan();
    let needed = plan.listeners.iter().flat_map(|listener| listener.pools());
    let empty: BTreeSet<&str> = needed.filter(|p| p.healthy() == 0).map(|p| &*p.name).collect();
    if empty.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = empty.into_iter().collect();
    Err(format!("no healthy backend in: {}", names.join(", ")))
}

//! weir-router: the mode router, from a compiled plan to an ended connection.
//!
//! - [`bind`] the listening sockets, one per address and worker.
//! - [`sockets`] the registry that owns them, and lends them to workers.
//! - [`node`] what all workers share: the plan in force, counters, limits, and the phase of the process's life.
//! - `handoff` chooses the worker that serves an accepted connection.
//! - `pin` pins a worker to a CPU.
//! - [`data_plane`] all workers: a thread and a runtime each, and how they end.
//! - [`worker`] what the connections of one worker share; `alive` writes records of those that are open.
//! - [`accept`] the accept loop: permits, back-off, spawn.
//! - [`conn`] main street: one screen, from accept to account.
//! - [`mode`] passthrough, offload, bridging: only what differs.

pub mod accept;
pub(crate) mod alive;
pub mod bind;
pub mod conn;
pub mod data_plane;
pub(crate) mod handoff;
pub mod mode;
pub mod node;
pub(crate) mod pin;
pub mod sockets;
pub mod worker;

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;

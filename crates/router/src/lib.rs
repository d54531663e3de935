//! weir-router: the mode router, from a compiled plan to an ended connection.
//!
//! - [`bind`] the listening sockets, one per TCP address and worker, one per Unix socket.
//! - [`inherited`] sockets that were given to the process at its start.
//! - [`sockets`] the registry that owns them, and lends them to workers.
//! - [`node`] what all workers share: the plan in force, counters, limits, and the phase of the process's life.
//! - `handoff` chooses the worker that serves an accepted connection.
//! - [`retire`] ends connections at an idle moment: old ones, and those of backends with too many.
//! - `pin` pins a worker to a CPU.
//! - [`data_plane`] all workers: a thread and a runtime each, and how they end.
//! - [`unix`] Unix sockets to listen on, and their files.
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
pub mod inherited;
pub mod mode;
pub mod node;
pub(crate) mod pin;
pub mod retire;
pub mod sockets;
pub mod unix;
pub mod worker;

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;

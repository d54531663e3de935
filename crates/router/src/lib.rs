//! weir-router: the mode router, from a compiled plan to an ended connection.
//!
//! - [`plan`] what a connection may read: listeners, modes, routes, pools, limits. Immutable.
//! - [`data_plane`] all workers, their listening sockets, and how they end.
//! - [`worker`] one data-plane thread: its runtime, its scratch memory, its connections.
//! - [`listener`] the accept loop: permits, back-off, spawn.
//! - [`conn`] MAIN STREET: one screen, from accept to account.
//! - [`mode`] passthrough, offload, bridging: only what differs.

pub mod conn;
pub mod data_plane;
pub mod listener;
pub mod mode;
pub mod plan;
pub mod worker;

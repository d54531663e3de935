//! weir-core: what the data path of a connection is built of, in its order.
//!
//! - [`hello`] pure: bytes → partial, hello, not TLS, or malformed.
//! - [`memory`] what a worker's connections share: its read buffer, its pipes, and the bound on what they keep.
//! - [`peek`] reads the first bytes of a client and keeps them for replay.
//! - [`alert`] refuses a client in its own language, before any TLS session exists.
//! - [`route`] pure: SNI, ALPN, source → route; the most specific wins.
//! - [`conn`] one connection's body, lent to each stage in turn; [`local`] what it may touch of its worker.
//! - [`plan`] what a connection may read: listeners, modes, routes, limits; immutable.
//! - [`connect`] dials, walks the candidates.
//! - [`relay`] both directions, half-close, resets, idle.
//! - [`socket`] what every socket of weir is set to.
//! - [`stop`] how a connection is told to end.
//! - [`limits`] permits for connections, and the bound on unfinished hellos.
//! - [`account`] the record, opened once and closed once, and the closed sets of how a connection ended.

pub mod account;
pub mod alert;
pub mod conn;
pub mod connect;
pub mod hello;
pub mod limits;
pub mod local;
pub mod memory;
pub mod peek;
pub mod plan;
pub mod relay;
pub mod route;
pub mod socket;
pub mod stop;

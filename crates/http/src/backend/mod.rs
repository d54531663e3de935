//! Connections to backends.
//!
//! - [`open`] a new one: TLS where the pool has it, then hyper's handshake.
//! - [`h1`], [`h2`] one connection of a version.
//! - [`lease`] one request's hold on one.
//! - [`keep`] those that wait for a request.

pub mod h1;
pub mod h2;
pub mod interim;
pub mod keep;
pub mod lease;
pub mod open;

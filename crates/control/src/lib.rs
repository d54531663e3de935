//! weir-control: the control plane, beside the data plane on a thread of its own.
//!
//! - [`access`] writes the records of connections.
//! - [`aside`] runs work that reads files on a thread of its own.
//! - [`supervise`] begins tasks again if they panic.
//! - [`probe`] one question to one backend: tcp, tls, http.
//! - [`health`] asks backends whether they are well, and tells the pools.
//! - [`discovery`] asks DNS for the backends that are names.
//! - [`builder`] makes plans.
//! - [`control`] the one place that changes what is in force while connections live.
//! - [`reload`] puts another configuration in force.
//! - `watch` reports changes of the configuration's files.
//! - [`operator`] does what an operator asks for: drain, ready, weight.
//! - `follow` gives the answers of DNS to the pools.
//! - `outages` logs pools that have no usable backend.

pub mod access;
pub mod aside;
pub mod builder;
pub mod control;
pub mod discovery;
pub mod health;
pub mod operator;
pub mod probe;
pub mod reload;
pub mod supervise;

mod follow;
mod outages;
mod watch;

pub use builder::{Compiled, Look, Workshop};
pub use control::Control;

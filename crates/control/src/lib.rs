//! weir-control: the control plane, beside the data plane on a thread of its own.
//!
//! - [`access`] writes the records of connections.
//! - [`aside`] runs work that reads files on a thread of its own.
//! - [`supervise`] begins tasks again if they panic.
//! - [`probe`] one question to one backend: tcp, tls, http.
//! - [`health`] asks backends whether they are well, and tells the pools.
//! - [`http_client`] asks a server of HTTP/1.1, within bounds.
//! - [`discovery`] asks DNS for the backends that are names.
//! - [`builder`] makes plans.
//! - [`control`] the one place that changes what is in force while connections live.
//! - [`reload`] puts another configuration in force.
//! - [`watch`] reports changes of the configuration's files, by their `fingerprint`.
//! - [`operator`] does what an operator asks for: drain, ready, weight.
//! - [`certificates`] takes off OCSP responses that have expired, and notes the certificates served in the metrics.
//! - [`servers`] weir's own servers, as the plan in force wants them.
//! - `follow` gives the answers of DNS to the pools.
//! - `memory` has the workers pause while the process holds too much.
//! - `outages` logs pools that have no usable backend.
//! - `rebalance` ends idle connections of backends with more than their share.

pub mod access;
pub mod aside;
pub mod builder;
pub mod certificates;
pub mod control;
pub mod discovery;
pub mod health;
pub mod http_client;
pub mod operator;
pub mod probe;
pub mod reload;
pub mod servers;
pub mod supervise;
pub mod watch;

mod follow;
mod memory;
mod outages;
mod rebalance;

pub use builder::{Compiled, ConfigSnapshot, PlanBuilder};
pub use control::Control;

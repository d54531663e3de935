//! weir-pool: backends, what is known of them while they live, and which one gets the next connection.
//!
//! - [`pool`] a pool: a named set of backends, and which of them are in service.
//! - [`settings`] the keys of a pool, with their defaults filled in.
//! - [`source`] where members come from: names that DNS answers.
//! - [`backend`] one backend as a plan has it.
//! - [`state`], [`registry`] what outlives a plan: connections, health, what was set by hand.
//! - `load` the counts of connections, close together.
//! - `ejection` health from real traffic.
//! - [`pick`] pure: which backend next; one file a policy.
//! - [`selector`] a worker's picks, by the pool's policy.
//! - [`dialable`] which addresses weir never connects to.
//! - [`shortage`] errors that speak of this machine and not of the other end.

pub mod backend;
pub mod dialable;
mod ejection;
mod load;
pub mod pick;
pub mod pool;
pub mod registry;
pub mod selector;
pub mod settings;
pub mod shortage;
pub mod source;
pub mod state;

pub use backend::{Backend, Reserved};
pub use pick::Balance;
pub use pool::*;
pub use registry::Lives;
pub use settings::{CheckKind, HealthCheck, HelloReplay, OnUnhealthy, PassiveCheck, Settings};
pub use state::{DialFailures, LastCheck, Live, Reason};

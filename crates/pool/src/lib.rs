//! weir-pool: backends, their state, and which one gets the next connection.
//!
//! - [`pool`] a pool: a named set of backends, and which of them are in service.
//! - [`settings`] the keys of a pool, with their defaults filled in.
//! - [`endpoint`] where a backend listens: an address and port, or a Unix socket.
//! - [`identity`] names of pools and backends that every node agrees on.
//! - [`source`] where members come from; [`origin`] where connections to them come from.
//! - [`backend`] one backend as a plan has it.
//! - [`state`], [`registry`] backend states, which outlive plans: connections, health, what was set by hand.
//! - `load` the counts of connections, close together.
//! - `ejection` health from real traffic.
//! - [`pick`] the policies, pure functions, one file each.
//! - [`selector`] a worker's picks by the pool's policy.
//! - [`dialable`] which addresses weir never connects to.
//! - [`shortage`] errors of this machine, which say nothing about the other end.

pub mod backend;
pub mod dialable;
mod ejection;
pub mod endpoint;
pub mod identity;
mod load;
pub mod origin;
pub mod pick;
pub mod pool;
pub mod registry;
pub mod selector;
pub mod settings;
pub mod shortage;
pub mod source;
pub mod state;

pub use backend::{Backend, Reserved};
pub use endpoint::{BackendAddr, Endpoint};
pub use identity::{BackendIdentity, PoolIdentity};
pub use origin::{NearEnd, Origin};
pub use pick::Balance;
pub use pool::*;
pub use registry::BackendRegistry;
pub use settings::{
    CheckKind, Family, HealthCheck, HelloReplay, HttpSettings, HttpVersion, OnUnhealthy, PassiveCheck,
    SendProxyProtocol, Settings, Sticky, StickyCookie,
};
pub use state::{BackendState, DialFailures, LastCheck, OutOfService};

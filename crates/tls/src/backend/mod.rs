//! The client side: TLS to backends, for bridging and for health checks.
//!
//! [`BackendTls`] is a pool's policy, built once; [`BackendClient`] applies it to one backend, with that
//! backend's own sessions. They are separate because rustls stores sessions by server name alone, and the
//! members of a pool share a name: a ticket of one would be wasted on another.
//! Health checks use [`Probe`] instead. The caller dials and sets deadlines.
//!
//! A module uses only those that stand before it here: `settings`, `error`; `names`, `identity`, `roots` and `trust`
//! read what the settings name; `policy`, `client`, `probe`; `http`.

mod client;
mod error;
mod http;
mod identity;
mod names;
mod policy;
mod probe;
mod roots;
mod settings;
mod trust;

pub use client::{BackendClient, BackendStream};
pub use error::BackendTlsError;
pub use http::{HttpClient, HttpClientError};
pub use policy::BackendTls;
pub use probe::{Presented, Probe, ProbeStream};
pub use settings::{BackendAlpn, BackendSettings, ServerNameFrom};

#[cfg(test)]
mod tests;

//! weir-control: what runs beside the data plane, on a thread of its own.
//!
//! - [`health`] asks backends whether they are well, and tells the pools.
//! - [`probe`] one question to one backend: tcp, tls, http.

pub mod health;
pub mod probe;

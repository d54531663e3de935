//! weir-control: the control plane, beside the data plane on a thread of its own.
//!
//! - [`aside`] runs work that reads files on a thread of its own.
//! - [`supervise`] begins tasks again if they panic.
//! - [`probe`] one question to one backend: tcp, tls, http.
//! - [`health`] asks backends whether they are well, and tells the pools.
//! - [`discovery`] asks DNS for the backends that are names.
//! - [`workshop`] makes plans.
//! - `log_throttle` holds back lines of the log about things that flap.
//! - [`control`] makes the changes while connections live: reloads, an operator's requests, answers of DNS.

pub mod aside;
pub mod control;
pub mod discovery;
pub mod health;
pub mod probe;
pub mod supervise;
pub mod workshop;

mod log_throttle;

pub use control::Control;
pub use workshop::{Compiled, Look, Workshop};

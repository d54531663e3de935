//! weir-metrics: every metric of weir, from its name to the text that Prometheus reads.
//!
//! - [`names`] every metric's name, once.
//! - [`registry`] the process's metrics, and the text of a scrape.
//! - [`handles`] what the data path holds: counters resolved once, when a plan is compiled.
//!
//! This is the only crate that knows the `prometheus` crate.

pub mod handles;
pub mod names;
pub mod registry;

mod bytes;
mod connections;
mod families;
mod forget;
mod process;

pub use bytes::Moved;
pub use handles::{BackendMetrics, Certificate, ListenerMetrics, LostLines, PoolMetrics, WorkerMetrics};
pub use registry::Metrics;

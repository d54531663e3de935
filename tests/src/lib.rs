//! The harness: weir as a process or in this one, peers good and bad, certificates, and ways to see what
//! happened.
//!
//! Only `plane` and `fuzz` know how weir works inside. Everything else starts it with a configuration, talks
//! to its listeners over loopback, and reads its metrics and records, and a process's descriptors, as an
//! operator would.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::map_err_ignore,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::missing_errors_doc,
    clippy::let_underscore_must_use,
    clippy::large_futures,
    reason = "a harness fails by panicking, and its peers misuse sockets on purpose"
)]

pub mod big;
mod books;
pub mod bystander;
pub mod certificates;
pub mod client;
pub mod curl;
pub mod digest;
pub mod dnsmasq;
pub mod eventually;
pub mod frames;
pub mod fuzz;
pub mod grpc;
pub mod h2_client;
pub mod h2_origin;
pub mod haproxy;
pub mod hello;
pub mod http;
pub mod load;
pub mod modern_openssl;
pub mod namespaces;
pub mod nginx;
pub mod openssl;
pub mod origin;
pub mod peers;
pub mod plane;
pub mod ports;
pub mod program;
#[cfg(test)]
mod programs;
pub mod reloading;
pub mod restarting;
pub mod side_by_side;
pub mod stream;
pub mod traced;
pub mod tunnel;
pub mod unprivileged;
pub mod upgrade;
pub mod weir;
pub mod world;

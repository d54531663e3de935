//! The harness: the real weir as a process, peers good and bad, certificates, and ways to ask what happened.
//!
//! Nothing here but `fuzz.rs` knows how weir works inside: it starts the binary with a configuration, talks to its listeners over
//! loopback, and reads its metrics, records and descriptors as an operator would.
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
pub mod certificates;
pub mod client;
pub mod curl;
pub mod digest;
pub mod dnsmasq;
pub mod eventually;
pub mod fuzz;
pub mod haproxy;
pub mod hello;
pub mod http;
pub mod load;
pub mod nginx;
pub mod openssl;
pub mod peers;
pub mod ports;
pub mod program;
pub mod reloading;
pub mod stream;
pub mod traced;
pub mod unprivileged;
pub mod weir;
pub mod world;

//! Whole configurations: which are accepted, which are refused and how, and how far the docs agree.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "all of this is test code"
)]

mod admission;
mod backend_tls;
mod bounded;
mod choice;
mod client_auth;
mod difference;
mod docs;
mod documents;
mod errors;
mod fixture;
mod fleet;
mod hints;
mod http;
mod include;
mod overload;
mod requests;
mod robust;
mod schema;
mod secrets;
mod sockets;
mod starttls;
mod sticky;

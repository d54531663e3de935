//! weir-admin: answers an operator's requests to a running weir, over HTTP on loopback, a Unix socket, or with client
//! certificates anywhere; and those of scrapers and probes.
//!
//! - [`server`] binds, accepts, bounds.
//! - [`api`] the JSON, written here and read by the command line.
//! - [`answer`] a path → an answer; `change` the requests that change something; `reply` the form of answers.
//! - `origin` refuses the requests of web pages.
//! - [`status`] reads the state of the process; [`certificates`] those of a plan; [`failures`] the last early ends;
//!   [`clients`] the clients with the most connections.
//! - [`ready`] whether traffic may come.

pub mod answer;
pub mod api;
pub mod certificates;
mod change;
pub mod clients;
pub mod failures;
mod origin;
pub mod ready;
mod reply;
pub mod server;
pub mod status;

pub use answer::{Admin, NotUpgraded, UpgradeRequest};
pub use api::Upgraded;
pub use server::{Bound, bind, serve, serve_metrics};

#[cfg(test)]
mod tests;

//! Finds the addresses of backends that are names, and keeps finding them.
//!
//! - [`error`] why a name has no addresses.
//! - [`answer`] what was found.
//! - `servers` asks DNS servers for the records of one name and kind.
//! - `system` the system's resolv.conf and hosts file.
//! - `lookup` a host name → its addresses, by hosts file, search list and servers.
//! - `service` an SRV record → the hosts behind it.
//! - [`resolve`] a source → an answer, within a deadline. Keeps nothing.
//! - `pace` when to ask again.
//! - [`sources`] asks for every source of the plan in force, again and again, and keeps the last good answers.
//!
//! Nothing here knows pools: the owner of the plan learns which sources have changed, and tells the pools.

pub mod answer;
pub mod error;
pub mod resolve;
pub mod sources;

mod lookup;
mod pace;
mod servers;
mod service;
mod system;

#[cfg(test)]
pub(crate) mod fake;

pub use answer::DnsAnswer;
pub use error::ResolveError;
pub use resolve::DnsResolver;
pub use sources::{Sources, State};

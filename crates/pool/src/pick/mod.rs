//! Which backend next. One file a policy; policies are pure: no clock, no socket, and chance is an argument.
//!
//! A policy sees numbered [`Candidates`] of one tier and answers with a number, or with `None` if none is usable.
//! Whatever it goes by, in the long run each gets the share of its weight, slow start takes less, and nobody who is
//! not usable is picked. Which tier serves, and where a policy's state lives, is for the caller.

mod alias;
pub mod candidates;
pub mod key;
mod least_connections;
pub mod maglev;
mod random_two;
mod round_robin;

pub use candidates::{Candidates, Share};
pub use least_connections::LeastConnections;
pub use maglev::{Bound, Maglev};
pub use random_two::RandomTwo;
pub use round_robin::RoundRobin;

/// The source of chance that callers hand in.
pub use fastrand::Rng;

#[cfg(test)]
mod tests;

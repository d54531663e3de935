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

use std::net::IpAddr;

/// Which backend is next: the word of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The better of two random ones.
    RandomTwo,
    /// The same one for the same client address.
    SourceIp,
    /// The same one for the same server name.
    Sni,
}

impl Balance {
    /// The word for it in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::RandomTwo => "random_two",
            Self::SourceIp => "source_ip",
            Self::Sni => "sni",
        }
    }

    /// Whether it goes by the client alone, so that every node picks the same: then the members have a Maglev table.
    pub fn is_keyed(self) -> bool {
        matches!(self, Self::SourceIp | Self::Sni)
    }

    /// What a keyed policy goes by.
    fn key(self, source: IpAddr, sni: Option<&str>) -> u64 {
        match self {
            Self::Sni => key::of_sni(sni, source),
            _ => key::of_source(source),
        }
    }
}

/// A policy at work on one tier: its place in the rotation, or what else it keeps from pick to pick.
#[derive(Debug)]
pub struct Policy {
    balance: Balance,
    state: State,
}

#[derive(Debug)]
enum State {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    RandomTwo(RandomTwo),
    /// Its table is the members' own.
    Keyed(Option<Bound>),
}

impl Policy {
    /// Begins at a random place: after a reload not every worker may send its next client to the first backend.
    /// `bounded_load`: of keyed policies, the most that a backend takes, in percent of the average.
    pub fn new(
        balance: Balance,
        bounded_load: Option<u32>,
        weights: impl ExactSizeIterator<Item = u16>,
        random: &mut Rng,
    ) -> Self {
        let state = match balance {
            Balance::RoundRobin => State::RoundRobin(RoundRobin::new(weights, random.u64(..))),
            Balance::LeastConnections => {
                State::LeastConnections(LeastConnections::new(weights, random.u64(..)))
            }
            Balance::RandomTwo => State::RandomTwo(RandomTwo::new(weights)),
            Balance::SourceIp | Balance::Sni => State::Keyed(bounded_load.map(Bound::percent)),
        };
        Self { balance, state }
    }

    /// The next candidate for a client at `source` that asked for `sni`; `None` if none is usable. `table`: the members'
    /// Maglev table, which keyed policies need.
    pub fn pick(
        &mut self,
        candidates: &impl Candidates,
        (source, sni): (IpAddr, Option<&str>),
        table: Option<&Maglev>,
        random: &mut Rng,
    ) -> Option<usize> {
        match &mut self.state {
            State::RoundRobin(policy) => policy.pick(candidates),
            State::LeastConnections(policy) => policy.pick(candidates),
            State::RandomTwo(policy) => policy.pick(candidates, random),
            State::Keyed(bound) => table?.pick(self.balance.key(source, sni), candidates, bound.as_mut()),
        }
    }
}

#[cfg(test)]
mod tests;

//! Which backend next. One file a policy; policies are pure: no clock, no socket, and chance is an argument.
//!
//! A policy sees the numbered [`Candidates`] of one tier and gives a number, or `None` if none is usable. Under every
//! policy each backend gets the share of its weight in the long run, less in slow start, and only usable backends are
//! picked. The caller decides which tier serves, and keeps the policy's state.
//!
//! A new policy is a file here, a [`Balance`] and a `State` of this module, its word in the configuration (`Balance` in
//! `crates/config/src/schema/choices.rs`), and a row in `docs/configuration.md`.

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

/// The source of chance that callers pass.
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

/// How much the order in which backends would be tried says of the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is the same for every connection of this client; in a pool with `bounded_load`, while none is over its bound.
    Exact,
    /// One goes after the other, and the first may be any.
    Rotation,
    /// Another connection may see another one.
    Sample,
}

impl Order {
    /// Its word in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Rotation => "rotation",
            Self::Sample => "sample",
        }
    }
}

impl Balance {
    /// Every policy.
    pub const ALL: [Self; 5] =
        [Self::RoundRobin, Self::LeastConnections, Self::RandomTwo, Self::SourceIp, Self::Sni];

    /// The word for it in the configuration.
    pub const fn label(self) -> &'static str {
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

    /// The order for a client of which `source` and `sni` are known, at idle backends. `equals`: no backend of a tier
    /// is heavier than another.
    pub fn order(self, source: Option<IpAddr>, sni: Option<&str>, equals: bool) -> Order {
        match self {
            Self::RoundRobin => Order::Rotation,
            // Of idle backends the heaviest come first, and equals in turn.
            Self::LeastConnections if equals => Order::Rotation,
            Self::LeastConnections | Self::RandomTwo => Order::Sample,
            Self::Sni if sni.is_some() => Order::Exact,
            Self::Sni | Self::SourceIp if source.is_some() => Order::Exact,
            Self::Sni | Self::SourceIp => Order::Sample,
        }
    }

    /// The same in words, for people.
    pub fn in_words(self, order: Order) -> &'static str {
        match (self, order) {
            (Self::RoundRobin, _) => "in turn; the rotation starts anywhere",
            (Self::LeastConnections, Order::Rotation) => {
                "fewest connections first; here no backend has any, so in turn"
            }
            (Self::LeastConnections, _) => {
                "fewest connections for the weight first; here no backend has any, so the heaviest first, equals in turn"
            }
            (Self::RandomTwo, _) => "by chance; this is one sample",
            (Self::SourceIp | Self::Sni, Order::Exact) => "the same for every connection of this client",
            (Self::SourceIp | Self::Sni, _) => {
                "by the client's address, which was not given; this is a sample"
            }
        }
    }

    /// What a keyed policy goes by.
    fn key(self, source: IpAddr, sni: Option<&str>) -> u64 {
        match self {
            Self::Sni => key::of_sni(sni, source),
            _ => key::of_source(source),
        }
    }
}

/// What keyed policies know of a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientKey<'a> {
    /// The client's address.
    pub source: IpAddr,
    /// The server name that it asked for.
    pub sni: Option<&'a str>,
    /// The value of the header field by which clients of the pool stay with a backend.
    pub field: Option<&'a [u8]>,
}

/// A policy at work on one tier: its place in the rotation, or what else it keeps from pick to pick.
#[derive(Debug)]
pub struct Policy {
    balance: Balance,
    state: State,
    /// Of clients that go by a header field, whatever the policy.
    by_field: Option<Bound>,
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
        Self { balance, state, by_field: bounded_load.map(Bound::percent) }
    }

    /// The next candidate for a client; `None` if none is usable. `table`: the members' Maglev table, which keyed policies
    /// and clients that go by a header field need.
    pub fn pick(
        &mut self,
        candidates: &impl Candidates,
        client: &ClientKey<'_>,
        table: Option<&Maglev>,
        random: &mut Rng,
    ) -> Option<usize> {
        if let (Some(value), Some(table)) = (client.field, table) {
            return table.pick(key::of_field(value), candidates, self.by_field.as_mut());
        }
        match &mut self.state {
            State::RoundRobin(policy) => policy.pick(candidates),
            State::LeastConnections(policy) => policy.pick(candidates),
            State::RandomTwo(policy) => policy.pick(candidates, random),
            State::Keyed(bound) => {
                table?.pick(self.balance.key(client.source, client.sni), candidates, bound.as_mut())
            }
        }
    }
}

#[cfg(test)]
mod tests;

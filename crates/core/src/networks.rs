//! A set of networks, IPv4 and IPv6: a look-up costs about the same with ten of them and with a hundred thousand.
//!
//! Networks that overlap or touch become one range of addresses; the ranges are sorted. Those of IPv4 have an index by the first
//! half of an address, so that a look-up reads two or three places of memory and not a path through a tree.

use crate::address::NO_ADDRESS;
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::Range;

/// A set of networks.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// Where the ranges begin that end at or behind the first address with this half; none for few ranges.
    index: Box<[u32]>,
    count: usize,
}

/// Sorted ranges of addresses that do not touch.
#[derive(Clone, Debug)]
struct Ranges<T> {
    firsts: Box<[T]>,
    lasts: Box<[T]>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { firsts: Box::default(), lasts: Box::default() }
    }
}

impl<T: Copy + Ord> Ranges<T> {
    /// Of ranges sorted by their first address; `next` is the address after another, if there is one.
    fn of(sorted: impl IntoIterator<Item = (T, T)>, next: impl Fn(T) -> Option<T>) -> Self {
        let (mut firsts, mut lasts): (Vec<T>, Vec<T>) = (Vec::new(), Vec::new());
        for (first, last) in sorted {
            match lasts.last_mut() {
                Some(before) if next(*before).is_none_or(|next| first <= next) => *before = last.max(*before),
                _ => {
                    firsts.push(first);
                    lasts.push(last);
                }
            }
        }
        Self { firsts: firsts.into(), lasts: lasts.into() }
    }

    /// Whether one of those with these numbers has the address.
    fn has(&self, address: T, among: Range<usize>) -> bool {
        let lasts = self.lasts.get(among.clone()).unwrap_or_default();
        let number = among.start + lasts.partition_point(|last| *last < address);
        among.contains(&number) && self.firsts.get(number).is_some_and(|first| *first <= address)
    }

    fn len(&self) -> usize {
        self.firsts.len()
    }
}

/// With fewer ranges all of them are in the processor's cache.
const FEW: usize = 256;
/// The values of half an address.
const HALVES: u32 = 1 << 16;

impl Networks {
    /// Whether the address is in one of them. A v4-mapped IPv6 address counts as the IPv4 one.
    pub fn has(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.has(ip.to_bits(), self.near(ip.to_bits())),
            IpAddr::V6(ip) => self.v6.has(ip.to_bits(), 0..self.v6.len()),
        }
    }

    /// The numbers of the ranges that may have an address.
    fn near(&self, address: u32) -> Range<usize> {
        let half = usize::try_from(address >> 16).unwrap_or(0);
        match (self.index.get(half), self.index.get(half + 1)) {
            (Some(from), Some(to)) => {
                let number = |index: &u32| usize::try_from(*index).unwrap_or(usize::MAX);
                // The first of the next half may begin in this one.
                number(from)..number(to).saturating_add(1).min(self.v4.len())
            }
            _ => 0..self.v4.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their number. A network that is written twice counts once.
    pub fn len(&self) -> usize {
        self.count
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut all: Vec<IpNet> = networks.into_iter().map(|network| network.trunc()).collect();
        // By the first address, the IPv4 ones before the others.
        all.sort_unstable();
        all.dedup();
        let v4 = all.iter().filter_map(|network| match network {
            IpNet::V4(network) => Some((network.network().to_bits(), network.broadcast().to_bits())),
            IpNet::V6(_) => None,
        });
        let v6 = all.iter().filter_map(|network| match network {
            IpNet::V6(network) => Some((network.network().to_bits(), network.broadcast().to_bits())),
            IpNet::V4(_) => None,
        });
        let v4 = Ranges::of(v4, |address: u32| address.checked_add(1));
        let v6 = Ranges::of(v6, |address: u128| address.checked_add(1));
        let index = if v4.len() < FEW { Box::default() } else { index(&v4) };
        Self { v4, v6, index, count: all.len() }
    }
}

/// A network as the configuration writes it: `unix` stands for the clients of Unix sockets.
pub fn written(network: &IpNet) -> String {
    if *network == IpNet::from(NO_ADDRESS) { "unix".to_owned() } else { network.to_string() }
}

/// For each first half of an address, how many ranges end before it; and for the one after the last.
fn index(ranges: &Ranges<u32>) -> Box<[u32]> {
    let mut number = 0;
    let begins = (0..HALVES).map(|half| {
        while ranges.lasts.get(number).is_some_and(|last| *last < half << 16) {
            number += 1;
        }
        u32::try_from(number).unwrap_or(u32::MAX)
    });
    let mut index: Vec<u32> = begins.collect();
    index.push(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
    index.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(networks: &[&str]) -> Networks {
        networks.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn addresses_are_in_their_networks() {
        let some = set(&["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "192.0.2.1/32"]);
        let has = |text: &str| some.has(text.parse().unwrap());
        assert!(has("10.255.0.1") && has("192.0.2.1") && has("2001:db8::1") && has("::ffff:10.0.0.1"));
        assert!(!has("11.0.0.1") && !has("192.0.2.2") && !has("2001:db9::1") && !has("::a00:1"));
        assert_eq!(some.len(), 3);
        assert!(!Networks::default().has([10, 0, 0, 1].into()) && Networks::default().is_empty());
        assert!(set(&["0.0.0.0/0"]).has([1, 2, 3, 4].into()));
        assert!(!set(&["0.0.0.0/0"]).has("::1".parse().unwrap()));
        assert!(set(&["::/128"]).has(NO_ADDRESS) && !set(&["0.0.0.0/0", "2000::/3"]).has(NO_ADDRESS));
        assert_eq!(["::/128", "::/0"].map(|text| written(&text.parse().unwrap())), ["unix", "::/0"]);
    }

    /// So many that they have an index, at its edges too.
    #[test]
    fn many_networks_say_what_they_say() {
        let mut state = 7_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(state >> 32).unwrap()
        };
        let mut network = || {
            let length = u8::try_from(9 + random() % 24).unwrap();
            IpNet::new(random().to_be_bytes().into(), length).unwrap()
        };
        let mut all: Vec<IpNet> = (0..3000).map(|_| network()).collect();
        let elsewhere: Vec<u32> = (0..3000).map(|_| random()).collect();
        for text in [
            "0.0.0.0/32",
            "255.255.255.255/32",
            "10.1.0.0/16",
            "10.2.255.255/32",
            "10.3.0.0/32",
            "172.16.0.0/12",
        ] {
            all.push(text.parse().unwrap());
        }
        let some: Networks = all.iter().copied().collect();
        assert!(!some.index.is_empty());
        let edges = all.iter().flat_map(|network| {
            let (IpAddr::V4(first), IpAddr::V4(last)) = (network.network(), network.broadcast()) else {
                panic!()
            };
            let [first, last] = [first.to_bits(), last.to_bits()];
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
        });
        for bits in edges.chain(elsewhere) {
            let ip = IpAddr::from(bits.to_be_bytes());
            assert_eq!(some.has(ip), all.iter().any(|network| network.contains(&ip)), "{ip}");
        }
    }

    proptest! {
        #[test]
        fn a_set_says_what_its_networks_say(
            networks in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..40),
            others in prop::collection::vec((any::<u128>(), 0_u8..=128), 0..40),
            address in any::<u128>(),
        ) {
            let networks = networks.into_iter().map(|(ip, length)| IpNet::new(ip.to_be_bytes().into(), length));
            let others = others.into_iter().map(|(ip, length)| IpNet::new(ip.to_be_bytes().into(), length));
            let all: Vec<IpNet> = networks.chain(others).map(Result::unwrap).collect();
            let some: Networks = all.iter().copied().collect();
            // Near to one of them, so that both answers come.
            let near = all.first().map_or(IpAddr::from([0; 4]), |network| network.addr());
            let [high, .., low] = address.to_be_bytes();
            for ip in [near, IpAddr::from([high, 0, 0, low]), IpAddr::from(address.to_be_bytes()).to_canonical()] {
                prop_assert_eq!(some.has(ip), all.iter().any(|network| network.contains(&ip)), "{}", ip);
            }
        }
    }
}

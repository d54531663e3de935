//! A set of networks, IPv4 and IPv6: a look-up costs the same with ten of them and with a hundred thousand.

use crate::address::NO_ADDRESS;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixSet;
use std::net::IpAddr;

/// A set of networks.
#[derive(Clone, Debug, Default)]
pub struct Networks(JointPrefixSet<IpNet>);

impl Networks {
    /// Whether the address is in one of them. A v4-mapped IPv6 address counts as the IPv4 one.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.0.get_lpm(&ip.to_canonical().into()).is_some()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their number. A network that is written twice counts once.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().map(|network| network.trunc()).collect())
    }
}

/// A network as the configuration writes it: `unix` stands for the clients of Unix sockets.
pub fn written(network: &IpNet) -> String {
    if *network == IpNet::from(NO_ADDRESS) { "unix".to_owned() } else { network.to_string() }
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

//! Where connections to backends come from: the kernel's choice, addresses of this machine in turn, or the client itself.

use crate::endpoint::Endpoint;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where a pool's connections come from.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// The kernel chooses.
    #[default]
    Any,
    /// Addresses of this machine, in turn: those of IPv4, and of IPv6. Their ports are 0.
    Own(Arc<[Vec<SocketAddr>; 2]>),
    /// The client's own address.
    Client,
}

/// A backend's turns. Each backend has its own, so that it meets all addresses, whatever the policy that picks it.
#[derive(Debug, Default)]
pub struct Turns(AtomicUsize);

impl Turns {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The near end of a connection, before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearEnd {
    /// The address. Its port is 0: the kernel chooses one.
    pub address: SocketAddr,
    /// It is not this machine's (`IP_TRANSPARENT`).
    pub foreign: bool,
}

impl FromIterator<SocketAddr> for Origin {
    /// These addresses in turn; [`Origin::Any`] if there are none.
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addresses: I) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
        if v4.is_empty() && v6.is_empty() {
            return Self::Any;
        }
        Self::Own(Arc::new([v4, v6]))
    }
}

impl Origin {
    /// The near end of a backend's next connection to this endpoint, made for this client; `None` where the kernel chooses:
    /// also if no address is of the endpoint's family, and on Unix sockets of either side.
    pub fn near_end(&self, endpoint: &Endpoint, turns: &Turns, client: Option<IpAddr>) -> Option<NearEnd> {
        let far = endpoint.tcp()?.ip();
        match self {
            Self::Any => None,
            Self::Own(own) => {
                let list = of_family(own, far);
                let address = *list.get(turns.next().checked_rem(list.len())?)?;
                Some(NearEnd { address, foreign: false })
            }
            Self::Client => {
                let client = client?.to_canonical();
                let usable = client.is_ipv4() == far.is_ipv4() && !is_of_one_machine(client, far);
                usable.then(|| NearEnd { address: (client, 0).into(), foreign: true })
            }
        }
    }

    /// Whether there is an address for connections to this family. Only a list of addresses may lack one.
    pub fn reaches(&self, far: IpAddr) -> bool {
        !matches!(self, Self::Own(own) if of_family(own, far).is_empty())
    }
}

/// Whether no packet comes from this client to another machine than its own or its neighbours. The client of a Unix socket
/// has the unspecified address; the interface of a link-local one is not known.
fn is_of_one_machine(client: IpAddr, far: IpAddr) -> bool {
    let is_local = matches!(client, IpAddr::V6(ip) if ip.is_unicast_link_local());
    client.is_unspecified() || is_local || (client.is_loopback() && !far.is_loopback())
}

fn of_family([v4, v6]: &[Vec<SocketAddr>; 2], far: IpAddr) -> &[SocketAddr] {
    if far.is_ipv4() { v4 } else { v6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn addresses_take_turns_within_their_family() {
        let all = ["192.0.2.1:0", "[2001:db8::1]:0", "192.0.2.2:0"].map(|text| text.parse().unwrap());
        let origin: Origin = all.into_iter().collect();
        let backends = [Turns::default(), Turns::default()];
        let near = |far: &str, of: usize| {
            origin.near_end(&endpoint(far), &backends[of], None).unwrap().address.ip().to_string()
        };
        for _ in 0..2 {
            for address in ["192.0.2.1", "192.0.2.2"] {
                assert_eq!([0, 1].map(|of| near("198.51.100.1:80", of)), [address, address]);
            }
        }
        assert_eq!([0, 0].map(|of| near("[2001:db8::9]:80", of)), ["2001:db8::1"; 2]);
        let turns = &Turns::default();

        let four: Origin = all.into_iter().filter(SocketAddr::is_ipv4).collect();
        assert_eq!(four.near_end(&endpoint("[2001:db8::9]:80"), turns, None), None);
        assert!(four.reaches([198, 51, 100, 1].into()) && !four.reaches("2001:db8::9".parse().unwrap()));
        let path = std::path::Path::new("/run/app.sock");
        assert_eq!(four.near_end(&Endpoint::Unix(path.into()), turns, None), None);
        assert!(matches!(std::iter::empty().collect(), Origin::Any));
    }

    #[test]
    fn a_client_is_an_origin_within_its_family() {
        let near = |client: &str, far: &str| {
            let near =
                Origin::Client.near_end(&endpoint(far), &Turns::default(), Some(client.parse().unwrap()))?;
            assert!(near.foreign && near.address.port() == 0);
            Some(near.address.ip().to_string())
        };
        assert_eq!(near("192.0.2.1", "198.51.100.1:80").as_deref(), Some("192.0.2.1"));
        assert_eq!(near("2001:db8::1", "[2001:db8::9]:80").as_deref(), Some("2001:db8::1"));
        assert_eq!(near("192.0.2.1", "[2001:db8::9]:80"), None);
        assert_eq!(near("::", "[2001:db8::9]:80"), None, "a Unix socket");
        assert_eq!(near("fe80::1", "[2001:db8::9]:80"), None);
        assert_eq!((near("127.0.0.9", "198.51.100.1:80"), near("::1", "[2001:db8::9]:80")), (None, None));
        assert_eq!(near("127.0.0.9", "127.0.0.1:80").as_deref(), Some("127.0.0.9"));
        let check = Origin::Client.near_end(&endpoint("198.51.100.1:80"), &Turns::default(), None);
        assert_eq!(check, None, "a health check");
    }
}

//! Addresses that weir never connects to, wherever they come from: those that belong to no single machine, and its own.
//!
//! A connection to an own listener would be accepted, routed and dialled again, until the limits are full; a connection
//! to the admin server would open it to strangers.

use crate::endpoint::Endpoint;
use arc_swap::ArcSwap;
use rustc_hash::FxBuildHasher;
use std::fs;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Why weir does not connect to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Forbidden {
    /// `0.0.0.0/8`, `::`: the kernel takes it for this machine.
    #[error("unspecified address")]
    Unspecified,
    /// `224.0.0.0/4`, `ff00::/8`.
    #[error("multicast address")]
    Multicast,
    /// `255.255.255.255`.
    #[error("broadcast address")]
    Broadcast,
    /// A listener of this weir is there.
    #[error("weir's own listener")]
    Listener,
    /// The admin server of this weir is there.
    #[error("weir's own admin server")]
    Admin,
    /// The metrics server of this weir is there.
    #[error("weir's own metrics server")]
    Metrics,
}

/// Why no backend can be at this address, IPv4-mapped or not; `None` if one can.
pub fn forbidden(ip: IpAddr) -> Option<Forbidden> {
    match ip.to_canonical() {
        // The whole of 0.0.0.0/8 is "this network" (RFC 1122 §3.2.1.3).
        IpAddr::V4(ip) if ip.octets().first() == Some(&0) => Some(Forbidden::Unspecified),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(Forbidden::Unspecified),
        IpAddr::V4(ip) if ip.is_broadcast() => Some(Forbidden::Broadcast),
        ip if ip.is_multicast() => Some(Forbidden::Multicast),
        _ => None,
    }
}

/// The addresses on which this process listens. Swapped as a whole with each plan.
#[derive(Debug)]
pub struct OwnAddresses {
    listening: ArcSwap<Listening>,
    /// Bound once in a process's life.
    admin: OnceLock<Vec<Endpoint>>,
    /// Whether the last dial to an address found a listening socket. The kernel assigns no outgoing connection a port
    /// that has a listener, so a dial there cannot connect to itself and need not ask for its local address. The first
    /// failure clears the entry.
    answering: Box<[AtomicBool]>,
}

#[derive(Debug, Default)]
struct Listening {
    /// Sorted by port, each with what is there.
    sockets: Vec<(u16, IpAddr, Forbidden)>,
    /// The paths of Unix sockets, as they were bound.
    paths: Vec<(Arc<Path>, Forbidden)>,
    system: System,
}

/// What the system is set to, read anew with each plan.
#[derive(Debug)]
struct System {
    /// Outgoing connections get a port of these.
    ephemeral: RangeInclusive<u16>,
    /// May a socket be bound to an IPv6 address that this machine does not have?
    binds_foreign: bool,
}

/// What must still be checked once a connection is established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// It may have been connected to itself (RFC 9293 §3.5, simultaneous open).
    pub itself: bool,
    /// It may have reached this own socket.
    pub own: Option<Forbidden>,
}

impl OwnAddresses {
    /// Takes the addresses of a plan's listeners and of its metrics server, wildcards included; a dual-stack wildcard
    /// stands for both families.
    pub fn listen(
        &self,
        listeners: impl IntoIterator<Item: Into<Endpoint>>,
        metrics: impl IntoIterator<Item = SocketAddr>,
    ) {
        let mut listening = Listening { system: System::read(), ..Listening::default() };
        listeners.into_iter().for_each(|own| listening.add(own.into(), Forbidden::Listener));
        metrics.into_iter().for_each(|own| listening.add(own.into(), Forbidden::Metrics));
        let admin = self.admin.get().into_iter().flatten();
        admin.for_each(|own| listening.add(own.clone(), Forbidden::Admin));
        listening.sockets.sort_unstable();
        self.listening.store(listening.into());
    }

    /// Takes the addresses of the admin server, before those of the first plan. Only the first ones count: it is bound
    /// once.
    pub fn admin(&self, addresses: impl IntoIterator<Item: Into<Endpoint>>) {
        let _first = self.admin.get_or_init(|| addresses.into_iter().map(Into::into).collect());
    }

    /// The own Unix socket at this path, by whatever name; `None` if there is none.
    pub fn at_path(&self, path: &Path) -> Option<Forbidden> {
        let listening = self.listening.load();
        if listening.paths.is_empty() {
            return None;
        }
        let dialled = identity(path);
        let is_dialled = |own: &Path| own == path || (dialled.is_some() && identity(own) == dialled);
        listening.paths.iter().find(|(own, _)| is_dialled(own)).map(|(_, what)| *what)
    }

    /// Notes whether a dial ended in a connection with another socket.
    pub fn dialled(&self, address: SocketAddr, answered: bool) {
        if let Some(known) = self.answering_at(address) {
            known.store(answered, Ordering::Relaxed);
        }
    }

    fn answering_at(&self, address: SocketAddr) -> Option<&AtomicBool> {
        let hash = FxBuildHasher.hash_one((address.ip(), address.port()));
        // Two addresses that share a place cost a needless check, or miss one until the next failure.
        let place = usize::try_from(hash % u64::try_from(PLACES).unwrap_or(1)).unwrap_or(0);
        self.answering.get(place)
    }

    /// Checks an address before it is dialled. Returns what must still be checked once the connection is established.
    ///
    /// # Errors
    /// Why it must not be dialled; the inner error is a shortage on this machine that prevented the check.
    pub fn look(&self, address: SocketAddr) -> Result<io::Result<Doubt>, Forbidden> {
        if let Some(why) = forbidden(address.ip()) {
            return Err(why);
        }
        let at = (address.port(), address.ip().to_canonical());
        let listening = self.listening.load();
        let answers = self.answering_at(address).is_some_and(|known| known.load(Ordering::Relaxed));
        let itself = listening.system.ephemeral.contains(&address.port()) && !answers;
        let own = match listening.has(at) {
            Has::No => None,
            Has::Yes(what) => return Err(what),
            // Another machine had the address lately. If it has moved to this one since, the connection's local address
            // shows it, for one system call instead of three.
            Has::IfOfThisMachine(what) if answers || (at.1.is_ipv6() && listening.system.binds_foreign) => {
                Some(what)
            }
            Has::IfOfThisMachine(what) => match is_of_this_machine(address) {
                Ok(true) => return Err(what),
                Ok(false) => Some(what),
                Err(error) => return Ok(Err(error)),
            },
        };
        Ok(Ok(Doubt { itself, own }))
    }
}

impl Default for OwnAddresses {
    fn default() -> Self {
        let answering = (0..PLACES).map(|_| AtomicBool::new(false)).collect();
        Self { listening: ArcSwap::default(), admin: OnceLock::new(), answering }
    }
}

/// Places for backends that answer, a byte each: many more than there are backends with such a port.
const PLACES: usize = 1 << 12;

/// Whether an own socket listens at an address, and what it is.
enum Has {
    No,
    Yes(Forbidden),
    /// A wildcard has the port.
    IfOfThisMachine(Forbidden),
}

impl Listening {
    fn add(&mut self, own: Endpoint, what: Forbidden) {
        match own {
            Endpoint::Tcp(address) => self.sockets.push((address.port(), address.ip().to_canonical(), what)),
            Endpoint::Unix(path) => self.paths.push((path, what)),
        }
    }

    fn has(&self, (port, ip): (u16, IpAddr)) -> Has {
        let first = self.sockets.partition_point(|(other, _, _)| *other < port);
        let mut has = Has::No;
        for (_, own, what) in self.sockets.iter().skip(first).take_while(|(other, _, _)| *other == port) {
            let wildcard = own.is_unspecified() && own.is_ipv4() == ip.is_ipv4();
            if *own == ip || (wildcard && ip.is_loopback()) {
                return Has::Yes(*what);
            }
            if wildcard {
                has = Has::IfOfThisMachine(*what);
            }
        }
        has
    }
}

/// Device and inode of the file that a path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Whether this machine has the address: only then can a socket be bound to it and, where `ip_nonlocal_bind` permits
/// any bind, be connected from it. For IPv6 the kernel does not check the address that a socket connects from. Sends
/// nothing.
fn is_of_this_machine(address: SocketAddr) -> io::Result<bool> {
    let (mut own, ip) = (address, address.ip().to_canonical());
    if ip.is_ipv4() {
        own = SocketAddr::new(ip, address.port());
    }
    own.set_port(0);
    match UdpSocket::bind(own) {
        Ok(bound) => Ok(ip.is_ipv6() || bound.connect((ip, address.port())).is_ok()),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) if crate::shortage::is_shortage(&error) => Err(error),
        // A link-local address without its interface, a family that is turned off: the dial will say what is wrong.
        Err(_unfit) => Ok(false),
    }
}

impl System {
    fn read() -> Self {
        let of = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap_or_default();
        let range = of("ipv4/ip_local_port_range");
        let mut ports = range.split_whitespace().map(str::parse);
        let ephemeral = match (ports.next(), ports.next()) {
            (Some(Ok(low)), Some(Ok(high))) => low..=high,
            _ => 0..=u16::MAX,
        };
        Self { ephemeral, binds_foreign: of("ipv6/ip_nonlocal_bind").trim() == "1" }
    }
}

impl Default for System {
    fn default() -> Self {
        Self { ephemeral: 0..=u16::MAX, binds_foreign: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(listeners: &[&str]) -> OwnAddresses {
        let own = OwnAddresses::default();
        own.admin(["127.0.0.1:9901".parse::<SocketAddr>().unwrap()]);
        own.listen(
            listeners.iter().map(|a| a.parse::<SocketAddr>().unwrap()),
            ["[::1]:9902".parse().unwrap()],
        );
        own
    }

    fn why(own: &OwnAddresses, address: &str) -> Option<Forbidden> {
        own.look(address.parse().unwrap()).err()
    }

    #[test]
    fn non_unicast_addresses_are_forbidden_mapped_or_not() {
        let cases = [
            ("0.0.0.0", Some(Forbidden::Unspecified)),
            ("0.1.2.3", Some(Forbidden::Unspecified)),
            ("::", Some(Forbidden::Unspecified)),
            ("::ffff:0.0.0.0", Some(Forbidden::Unspecified)),
            ("224.0.0.1", Some(Forbidden::Multicast)),
            ("239.255.255.255", Some(Forbidden::Multicast)),
            ("ff02::1", Some(Forbidden::Multicast)),
            ("::ffff:224.0.0.1", Some(Forbidden::Multicast)),
            ("255.255.255.255", Some(Forbidden::Broadcast)),
            ("::ffff:255.255.255.255", Some(Forbidden::Broadcast)),
            ("127.0.0.1", None),
            ("10.0.0.255", None),
            ("::1", None),
            ("fe80::1", None),
            ("::ffff:10.0.0.1", None),
        ];
        for (ip, expected) in cases {
            assert_eq!(forbidden(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn own_listeners_and_the_admin_server_are_never_dialled() {
        let own = own(&["127.0.0.1:8443", "[::1]:8444", "10.9.8.7:8445"]);
        let listener = Some(Forbidden::Listener);
        assert_eq!(why(&own, "127.0.0.1:8443"), listener);
        assert_eq!(why(&own, "[::ffff:127.0.0.1]:8443"), listener, "mapped");
        assert_eq!(why(&own, "[::1]:8444"), listener);
        assert_eq!(why(&own, "10.9.8.7:8445"), listener);
        assert_eq!(why(&own, "127.0.0.1:9901"), Some(Forbidden::Admin));
        assert_eq!(why(&own, "[::ffff:127.0.0.1]:9901"), Some(Forbidden::Admin));
        assert_eq!(why(&own, "[::1]:9902"), Some(Forbidden::Metrics));
        for other in ["127.0.0.2:8443", "127.0.0.1:8444", "10.9.8.7:8443", "127.0.0.2:9901"] {
            assert_eq!(why(&own, other), None, "{other}");
        }
    }

    #[test]
    fn a_wildcard_listener_is_at_every_address_of_this_machine() {
        let v4 = own(&["0.0.0.0:8443"]);
        let listener = Some(Forbidden::Listener);
        for address in ["127.0.0.1:8443", "127.1.2.3:8443", "[::ffff:127.0.0.1]:8443"] {
            assert_eq!(why(&v4, address), listener, "{address}");
        }
        // Documentation addresses (RFC 5737, RFC 3849), which no machine has.
        for address in ["198.51.100.77:8443", "[2001:db8::77]:8443", "[::1]:8443", "127.0.0.1:8444"] {
            assert_eq!(why(&v4, address), None, "{address}");
        }
        let v6 = own(&["[::]:8443"]);
        assert_eq!((why(&v6, "[::1]:8443"), why(&v6, "127.0.0.1:8443")), (listener, None));
    }

    #[test]
    fn a_later_plan_replaces_the_listeners_and_not_the_admin_server() {
        let own = own(&["127.0.0.1:8443"]);
        own.admin(["127.0.0.1:9902".parse::<SocketAddr>().unwrap()]);
        own.listen(["127.0.0.1:9443".parse::<SocketAddr>().unwrap()], ["127.0.0.1:9903".parse().unwrap()]);
        assert_eq!(why(&own, "127.0.0.1:8443"), None);
        assert_eq!(why(&own, "127.0.0.1:9443"), Some(Forbidden::Listener));
        assert_eq!(why(&own, "127.0.0.1:9901"), Some(Forbidden::Admin));
        assert_eq!(why(&own, "127.0.0.1:9902"), None);
        assert_eq!(why(&own, "[::1]:9902"), None, "the metrics server follows the plan");
        assert_eq!(why(&own, "127.0.0.1:9903"), Some(Forbidden::Metrics));
    }

    #[test]
    fn servers_beyond_loopback_are_never_dialled_either() {
        let own = OwnAddresses::default();
        own.admin([
            "[::]:9901".parse::<SocketAddr>().unwrap(),
            "0.0.0.0:9901".parse::<SocketAddr>().unwrap(),
        ]);
        own.listen([] as [SocketAddr; 0], ["0.0.0.0:9902".parse().unwrap()]);
        for address in ["127.0.0.1:9901", "127.1.2.3:9901", "[::1]:9901"] {
            assert_eq!(why(&own, address), Some(Forbidden::Admin), "{address}");
        }
        assert_eq!(why(&own, "127.1.2.3:9902"), Some(Forbidden::Metrics));
        assert_eq!(why(&own, "198.51.100.77:9901"), None);
    }

    #[test]
    fn only_ports_of_outgoing_connections_can_be_connected_to_themselves() {
        let own = OwnAddresses::default();
        let listening = Listening {
            paths: Vec::new(),
            sockets: Vec::new(),
            system: System { ephemeral: 32768..=60999, binds_foreign: false },
        };
        own.listening.store(listening.into());
        let doubt = |address: &str| own.look(address.parse().unwrap()).unwrap().unwrap();
        assert_eq!(doubt("10.0.0.1:443"), Doubt { itself: false, own: None });
        assert_eq!(doubt("10.0.0.1:40000"), Doubt { itself: true, own: None });
        // While something answers there nothing has to be looked at, and again from the first failure on.
        let address = "10.0.0.1:40000".parse().unwrap();
        own.dialled(address, true);
        assert_eq!(doubt("10.0.0.1:40000"), Doubt { itself: false, own: None });
        assert_eq!(doubt("10.0.0.2:40000"), Doubt { itself: true, own: None });
        own.dialled(address, false);
        assert_eq!(doubt("10.0.0.1:40000"), Doubt { itself: true, own: None });
    }
}

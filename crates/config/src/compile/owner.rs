//! Whose an address is: no two listeners, nor a listener and the admin server, may have one, and no backend may be
//! weir itself.
//!
//! In: the addresses of the file. Out: errors at their places. Thousands of addresses are compared in linear time. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_core::plan::{Address, AdminAddress};

use super::address::{backend, listening};
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema::{Backend, File};

/// Refuses two listeners, or a listener and the admin server, on one address. A wildcard claims every address of
/// its port.
pub(super) fn refuse_overlaps(report: &mut Report<'_>, file: &File, admin: Option<&AdminAddress>) {
    let root = Place::Root;
    let mut taken: HashMap<u16, Taken> = HashMap::new();
    if let Some(AdminAddress::Tcp(address)) = admin {
        taken.entry(address.port()).or_default().take(address.ip(), None);
    }
    let list = root.key("listeners");
    for (index, listener) in file.listeners.iter().enumerate() {
        let element = list.index(index);
        let place = element.key("address");
        for (number, text) in listener.address.iter().flat_map(|texts| &texts.0).enumerate() {
            let Ok(address) = listening(text) else { continue };
            let on_port = taken.entry(address.socket.port()).or_default();
            let other = claims(&address).filter_map(|ip| on_port.owner(ip)).min();
            if let Some(owner) = other {
                let owner = owner_in_words(report, file, &place.index(number), owner);
                report.error(&place.index(number), format!("the address `{text}` is taken by {owner}"));
            }
            claims(&address).for_each(|ip| on_port.take(ip, Some((index, number))));
        }
    }
}

/// Refuses backends, and ports of health checks, that are weir's own: it never connects to itself. Only what the file
/// itself tells: a wildcard may be at any address of this machine, but surely is at those of loopback.
pub(super) fn refuse_own_backends(report: &mut Report<'_>, file: &File, admin: Option<&AdminAddress>) {
    let own = own_addresses(file, admin);
    let root = Place::Root;
    let list = root.key("pools");
    for (index, pool) in file.pools.iter().enumerate() {
        let element = list.index(index);
        let (backends, check) = (element.key("backends"), element.key("health_check"));
        let check_port = pool.health_check.as_ref().and_then(|check| check.port);
        let mut check_refused = false;
        for (number, written) in pool.backends.iter().enumerate() {
            let (text, entry) = (address_of(written), backends.index(number));
            let Some(Ok(weir_pool::Place::Address(address, _))) = text.map(backend) else { continue };
            let owner = |port| own.get(&port).and_then(|on_port: &Taken| on_port.at(address.ip()));
            if let Some(owner) = owner(address.port()) {
                refuse_own(report, file, &entry.key("address"), address, owner);
            } else if let Some(port) = check_port
                && !check_refused
                && let Some(owner) = owner(port)
            {
                check_refused = true;
                refuse_own(report, file, &check.key("port"), SocketAddr::new(address.ip(), port), owner);
            }
        }
    }
}

fn address_of(backend: &Backend) -> Option<&str> {
    match backend {
        Backend::Address(text) => Some(text),
        Backend::Fields(fields) => fields.address.as_deref(),
    }
}

/// The addresses of the listeners and the admin server, by port.
fn own_addresses(file: &File, admin: Option<&AdminAddress>) -> HashMap<u16, Taken> {
    let mut own: HashMap<u16, Taken> = HashMap::new();
    if let Some(AdminAddress::Tcp(address)) = admin {
        own.entry(address.port()).or_default().take(address.ip(), None);
    }
    for (index, listener) in file.listeners.iter().enumerate() {
        for (number, text) in listener.address.iter().flat_map(|texts| &texts.0).enumerate() {
            let Ok(address) = listening(text) else { continue };
            let on_port = own.entry(address.socket.port()).or_default();
            claims(&address).for_each(|ip| on_port.take(ip, Some((index, number))));
        }
    }
    own
}

fn refuse_own(report: &mut Report<'_>, file: &File, place: &Place<'_>, address: SocketAddr, owner: Owner) {
    let owner = owner_in_words(report, file, place, owner);
    let message = format!("`{address}` is an address of weir itself: it is taken by {owner}");
    report.error(place, message).hint("a backend is a server behind weir, which never connects to itself");
}

/// The addresses that are taken on one port. They may be thousands, so none is compared with each of the others.
#[derive(Default)]
struct Taken {
    addresses: HashMap<IpAddr, Owner>,
    /// The first owner of any address of IPv4, and of IPv6.
    first: [Option<Owner>; 2],
}

impl Taken {
    fn take(&mut self, ip: IpAddr, owner: Owner) {
        self.addresses.entry(ip).or_insert(owner);
        let [v4, v6] = &mut self.first;
        (if ip.is_ipv4() { v4 } else { v6 }).get_or_insert(owner);
    }

    /// The first that stands in the way of a socket on this address: on the same, or, where one of the two is the
    /// wildcard, of the same family.
    fn owner(&self, ip: IpAddr) -> Option<Owner> {
        let [v4, v6] = self.first;
        let (wildcard, first) = match ip {
            IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), v4),
            IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), v6),
        };
        if ip == wildcard {
            return first;
        }
        self.first_of([ip, wildcard])
    }

    /// Whose a connection to this address would surely reach.
    fn at(&self, ip: IpAddr) -> Option<Owner> {
        let ip = ip.to_canonical();
        let wildcard = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.first_of([ip, if ip.is_loopback() { wildcard } else { ip }])
    }

    fn first_of(&self, addresses: [IpAddr; 2]) -> Option<Owner> {
        let same = addresses.into_iter().filter_map(|ip| self.addresses.get(&ip));
        same.min().copied()
    }
}

/// Whose an address is: the number of the listener and of the address in it, or the admin server.
type Owner = Option<(usize, usize)>;

/// Names an owner in a message at `here`.
fn owner_in_words(report: &Report<'_>, file: &File, here: &Place<'_>, owner: Owner) -> String {
    let Some((index, number)) = owner else { return "the admin server".to_owned() };
    let listener = file.listeners.get(index);
    let texts = listener.and_then(|listener| listener.address.as_ref());
    let text = texts.and_then(|texts| texts.0.get(number)).map_or("?", String::as_str);
    let name = listener.and_then(|listener| listener.name.as_deref()).unwrap_or("?");
    let root = Place::Root;
    let (list, key) = (root.key("listeners"), "address");
    let line = report.line_from(here, &list.index(index).key(key).index(number));
    format!("`{}` of the listener `{}`, in {line}", short(text), short(name))
}

/// What an address claims on its port: a dual-stack wildcard claims both families.
fn claims(address: &Address) -> impl Iterator<Item = IpAddr> + use<> {
    let v4 = address.dual_stack.then_some(IpAddr::from([0, 0, 0, 0]));
    std::iter::once(address.socket.ip()).chain(v4)
}

/// A text of another place of the file in a message: as much of it as is needed to find it.
fn short(text: &str) -> &str {
    text.char_indices().nth(LONGEST_QUOTE).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Characters of another place's text: a message is made for each of thousands of mistakes.
const LONGEST_QUOTE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_surely_at_every_loopback_address_of_its_family() {
        let owner = |own: &str, backend: &str| {
            let mut taken = Taken::default();
            claims(&listening(own).unwrap()).for_each(|ip| taken.take(ip, Some((0, 0))));
            taken.at(backend.parse().unwrap()).is_some()
        };
        for (own, backend) in [
            (":80", "127.0.0.1"),
            (":80", "127.9.9.9"),
            (":80", "::1"),
            ("0.0.0.0:80", "::ffff:127.0.0.1"),
            ("[::]:80", "::1"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("10.0.0.1:80", "::ffff:10.0.0.1"),
        ] {
            assert!(owner(own, backend), "{own} {backend}");
        }
        for (own, backend) in [
            ("0.0.0.0:80", "::1"),
            ("[::]:80", "127.0.0.1"),
            (":80", "10.0.0.1"),
            ("127.0.0.1:80", "127.0.0.2"),
        ] {
            assert!(!owner(own, backend), "{own} {backend}");
        }
    }
}

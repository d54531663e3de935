//! Owners of addresses: listeners, the admin server and the metrics server must not share an address, and a backend
//! must not be weir itself.
//!
//! In: the addresses of the file. Out: errors at their positions. Compares thousands of addresses in linear
//! time. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use weir_core::plan::{Address, AdminServer, ListenAddress, MetricsServer};
use weir_pool::Endpoint;
use weir_pool::source::Source;

use super::address::{backend, listening};
use crate::diagnostics::Report;
use crate::key::{Item, PlaceId};
use crate::schema::{Backend, File, Listener};

/// weir's own servers, without those that were refused.
pub(super) struct Servers<'f> {
    admin: Option<ListenAddress>,
    metrics: Option<Address>,
    /// Where the metrics server's address is written.
    written: Option<(PlaceId, &'f str)>,
}

impl<'f> Servers<'f> {
    pub(super) fn of(file: &'f File, admin: Option<&AdminServer>, metrics: Option<&MetricsServer>) -> Self {
        let admin = admin.map(|admin| admin.address.clone());
        let key = file.metrics.get().map(|metrics| &metrics.address);
        let written = key.and_then(|key| Some((key.place()?, key.get()?.as_str())));
        Self { admin, metrics: metrics.map(|metrics| metrics.address), written }
    }

    /// Those on IP addresses.
    fn each(&self) -> impl Iterator<Item = (Owner<'f>, Address)> {
        let admin = self.admin.as_ref().and_then(ListenAddress::tcp).map(|address| (Owner::Admin, address));
        admin.into_iter().chain(self.metrics.map(|address| (Owner::Metrics, address)))
    }

    /// The path of the admin server's Unix socket.
    fn path(&self) -> Option<(Arc<Path>, Owner<'f>)> {
        let path = self.admin.as_ref().and_then(ListenAddress::unix)?;
        Some((Arc::clone(path), Owner::Admin))
    }
}

/// Refuses one address for two listeners or servers. A wildcard claims every address of its port.
pub(super) fn refuse_overlaps(report: &mut Report<'_>, file: &File, servers: &Servers<'_>) {
    let mut taken: HashMap<u16, Taken<'_>> = HashMap::new();
    for (server, address) in servers.each() {
        let on_port = taken.entry(address.socket.port()).or_default();
        let other = claims(&address).find_map(|ip| on_port.owner(ip));
        if let (Some(owner), Some((place, text))) = (other, servers.written) {
            let owner = owner_in_words(report, place, owner);
            report.error(place, format!("the address `{}` is taken by {owner}", short(text)));
        }
        claims(&address).for_each(|ip| on_port.take(ip, server));
    }
    let mut paths: HashMap<Arc<Path>, Owner<'_>> = servers.path().into_iter().collect();
    for (number, listener, place, text) in listening_texts(file) {
        let owner = Owner::Listener(Claim { number, listener, place, text });
        let address = match listening(text, report.folder(place)) {
            Ok(ListenAddress::Tcp(address)) => address,
            Ok(ListenAddress::Unix(path)) => {
                if let Some(other) = paths.get(&path) {
                    let other = owner_in_words(report, place, *other);
                    report.error(place, format!("the address `{text}` is taken by {other}"));
                }
                paths.entry(path).or_insert(owner);
                continue;
            }
            Err(_) => continue,
        };
        let on_port = taken.entry(address.socket.port()).or_default();
        let other = claims(&address).filter_map(|ip| on_port.owner(ip)).min_by_key(|owner| order(*owner));
        if let Some(owner) = other {
            let owner = owner_in_words(report, place, owner);
            report.error(place, format!("the address `{text}` is taken by {owner}"));
        }
        claims(&address).for_each(|ip| on_port.take(ip, owner));
    }
}

/// Refuses backends, and ports of health checks, that are weir's own, because weir never connects to itself.
/// Judges by the file alone: a wildcard may cover any address of this machine, but surely covers loopback.
pub(super) fn refuse_own_backends(report: &mut Report<'_>, file: &File, servers: &Servers<'_>) {
    let (own, paths) = own_addresses(report, file, servers);
    for pool in file.pools.items() {
        let check_port = pool.health_check.get().map(|check| &check.port);
        let check_port = check_port.and_then(|port| port.get().copied().zip(port.place()));
        let mut check_refused = false;
        for written in pool.backends.items() {
            let Some((text, place)) = address_of(written) else { continue };
            let Ok(Source::Static(address)) = backend(text, report.folder(place)) else { continue };
            let address = match address.endpoint() {
                Endpoint::Tcp(address) => *address,
                Endpoint::Unix(path) => {
                    if let Some(owner) = paths.get(path) {
                        refuse_own(report, place, text, *owner);
                    }
                    continue;
                }
            };
            let owner = |port| own.get(&port).and_then(|on_port: &Taken<'_>| on_port.at(address.ip()));
            if let Some(owner) = owner(address.port()) {
                refuse_own(report, place, &address.to_string(), owner);
            } else if let Some((port, place)) = check_port
                && !check_refused
                && let Some(owner) = owner(port)
            {
                check_refused = true;
                refuse_own(report, place, &SocketAddr::new(address.ip(), port).to_string(), owner);
            }
        }
    }
}

fn address_of(backend: &Item<Backend>) -> Option<(&str, PlaceId)> {
    match &**backend {
        Backend::Address(text) => Some((text, backend.place())),
        Backend::Fields(fields) => Some((fields.address.get()?, fields.address.place()?)),
    }
}

/// Every address of every listener: its number, the listener, its place, and the text.
fn listening_texts(file: &File) -> impl Iterator<Item = (usize, &Listener, PlaceId, &str)> {
    let listeners = file.listeners.items().iter();
    let all = listeners.flat_map(|listener| {
        let plain = listener.http.get().map(|http| &http.redirect_from);
        let texts = listener.address.texts().chain(plain.into_iter().flat_map(|key| key.texts()));
        texts.map(move |(place, text)| (&**listener, place, text))
    });
    all.enumerate().map(|(number, (listener, place, text))| (number, listener, place, text))
}

/// The addresses of the listeners and of weir's own servers, by port, and the paths of their Unix sockets.
fn own_addresses<'f>(
    report: &Report<'_>,
    file: &'f File,
    servers: &Servers<'f>,
) -> (HashMap<u16, Taken<'f>>, HashMap<Arc<Path>, Owner<'f>>) {
    let mut own: HashMap<u16, Taken<'f>> = HashMap::new();
    let mut paths: HashMap<Arc<Path>, Owner<'f>> = servers.path().into_iter().collect();
    for (server, address) in servers.each() {
        let on_port = own.entry(address.socket.port()).or_default();
        claims(&address).for_each(|ip| on_port.take(ip, server));
    }
    for (number, listener, place, text) in listening_texts(file) {
        let owner = Owner::Listener(Claim { number, listener, place, text });
        match listening(text, report.folder(place)) {
            Ok(ListenAddress::Tcp(address)) => {
                let on_port = own.entry(address.socket.port()).or_default();
                claims(&address).for_each(|ip| on_port.take(ip, owner));
            }
            Ok(ListenAddress::Unix(path)) => {
                paths.entry(path).or_insert(owner);
            }
            Err(_) => {}
        }
    }
    (own, paths)
}

fn refuse_own(report: &mut Report<'_>, place: PlaceId, address: &str, owner: Owner<'_>) {
    let owner = owner_in_words(report, place, owner);
    let message = format!("`{address}` is an address of weir itself: it is taken by {owner}");
    report.error(place, message).hint("a backend is a server behind weir, which never connects to itself");
}

/// The addresses taken on one port. There may be thousands, so none is compared with all the others.
#[derive(Default)]
struct Taken<'f> {
    addresses: HashMap<IpAddr, Owner<'f>>,
    /// The first owner of any address of IPv4, and of IPv6.
    first: [Option<Owner<'f>>; 2],
}

impl<'f> Taken<'f> {
    fn take(&mut self, ip: IpAddr, owner: Owner<'f>) {
        self.addresses.entry(ip).or_insert(owner);
        let [v4, v6] = &mut self.first;
        (if ip.is_ipv4() { v4 } else { v6 }).get_or_insert(owner);
    }

    /// The first owner that conflicts with a socket on this address: on the same address or, if either of the
    /// two is the wildcard, in the same family.
    fn owner(&self, ip: IpAddr) -> Option<Owner<'f>> {
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

    /// The owner that a connection to this address would surely reach.
    fn at(&self, ip: IpAddr) -> Option<Owner<'f>> {
        let ip = ip.to_canonical();
        let wildcard = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.first_of([ip, if ip.is_loopback() { wildcard } else { ip }])
    }

    fn first_of(&self, addresses: [IpAddr; 2]) -> Option<Owner<'f>> {
        let same = addresses.into_iter().filter_map(|ip| self.addresses.get(&ip));
        same.min_by_key(|owner| order(**owner)).copied()
    }
}

/// An address of a listener.
#[derive(Debug, Clone, Copy)]
struct Claim<'f> {
    /// In the order of the file.
    number: usize,
    listener: &'f Listener,
    place: PlaceId,
    text: &'f str,
}

/// The owner of an address.
#[derive(Debug, Clone, Copy)]
enum Owner<'f> {
    Admin,
    Metrics,
    Listener(Claim<'f>),
}

/// weir's own servers come first, then the addresses in the order of the file.
fn order(owner: Owner<'_>) -> (u8, usize) {
    match owner {
        Owner::Admin => (0, 0),
        Owner::Metrics => (1, 0),
        Owner::Listener(claim) => (2, claim.number),
    }
}

/// Names an owner in a message at `here`.
fn owner_in_words(report: &Report<'_>, here: PlaceId, owner: Owner<'_>) -> String {
    let Claim { listener, place, text, .. } = match owner {
        Owner::Admin => return "the admin server".to_owned(),
        Owner::Metrics => return "the metrics server".to_owned(),
        Owner::Listener(claim) => claim,
    };
    let name = listener.name.get().map_or("?", String::as_str);
    let line = report.line_from(here, place);
    format!("`{}` of the listener `{}`, in {line}", short(text), short(name))
}

/// The addresses that an address claims on its port: a dual-stack wildcard claims both families.
fn claims(address: &Address) -> impl Iterator<Item = IpAddr> + use<> {
    let v4 = address.dual_stack.then_some(IpAddr::from([0, 0, 0, 0]));
    std::iter::once(address.socket.ip()).chain(v4)
}

/// A text from another place of the file, cut to as much as is needed to find it.
fn short(text: &str) -> &str {
    text.char_indices().nth(LONGEST_QUOTE).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Characters of another place's text, bounded because thousands of mistakes may each quote it.
const LONGEST_QUOTE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_every_loopback_address_of_their_family() {
        let owner = |own: &str, backend: &str| {
            let mut taken = Taken::default();
            claims(&listening(own, Path::new("/")).unwrap().tcp().unwrap())
                .for_each(|ip| taken.take(ip, Owner::Admin));
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

//! Addresses of listeners, backends and the admin server. Pure, and resolves no name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use weir_core::dialable::{Forbidden, forbidden};
use weir_core::pool::{self, names::Target};
use weir_router::plan::{Address, AdminAddress};

use super::room::Refusal;
use super::routes::DNS_NAME;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema::{Backend, File};

/// Reads a listener's address: `:443`, `127.0.0.1:443`, `[::1]:443`.
pub(super) fn listening(text: &str) -> Result<Address, Refusal> {
    if text.starts_with("unix:") {
        return Err(Refusal::new("a Unix socket as a listener is not supported yet"));
    }
    if let Some(port) = every_address(text) {
        let socket = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port_number(text, port)?));
        return Ok(Address { socket, dual_stack: true });
    }
    let socket = socket(text, "a listener needs an IP address, or none for all: \":443\"")?;
    Ok(Address { socket, dual_stack: false })
}

/// Reads a backend's address: `10.0.0.11:8080`, `[fd00::1]:8080`, `api.internal:8443`, `srv:_https._tcp.api.internal`.
pub(super) fn backend(text: &str) -> Result<pool::Place, Refusal> {
    if let Some(name) = text.strip_prefix("srv:") {
        let name = host_name(name).map_err(|refusal| refusal.hint("such as srv:_https._tcp.api.internal"))?;
        return Ok(pool::Place::Named(Target::Srv { name }));
    }
    if text.starts_with("unix:") {
        return Err(Refusal::new("a Unix socket as a backend is not supported: use an IP address"));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !host.is_empty()
        && host.parse::<IpAddr>().is_err()
        && !host.contains([':', '[', ']'])
        // What ends in a number is an address gone wrong (RFC 1123 §2.1), not a name.
        && host.rsplit('.').next().is_none_or(|label| label.parse::<u64>().is_err())
    {
        let port = port_number(text, port)?;
        return Ok(pool::Place::Named(Target::Host { host: host_name(host)?, port }));
    }
    let address = socket(text, "a backend is an IP address or a host name, and a port: \"10.0.0.11:8080\"")?;
    if let Some(why) = forbidden(address.ip()) {
        let refusal =
            Refusal::new(format!("`{text}` is not an address that can be connected to: {}", a(why)));
        let this_machine = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
        return Err(match why {
            Forbidden::Unspecified => {
                refusal.hint(format!("on this machine it is such as \"{this_machine}\""))
            }
            _ => refusal.hint("a backend is one server, at an address of its own"),
        });
    }
    Ok(pool::Place::Address(address, text.into()))
}

/// With its article.
fn a(why: Forbidden) -> String {
    let article = if why == Forbidden::Unspecified { "an" } else { "a" };
    format!("{article} {why}")
}

/// A DNS name, lower-cased and without a dot at its end.
fn host_name(text: &str) -> Result<Arc<str>, Refusal> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if weir_tls::is_dns_name(&name) {
        return Ok(name.into());
    }
    Err(Refusal::new(format!("`{}` is not a host name", text.escape_debug())).hint(DNS_NAME))
}

/// Reads the admin server's address: on loopback, or `unix:/run/weir/admin.sock`.
pub(super) fn admin(text: &str, folder: &std::path::Path) -> Result<AdminAddress, Refusal> {
    match text.strip_prefix("unix:") {
        Some("") => {
            return Err(Refusal::new("`unix:` without a path").hint("such as unix:/run/weir/admin.sock"));
        }
        Some(path) => {
            let path = folder.join(path);
            // unix(7): `sun_path`, with a zero byte at its end.
            if path.as_os_str().len() > LONGEST_SOCKET_PATH {
                let message = format!("the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes");
                return Err(Refusal::new(message).hint("such as unix:/run/weir/admin.sock"));
            }
            return Ok(AdminAddress::Unix(path));
        }
        None => {}
    }
    let address = match every_address(text) {
        Some(port) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port_number(text, port)?)),
        None => socket(text, "the admin server needs an IP address, such as 127.0.0.1:9901")?,
    };
    if !address.ip().is_loopback() {
        let message =
            "the admin server on an address that is not loopback needs `tls`, which is not supported yet";
        return Err(Refusal::new(message).hint("use 127.0.0.1, [::1] or unix:/run/weir/admin.sock"));
    }
    Ok(AdminAddress::Tcp(address))
}

/// The port of `:443`; `::1` is an IPv6 address that lacks its brackets.
fn every_address(text: &str) -> Option<&str> {
    text.strip_prefix(':').filter(|port| !port.starts_with(':'))
}

fn socket(text: &str, not_an_ip: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(no_port_zero(text)) } else { usable(text, address) };
    }
    if let Some((host, _)) = text.split_once('%')
        && host.strip_prefix('[').is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
    {
        let message = format!("`{text}`: behind `%` stands the number of an interface");
        let hint = "`ip link` shows the numbers: \"[fe80::1%2]:443\" is fe80::1 at the second";
        return Err(Refusal::new(message).hint(hint));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let example = SocketAddr::from((ip, 443));
        return Err(Refusal::new(format!("`{text}` has no port")).hint(format!("such as \"{example}\"")));
    }
    match text.rsplit_once(':') {
        None if text.bytes().all(|b| b.is_ascii_digit()) => {
            Err(Refusal::new(format!("`{text}` has no address")).hint("such as \"127.0.0.1:8443\""))
        }
        None => Err(Refusal::new(format!("`{text}` has no port")).hint(not_an_ip)),
        Some((host, port)) => {
            port_number(text, port)?;
            let bracketless = host.contains(':') && !host.starts_with('[');
            let refusal = Refusal::new(format!("`{text}` is not an IP address and a port"));
            Err(refusal.hint(if bracketless {
                "an IPv6 address stands in brackets: \"[::1]:443\""
            } else {
                not_an_ip
            }))
        }
    }
}

/// The address as the system takes it: one of IPv4 in IPv6 clothes is the one of IPv4, and a link-local one needs its
/// interface.
fn usable(text: &str, address: SocketAddr) -> Result<SocketAddr, Refusal> {
    let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
    match address {
        SocketAddr::V6(v6)
            if canonical.is_ipv6() && v6.ip().is_unicast_link_local() && v6.scope_id() == 0 =>
        {
            let message = format!("`{text}` is a link-local address, which needs its interface");
            let hint =
                format!("the number that `ip link` shows, behind %: \"[{}%2]:{}\"", v6.ip(), v6.port());
            Err(Refusal::new(message).hint(hint))
        }
        SocketAddr::V6(_) if canonical.is_ipv6() => Ok(address),
        _ => Ok(canonical),
    }
}

fn port_number(text: &str, port: &str) -> Result<u16, Refusal> {
    match port.parse() {
        Ok(0) => Err(no_port_zero(text)),
        // `+80` would parse, and is nobody's port.
        Ok(number) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(Refusal::new(format!("`{text}`: `{port}` is not a port"))
            .hint("a port is a number from 1 to 65535")),
    }
}

fn no_port_zero(text: &str) -> Refusal {
    Refusal::new(format!("`{text}`: port 0 is not a port to listen on or connect to"))
}

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
            let Some(Ok(pool::Place::Address(address, _))) = text.map(backend) else { continue };
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

/// Bytes of a Unix socket's path.
const LONGEST_SOCKET_PATH: usize = 107;
/// Characters of another place's text: a message is made for each of thousands of mistakes.
const LONGEST_QUOTE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_listener_may_have() {
        let any = listening(":443").unwrap();
        assert!(any.dual_stack && any.socket == "[::]:443".parse().unwrap());
        let one = listening("[::]:443").unwrap();
        assert!(!one.dual_stack && one.socket == "[::]:443".parse().unwrap());
        assert_eq!(listening("127.0.0.1:8443").unwrap().socket, "127.0.0.1:8443".parse().unwrap());
        let mapped = listening("[::ffff:127.0.0.1]:8443").unwrap();
        assert_eq!(mapped.socket, "127.0.0.1:8443".parse().unwrap(), "IPv4 in IPv6 clothes");
        let scoped = listening("[fe80::1%2]:8443").unwrap();
        assert_eq!(scoped.socket.to_string(), "[fe80::1%2]:8443");
    }

    #[test]
    fn says_what_is_wrong_with_an_address() {
        let hint = |text| {
            let refusal = listening(text).unwrap_err();
            format!("{} / {}", refusal.message, refusal.hint.unwrap_or_default())
        };
        assert!(hint(":0").contains("port 0"));
        assert!(hint(":+80").contains("not a port"));
        assert!(hint(":70000").contains("1 to 65535"));
        assert!(hint("127.0.0.1").contains("\"127.0.0.1:443\""));
        assert!(hint("::1:443").contains("no port") && hint("fd00::x:443").contains("brackets"));
        assert!(hint("8443").contains("no address"));
        assert!(hint("localhost:80").contains("needs an IP address"));
        assert!(hint("unix:/a").contains("not supported yet"));
        assert!(hint("1.2.3.4:99999").contains("not a port"));
        assert!(hint("[fe80::1]:443").contains("needs its interface"));
        assert!(hint("[fe80::1%eth0]:443").contains("number of an interface"));
    }

    #[test]
    fn a_backend_is_an_address_or_a_name() {
        let named = |text| match backend(text) {
            Ok(pool::Place::Named(target)) => target.to_string(),
            other => panic!("{text}: {other:?}"),
        };
        assert!(matches!(backend("10.0.0.1:80"), Ok(pool::Place::Address(..))));
        assert!(matches!(backend("[fd00::1]:80"), Ok(pool::Place::Address(..))));
        assert_eq!(named("API.internal.:8443"), "api.internal:8443");
        assert_eq!(named("localhost:80"), "localhost:80");
        assert_eq!(named("srv:_https._tcp.api.internal"), "srv:_https._tcp.api.internal");
        for bad in [
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "[::ffff:239.1.1.1]:80",
            "255.255.255.255:80",
            "10.0.0.1:0",
            "10.0.0.256:80",
            "a b:80",
            "api.internal",
            "a..b:80",
            "srv:",
            "x:99999",
            "-a.internal:80",
            "a-.internal:80",
            "srv:_https._tcp.-a",
            "[::ffff:0.0.0.0]:80",
            "[fe80::1]:80",
        ] {
            assert!(backend(bad).is_err(), "{bad}");
        }
    }

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

    #[test]
    fn the_admin_server_stays_on_the_machine() {
        let folder = std::path::Path::new("/etc/weir");
        assert!(admin("127.0.0.1:9901", folder).is_ok() && admin("[::1]:9901", folder).is_ok());
        assert_eq!(admin("unix:a.sock", folder), Ok(AdminAddress::Unix("/etc/weir/a.sock".into())));
        assert!(admin("0.0.0.0:9901", folder).is_err() && admin(":9901", folder).is_err());
        assert!(admin("unix:", folder).is_err());
        assert!(admin("[::ffff:127.0.0.1]:9901", folder).is_ok());
        let path = |length: usize| format!("unix:/{}", "a".repeat(length - 1));
        assert!(admin(&path(107), folder).is_ok() && admin(&path(108), folder).is_err());
    }
}

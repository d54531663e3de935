//! Addresses of listeners, backends and the admin server. Pure, and resolves no name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use weir_core::pool::{self, names::Target};
use weir_router::plan::{Address, AdminAddress};

use super::room::Refusal;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema::File;

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
    if address.ip().is_unspecified() {
        return Err(Refusal::new(format!("`{text}` is not an address that can be connected to")));
    }
    Ok(pool::Place::Address(address, text.into()))
}

/// A DNS name, lower-cased and without a dot at its end (RFC 1035 §2.3.4; underscores are fine).
fn host_name(text: &str) -> Result<Arc<str>, Refusal> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(name.into());
    }
    Err(Refusal::new(format!("`{}` is not a host name", text.escape_debug())))
}

/// Reads the admin server's address: on loopback, or `unix:/run/weir/admin.sock`.
pub(super) fn admin(text: &str, folder: &std::path::Path) -> Result<AdminAddress, Refusal> {
    match text.strip_prefix("unix:") {
        Some("") => {
            return Err(Refusal::new("`unix:` without a path").hint("such as unix:/run/weir/admin.sock"));
        }
        Some(path) => return Ok(AdminAddress::Unix(folder.join(path))),
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
        return if address.port() == 0 { Err(no_port_zero(text)) } else { Ok(address) };
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
    let mut taken: HashMap<u16, Vec<(IpAddr, Owner)>> = HashMap::new();
    if let Some(AdminAddress::Tcp(address)) = admin {
        taken.entry(address.port()).or_default().push((address.ip(), None));
    }
    let list = root.key("listeners");
    for (index, listener) in file.listeners.iter().enumerate() {
        let element = list.index(index);
        let place = element.key("address");
        for (number, text) in listener.address.iter().flat_map(|texts| &texts.0).enumerate() {
            let Ok(address) = listening(text) else { continue };
            let on_port = taken.entry(address.socket.port()).or_default();
            let other = on_port.iter().find(|(ip, _)| claims(&address).any(|mine| overlap(mine, *ip)));
            if let Some((_, owner)) = other {
                let owner = owner_in_words(report, file, &place.index(number), *owner);
                report.error(&place.index(number), format!("the address `{text}` is taken by {owner}"));
            }
            on_port.extend(claims(&address).map(|ip| (ip, Some((index, number)))));
        }
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
    format!("`{text}` of the listener `{name}`, in {line}")
}

/// What an address claims on its port: a dual-stack wildcard claims both families.
fn claims(address: &Address) -> impl Iterator<Item = IpAddr> + use<> {
    let v4 = address.dual_stack.then_some(IpAddr::from([0, 0, 0, 0]));
    std::iter::once(address.socket.ip()).chain(v4)
}

/// Whether two sockets on one port stand in each other's way.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())
}

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
            "10.0.0.1:0",
            "10.0.0.256:80",
            "a b:80",
            "api.internal",
            "a..b:80",
            "srv:",
            "x:99999",
        ] {
            assert!(backend(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_admin_server_stays_on_the_machine() {
        let folder = std::path::Path::new("/etc/weir");
        assert!(admin("127.0.0.1:9901", folder).is_ok() && admin("[::1]:9901", folder).is_ok());
        assert_eq!(admin("unix:a.sock", folder), Ok(AdminAddress::Unix("/etc/weir/a.sock".into())));
        assert!(admin("0.0.0.0:9901", folder).is_err() && admin(":9901", folder).is_err());
        assert!(admin("unix:", folder).is_err());
    }
}

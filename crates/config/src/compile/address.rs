//! Addresses of listeners, backends and the admin server. Resolves no names but those of interfaces.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use weir_core::plan::{Address, ListenAddress};
use weir_pool::Endpoint;
use weir_pool::dialable::{Forbidden, forbidden};
use weir_pool::source::Source;

use super::compiler::Refusal;
use super::dns_name::DNS_NAME;
use super::machine;

/// Reads a listener's address: `:443`, `127.0.0.1:443`, `[::1]:443`, `unix:/run/weir.sock`; relative paths are relative to
/// the folder.
pub(super) fn listening(text: &str, folder: &Path) -> Result<ListenAddress, Refusal> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(ListenAddress::Unix(unix(path, folder, "unix:/run/weir.sock")?)),
        None => tcp(text, "a listener needs an IP address, or none for all: \":443\"").map(Into::into),
    }
}

/// Reads a backend's address: `10.0.0.11:8080`, `[fd00::1]:8080`, `api.internal:8443`, `srv:_https._tcp.api.internal`,
/// `unix:/run/app.sock`.
pub(super) fn backend(text: &str, folder: &Path) -> Result<Source, Refusal> {
    if let Some(name) = text.strip_prefix("srv:") {
        let name = host_name(name).map_err(|refusal| refusal.hint("such as srv:_https._tcp.api.internal"))?;
        return Ok(Source::Srv { name });
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Source::Static(Endpoint::Unix(unix(path, folder, "unix:/run/app.sock")?).into()));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !host.is_empty()
        && host.parse::<IpAddr>().is_err()
        && !host.contains([':', '[', ']'])
        // A last label that is a number makes this a malformed address (RFC 1123 §2.1), not a name.
        && host.rsplit('.').next().is_none_or(|label| label.parse::<u64>().is_err())
    {
        let port = port_number(text, port)?;
        return Ok(Source::Dns { host: host_name(host)?, port });
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
    Ok(Source::Static(address.into()))
}

/// The reason with its article.
fn a(why: Forbidden) -> String {
    let article = if why == Forbidden::Unspecified { "an" } else { "a" };
    format!("{article} {why}")
}

/// A DNS name, lower-cased and without a trailing dot.
fn host_name(text: &str) -> Result<Arc<str>, Refusal> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if weir_tls::is_dns_name(&name) {
        return Ok(name.into());
    }
    Err(Refusal::new(format!("`{}` is not a host name", text.escape_debug())).hint(DNS_NAME))
}

/// Reads the admin server's address: an IP address or `unix:/run/weir/admin.sock`; on loopback, unless it speaks TLS.
pub(super) fn admin(text: &str, folder: &Path, has_tls: bool) -> Result<ListenAddress, Refusal> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(ListenAddress::Unix(unix(path, folder, "unix:/run/weir/admin.sock")?));
    }
    let address = tcp(text, "the admin server needs an IP address, such as 127.0.0.1:9901")?;
    if !has_tls && !address.socket.ip().is_loopback() {
        return Err(Refusal::new(BEYOND_LOOPBACK).hint(BEYOND_LOOPBACK_HINT));
    }
    Ok(ListenAddress::Tcp(address))
}

/// Reads the path of a Unix socket.
fn unix(path: &str, folder: &Path, example: &str) -> Result<Arc<Path>, Refusal> {
    let such_as = |message: String| Refusal::new(message).hint(format!("such as {example}"));
    if path.is_empty() {
        return Err(such_as("`unix:` without a path".to_owned()));
    }
    if path.contains('\0') {
        return Err(such_as("a path has no zero byte".to_owned()));
    }
    let path = folder.join(path);
    // unix(7): `sun_path` includes a terminating zero byte.
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(such_as(format!("the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes")));
    }
    Ok(path.into())
}

/// Why a caller must show a certificate: the admin server knows no other authentication.
pub(super) const BEYOND_LOOPBACK: &str = "the admin server on an address that is not loopback needs `tls` with `client_auth`, and `mode: required` there";
pub(super) const BEYOND_LOOPBACK_HINT: &str =
    "use 127.0.0.1, [::1] or unix:/run/weir/admin.sock; `metrics` may listen anywhere";

/// Reads the metrics server's address, which takes the forms of a listener's.
pub(super) fn metrics(text: &str) -> Result<Address, Refusal> {
    if text.starts_with("unix:") {
        let message = "the metrics server listens on an IP address";
        return Err(Refusal::new(message).hint("such as \":9902\"; `admin` may have a Unix socket"));
    }
    tcp(text, "the metrics server needs an IP address, or none for all: \":9902\"")
}

/// Reads an address to listen on.
fn tcp(text: &str, not_an_ip: &str) -> Result<Address, Refusal> {
    let (socket, dual_stack) = match every_address(text) {
        Some(port) => (SocketAddr::from((Ipv6Addr::UNSPECIFIED, port_number(text, port)?)), true),
        None => (socket(text, not_an_ip)?, false),
    };
    Ok(Address { socket, dual_stack, mptcp: false })
}

/// The port of `:443`; `None` for `::1`, an IPv6 address without its brackets.
fn every_address(text: &str) -> Option<&str> {
    text.strip_prefix(':').filter(|port| !port.starts_with(':'))
}

fn socket(text: &str, not_an_ip: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(address) = numbered(text)?.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(no_port_zero(text)) } else { usable(text, address) };
    }
    if with_interface(text).is_some() {
        let message = format!("`{text}`: `%` must be followed by an interface");
        let hint = "by its name or its number, as `ip link` shows them: \"[fe80::1%eth0]:443\"";
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
                "an IPv6 address needs brackets: \"[::1]:443\""
            } else {
                not_an_ip
            }))
        }
    }
}

/// Reads an address of this machine to connect from, without a port: `10.0.0.5`, `fd00::5`, `fe80::5%eth0`. Its port is 0.
pub(super) fn source(text: &str) -> Result<SocketAddr, Refusal> {
    let refusal = || {
        let shown = text.escape_debug();
        Refusal::new(format!("`{shown}` is not an IP address"))
            .hint("an address of this machine, without a port: 10.0.0.5")
    };
    let with_port = if text.contains(':') { format!("[{text}]:1") } else { format!("{text}:1") };
    let mut address: SocketAddr = numbered(&with_port)?.parse().map_err(|_no_address| refusal())?;
    if let Some(why) = forbidden(address.ip()) {
        return Err(Refusal::new(format!("`{text}` is not an address to connect from: {}", a(why))));
    }
    if let SocketAddr::V6(v6) = address
        && v6.ip().is_unicast_link_local()
        && v6.scope_id() == 0
    {
        let message = format!("`{text}` is a link-local address, which needs its interface");
        return Err(Refusal::new(message).hint(format!("behind %, as `ip link` shows it: \"{text}%eth0\"")));
    }
    if address.is_ipv6() && address.ip().to_canonical().is_ipv4() {
        address.set_ip(address.ip().to_canonical());
    }
    address.set_port(0);
    Ok(address)
}

/// What is in front of and behind the `%` of an IPv6 address with an interface: `[fe80::1%eth0]:443`.
pub(super) fn with_interface(text: &str) -> Option<(&str, &str)> {
    let (ip, rest) = text.split_once('%')?;
    ip.strip_prefix('[')?.parse::<Ipv6Addr>().ok()?;
    Some((ip, rest))
}

/// The text with the number of the interface in place of its name.
fn numbered(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let parts = with_interface(text).and_then(|(ip, rest)| Some((ip, rest.split_once(']')?)));
    let Some((ip, (name, port))) = parts else { return Ok(text.into()) };
    if name.is_empty() || name.parse::<u32>().is_ok() {
        return Ok(text.into());
    }
    match machine::interface(name) {
        Ok(number) => Ok(format!("{ip}%{number}]{port}").into()),
        Err(_) => {
            let message = format!("`{text}`: this machine has no interface `{}`", name.escape_debug());
            Err(Refusal::new(message).hint("`ip link` shows the interfaces"))
        }
    }
}

/// The address as the system takes it: an IPv4-mapped IPv6 address becomes IPv4, and a link-local address
/// must name its interface.
fn usable(text: &str, address: SocketAddr) -> Result<SocketAddr, Refusal> {
    let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
    match address {
        SocketAddr::V6(v6)
            if canonical.is_ipv6() && v6.ip().is_unicast_link_local() && v6.scope_id() == 0 =>
        {
            let message = format!("`{text}` is a link-local address, which needs its interface");
            let hint = format!("behind %, as `ip link` shows it: \"[{}%eth0]:{}\"", v6.ip(), v6.port());
            Err(Refusal::new(message).hint(hint))
        }
        SocketAddr::V6(_) if canonical.is_ipv6() => Ok(address),
        _ => Ok(canonical),
    }
}

fn port_number(text: &str, port: &str) -> Result<u16, Refusal> {
    match port.parse() {
        Ok(0) => Err(no_port_zero(text)),
        // `+80` would parse, but is not a port.
        Ok(number) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(Refusal::new(format!("`{text}`: `{port}` is not a port"))
            .hint("a port is a number from 1 to 65535")),
    }
}

fn no_port_zero(text: &str) -> Refusal {
    Refusal::new(format!("`{text}`: port 0 is not a port to listen on or connect to"))
}

/// Bytes of a Unix socket's path.
const LONGEST_SOCKET_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_addresses_are_read() {
        let folder = Path::new("/etc/weir");
        let listening = |text| listening(text, folder).unwrap().tcp().unwrap();
        let any = listening(":443");
        assert!(any.dual_stack && any.socket == "[::]:443".parse().unwrap());
        let one = listening("[::]:443");
        assert!(!one.dual_stack && one.socket == "[::]:443".parse().unwrap());
        assert_eq!(listening("127.0.0.1:8443").socket, "127.0.0.1:8443".parse().unwrap());
        let mapped = listening("[::ffff:127.0.0.1]:8443");
        assert_eq!(mapped.socket, "127.0.0.1:8443".parse().unwrap(), "IPv4 in IPv6 clothes");
        let scoped = listening("[fe80::1%2]:8443");
        assert_eq!(scoped.socket.to_string(), "[fe80::1%2]:8443");
        assert_eq!(listening("[fe80::1%lo]:8443").socket.to_string(), "[fe80::1%1]:8443");
    }

    #[test]
    fn wrong_addresses_are_explained() {
        let hint = |text: &str| {
            let refusal = listening(text, Path::new("/etc/weir")).unwrap_err();
            format!("{} / {}", refusal.message, refusal.hint.unwrap_or_default())
        };
        assert!(hint(":0").contains("port 0"));
        assert!(hint(":+80").contains("not a port"));
        assert!(hint(":70000").contains("1 to 65535"));
        assert!(hint("127.0.0.1").contains("\"127.0.0.1:443\""));
        assert!(hint("::1:443").contains("no port") && hint("fd00::x:443").contains("brackets"));
        assert!(hint("8443").contains("no address"));
        assert!(hint("localhost:80").contains("needs an IP address"));
        assert!(hint("unix:").contains("unix:/run/weir.sock"));
        assert!(hint(&format!("unix:{}", "a".repeat(99))).contains("at most 107 bytes"));
        assert!(hint("1.2.3.4:99999").contains("not a port"));
        assert!(hint("[fe80::1]:443").contains("needs its interface"));
        assert!(hint("[fe80::1%]:443").contains("followed by an interface"));
        assert!(hint("[fe80::1%no-such-one]:443").contains("has no interface `no-such-one`"));
    }

    #[test]
    fn backends_are_addresses_or_names() {
        let backend = |text| backend(text, Path::new("/etc/weir"));
        let named = |text| match backend(text) {
            Ok(source) if source.is_followed() => source.to_string(),
            other => panic!("{text}: {other:?}"),
        };
        assert!(matches!(backend("10.0.0.1:80"), Ok(Source::Static(_))));
        assert!(matches!(backend("[fd00::1]:80"), Ok(Source::Static(_))));
        assert_eq!(backend("unix:app.sock").unwrap().to_string(), "unix:/etc/weir/app.sock");
        assert_eq!(backend("unix:/run/app.sock").unwrap().to_string(), "unix:/run/app.sock");
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
            "unix:",
            "unix:/a\0b",
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
    fn sources_have_no_port() {
        for (text, address) in [
            ("10.0.0.5", "10.0.0.5:0"),
            ("fd00::5", "[fd00::5]:0"),
            ("fe80::5%lo", "[fe80::5%1]:0"),
            ("::ffff:10.0.0.5", "10.0.0.5:0"),
        ] {
            assert_eq!(source(text).unwrap().to_string(), address);
        }
        for bad in [
            "10.0.0.5:80",
            "[fd00::5]:80",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "fe80::5",
            "fe80::5%no-such-one",
            "eth0",
            "",
        ] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn admin_addresses_stay_on_the_machine() {
        let folder = Path::new("/etc/weir");
        assert!(admin("127.0.0.1:9901", folder, false).is_ok() && admin("[::1]:9901", folder, false).is_ok());
        assert_eq!(
            admin("unix:a.sock", folder, false),
            Ok(ListenAddress::Unix(Path::new("/etc/weir/a.sock").into()))
        );
        assert!(admin("0.0.0.0:9901", folder, false).is_err() && admin(":9901", folder, false).is_err());
        assert!(admin("unix:", folder, false).is_err());
        assert!(admin("0.0.0.0:9901", folder, true).is_ok());
        assert!(matches!(admin(":9901", folder, true), Ok(ListenAddress::Tcp(any)) if any.dual_stack));
        assert!(metrics(":9902").is_ok_and(|any| any.dual_stack) && metrics("10.0.0.1:9902").is_ok());
        assert!(metrics("unix:a.sock").is_err() && metrics("9902").is_err() && metrics(":0").is_err());
        assert!(admin("[::ffff:127.0.0.1]:9901", folder, false).is_ok());
        let path = |length: usize| format!("unix:/{}", "a".repeat(length - 1));
        assert!(admin(&path(107), folder, false).is_ok() && admin(&path(108), folder, false).is_err());
    }
}

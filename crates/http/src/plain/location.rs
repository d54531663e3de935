//! Pure: the address of a request over TLS.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use std::fmt::Write;
use std::net::Ipv6Addr;

/// The port of `https` (RFC 9110 §4.2.2).
const HTTPS: u16 = 443;

/// The Location field for a request with this target: the same host, path and query over TLS at `port`. `None` if the
/// request has no host, more than one, or one that is none. The authority of the target goes before Host (RFC 9112 §3.2.2).
pub(super) fn of(target: &Uri, fields: &HeaderMap, port: u16) -> Option<HeaderValue> {
    let mut hosts = fields.get_all(HOST).iter();
    let field = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(Authority::try_from(host.as_bytes()).ok()?),
        (Some(_), Some(_)) => return None,
        (None, _) => None,
    };
    let authority = target.authority().or(field.as_ref())?;
    let host = host(authority)?;
    let path = if target.path().is_empty() { "/" } else { target.path() };
    // Such as the `*` of OPTIONS.
    path.starts_with('/').then_some(())?;
    let mut location = format!("https://{host}");
    if port != HTTPS {
        write!(location, ":{port}").ok()?;
    }
    let question = target.query().map(|_| "?").unwrap_or_default();
    for byte in [path, question, target.query().unwrap_or_default()].into_iter().flat_map(str::bytes) {
        match byte {
            // RFC 3986 §2.1: a URI is ASCII.
            b'!'..=b'~' => location.push(char::from(byte)),
            other => write!(location, "%{other:02X}").ok()?,
        }
    }
    HeaderValue::try_from(location).ok()
}

/// The host of an authority, if a name or an address is all it has before its port.
fn host(authority: &Authority) -> Option<&str> {
    let (text, host) = (authority.as_str(), authority.host());
    let port = text.strip_prefix(host)?;
    let port = port.strip_prefix(':').unwrap_or(port);
    let digits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = port.is_empty() || digits && port.parse::<u16>().is_ok();
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            (1..=LONGEST).contains(&host.len()) && host.bytes().all(fits)
        }
    };
    (is_port && is_host).then_some(host)
}

/// A name with its last dot (RFC 1035 §2.3.4).
const LONGEST: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    fn location(target: &str, hosts: &[&str], port: u16) -> Option<String> {
        let mut fields = HeaderMap::new();
        for host in hosts {
            fields.append(HOST, HeaderValue::try_from(*host).unwrap());
        }
        let location = of(&target.parse().unwrap(), &fields, port)?;
        Some(location.to_str().unwrap().to_owned())
    }

    #[test]
    fn host_path_and_query_stay() {
        for (target, host, port, expected) in [
            ("/", "a.test", 443, "https://a.test/"),
            ("/x/y?a=b&c=//d", "A.test:80", 443, "https://A.test/x/y?a=b&c=//d"),
            ("/%2e%2e/x", "a.test:", 8443, "https://a.test:8443/%2e%2e/x"),
            ("/x", "[::1]:8080", 8443, "https://[::1]:8443/x"),
            ("/x", "10.0.0.1", 443, "https://10.0.0.1/x"),
            ("//evil.test/x", "a.test", 443, "https://a.test//evil.test/x"),
            ("http://b.test/x", "a.test", 443, "https://b.test/x"),
            ("http://b.test:8080?q", "a.test", 443, "https://b.test/?q"),
            ("/caf\u{e9}", "a.test", 443, "https://a.test/caf%C3%A9"),
        ] {
            assert_eq!(location(target, &[host], port).as_deref(), Some(expected), "{target} {host}");
        }
        assert_eq!(location("http://b.test/x", &[], 443).as_deref(), Some("https://b.test/x"));
    }

    #[test]
    fn requests_without_one_good_host_are_sent_nowhere() {
        let long = "a".repeat(255);
        for hosts in [
            &[][..],
            &[""],
            &["a.test", "a.test"],
            &["user@a.test"],
            &["a.test:99999"],
            &["a.test:x"],
            &["a test"],
            &["a.test/x"],
            &["a.test?x"],
            &["a,b"],
            &["[::1"],
            &["[x]"],
            &["a%2f"],
            &[long.as_str()],
        ] {
            assert_eq!(location("/", hosts, 443), None, "{hosts:?}");
        }
        assert_eq!(location("*", &["a.test"], 443), None);
        assert_eq!(location("http://user@b.test/", &["a.test"], 443), None);
    }
}

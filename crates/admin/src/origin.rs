//! Does a request come from this machine's own tools, or from a web page?
//!
//! Without client certificates the admin server listens only on loopback or on a Unix socket, but a browser on the same
//! machine reaches loopback too, for any page that it shows. So two things are checked, and a request that cannot be
//! read is refused:
//!
//! - **the name** that the request gives weir, for every method: if a stranger's own name resolves to loopback (DNS
//!   rebinding), that page is same-origin to the browser, and only the `Host` gives it away. `/healthz` and `/readyz`
//!   are answered under any name, since probes send the name or address that they know, and the answers hold no secret;
//! - **the page** that sent the request, if the request changes something.
//!
//! No browser reaches a Unix socket, so there the name does not matter. A caller with a certificate may use any name:
//! its browser has verified weir's certificate for that name, which a stranger's name does not pass.

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Version};
use std::net::IpAddr;
use url::Host;

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP on loopback, without a client certificate.
    Loopback {
        /// Whether it came over TLS.
        tls: bool,
    },
    /// TLS with a verified client certificate, from anywhere.
    Certified,
    /// A Unix socket.
    Unix,
}

impl Transport {
    /// The scheme that a browser gives the origin of a page from this server.
    fn scheme(self) -> &'static [u8] {
        match self {
            Self::Certified | Self::Loopback { tls: true } => b"https://",
            Self::Unix | Self::Loopback { tls: false } => b"http://",
        }
    }
}

/// May this request be answered at all?
///
/// # Errors
/// Why not, in one line.
pub(crate) fn asked_by_name<B>(request: &Request<B>, transport: Transport) -> Result<(), &'static str> {
    if transport == Transport::Unix || is_probe(request) {
        return Ok(());
    }
    let certified = transport == Transport::Certified;
    // A target in absolute form (`GET http://host/path`) names a host of its own, beside the header.
    if let Some(target) = request.uri().authority() {
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        match certified {
            true if host != Some(target.as_str().as_bytes()) => {
                return Err("the target's host is not the Host");
            }
            false if !is_loopback(target.as_str()) => {
                return Err("the target's host is not this machine's loopback");
            }
            _ => {}
        }
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        // HTTP/1.0 has no Host, and no browser speaks it.
        (None, _) if request.version() <= Version::HTTP_10 => Ok(()),
        (None, _) => Err("there is no Host"),
        (Some(host), None) if host.to_str().is_ok_and(is_loopback) => Ok(()),
        (Some(host), None) if certified => match host.to_str().ok().and_then(host_of) {
            Some(_readable) => Ok(()),
            None => Err("the Host cannot be read"),
        },
        (Some(_), None) => {
            Err("the Host is not this machine's loopback: ask for 127.0.0.1, [::1] or localhost")
        }
        (Some(_), Some(_)) => Err("there is more than one Host"),
    }
}

fn is_probe<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && matches!(request.uri().path(), "/healthz" | "/readyz")
}

/// May this request change something? [`asked_by_name`] must have accepted it.
///
/// # Errors
/// Why not, in one line.
pub(crate) fn sent_by_no_other_page(headers: &HeaderMap, transport: Transport) -> Result<(), &'static str> {
    let all = |name: &str, good: &dyn Fn(&HeaderValue) -> bool| headers.get_all(name).iter().all(good);
    if !all("sec-fetch-site", &|site| site == "same-origin" || site == "none") {
        return Err("a page of another site may not change anything");
    }
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let same = |origin: &HeaderValue| {
        origin.as_bytes().strip_prefix(transport.scheme()).is_some_and(|rest| Some(rest) == host)
    };
    if !all(ORIGIN.as_str(), &same) {
        return Err("a page of another origin may not change anything");
    }
    Ok(())
}

/// Is this `host` or `host:port` loopback? Text that cannot be read is not.
fn is_loopback(authority: &str) -> bool {
    match host_of(authority) {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name.strip_suffix('.').unwrap_or(&name) == "localhost",
        None => false,
    }
}

/// The host of `host` or `host:port`; `None` if it cannot be read.
fn host_of(authority: &str) -> Option<Host> {
    let (host, port) = match authority.rsplit_once(':') {
        // The colons in brackets are those of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let a_port = port.is_empty() || port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    // The parser would undo percent-encoding, which no Host has.
    if !a_port || host.contains('%') {
        return None;
    }
    Host::parse(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Transport = Transport::Loopback { tls: false };

    fn request(method: Method, target: &str, version: Version, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    /// Is `GET /metrics` with this Host answered?
    fn passes(host: &str) -> bool {
        let asked = request(Method::GET, "/metrics", Version::HTTP_11, &[("host", host)]);
        asked_by_name(&asked, PLAIN).is_ok()
    }

    #[test]
    fn loopback_passes_in_every_notation() {
        for host in [
            "127.0.0.1:9901",
            "127.0.0.1",
            "127.255.0.9:1",
            "127.0.0.1.:9901",
            "127.1:9901",
            "0x7f.0.0.1",
            "2130706433:9901",
            "[::1]:9901",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:9901",
            "[::ffff:127.0.0.1]:9901",
            "[::FFFF:7f00:2]",
            "localhost",
            "localhost:9901",
            "LocalHost:9901",
            "localhost.:9901",
            "LOCALHOST.",
            "localhost:",
        ] {
            assert!(passes(host), "{host} is refused");
        }
    }

    #[test]
    fn any_other_host_is_refused_and_so_is_one_that_cannot_be_read() {
        for host in [
            "evil.example:9901",
            "evil.example",
            "a{b.example",
            "a{b.example:9901",
            "a b.example",
            "",
            ":9901",
            "128.0.0.1:9901",
            "0.0.0.0:9901",
            "10.0.0.1",
            "[::]:9901",
            "[::2]",
            "[fe80::1%25lo]",
            "[::ffff:10.0.0.1]:9901",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]]:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.localhost",
            "localhost..",
            "localhost:x",
            "localhost:+1",
            "localhost:99999",
            "localhost:9901:1",
            "evil@localhost:9901",
            "localhost@evil.example",
            "localhost:9901@evil.example",
            "localhost/evil.example",
            "localhost,evil.example",
            "localhost#evil.example",
            "%6cocalhost:9901",
            "http://localhost:9901",
        ] {
            assert!(!passes(host), "{host} passes");
        }
        let mut bytes = request(Method::GET, "/metrics", Version::HTTP_11, &[]);
        bytes.headers_mut().insert(HOST, HeaderValue::from_bytes(b"localhost\xe9").unwrap());
        assert!(asked_by_name(&bytes, PLAIN).is_err(), "a Host that is no ASCII passes");
    }

    #[test]
    fn every_method_and_path_is_guarded_but_for_probes() {
        let stranger = [("host", "evil.example")];
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]
        {
            for path in ["/", "/metrics", "/api/v1/status", "/api/v1/config", "/healthz/", "/nowhere"] {
                let asked = request(method.clone(), path, Version::HTTP_11, &stranger);
                assert!(asked_by_name(&asked, PLAIN).is_err(), "{method} {path}");
                assert!(asked_by_name(&asked, Transport::Unix).is_ok(), "{method} {path} on a socket");
            }
        }
        for (method, path, passes) in [
            (Method::GET, "/healthz", true),
            (Method::HEAD, "/readyz", true),
            (Method::GET, "/readyz?pools=ignore", true),
            (Method::POST, "/healthz", false),
        ] {
            let asked = request(method.clone(), path, Version::HTTP_11, &stranger);
            assert_eq!(asked_by_name(&asked, PLAIN).is_ok(), passes, "{method} {path}");
        }
    }

    #[test]
    fn only_http_1_0_may_come_without_a_host() {
        let asked = |version, headers: &[(&str, &str)]| {
            asked_by_name(&request(Method::GET, "/metrics", version, headers), PLAIN)
        };
        assert_eq!(asked(Version::HTTP_10, &[]), Ok(()));
        assert!(asked(Version::HTTP_11, &[]).is_err());
        assert!(asked(Version::HTTP_10, &[("host", "evil.example")]).is_err());
    }

    #[test]
    fn a_second_host_is_refused() {
        let asked = |target, headers: &[(&str, &str)]| {
            asked_by_name(&request(Method::GET, target, Version::HTTP_11, headers), PLAIN)
        };
        for second in ["localhost", "evil.example"] {
            assert!(asked("/metrics", &[("host", "localhost"), ("host", second)]).is_err(), "{second}");
        }
        let host = [("host", "localhost:9901")];
        assert_eq!(asked("http://localhost:9901/metrics", &host), Ok(()));
        for target in [
            "http://evil.example/metrics",
            "http://evil@localhost:9901/metrics",
            "http://localhost@evil.example/metrics",
            "evil.example:9901",
        ] {
            assert!(asked(target, &host).is_err(), "{target}");
        }
        assert!(asked("http://localhost:9901/metrics", &[("host", "evil.example")]).is_err());
    }

    #[test]
    fn foreign_pages_change_nothing() {
        let sent = |list: &[(&str, &str)]| {
            let request = request(Method::POST, "/api/v1/reload", Version::HTTP_11, list);
            sent_by_no_other_page(request.headers(), PLAIN)
        };
        for good in [
            &[("host", "127.0.0.1:9901")][..],
            &[
                ("host", "localhost:9901"),
                ("origin", "http://localhost:9901"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("host", "localhost:9901"), ("sec-fetch-site", "none")],
            &[],
        ] {
            assert_eq!(sent(good), Ok(()), "{good:?}");
        }
        for bad in [
            &[("host", "127.0.0.1:9901"), ("origin", "http://evil.example")][..],
            &[("host", "127.0.0.1:9901"), ("origin", "null")],
            &[("origin", "http://")],
            &[
                ("host", "127.0.0.1:9901"),
                ("origin", "http://127.0.0.1:9901"),
                ("origin", "http://evil.example"),
            ],
            &[("host", "127.0.0.1:9901"), ("sec-fetch-site", "cross-site")],
            &[("host", "127.0.0.1:9901"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(sent(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn callers_with_a_certificate_may_use_any_readable_name() {
        let asked = |target, headers: &[(&str, &str)]| {
            let asked = request(Method::POST, target, Version::HTTP_11, headers);
            asked_by_name(&asked, Transport::Certified)
        };
        for host in ["admin.example.test:9901", "10.0.0.7:9901", "[fd00::7]:9901", "localhost:9901"] {
            assert_eq!(asked("/metrics", &[("host", host)]), Ok(()), "{host}");
            let without = request(Method::GET, "/metrics", Version::HTTP_11, &[("host", host)]);
            let plain = asked_by_name(&without, Transport::Loopback { tls: true });
            assert_eq!(plain.is_ok(), host.starts_with("localhost"), "{host}, without a certificate");
        }
        for host in ["", ":9901", "a b", "admin.example.test:x", "evil@admin.example.test"] {
            assert!(asked("/metrics", &[("host", host)]).is_err(), "{host}");
        }
        let host = ("host", "admin.example.test");
        assert!(asked("/metrics", &[host, host]).is_err() && asked("/metrics", &[]).is_err());
        assert_eq!(asked("https://admin.example.test/metrics", &[host]), Ok(()));
        assert!(asked("https://evil.example/metrics", &[host]).is_err());
    }

    #[test]
    fn the_origin_of_a_page_over_tls_is_https() {
        let sent = |origin: &str, transport| {
            let headers = [("host", "admin.example.test:9901"), ("origin", origin)];
            let request = request(Method::POST, "/api/v1/reload", Version::HTTP_11, &headers);
            sent_by_no_other_page(request.headers(), transport).is_ok()
        };
        for transport in [Transport::Certified, Transport::Loopback { tls: true }] {
            assert!(sent("https://admin.example.test:9901", transport));
            for other in [
                "http://admin.example.test:9901",
                "https://admin.example.test",
                "https://evil.example",
                "null",
            ] {
                assert!(!sent(other, transport), "{other}");
            }
        }
        assert!(!sent("https://admin.example.test:9901", PLAIN));
    }
}

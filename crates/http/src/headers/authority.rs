//! Pure: host and port of a request, from its `Host` field or its target (RFC 9110 §7.2, RFC 3986 §3.2).

use http::HeaderValue;
use std::net::Ipv6Addr;

/// The host for which a request is, and its port.
#[derive(Clone, Debug)]
pub struct Authority {
    /// As it came.
    text: HeaderValue,
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// The first bytes of the text.
    AsItCame(usize),
    /// The host in its plain form, which the text does not have.
    Rewritten(Box<str>),
}

impl Authority {
    /// Parses an authority; `None` unless it is a host with or without a port.
    ///
    /// User information, percent-encoding and characters that no host name on the internet has are refused, though
    /// RFC 3986 allows some of them: backends differ in their reading of them.
    pub fn parse(text: HeaderValue) -> Option<Self> {
        let plain = std::str::from_utf8(text.as_bytes()).ok()?;
        let (host, rest) = split(plain)?;
        let port = port(rest)?;
        let host = plain_host(host)?;
        Some(Self { text, host, port })
    }

    /// The host: in lower case, without its trailing dot. An IPv6 address is in brackets and in its shortest form;
    /// punycode stays.
    pub fn host(&self) -> &str {
        match &self.host {
            Host::AsItCame(length) => {
                self.text.to_str().ok().and_then(|text| text.get(..*length)).unwrap_or_default()
            }
            Host::Rewritten(host) => host,
        }
    }

    /// The port, if the request names one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The authority as it came, for the field `Host`.
    pub fn text(&self) -> &HeaderValue {
        &self.text
    }

    /// Whether both name the same place, given the port of the scheme.
    pub fn is_same(&self, other: &Self, default_port: u16) -> bool {
        self.host() == other.host() && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// Host and the text behind it: nothing, or a colon and a port.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')?.checked_add(2)?,
        None => text.find(':').unwrap_or(text.len()),
    };
    text.split_at_checked(end)
}

/// The port behind a host: `:443`. RFC 3986 §3.2.3 allows a colon without a port.
fn port(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty().then_some(None) };
    if digits.is_empty() {
        return Some(None);
    }
    if digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0).map(Some)
}

fn plain_host(host: &str) -> Option<Host> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(Host::Rewritten(format!("[{address}]").into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let labels_sound = !name.starts_with('.') && !name.ends_with('.') && !name.contains("..");
    if name.is_empty() || name.len() > LONGEST_NAME || !labels_sound || !name.bytes().all(sound) {
        return None;
    }
    Some(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Host::Rewritten(name.to_ascii_lowercase().into())
    } else {
        Host::AsItCame(name.len())
    })
}

/// Of a name in DNS as text, without its trailing dot (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Option<Authority> {
        Authority::parse(HeaderValue::from_bytes(text).ok()?)
    }

    #[test]
    fn hosts_have_one_plain_form() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("EXAMPLE.com.:443", "example.com", Some(443)),
            ("example.com:", "example.com", None),
            ("a_b.internal:65535", "a_b.internal", Some(65535)),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("192.0.2.1:00080", "192.0.2.1", Some(80)),
            ("[2001:DB8:0::1]:8443", "[2001:db8::1]", Some(8443)),
            ("[::1]", "[::1]", None),
        ] {
            let parsed = parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((parsed.host(), parsed.port()), (host, port), "{text}");
            assert_eq!(parsed.text(), text);
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in [
            "",
            ".",
            "..",
            ":80",
            "a..b",
            ".a",
            "a b",
            "a,b",
            "user@example.com",
            "user:pw@example.com",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%00b",
            "a%2eb",
            "*.example.com",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:8o",
            "example.com:80:80",
            "example.com:123456",
            "[::1",
            "::1",
            "[::1]80",
            "[::1]x:80",
            "[]",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "b\u{fc}cher.example",
            "http://a",
            "a\"b",
            "a<b",
            "a'b",
            "a;b",
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(parse(b"a\tb").is_none() && parse(b"a\xffb").is_none());
        assert!(parse("a".repeat(253).as_bytes()).is_some());
        assert!(parse("a".repeat(254).as_bytes()).is_none());
    }

    #[test]
    fn the_port_of_the_scheme_needs_no_word() {
        let [bare, with, other] = ["Example.com", "example.com.:443", "example.com:8443"]
            .map(|text| parse(text.as_bytes()).unwrap());
        assert!(bare.is_same(&with, 443) && !bare.is_same(&other, 443) && !bare.is_same(&with, 80));
    }

    proptest! {
        /// A parsed host parses again, to itself: no second reading of it differs from the first.
        #[test]
        fn parsing_is_final(text in "[\\[\\]a-zA-Z0-9.:_@%/ -]{0,40}") {
            if let Some(first) = parse(text.as_bytes()) {
                let second = parse(first.host().as_bytes()).unwrap();
                prop_assert_eq!(first.host(), second.host());
                prop_assert!(second.port().is_none());
                prop_assert!(!first.host().contains(['@', '/', '%', ' ', ',']));
            }
        }
    }
}

//! Addresses, names and codes written the way other programs or browsers write them.
//!
//! In: a refused text. Out: what it is, and how to write it for weir; a hint names only texts that are
//! accepted. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use weir_core::plan::{Address, ListenAddress};
use weir_pool::source::Source;

use super::address;
use super::compiler::Refusal;
use crate::words::shown;

/// Reads a listener's address.
pub(super) fn listening(text: &str, folder: &Path) -> Result<ListenAddress, Refusal> {
    let accepts = |text: &str| address::listening(text, folder).is_ok();
    address::listening(text, folder)
        .map_err(|refusal| in_other_words(text, Use::Listener, &accepts).unwrap_or(refusal))
}

/// Reads a backend's address.
pub(super) fn backend(text: &str, folder: &Path) -> Result<Source, Refusal> {
    let accepts = |text: &str| address::backend(text, folder).is_ok();
    address::backend(text, folder)
        .map_err(|refusal| in_other_words(text, Use::Backend, &accepts).unwrap_or(refusal))
}

/// Reads the admin server's address.
pub(super) fn admin(text: &str, folder: &Path, has_tls: bool) -> Result<ListenAddress, Refusal> {
    let accepts = |text: &str| address::admin(text, folder, has_tls).is_ok();
    address::admin(text, folder, has_tls)
        .map_err(|refusal| in_other_words(text, Use::Admin, &accepts).unwrap_or(refusal))
}

/// Reads the metrics server's address.
pub(super) fn metrics(text: &str) -> Result<Address, Refusal> {
    let accepts = |text: &str| address::metrics(text).is_ok();
    address::metrics(text).map_err(|refusal| in_other_words(text, Use::Metrics, &accepts).unwrap_or(refusal))
}

/// Reads a DNS server's address, as `read` does.
pub(super) fn resolver(
    text: &str,
    read: impl Fn(&str) -> Result<SocketAddr, Refusal>,
) -> Result<SocketAddr, Refusal> {
    let accepts = |text: &str| read(text).is_ok();
    read(text).map_err(|refusal| in_other_words(text, Use::Resolver, &accepts).unwrap_or(refusal))
}

/// Why an ALPN name is refused: several names in one text, or a name that no program offers.
pub(super) fn protocol(text: &str) -> Option<Refusal> {
    let name = shown(&text.escape_debug().to_string());
    if text.contains([',', ' ']) {
        let hint = "each needs an entry of its own: [h2, http/1.1]";
        return Some(Refusal::new(format!("`{name}` is more than one protocol")).hint(hint));
    }
    let known = match text.to_ascii_lowercase().as_str() {
        // RFC 7301 §6: names are compared byte for byte.
        "h2" | "http2" | "http/2" | "http/2.0" | "h2o" => "h2",
        "http/1.1" | "http1.1" | "http1" | "http/1" | "http" | "https" | "h1" => "http/1.1",
        "http/1.0" | "http1.0" => "http/1.0",
        "h3" | "http3" | "http/3" => "h3",
        _ => return None,
    };
    (known != text).then(|| {
        let refusal = Refusal::new(format!("`{name}` is not an ALPN protocol name"));
        refusal.hint(format!("write `{known}`"))
    })
}

/// The purpose of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Listener,
    Backend,
    Admin,
    Metrics,
    Resolver,
}

impl Use {
    fn may_be_unix(self) -> bool {
        matches!(self, Self::Listener | Self::Backend | Self::Admin)
    }
}

/// Explains an address that `accepts` has refused; `None` if the original message is as good.
fn in_other_words(text: &str, purpose: Use, accepts: &dyn Fn(&str) -> bool) -> Option<Refusal> {
    let name = shown(&text.escape_debug().to_string());
    let mended = |message: String, candidates: &[String]| {
        let refusal = Refusal::new(message);
        match candidates.iter().find(|candidate| accepts(candidate)) {
            Some(candidate) => Some(refusal.hint(format!("write `\"{candidate}\"`"))),
            None => Some(refusal.hint(example(purpose))),
        }
    };
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    // It is the interface that is wrong.
    if address::with_interface(text).is_some() && !text.ends_with(']') {
        return None;
    }
    let ports = text.split(',').all(|part| part.trim().parse::<u16>().is_ok());
    if text.contains(',') && ports || text.split([',', ';']).filter(|part| part.contains(':')).count() > 1 {
        let hint = "each needs quotes of its own: \"10.0.0.1:80\", \"10.0.0.2:80\"";
        return Some(Refusal::new(format!("`{name}` is more than one address")).hint(hint));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme == "unix" && purpose.may_be_unix() {
            return mended(format!("`{name}` is a URL, not an address"), &[format!("unix:{rest}")]);
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let port = if matches!(scheme, "http" | "ws") { 80 } else { 443 };
        let candidates = [host.to_owned(), local(host), format!("{host}:{port}")];
        return mended(format!("`{name}` is a URL; an address has no scheme and no path"), &candidates);
    }
    if text.starts_with('[') && text.ends_with(']') {
        let candidates = [format!("{text}:443"), format!("{text}:{ADMIN_PORT}")];
        return mended(format!("`{name}` has no port"), &candidates);
    }
    if purpose.may_be_unix() && text.starts_with('/') {
        return mended(format!("`{name}` is a path, not an address"), &[format!("unix:{text}")]);
    }
    if purpose == Use::Admin
        && let Ok(ip) = text.parse::<IpAddr>()
    {
        return mended(format!("`{name}` has no port"), &[SocketAddr::from((ip, ADMIN_PORT)).to_string()]);
    }
    if let Some(refusal) = text.rsplit_once(':').and_then(|parts| with_port(text, parts, purpose, &mended)) {
        return Some(refusal);
    }
    let mut words = text.split_whitespace();
    if let (Some(first), Some(second)) = (words.next(), words.next()) {
        let (joined, every) = (format!("{first}:{second}"), format!(":{first}"));
        let what = "settings of an address are keys of their own";
        return mended(format!("`{name}`: {what}"), &[joined, first.to_owned(), every]);
    }
    match text.split_once('/').map_or(text, |(port, _)| port) {
        port if matches!(purpose, Use::Listener | Use::Metrics)
            && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            mended(format!("`{name}` is a port without an address"), &[format!(":{port}")])
        }
        port if purpose == Use::Admin && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            mended(format!("`{name}` is a port without an address"), &[format!("127.0.0.1:{port}")])
        }
        _ if text.matches(':').count() > 1
            && !text.chars().all(|c| c.is_ascii_hexdigit() || ":.[]%".contains(c)) =>
        {
            mended(format!("`{name}` is not an address and a port"), &[])
        }
        name_of_service if name_of_service.starts_with('_') && name_of_service.contains("._tcp.") => {
            mended(format!("`{name}` is the name of an SRV record"), &[format!("srv:{text}")])
        }
        _ => None,
    }
}

/// Explains an address with a part after a colon; `mended` builds the refusal with the corrected texts.
fn with_port(
    text: &str,
    (host, port): (&str, &str),
    purpose: Use,
    mended: &dyn Fn(String, &[String]) -> Option<Refusal>,
) -> Option<Refusal> {
    let name = shown(&text.escape_debug().to_string());
    if matches!(host, "*" | "any" | "all" | "_" | "0") && matches!(purpose, Use::Listener | Use::Metrics) {
        return mended(
            format!("`{name}`: to listen on every address, leave the address out"),
            &[format!(":{port}")],
        );
    }
    if host.eq_ignore_ascii_case("localhost") && purpose != Use::Backend {
        return mended(format!("`{name}` is not an IP address and a port"), &[local(text)]);
    }
    let service = match port.to_ascii_lowercase().as_str() {
        "https" | "tls" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    if let Some(number) = service {
        return mended(format!("`{name}`: a port is a number"), &[format!("{host}:{number}")]);
    }
    // `::1:443`: an IPv6 address with a port, but without its brackets.
    let is_port = port.len() >= 2 && port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_port && host.parse::<Ipv6Addr>().is_ok() {
        return mended(format!("`{name}`: an IPv6 address needs brackets"), &[format!("[{host}]:{port}")]);
    }
    if let Some((port, _)) = port.split_once('/').filter(|(port, _)| port.parse::<u16>().is_ok()) {
        return mended(format!("`{name}`: an address has no path"), &[format!("{host}:{port}")]);
    }
    None
}

/// Replaces `localhost` with the address it means.
fn local(text: &str) -> String {
    match text.rsplit_once(':') {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    }
}

fn example(purpose: Use) -> &'static str {
    match purpose {
        Use::Listener => "such as \":443\" or \"127.0.0.1:443\"",
        Use::Backend => "such as \"10.0.0.11:8080\" or \"api.internal:8080\"",
        Use::Admin => "such as \"127.0.0.1:9901\"",
        Use::Metrics => "such as \":9902\" or \"127.0.0.1:9902\"",
        Use::Resolver => "such as \"10.0.0.53:53\"",
    }
}

/// Explains a route's name that `accepts` has refused.
pub(super) fn name(text: &str, accepts: &dyn Fn(&str) -> bool) -> Option<Refusal> {
    let name = shown(&text.escape_debug().to_string());
    let mended = |message: String, candidate: String| {
        accepts(&candidate).then(|| Refusal::new(message).hint(format!("write `\"{candidate}\"`")))
    };
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && parts.iter().all(|part| accepts(part)) {
        let hint = "in a list each is an entry of its own: [a.example.com, b.example.com]";
        return Some(Refusal::new(format!("`{name}` is more than one name")).hint(hint));
    }
    if let Some(suffix) = text.strip_prefix('.') {
        return mended(format!("`{name}`: a leading dot needs a `*` before it"), format!("*.{suffix}"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        return mended(format!("`{name}` is a URL, not a name"), host.to_owned());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return mended(format!("`{name}`: a name has no port"), host.to_owned());
    }
    if let Some((host, _)) = text.split_once('/') {
        return mended(format!("`{name}`: a name has no path"), host.to_owned());
    }
    if text.starts_with(['~', '^']) || text.ends_with('$') || text.contains("\\.") || text.contains(".*") {
        let refusal = Refusal::new(format!("`{name}` is a regular expression"));
        return Some(refusal.hint("give the plain name; a wildcard is \"*.example.com\""));
    }
    if let Some(suffix) =
        text.strip_prefix('*').filter(|suffix| !suffix.starts_with('.') && suffix.contains('.'))
    {
        return mended(format!("`{name}`: a dot must follow the `*`"), format!("*.{suffix}"));
    }
    None
}

/// Explains a network that `accepts` has refused.
pub(super) fn network(text: &str, accepts: &dyn Fn(&str) -> bool) -> Option<Refusal> {
    let name = shown(&text.escape_debug().to_string());
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && parts.iter().all(|part| accepts(part)) {
        let hint = "in a list each is an entry of its own: [10.0.0.0/8, 192.168.0.0/16]";
        return Some(Refusal::new(format!("`{name}` is more than one network")).hint(hint));
    }
    if matches!(text.to_ascii_lowercase().as_str(), "any" | "all" | "*" | "0") {
        let hint = "without `source` every client matches; all of IPv4 is \"0.0.0.0/0\"";
        return Some(Refusal::new(format!("`{name}` is not a network")).hint(hint));
    }
    let (address, mask) = text.split_once('/')?;
    let mask: std::net::Ipv4Addr = mask.parse().ok()?;
    let bits = u32::from(mask);
    let candidate = format!("{address}/{}", bits.leading_ones());
    (bits.leading_ones() + bits.trailing_zeros() >= 32 && accepts(&candidate)).then(|| {
        Refusal::new(format!("`{name}`: a prefix must follow the `/`"))
            .hint(format!("write `\"{candidate}\"`"))
    })
}

/// The accepted notation for refused status codes such as `2xx`, `200 204`, `200..299`.
pub(super) fn statuses(text: &str, accepts: &dyn Fn(&str) -> bool) -> Option<String> {
    let part = |part: &str| -> String {
        let lower = part.to_ascii_lowercase();
        match lower.strip_suffix("xx").or_else(|| lower.strip_suffix("**")).filter(|class| class.len() == 1) {
            Some(class) => format!("{class}00-{class}99"),
            None => lower.replace("...", "-").replace("..", "-").replace(':', "-"),
        }
    };
    let parts: Vec<String> =
        text.split([',', ' ', '|', ';']).filter(|part| !part.is_empty()).take(MOST_CODES).map(part).collect();
    let all = parts.join(",");
    (all != text && accepts(&all)).then(|| match parts.len() {
        1 => format!("write `{all}`"),
        _ => format!("write `\"{all}\"`"),
    })
}

/// The port that the examples use.
const ADMIN_PORT: u16 = 9901;
/// Longer addresses are not slips, so they get no suggestion.
const LONGEST: usize = 300;
/// Codes and ranges to look at.
const MOST_CODES: usize = 20;

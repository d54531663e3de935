//! What a route matches: names, protocols, networks.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;
use weir_core::route::{Match, NamePattern};

use super::compiler::{Refusal, accept};
use super::{misspelt, profiles};
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema;

/// Compiles a route's conditions; `None` when something in them was refused.
pub(super) fn conditions(
    report: &mut Report<'_>,
    place: &Place<'_>,
    written: &schema::Match,
) -> Option<Match> {
    let errors_before = report.errors();
    let mut conditions = Match::default();
    let sni = place.key("sni");
    for (index, text) in written.sni.iter().flat_map(|texts| &texts.0).enumerate() {
        let pattern = name_pattern(text)
            .map_err(|refusal| misspelt::name(text, &|text| name_pattern(text).is_ok()).unwrap_or(refusal));
        conditions.names.extend(accept(report, &sni.index(index), pattern));
    }
    if let Some(alpn) = &written.alpn {
        conditions.alpn = profiles::alpn(report, &place.key("alpn"), &alpn.0);
    }
    let source = place.key("source");
    for (index, text) in written.source.iter().flat_map(|texts| &texts.0).enumerate() {
        let place = source.index(index);
        let read = network(text)
            .map_err(|refusal| misspelt::network(text, &|text| network(text).is_ok()).unwrap_or(refusal));
        let Some(network) = accept(report, &place, read) else { continue };
        if network.addr() != network.network() {
            report.warning(&place, format!("`{text}` means the whole network {}", network.trunc()));
        }
        conditions.source.push(network);
    }
    for (key, list) in [("sni", &written.sni), ("alpn", &written.alpn), ("source", &written.source)] {
        // An empty list would match nothing or everything; nobody can tell which.
        if list.as_ref().is_some_and(|texts| texts.0.is_empty()) && report.is_whole(&place.key(key)) {
            report
                .error_at_key(&place.key(key), format!("`{key}` is empty"))
                .hint("leave it out: no condition");
        }
    }
    (report.errors() == errors_before).then_some(conditions)
}

/// Reads `api.example.com`, `*.example.com`, `*`.
fn name_pattern(text: &str) -> Result<NamePattern, Refusal> {
    match text.strip_prefix("*.") {
        _ if text == "*" => Ok(NamePattern::AnyName),
        Some(suffix) => exact_name(suffix).map(|suffix| NamePattern::Suffix(suffix.into())),
        None => exact_name(text).map(|name| NamePattern::Exact(name.into())),
    }
}

/// A DNS name as it is compared: lower-cased, without a trailing dot.
pub(super) fn exact_name(text: &str) -> Result<String, Refusal> {
    let shown = text.escape_debug();
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.contains('*') {
        let message = format!("`{shown}`: `*` stands alone, or in front of the first dot");
        return Err(Refusal::new(message).hint("such as *.example.com, which matches one or more labels"));
    }
    if !name.is_ascii() {
        let message = format!("`{shown}` has characters that no SNI has");
        return Err(Refusal::new(message).hint("write the name as clients send it, in punycode: xn--…"));
    }
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        let refusal = Refusal::new(format!("`{shown}` is an IP address, which no client sends as SNI"));
        return Err(refusal.hint("a client's own address is matched by `source`; by name: www.example.com"));
    }
    if !weir_tls::is_dns_name(name) {
        let message = format!("`{shown}` is not a DNS name");
        return Err(Refusal::new(message).hint(DNS_NAME));
    }
    Ok(name.to_ascii_lowercase())
}

/// What a DNS name is, for a hint.
pub(super) const DNS_NAME: &str = "labels of 1 to 63 letters, digits, - or _, with dots between; none begins or ends with -, and the last is no number";

/// Reads `10.0.0.0/8`, `fd00::/8`, or one address. A network of IPv4 in IPv6 clothes (`::ffff:10.0.0.0/104`) is the
/// network of IPv4: so are the addresses of clients that it is compared with.
fn network(text: &str) -> Result<IpNet, Refusal> {
    let whole = |ip: IpAddr| IpNet::from(ip.to_canonical());
    let network: IpNet = text.parse().or_else(|_| text.parse().map(whole)).map_err(|_neither| {
        Refusal::new(format!("`{}` is not a network", text.escape_debug()))
            .hint("such as 10.0.0.0/8 or fd00::/8")
    })?;
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_PREFIX)),
        IpNet::V4(_) => None,
    };
    let mapped = mapped.and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    Ok(mapped.map_or(network, IpNet::V4))
}

/// RFC 4291 §2.5.5.2: `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_wildcards() {
        assert_eq!(name_pattern("Api.Example.com."), Ok(NamePattern::Exact("api.example.com".into())));
        assert_eq!(name_pattern("*.example.com"), Ok(NamePattern::Suffix("example.com".into())));
        assert_eq!(name_pattern("*"), Ok(NamePattern::AnyName));
        assert_eq!(
            name_pattern("_sip.xn--bcher-kva.example"),
            Ok(NamePattern::Exact("_sip.xn--bcher-kva.example".into()))
        );
    }

    #[test]
    fn refuses_what_no_client_can_send() {
        let long = "a".repeat(64);
        let longer = ["a"; 128].join(".");
        for bad in [
            "",
            ".",
            "*.",
            "a..b",
            ".a",
            "a*.b",
            "*.*.b",
            "a b",
            "bücher.example",
            "10.0.0.1",
            "[::1]",
            "a\0b",
            "-a.example",
            "a-.example",
            "*.a-",
            "example.1",
            &long,
            &longer,
        ] {
            assert!(name_pattern(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_and_single_addresses() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        for (mapped, plain) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
        ] {
            assert_eq!(network(mapped).unwrap().to_string(), plain);
        }
        assert_eq!(network("::/0").unwrap().to_string(), "::/0");
        assert!(network("10.0.0.0/33").is_err() && network("localhost").is_err());
    }
}

//! The conditions of a route: names, protocols, networks.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;
use weir_core::address::NO_ADDRESS;
use weir_core::route::{Match, NamePattern};

use super::compiler::{Refusal, accept};
use super::dns_name::exact_name;
use super::{misspelt, profiles};
use crate::diagnostics::Report;
use crate::key::PlaceId;
use crate::schema::{self, Texts};

/// Compiles a route's conditions; `None` when something in them was refused.
pub(super) fn conditions(report: &mut Report<'_>, written: &schema::Match) -> Option<Match> {
    let errors_before = report.errors();
    let mut conditions = Match::default();
    for (place, text) in written.sni.texts() {
        conditions.names.extend(accept(report, place, name(text)));
    }
    conditions.alpn = profiles::alpn(report, written.alpn.texts());
    for (place, text) in written.source.texts() {
        conditions.source.extend(network_at(report, place, text));
    }
    for (key, list) in [("sni", &written.sni), ("alpn", &written.alpn), ("source", &written.source)] {
        // An empty list could mean nothing or everything, so it is refused.
        if let Some(place) = list.place()
            && list.is_whole()
            && list.get().is_some_and(Texts::is_empty)
        {
            report.error_at_key(place, format!("`{key}` is empty")).hint("leave it out: no condition");
        }
    }
    (report.errors() == errors_before).then_some(conditions)
}

/// Reads a name as [`name_pattern`] does, and explains what is none.
pub(super) fn name(text: &str) -> Result<NamePattern, Refusal> {
    name_pattern(text)
        .map_err(|refusal| misspelt::name(text, &|text| name_pattern(text).is_ok()).unwrap_or(refusal))
}

/// Reads `api.example.com`, `*.example.com`, `*`.
fn name_pattern(text: &str) -> Result<NamePattern, Refusal> {
    match text.strip_prefix("*.") {
        _ if text == "*" => Ok(NamePattern::AnyName),
        Some(suffix) => exact_name(suffix).map(|suffix| NamePattern::Suffix(suffix.into())),
        None => exact_name(text).map(|name| NamePattern::Exact(name.into())),
    }
}

/// Reads a network at its place.
pub(super) fn network_at(report: &mut Report<'_>, place: PlaceId, text: &str) -> Option<IpNet> {
    let read = network(text)
        .map_err(|refusal| misspelt::network(text, &|text| network(text).is_ok()).unwrap_or(refusal));
    let network = accept(report, place, read)?;
    if network.addr() != network.network() {
        report.warning(place, format!("`{text}` means the whole network {}", network.trunc()));
    }
    Some(network)
}

/// Reads `10.0.0.0/8`, `fd00::/8`, one address, or `unix` for the clients of Unix sockets. An IPv4-mapped network (`::ffff:10.0.0.0/104`) becomes the
/// IPv4 network, because client addresses are unmapped before they are compared.
pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
    if text == UNIX {
        return Ok(NO_ADDRESS.into());
    }
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

/// The clients of Unix sockets among networks.
const UNIX: &str = "unix";

/// RFC 4291 §2.5.5.2: `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards_are_read() {
        assert_eq!(name_pattern("Api.Example.com."), Ok(NamePattern::Exact("api.example.com".into())));
        assert_eq!(name_pattern("*.example.com"), Ok(NamePattern::Suffix("example.com".into())));
        assert_eq!(name_pattern("*"), Ok(NamePattern::AnyName));
        assert_eq!(
            name_pattern("_sip.xn--bcher-kva.example"),
            Ok(NamePattern::Exact("_sip.xn--bcher-kva.example".into()))
        );
    }

    #[test]
    fn names_that_no_client_can_send_are_refused() {
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
    fn networks_and_single_addresses_are_read() {
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
        assert_eq!(network("unix").unwrap().to_string(), "::/128");
        assert!(network("10.0.0.0/33").is_err() && network("localhost").is_err());
    }
}

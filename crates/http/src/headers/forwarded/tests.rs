//! What backends hear of a client, by setting and peer.

use super::super::fixtures::{fields, shown};
use super::*;
use proptest::prelude::*;
use std::sync::Arc;

fn forwarding(x_forwarded: Rewrite, forwarded: Rewrite) -> Forwarding {
    let trusted =
        Arc::new(["10.0.0.0/8", "2001:db8:1::/48"].iter().map(|network| network.parse().unwrap()).collect());
    Forwarding { x_forwarded, forwarded, request_id: true, trusted }
}

/// The fields that a backend gets for a request of this peer.
fn told(peer: &str, host: &str, forwarding: &Forwarding, sent: &[(&'static str, &str)]) -> Vec<String> {
    let client = ClientFacts::new(peer.parse().unwrap(), Some(443), true, None);
    let authority = Authority::parse(host.parse().unwrap()).unwrap();
    let mut headers = fields(sent);
    let trusted = forwarding.trusts(client.peer());
    super::super::remove_claims(&mut headers, forwarding, trusted);
    set(&mut headers, &client, &authority, forwarding, trusted);
    shown(&headers)
}

const SENT: [(&str, &str); 9] = [
    ("x-forwarded-for", "198.51.100.7"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-ssl", "off"),
    ("x-forwarded", "for=a"),
    ("forwarded", "for=198.51.100.7;proto=http"),
    ("x-real-ip", "198.51.100.7"),
    ("x-own", "a"),
];

#[test]
fn a_stranger_has_no_say() {
    let wanted = [
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-host: a.example",
        "x-forwarded-port: 443",
        "x-forwarded-proto: https",
        "x-own: a",
    ];
    assert_eq!(told("192.0.2.1", "a.example", &forwarding(Rewrite::Replace, Rewrite::Off), &SENT), wanted);
    assert_eq!(told("192.0.2.1", "a.example", &forwarding(Rewrite::Off, Rewrite::Off), &SENT), ["x-own: a"]);
    let wanted = ["forwarded: for=192.0.2.1;host=a.example;proto=https", "x-own: a"];
    assert_eq!(told("192.0.2.1", "a.example", &forwarding(Rewrite::Off, Rewrite::Replace), &SENT), wanted);
}

#[test]
fn append_keeps_the_chain_alone() {
    let wanted = [
        "forwarded: for=198.51.100.7;proto=http, for=192.0.2.1;host=a.example;proto=https",
        "x-forwarded-for: 198.51.100.7, 192.0.2.1",
        "x-forwarded-host: a.example",
        "x-forwarded-port: 443",
        "x-forwarded-proto: https",
        "x-own: a",
    ];
    assert_eq!(told("192.0.2.1", "a.example", &forwarding(Rewrite::Append, Rewrite::Append), &SENT), wanted);
}

#[test]
fn a_trusted_proxy_is_believed() {
    for mode in [Rewrite::Replace, Rewrite::Append] {
        let wanted = [
            "forwarded: for=198.51.100.7;proto=http, for=10.0.0.1;host=a.example;proto=https",
            "x-forwarded-for: 198.51.100.7, 10.0.0.1",
            "x-forwarded-host: evil.example",
            "x-forwarded-port: 1",
            "x-forwarded-proto: http",
            "x-forwarded-ssl: off",
            "x-forwarded: for=a",
            "x-own: a",
            "x-real-ip: 198.51.100.7",
        ];
        assert_eq!(told("10.0.0.1", "a.example", &forwarding(mode, mode), &SENT), wanted);
    }
    let bare = [
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-host: a",
        "x-forwarded-port: 443",
        "x-forwarded-proto: https",
    ];
    assert_eq!(told("10.0.0.1", "a", &forwarding(Rewrite::Replace, Rewrite::Off), &[]), bare);
    let two = [("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")];
    assert_eq!(told("10.0.0.1", "a", &forwarding(Rewrite::Replace, Rewrite::Off), &two), bare);
}

#[test]
fn ipv6_and_ports_are_written_as_the_rfc_says() {
    let on = forwarding(Rewrite::Replace, Rewrite::Replace);
    let told = told("2001:db8::1", "[2001:DB8::2]:8443", &on, &[]);
    assert_eq!(told[0], "forwarded: for=\"[2001:db8::1]\";host=\"[2001:DB8::2]:8443\";proto=https");
    assert_eq!(told[1], "x-forwarded-for: 2001:db8::1");
    assert_eq!(super::tests::told("::ffff:192.0.2.1", "a", &on, &[])[1], "x-forwarded-for: 192.0.2.1");
}

#[test]
fn several_fields_are_one_list_and_long_ones_are_cut_at_the_left() {
    let on = forwarding(Rewrite::Replace, Rewrite::Replace);
    let sent = [
        ("x-forwarded-for", "a,,b"),
        ("x-forwarded-for", "c"),
        ("forwarded", "for=\"a,b\""),
        ("forwarded", "for=c"),
    ];
    let all = told("10.0.0.1", "a", &on, &sent);
    assert!(all.contains(&"x-forwarded-for: a, b, c, 10.0.0.1".into()), "{all:?}");
    assert!(
        all.contains(&"forwarded: for=\"a,b\", for=c, for=10.0.0.1;host=a;proto=https".into()),
        "{all:?}"
    );

    let long = (0..1000).map(|number| format!("192.0.2.{}", number % 256)).collect::<Vec<_>>().join(", ");
    let all = told("10.0.0.1", "a", &on, &[("x-forwarded-for", &long)]);
    let chain = all.iter().find_map(|line| line.strip_prefix("x-forwarded-for: ")).unwrap();
    assert!(chain.len() < LONGEST_CHAIN + 16 && chain.len() > LONGEST_CHAIN - 32);
    assert!(chain.starts_with("192.0.2.") && chain.ends_with("192.0.2.231, 10.0.0.1"));
}

#[test]
fn an_open_quote_swallows_nothing() {
    let on = forwarding(Rewrite::Off, Rewrite::Append);
    assert_eq!(
        told("192.0.2.1", "a", &on, &[("forwarded", "for=\"a")]),
        ["forwarded: for=192.0.2.1;host=a;proto=https"]
    );
}

#[test]
fn the_client_is_the_last_that_no_trusted_proxy_has() {
    let x = forwarding(Rewrite::Replace, Rewrite::Append);
    let of = |peer: &str, forwarding: &Forwarding, sent: &[(&'static str, &str)]| {
        client_address(peer.parse().unwrap(), &fields(sent), forwarding).to_string()
    };
    for (peer, chain, wanted) in [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("2001:db8:1::1", "198.51.100.7", "198.51.100.7"),
    ] {
        assert_eq!(of(peer, &x, &[("x-forwarded-for", chain)]), wanted, "{peer} {chain}");
    }
    assert_eq!(
        of("10.0.0.1", &x, &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]),
        "2.2.2.2"
    );
    assert_eq!(of("10.0.0.1", &x, &[("forwarded", "for=1.1.1.1")]), "10.0.0.1");

    let standard = forwarding(Rewrite::Off, Rewrite::Replace);
    for (chain, wanted) in [
        ("for=198.51.100.7;proto=https", "198.51.100.7"),
        ("For=\"[2001:db8::7]:4711\", for=10.0.0.2", "2001:db8::7"),
        ("for=198.51.100.7, for=_hidden", "10.0.0.1"),
        ("for=198.51.100.7, proto=https", "10.0.0.1"),
        ("for=198.51.100.7, for=\"2.2.2.2, for=3.3.3.3", "10.0.0.1"),
        ("for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
    ] {
        assert_eq!(of("10.0.0.1", &standard, &[("forwarded", chain)]), wanted, "{chain}");
    }
    assert_eq!(of("10.0.0.1", &standard, &[("x-forwarded-for", "1.1.1.1")]), "10.0.0.1");
    assert_eq!(
        of("10.0.0.1", &forwarding(Rewrite::Off, Rewrite::Off), &[("forwarded", "for=1.1.1.1")]),
        "10.0.0.1"
    );
}

proptest! {
    /// A stranger changes nothing of what replaces its words, and only the left end of what is appended to.
    #[test]
    fn strangers_write_left_of_weir(chain in "[ -~]{0,200}", second in "[ -~]{0,60}", append in any::<bool>()) {
        let mode = if append { Rewrite::Append } else { Rewrite::Replace };
        let sent = [("x-forwarded-for", &*chain), ("x-forwarded-for", &*second), ("forwarded", &*chain), ("x-forwarded-host", &*second)];
        let all = told("192.0.2.1", "a.example", &forwarding(mode, mode), &sent);
        let clean = told("192.0.2.1", "a.example", &forwarding(mode, mode), &[]);
        prop_assert_eq!(all.len(), clean.len());
        for (dirty, own) in all.iter().zip(&clean) {
            let (name, value) = own.split_once(": ").unwrap();
            if append {
                prop_assert!(dirty.starts_with(name) && dirty.ends_with(value), "{} {}", dirty, own);
            } else {
                prop_assert_eq!(dirty, own);
            }
            // The last element is weir's own: no quote of the client's goes on over it.
            if name == "forwarded" {
                let elements = split(dirty.strip_prefix("forwarded: ").unwrap(), ',').unwrap();
                prop_assert_eq!(*elements.last().unwrap(), value);
            }
        }
        let client = client_address("192.0.2.1".parse().unwrap(), &fields(&sent), &forwarding(mode, mode));
        prop_assert_eq!(client.to_string(), "192.0.2.1");
    }
}

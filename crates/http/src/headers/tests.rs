//! The whole way of a head.

use super::fixtures::{request, request2, shown};
use super::*;
use http::Method;
use std::sync::Arc;
use weir_core::plan::http::Rewrite;

fn forwarding() -> Forwarding {
    let trusted = Arc::new(["10.0.0.0/8".parse().unwrap()].into_iter().collect());
    Forwarding { x_forwarded: Rewrite::Replace, forwarded: Rewrite::Off, request_id: true, trusted }
}

fn sent_on(mut parts: Parts, towards: Towards, chunked: bool) -> (Parts, Admitted) {
    let client = ClientFacts::new("192.0.2.1".parse().unwrap(), Some(8443), true, None);
    let id = RequestId::of(&parts.headers, 1, 2);
    let admitted = admit(&mut parts, &client, &forwarding()).unwrap();
    complete(&mut parts.headers, &admitted, &client, &forwarding(), &id);
    let mut request = Request::from_parts(parts, ());
    // Another backend, which speaks the other protocol, has failed before.
    let other = if towards == Towards::Http1 {
        Towards::Http2 { secure: true, connect: true }
    } else {
        Towards::Http1
    };
    shape(&mut request, &admitted, other, chunked);
    shape(&mut request, &admitted, towards, chunked);
    (request.into_parts().0, admitted)
}

const OWN: [&str; 5] = [
    "x-forwarded-for: 192.0.2.1",
    "x-forwarded-host: a.example",
    "x-forwarded-port: 8443",
    "x-forwarded-proto: https",
    "x-request-id: 00000000000000000000000000000001-2",
];

fn with_own(others: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = OWN.iter().chain(others).map(|line| (*line).to_owned()).collect();
    all.sort();
    all
}

#[test]
fn a_request_loses_and_gains_what_it_must() {
    let all = [
        ("host", "a.example"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=b"),
        ("tracestate", "c=d"),
        ("baggage", "k=v"),
        ("x_forwarded_for", "1.1.1.1"),
        ("proxy", "http://evil"),
        ("my_field", "a"),
        ("x-client-cert-subject", "CN=admin"),
        ("x-client-cert-verified", "1"),
        ("client-cert", ":AA:"),
        ("x-real-ip", "1.1.1.1"),
        ("connection", "keep-alive, traceparent, x-request-id"),
        ("keep-alive", "a"),
        ("accept", "*/*"),
    ];
    let (parts, admitted) = sent_on(request("GET", "/a", &all), Towards::Http1, false);
    let kept = [
        "host: a.example",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: a=b",
        "tracestate: c=d",
        "baggage: k=v",
        "accept: */*",
    ];
    assert_eq!(shown(&parts.headers), with_own(&kept));
    assert_eq!(admitted.client.to_string(), "192.0.2.1");
    assert!(admitted.upgrade.is_none() && !admitted.trailers);
}

#[test]
fn a_trusted_proxy_may_say_nothing_of_certificates() {
    let client = ClientFacts::new("10.0.0.1".parse().unwrap(), Some(443), true, None);
    let mut parts = request(
        "GET",
        "/",
        &[("host", "a"), ("x-client-cert-fingerprint", "00"), ("x-forwarded-for", "192.0.2.9"), ("a_b", "c")],
    );
    let admitted = admit(&mut parts, &client, &forwarding()).unwrap();
    assert_eq!(shown(&parts.headers), ["host: a", "x-forwarded-for: 192.0.2.9"]);
    assert_eq!(admitted.client.to_string(), "192.0.2.9");
}

#[test]
fn http2_becomes_http1_and_back() {
    let all = [("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("te", "trailers")];
    let (parts, _) = sent_on(request2("GET", "https://a.example/p?q", &all), Towards::Http1, true);
    let wanted = [
        "connection: te",
        "cookie: a=b; c=d",
        "host: a.example",
        "te: trailers",
        "transfer-encoding: chunked",
        "x: y",
    ];
    assert_eq!(shown(&parts.headers), with_own(&wanted));
    assert_eq!((parts.version, parts.uri.to_string()), (Version::HTTP_11, "/p?q".to_owned()));

    for (secure, uri) in [(true, "https://a.example/p?q"), (false, "http://a.example/p?q")] {
        let all = [
            ("host", "a.example"),
            ("te", "trailers, gzip"),
            ("connection", "te"),
            ("transfer-encoding", "chunked"),
        ];
        let (parts, _) =
            sent_on(request("POST", "/p?q", &all), Towards::Http2 { secure, connect: true }, true);
        assert_eq!(shown(&parts.headers), with_own(&["te: trailers"]));
        assert_eq!((parts.version, parts.uri.to_string()), (Version::HTTP_2, uri.to_owned()));
    }
}

#[test]
fn only_some_upgrades_go_on() {
    let ask = |upgrade: &'static str, more: &[(&'static str, &'static str)], version| {
        let mut all = vec![
            ("host", "a.example"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", upgrade),
            ("http2-settings", "AA"),
        ];
        all.extend(more);
        let mut parts = request("GET", "/", &all);
        parts.version = version;
        let (parts, admitted) = sent_on(parts, Towards::Http1, false);
        let pair = (parts.headers.get("connection").cloned(), parts.headers.get("upgrade").cloned());
        assert!(!parts.headers.contains_key("http2-settings"));
        assert_eq!(admitted.upgrade.is_some(), pair.1.is_some());
        assert_eq!(pair.0.is_some(), pair.1.is_some());
        pair.1.is_some()
    };
    for upgrade in ["websocket", "WebSocket", "spdy/3", "my-protocol, other/1"] {
        assert!(ask(upgrade, &[], Version::HTTP_11), "{upgrade}");
        assert!(!ask(upgrade, &[], Version::HTTP_10), "{upgrade}");
        assert!(!ask(upgrade, &[("content-length", "3")], Version::HTTP_11), "{upgrade}");
        assert!(!ask(upgrade, &[("transfer-encoding", "chunked")], Version::HTTP_11), "{upgrade}");
        assert!(ask(upgrade, &[("content-length", "0")], Version::HTTP_11), "{upgrade}");
    }
    for upgrade in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2", "h2"] {
        assert!(!ask(upgrade, &[], Version::HTTP_11), "{upgrade}");
    }
}

#[test]
fn a_body_of_unknown_length_is_sent_in_chunks() {
    for (method, chunked) in [(Method::GET, true), (Method::POST, true), (Method::GET, false)] {
        let (parts, _) =
            sent_on(request(method.as_str(), "/", &[("host", "a.example")]), Towards::Http1, chunked);
        assert_eq!(parts.headers.contains_key(TRANSFER_ENCODING), chunked);
    }
    let sized = request("POST", "/", &[("host", "a.example"), ("content-length", "3")]);
    assert!(!sent_on(sized, Towards::Http1, true).0.headers.contains_key(TRANSFER_ENCODING));
}

#[test]
fn ipv6_authorities_go_to_http2_backends() {
    let (parts, _) = sent_on(
        request("GET", "/", &[("host", "[2001:db8::1]:8443")]),
        Towards::Http2 { secure: true, connect: true },
        false,
    );
    assert_eq!(parts.uri.to_string(), "https://[2001:db8::1]:8443/");
}

#[test]
fn an_extended_connect_has_no_body() {
    let ask = |length: &str| {
        let mut parts = request2("CONNECT", "https://a.example/chat", &[("content-length", length)]);
        parts.extensions.insert(h2::ext::Protocol::from_static("websocket"));
        parts
    };
    for length in ["5", "05", "10"] {
        let client = ClientFacts::new("192.0.2.1".parse().unwrap(), Some(443), true, None);
        let refusal = admit(&mut ask(length), &client, &forwarding()).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.reason), (400, Reason::Length), "{length}");
    }
    for towards in [Towards::Http1, Towards::Http2 { secure: true, connect: true }] {
        let (parts, admitted) = sent_on(ask("0"), towards, false);
        assert!(admitted.upgrade.is_some() && !parts.headers.contains_key("content-length"), "{towards:?}");
    }
}

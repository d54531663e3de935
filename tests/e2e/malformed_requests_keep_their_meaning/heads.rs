//! Requests whose head has two readings, or none.

use super::{Becomes, Passes, Refused, RefusedOrCut, with};
use weir_tests::world::NAME;

/// Heads that two programs read in different ways.
pub(super) fn heads() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let get = |lines: &str| with("GET", lines, "");
    let bare = |text: &str| text.as_bytes().to_vec();
    vec![
        ("no Host", bare("GET / HTTP/1.1\r\n\r\n"), Refused(&[400])),
        ("no Host in HTTP/1.0", bare("GET / HTTP/1.0\r\n\r\n"), Refused(&[400])),
        ("two Hosts", get("Host: other.example\r\n"), Refused(&[400])),
        ("the same Host twice", get(&format!("Host: {NAME}\r\n")), Refused(&[400])),
        ("Host with a space before the colon", bare("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), Refused(&[400])),
        ("Host folded", bare("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), Refused(&[400])),
        ("Host with user information", bare("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), Refused(&[400])),
        ("Host with a bad port", bare("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"), Refused(&[400])),
        ("Host with a path", bare("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), Refused(&[400])),
        ("Host with NUL", bare("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), Refused(&[400])),
        ("empty Host", bare("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Refused(&[400])),
        ("two Hosts by a list", bare("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), Refused(&[400])),
        (
            "absolute-form",
            format!("GET http://{NAME}/abs?q HTTP/1.1\r\nHost: other.example\r\n\r\n").into(),
            Passes("/abs?q", ""),
        ),
        (
            "absolute-form with a fragment for a path",
            format!("GET http://{NAME}#a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("/", ""),
        ),
        (
            "absolute-form without Host",
            format!("GET http://{NAME}/ HTTP/1.1\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form of another scheme",
            format!("GET ftp://{NAME}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form with user information",
            format!("GET http://a@{NAME}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "authority-form",
            format!("GET {NAME}:443 HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("CONNECT", format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[405])),
        ("CONNECT of a path", with("CONNECT", "", ""), Refused(&[405])),
        ("TRACE", with("TRACE", "", ""), Refused(&[405])),
        ("`*` with GET", format!("GET * HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("`*` with OPTIONS", format!("OPTIONS * HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Passes("*", "")),
        ("a relative path", format!("GET a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path with NUL", format!("GET /a\0b HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path with a space", format!("GET /a b HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path with a tab", format!("GET /a\tb HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path beyond ASCII", format!("GET /é HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        (
            "a path of invalid UTF-8",
            [b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat(),
            Refused(&[400]),
        ),
        (
            "a path with a fragment",
            format!("GET /a#b HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("/a", ""),
        ),
        ("no path", format!("GET  HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("two spaces", format!("GET  / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("HTTP/0.9", bare("GET /\r\n"), RefusedOrCut),
        ("HTTP/1.2", format!("GET / HTTP/1.2\r\nHost: {NAME}\r\n\r\n").into(), RefusedOrCut),
        ("HTTP/2.0 in text", bare("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), RefusedOrCut),
        ("a method that is no token", with("G(T", "", ""), Refused(&[400])),
        ("a name that is no token", get("X(Y: a\r\n"), Refused(&[400])),
        ("an empty name", get(": a\r\n"), Refused(&[400])),
        ("a line without a colon", get("abc\r\n"), Refused(&[400])),
        ("a value with NUL", get("X: a\0b\r\n"), Refused(&[400])),
        ("a value with a bare CR", get("X: a\rb\r\n"), Refused(&[400])),
        ("obs-fold", get("X: a\r\n b\r\n"), Refused(&[400])),
        ("a name beyond ASCII", get("Xé: a\r\n"), Refused(&[400])),
        ("another expectation", get("Expect: 200-ok\r\n"), Refused(&[417])),
        ("100,000 fields", with("GET", &"a: b\r\n".repeat(100_000), ""), RefusedOrCut),
        ("a field of 1 MiB", get(&format!("X: {}\r\n", "a".repeat(1 << 20))), RefusedOrCut),
        ("a name of 1 MiB", get(&format!("{}: a\r\n", "a".repeat(1 << 20))), RefusedOrCut),
        (
            "a path of 1 MiB",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(1 << 20)).into(),
            RefusedOrCut,
        ),
        ("bare LF", format!("GET /lf HTTP/1.1\nHost: {NAME}\nX: a\n\n").into(), Passes("/lf", "")),
        ("Host with a backslash", bare("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"), Refused(&[400])),
        ("Host with a query", bare("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"), Refused(&[400])),
        ("Host with a fragment", bare("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"), Refused(&[400])),
        ("Host with a scheme", bare("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"), Refused(&[400])),
        ("Host with a tab", bare("GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n"), Refused(&[400])),
        ("Host with half a bracket", bare("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), Refused(&[400])),
        ("Host with two ports", bare("GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n"), Refused(&[400])),
        ("Host beyond ASCII", bare("GET / HTTP/1.1\r\nHost: é\r\n\r\n"), Refused(&[400])),
        (
            "absolute-form without a host",
            format!("GET http:///a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form with a bad port",
            format!("GET http://{NAME}:99999/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form with two Hosts",
            format!("GET http://{NAME}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form that is bare",
            format!("GET http: HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "a path that looks like a host",
            format!("GET //other.example/a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("//other.example/a", ""),
        ),
        (
            "a path with coded bytes",
            format!("GET /%00%2f..%0d%0a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("/%00%2f..%0d%0a", ""),
        ),
        (
            "a path with a bare CR",
            format!("GET /a\rb HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("a path with DEL", format!("GET /a\x7fb HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a line of four words", format!("GET / HTTP/1.1 x\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        (
            "a space behind the version",
            format!("GET / HTTP/1.1 \r\nHost: {NAME}\r\n\r\n").into(),
            RefusedOrCut,
        ),
        (
            "a tab behind the method",
            format!("GET\t/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "a space in front of the method",
            format!(" GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "a version in small letters",
            format!("GET / http/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            RefusedOrCut,
        ),
        ("HTTP/1.10", format!("GET / HTTP/1.10\r\nHost: {NAME}\r\n\r\n").into(), RefusedOrCut),
        ("HTTP/01.1", format!("GET / HTTP/01.1\r\nHost: {NAME}\r\n\r\n").into(), RefusedOrCut),
        (
            "an empty line in front",
            format!("\r\nGET /e HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("/e", ""),
        ),
        (
            "a folded first field",
            format!("GET / HTTP/1.1\r\n Host: a\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("a tab before the colon", get("X\t: a\r\n"), Refused(&[400])),
        ("DEL in a name", get("X\x7f: a\r\n"), Refused(&[400])),
        ("a control character in a value", get("X: a\x01b\r\n"), Refused(&[400])),
        ("DEL in a value", get("X: a\x7fb\r\n"), Refused(&[400])),
        (
            "an upgrade to h2c",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            ),
            Passes("/first", ""),
        ),
        (
            "a bad head, and a good one behind it",
            format!("GET / HTTP/1.1\r\nHost : a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
                .into(),
            Refused(&[400]),
        ),
        (
            "no Host, and a good head behind it",
            format!("GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("TLS in TLS", vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], RefusedOrCut),
    ]
}

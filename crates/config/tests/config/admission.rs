//! `proxy_protocol`, `allow`, `deny` and `limits.per_client`: each mistake at its place.

use std::time::Duration;

use weir_core::plan::ProxyProtocol;
use weir_core::rates::Rate;

use crate::fixture::{Folder, errors, warnings};

fn folder() -> Folder {
    let folder = Folder::with_certificate("a", &["a.example"]);
    std::fs::write(
        folder.path().join("good.txt"),
        "# a list\n10.0.0.0/8\n\n2001:db8::/32 # theirs\n192.0.2.1\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("empty.txt"), "# nobody\n").unwrap();
    let bad = format!("10.0.0.0/8\nten\n{}", "x\n".repeat(9));
    std::fs::write(folder.path().join("bad.txt"), bad).unwrap();
    folder
}

fn with(keys: &str) -> String {
    format!(
        "\nlisteners:\n  - name: edge\n    address: \"127.0.0.1:8443\"\n    default_pool: web\n{keys}pools:\n  - name: web\n    \
         backends: [\"10.0.0.1:80\"]\n"
    )
}

#[test]
fn what_is_written_is_in_the_plan() {
    let folder = folder();
    let keys = "    mode: passthrough\n    proxy_protocol: trusted\n    trusted_proxies: [10.1.0.0/16]\n    allow: [\"@good.txt\", 198.51.100.7]\n    \
                deny: [10.9.0.0/16]\n    limits:\n      per_client: {connections: 5, rate: 10/s, burst: 20, failed_handshakes: 60/m, \
                ipv4_prefix: 24, ipv6_prefix: 56, shadow: true}\n";
    let (plan, _) = folder.compile(&with(keys)).unwrap();
    let admission = plan.listeners[0].admission.as_ref().unwrap();
    assert_eq!(admission.proxy_protocol, ProxyProtocol::Trusted);
    let lets_in = |ip: &str| admission.lets_in(ip.parse().unwrap());
    assert!(lets_in("10.1.2.3") && lets_in("2001:db8::1") && lets_in("192.0.2.1") && lets_in("198.51.100.7"));
    assert!(!lets_in("10.9.0.1") && !lets_in("192.0.2.2"));
    assert!(admission.trusted.has([10, 1, 0, 1].into()) && !admission.trusted.has([10, 2, 0, 1].into()));
    let limits = admission.per_client.unwrap();
    assert_eq!((limits.prefixes, limits.connections, limits.shadow), ((24, 56), Some(5), true));
    assert_eq!(limits.rate.unwrap().0, Rate { interval: Duration::from_millis(100), burst: 20 });
    assert_eq!(limits.failed_handshakes.unwrap().0, Rate { interval: Duration::from_secs(1), burst: 60 });

    let nothing = "    mode: passthrough\n    deny: \"@empty.txt\"\n    allow: []\n";
    let (plan, _) = folder.compile(&with(nothing)).unwrap();
    assert!(plan.listeners[0].admission.is_none());
}

/// The listener's keys, and the parts of the one error.
const MISTAKES: &[(&str, &[&str])] = &[
    ("proxy_protocol: required", &["7:5", "needs `trusted_proxies`", "trusted_proxies: [10.0.0.0/8]"]),
    ("proxy_protocol: v2", &["7:21", "`v2`", "required"]),
    ("trusted_proxies: [10.0.0.0/8]", &["7:5", "needs `proxy_protocol`, or `protocol: http`"]),
    ("deny: [10.0.0.0/33]", &["7:12", "not a network", "10.0.0.0/8"]),
    ("allow: [\"@missing.txt\"]", &["7:13", "missing.txt cannot be read"]),
    ("deny: \"@/dev/zero\"", &["7:11", "no regular file"]),
    ("allow: \"@empty.txt\"", &["7:5", "nobody could connect"]),
    ("limits: {per_client: {connections: 0}}", &["7:40", "at least 1"]),
    ("limits: {per_client: {burst: 5, connections: 1}}", &["7:27", "`burst` needs `rate`"]),
    ("limits: {per_client: {rate: 5/s, ipv4_prefix: 33}}", &["7:51", "from 1 to 32"]),
    ("limits: {per_client: {rate: 5/s, ipv6_prefix: 0}}", &["7:51", "from 1 to 64"]),
    ("limits: {per_client: {rate: 5}}", &["7:33"]),
    ("limits: {per_client: 100}", &["7:26"]),
];

#[test]
fn every_mistake_has_its_place_and_a_hint() {
    let folder = folder();
    for (keys, parts) in MISTAKES {
        let found = errors(&folder, &with(&format!("    mode: passthrough\n    {keys}\n")));
        assert_eq!(found.len(), 1, "{keys}: {found:#?}");
        assert!(parts.iter().all(|part| found[0].contains(part)), "{keys}: {parts:?}: {found:#?}");
    }
}

#[test]
fn wrong_lines_of_a_list_are_named() {
    let found = errors(&folder(), &with("    mode: passthrough\n    deny: [\"@bad.txt\"]\n"));
    assert!(found.iter().any(|error| error.contains("bad.txt:2: `ten` is not a network")), "{found:#?}");
    assert!(found.iter().any(|error| error.contains("10 lines are not networks")), "{found:#?}");
    assert_eq!(found.len(), 4, "the first three, and how many there are: {found:#?}");
}

#[test]
fn what_hardly_can_be_meant_is_warned_of() {
    for (keys, part) in [
        ("limits: {per_client: {shadow: true}}", "limits nothing"),
        ("limits: {per_client: {failed_handshakes: 5/m}}", "the backends do the handshakes"),
        ("deny: [\"0.0.0.0/0\"]", "no client of that family"),
        ("proxy_protocol: required\n    trusted_proxies: [\"::/0\"]", "trusts every client"),
    ] {
        let found = warnings(&folder(), &with(&format!("    mode: passthrough\n    {keys}\n")));
        assert!(found.iter().any(|warning| warning.contains(part)), "{keys}: {found:#?}");
    }
}

/// A change of a list is a change of the configuration, for `runtime.watch`.
#[test]
fn lists_are_watched() {
    let folder = folder();
    let text = with("    mode: passthrough\n    deny: [\"@good.txt\", \"@later.txt\"]\n");
    let loaded = weir_config::parse("weir.yaml", folder.path(), text.into_bytes(), &|_| None).unwrap();
    let watched: Vec<String> = loaded.patterns().iter().map(ToString::to_string).collect();
    assert_eq!(watched.len(), 2);
    assert!(watched[0].ends_with("good.txt") && watched[1].ends_with("later.txt"), "{watched:?}");
}

//! `max_memory`, `max_connection_age`, `bandwidth` and `rebalance`: each mistake at its place.

use std::time::Duration;

use weir_core::bandwidth::Speeds;

use crate::fixture::{Folder, errors, warnings};

fn folder() -> Folder {
    Folder::with_certificate("a", &["a.example"])
}

fn with(runtime: &str, limits: &str, pool: &str) -> String {
    format!(
        "runtime: {{{runtime}}}\nlisteners:\n  - name: edge\n    address: \"127.0.0.1:8443\"\n    mode: passthrough\n    \
         default_pool: web\n    limits: {{{limits}}}\npools:\n  - name: web\n    backends: [\"10.0.0.1:80\"]\n{pool}"
    )
}

#[test]
fn what_is_written_is_in_the_plan() {
    let folder = folder();
    let text = with(
        "max_memory: 2GiB, max_connection_age: 90m",
        "bandwidth: {connection: 10MiB/s, listener: 1GiB/s}",
        "    rebalance: 6%/m\n",
    );
    let (plan, _) = folder.compile(&text).unwrap();
    assert_eq!(plan.runtime.max_memory, Some(2 << 30));
    assert_eq!(plan.runtime.max_connection_age, Some(Duration::from_secs(90 * 60)));
    assert_eq!(plan.listeners[0].bandwidth, Speeds { connection: 10 << 20, listener: 1 << 30 });
    assert_eq!(plan.pools[0].settings.rebalance, Some(0.001));

    let (plan, _) = folder.compile(&with("", "bandwidth: null", "    rebalance: null\n")).unwrap();
    assert_eq!((plan.runtime.max_memory, plan.runtime.max_connection_age), (None, None));
    assert_eq!((plan.listeners[0].bandwidth, plan.pools[0].settings.rebalance), (Speeds::default(), None));
}

/// The keys, and the parts of the one error.
const MISTAKES: &[([&str; 3], &[&str])] = &[
    (["max_memory: 1MiB", "", ""], &["1:23", "needs more than 1MiB", "at least 16MiB"]),
    (["max_memory: 512", "", ""], &["1:23", "bare number"]),
    (["max_memory: 50%", "", ""], &["1:23", "is not a size"]),
    (["max_connection_age: 500ms", "", ""], &["1:31", "no age of connections", "at least 1s"]),
    (["max_connection_age: 0s", "", ""], &["1:31", "at least 1s"]),
    (["max_connection_age: never", "", ""], &["1:31", "is not a duration"]),
    (["", "bandwidth: 10MiB/s", ""], &["7:25", "bandwidth", "connection: 10MiB/s"]),
    (["", "bandwidth: {connection: 10MiB}", ""], &["7:38", "not bytes a second", "10MiB/s"]),
    (["", "bandwidth: {connection: 10}", ""], &["7:38", "bare number"]),
    (["", "bandwidth: {listener: 1KiB/s}", ""], &["7:36", "too slow", "at least 16KiB/s"]),
    (["", "bandwidth: {up: 1MiB/s}", ""], &["7:26", "unknown key `up`"]),
    (["", "", "    rebalance: 1%\n"], &["11:16", "not a share within a time", "1%/m"]),
    (["", "", "    rebalance: 0%/m\n"], &["11:16", "allows nothing"]),
    (["", "", "    rebalance: 200%/m\n"], &["11:16", "more than there is", "1%/m"]),
    (
        ["", "", "    rebalance: 1%/m\n    balance: source_ip\n"],
        &["11:5", "no use with `balance: source_ip`", "least_connections"],
    ),
];

#[test]
fn every_mistake_has_its_place_and_a_hint() {
    let folder = folder();
    for ([runtime, limits, pool], parts) in MISTAKES {
        let found = errors(&folder, &with(runtime, limits, pool));
        assert_eq!(found.len(), 1, "{runtime}{limits}{pool}: {found:#?}");
        assert!(
            parts.iter().all(|part| found[0].contains(part)),
            "{runtime}{limits}{pool}: {parts:?}: {found:#?}"
        );
    }
}

#[test]
fn what_hardly_can_be_meant_is_warned_of() {
    let kib = weir_metrics::resident_memory().unwrap() >> 10;
    let small = format!("max_memory: {}KiB", (kib / 2).max(16 << 10));
    for ([runtime, limits], part) in [
        (["", "bandwidth: {}"], "limits nothing"),
        (["", "bandwidth: {connection: 2GiB/s, listener: 1GiB/s}"], "more than all of the listener"),
        ([&*small, ""], "this process holds"),
    ] {
        let found = warnings(&folder(), &with(runtime, limits, ""));
        // A test process may hold less than the least limit.
        let too_little = runtime == small && kib / 2 < 16 << 10;
        assert!(
            too_little || found.iter().any(|warning| warning.contains(part)),
            "{runtime}{limits}: {found:#?}"
        );
    }
}

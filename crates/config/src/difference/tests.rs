//! The lines that operators read, and properties of any two configurations.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::HashSet;

fn lines(old: &Value, new: &Value) -> Vec<String> {
    difference(old, new).changes.iter().map(ToString::to_string).collect()
}

fn base() -> Value {
    json!({
        "runtime": {"workers": 2, "drain_timeout": "300s"},
        "listeners": [{
            "name": "edge", "address": [":443"], "mode": "passthrough",
            "routes": [
                {"match": {"sni": ["a.example.com", "b.example.com"]}, "pool": "web"},
                {"match": {}, "pool": "web"},
            ],
            "timeouts": {"idle": "350s"},
        }],
        "pools": [{
            "name": "web", "balance": "round_robin", "health_check": {"type": "tcp", "interval": "5s"},
            "backends": ["10.0.0.11:8080", {"address": "10.0.0.12:8080", "name": "two", "weight": 1}],
        }],
    })
}

/// The base with the value at `pointer` replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut changed = base();
    *changed.pointer_mut(pointer).unwrap() = value;
    changed
}

#[test]
fn each_change_is_one_line() {
    for (pointer, value, want) in [
        ("/pools/0/balance", json!("random_two"), "~ pool web: balance round_robin → random_two"),
        ("/listeners/0/timeouts/idle", json!("1h"), "~ listener edge: timeouts.idle 350s → 1h"),
        ("/runtime/workers", json!("auto"), "~ runtime: workers 2 → auto (needs an upgrade)"),
        ("/runtime/drain_timeout", json!("5s"), "~ runtime: drain_timeout 300s → 5s"),
        (
            "/listeners/0/routes/0/pool",
            json!("api"),
            "~ route edge/sni=a.example.com,b.example.com: pool web → api",
        ),
        ("/listeners/0/routes/1/pool", json!("api"), "~ route edge/any: pool web → api"),
        ("/pools/0/backends/1/weight", json!(5), "~ backend web/two: weight unset → 5"),
        (
            "/pools/0/backends/1/address",
            json!("10.0.0.9:80"),
            "~ backend web/two: address 10.0.0.12:8080 → 10.0.0.9:80",
        ),
        (
            "/pools/0/health_check",
            json!({"type": "none"}),
            "~ pool web: health_check.interval 5s → unset, health_check.type tcp → none",
        ),
        ("/listeners/0/address", json!([":443", ":8443"]), "~ listener edge: address [:443] → [:443, :8443]"),
        ("/pools/0/backends", json!(["10.0.0.11:8080"]), "- backend web/two (10.0.0.12:8080)"),
        (
            "/listeners/0/routes",
            json!([base()["listeners"][0]["routes"][0]]),
            "- route edge/any (to pool web)",
        ),
    ] {
        assert_eq!(lines(&base(), &with(pointer, value)), [want]);
    }
}

#[test]
fn added_and_removed_parts_list_their_inner_parts() {
    let empty = json!({"runtime": {"workers": 2, "drain_timeout": "300s"}, "listeners": [], "pools": []});
    let all = [
        "listener edge (:443)",
        "route edge/sni=a.example.com,b.example.com (to pool web)",
        "route edge/any (to pool web)",
        "pool web",
        "backend web/10.0.0.11:8080",
        "backend web/two (10.0.0.12:8080)",
    ];
    assert_eq!(lines(&empty, &base()), all.map(|line| format!("+ {line}")));
    assert_eq!(lines(&base(), &empty), all.map(|line| format!("- {line}")));
    assert_eq!(
        lines(&json!({}), &json!({"admin": {"address": "127.0.0.1:9901"}})),
        ["+ admin (127.0.0.1:9901) (needs an upgrade)"]
    );
}

#[test]
fn written_defaults_are_no_change() {
    let mut same = base();
    same["pools"][0]["backends"] = json!([
        {"address": "10.0.0.12:8080", "name": "two"},
        {"address": "10.0.0.11:8080", "weight": 1, "backup": false, "max_connections": null},
    ]);
    same["listeners"][0]["routes"].as_array_mut().unwrap().reverse();
    same["listeners"][0]["routes"][1]["match"]["sni"] = json!(["b.example.com", "a.example.com"]);
    same["listeners"][0]["tls"] = Value::Null;
    same["listeners"][0]["address"] = json!([":8443", ":443"]);
    let two = with("/listeners/0/address", json!([":443", ":8443"]));
    assert_eq!(difference(&two, &same), Difference::default());
}

#[test]
fn control_characters_are_shown_and_lists_are_cut() {
    let names: Vec<String> = (0..1_000).map(|n| format!("host{n}.example.com")).collect();
    let line = &lines(&base(), &with("/listeners/0/routes/1/match", json!({ "sni": names })))[1];
    assert!(line.starts_with("+ route edge/sni=host0.example.com,") && line.len() < 200, "{line}");
    let line = &lines(&base(), &with("/pools/0/balance", json!("a\u{1b}[31m\nb")))[0];
    assert!(line.ends_with(r"a\u{1b}[31m\nb"), "{line}");
}

#[test]
fn differences_travel_as_json() {
    let found = difference(&base(), &with("/runtime/workers", json!(4)));
    let wire = serde_json::to_value(&found).unwrap();
    assert_eq!(
        wire,
        json!([{"kind": "changed", "what": "runtime", "name": "",
                "keys": [{"key": "workers", "old": 2, "new": 4, "restart": true}]}])
    );
    assert_eq!(serde_json::from_value::<Difference>(wire).unwrap(), found);
}

fn outer(
    (inner, known_by): (&'static str, fn(&Part) -> String),
    element: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    let setting = prop::option::of(prop::sample::select(vec!["1s", "2s"]));
    (prop::collection::vec(element, 0..4), setting.clone(), setting).prop_map(move |(mut list, a, b)| {
        // No accepted file has two parts with one identity.
        let mut seen = HashSet::new();
        list.retain(|element| seen.insert(known_by(&part(element))));
        json!({ inner: list, "a": a, "section": {"b": b, "c": [b, a]} })
    })
}

fn configuration() -> impl Strategy<Value = Value> {
    let backend = prop_oneof![
        "[ab]:1".prop_map(Value::from),
        ("[ab]:1", prop::option::of("[ab]"), 0..3_u32)
            .prop_map(|(address, name, weight)| json!({"address": address, "name": name, "weight": weight})),
    ];
    let route = (prop::collection::vec("[ab]", 0..3), "[ab]")
        .prop_map(|(sni, pool)| json!({"match": {"sni": sni}, "pool": pool}));
    let named = |parts: Vec<Value>| {
        let mut parts = parts;
        parts.iter_mut().zip(["x", "y", "z"]).for_each(|(part, name)| part["name"] = json!(name));
        parts
    };
    let listeners =
        prop::collection::vec(outer(("routes", matching), route), 0..3).prop_map(named).prop_shuffle();
    let pools =
        prop::collection::vec(outer(("backends", reached), backend), 0..3).prop_map(named).prop_shuffle();
    (listeners, pools, 1..3_u32)
        .prop_map(|(l, p, w)| json!({"runtime": {"workers": w}, "listeners": l, "pools": p}))
}

fn count(found: &Difference, kind: Kind) -> usize {
    found.changes.iter().filter(|change| change.kind == kind).count()
}

proptest! {
    #[test]
    fn configurations_equal_themselves(a in configuration()) {
        prop_assert!(difference(&a, &a).is_empty());
        let mut turned = a.clone();
        for (list, inner) in [("listeners", "routes"), ("pools", "backends")] {
            let list = turned[list].as_array_mut().unwrap();
            list.reverse();
            list.iter_mut().for_each(|part| part[inner].as_array_mut().unwrap().reverse());
        }
        prop_assert!(difference(&a, &turned).is_empty());
    }

    #[test]
    fn changes_there_and_back_mirror_each_other(a in configuration(), b in configuration()) {
        let (there, back) = (difference(&a, &b), difference(&b, &a));
        prop_assert_eq!(count(&there, Kind::Added), count(&back, Kind::Removed));
        prop_assert_eq!(count(&there, Kind::Removed), count(&back, Kind::Added));
        for change in &there.changes {
            let found = back.changes.iter().filter(|c| (c.what, &c.name) == (change.what, &change.name));
            prop_assert!(found.clone().any(|c| c.keys.len() == change.keys.len()
                && c.keys.iter().zip(&change.keys).all(|(c, k)| c.old == k.new && c.new == k.old)), "{change}");
        }
    }
}

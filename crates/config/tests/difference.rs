//! What a reload would change is told whole: no key of a configuration can differ in silence.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "all of this is test code")]

use std::path::Path;

use serde_json::{Value, json};
use weir_config::{difference, effective, load, schema};

/// The reference, which mentions every key that is supported, with all defaults.
fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.yaml");
    effective(&load(&path).unwrap().file)
}

/// Every value that is no map and no list, and every list of texts, as a JSON pointer.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn no_key_differs_in_silence() {
    let reference = reference();
    let mut places = Vec::new();
    leaves(&reference, "", &mut places);
    assert!(places.len() > 80, "the walk lost its way: {places:?}");
    for place in places.iter().filter(|place| !place.starts_with("/include")) {
        let mut changed = reference.clone();
        *changed.pointer_mut(place).unwrap() = json!("something else");
        let found = difference(&reference, &changed);
        assert!(!found.is_empty(), "{place}");
        let restart = ["/runtime/workers", "/runtime/affinity", "/admin/address"].contains(&place.as_str());
        assert_eq!(found.needs_restart(), restart, "{place}: {found}");
    }
    assert!(difference(&reference, &reference).is_empty());
}

#[test]
fn every_section_is_compared() {
    let schema = schema::json_schema();
    for section in schema["properties"].as_object().unwrap().keys() {
        let with = match section.as_str() {
            // What it brings is compared, not where it comes from.
            "include" => continue,
            "tls_profiles" | "listeners" | "pools" => json!({ section: [{"name": "a"}] }),
            _ => json!({ section: {"key": 1} }),
        };
        assert_eq!(difference(&json!({}), &with).changes.len(), 1, "{section}");
    }
}

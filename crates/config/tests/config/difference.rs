//! The differences of a reload are complete: no key of a configuration can differ unreported.

use std::path::Path;

use serde_json::{Value, json};
use weir_config::{difference, effective, load, schema};

/// The reference, which mentions every key, with all defaults.
fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.yaml");
    effective(&load(&path).unwrap().file)
}

/// The JSON pointer of every value except maps and lists, and of every list of texts.
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
fn keys_never_differ_unreported() {
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
            // Its content is compared instead.
            "include" => continue,
            "tls_profiles" | "listeners" | "pools" => json!({ section: [{"name": "a"}] }),
            _ => json!({ section: {"key": 1} }),
        };
        assert_eq!(difference(&json!({}), &with).changes.len(), 1, "{section}");
    }
}

//! Other values in place of a list, and elements that do not fit.

use super::Spot;
use super::accepted::is_backend;
use super::keys::example;
use super::write::{flow, pairs, scalar};
use crate::shape;
use crate::tree::{KeyValue, Value};
use crate::word::Words;
use crate::words::{self, squash};
use weir_tls::{Group, Suite};

/// Advice for another value in place of a list.
pub(super) fn list(spot: Spot<'_>, item: Option<&'static str>) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    match (&node.value, item) {
        (Value::Map(entries), Some(item)) => Some(list_from_map(spot, item, entries)),
        // `ECDHE-RSA-AES128-GCM-SHA256:…`, as OpenSSL writes them.
        (Value::Text { text, .. }, None) if !words_of(key).is_empty() => {
            let own = |part: &str| {
                let known = words_of(key).iter().copied().find(|word| squash(word) == squash(part));
                known.or_else(|| words::value(key, part))
            };
            let parts: Vec<&str> =
                text.split([',', ':', ' ']).filter(|part| !part.is_empty()).filter_map(own).collect();
            Some(match parts.is_empty() {
                true => format!("a list of: {}", words_of(key).join(", ")),
                false => format!("write `{key}: [{}]`", parts.join(", ")),
            })
        }
        (Value::Text { text, .. }, None) => {
            let parts: Vec<String> =
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(scalar).collect();
            Some(match parts.is_empty() {
                true => format!("write `{key}: []`"),
                false => format!("write `{key}: [{}]`", parts.join(", ")),
            })
        }
        (Value::Text { text, .. }, Some("BackendFields")) => {
            let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
            if parts.is_empty() || !parts.iter().all(|part| is_backend(part)) {
                return Some(example(section, key));
            }
            let parts: Vec<String> = parts.into_iter().map(scalar).collect();
            Some(format!("write `{key}: [{}]`", parts.join(", ")))
        }
        _ => Some(example(section, key)),
    }
}

/// The words of lists of words.
fn words_of(key: &str) -> &'static [&'static str] {
    match key {
        "cipher_suites" => Suite::WORDS,
        "groups" => Group::WORDS,
        _ => &[],
    }
}

/// A section in place of a list: one element without its dash, or elements as values of their names.
fn list_from_map(spot: Spot<'_>, item: &'static str, entries: &[KeyValue]) -> String {
    let known = shape::keys(item);
    if entries.iter().any(|entry| known.contains(&entry.key.as_str())) {
        return match flow(spot.node) {
            Some(text) => format!("write `{}: [{text}]`", spot.key),
            None => "it is a list: put `- ` in front of the first key of each element".to_owned(),
        };
    }
    let whole: Option<Vec<String>> = entries.iter().map(|entry| named(item, entry)).collect();
    match whole.map(|parts| parts.join(", ")).filter(|text| text.len() <= LONGEST_LIST && !text.is_empty()) {
        Some(text) => format!("write `{}: [{text}]`", spot.key),
        None => match item {
            "Route" => "it is a list: `- match: {sni: www.example.com}`, with its `pool`".to_owned(),
            _ => "it is a list, and each element has its name inside: `- name: web`".to_owned(),
        },
    }
}

/// One element of a list, made of a name and its value.
fn named(item: &str, entry: &KeyValue) -> Option<String> {
    let name = scalar(&entry.key);
    match (item, &entry.node.value) {
        ("Pool", Value::List(_)) => Some(format!("{{name: {name}, backends: {}}}", flow(&entry.node)?)),
        ("BackendFields", Value::Text { .. }) => {
            Some(format!("{{name: {name}, address: {}}}", flow(&entry.node)?))
        }
        ("Route", Value::Text { .. }) => {
            Some(format!("{{match: {{sni: {name}}}, pool: {}}}", flow(&entry.node)?))
        }
        ("Route" | "Certificate", _) => None,
        (_, Value::Map(inner)) => {
            let known = shape::keys(item);
            let fits = inner.iter().all(|entry| known.contains(&entry.key.as_str()) && entry.key != "name");
            fits.then(|| Some(format!("{{name: {name}, {}}}", pairs(inner)?))).flatten()
        }
        _ => None,
    }
}

/// Advice for an element that should be a section and is not.
pub(super) fn element(spot: Spot<'_>, item: &str) -> Option<String> {
    match (item, &spot.node.value) {
        ("BackendFields", Value::Unsigned(port @ 1..=65_535)) => {
            Some(format!("an address and a port, such as \"127.0.0.1:{port}\""))
        }
        ("BackendFields", Value::List(nodes)) => match nodes.as_slice() {
            [only] if matches!(only.value, Value::Text { .. } | Value::Map(_)) => {
                flow(only).map(|text| format!("write `{text}`"))
            }
            _ => None,
        },
        (_, Value::List(nodes)) => match nodes.as_slice() {
            [only] if matches!(only.value, Value::Map(_)) => flow(only).map(|text| format!("write `{text}`")),
            _ => None,
        },
        ("Certificate", _) => Some("such as {cert: a.pem, key: a.key}".to_owned()),
        ("Route", _) => Some("such as {match: {sni: www.example.com}, pool: web}".to_owned()),
        ("Pool", _) => Some("such as {name: web, backends: [\"10.0.0.11:8080\"]}".to_owned()),
        ("Listener", _) => {
            Some("such as {name: edge, address: \":443\", mode: passthrough, default_pool: web}".to_owned())
        }
        _ => None,
    }
}

/// Bytes of a list to repeat in a hint.
const LONGEST_LIST: usize = 160;

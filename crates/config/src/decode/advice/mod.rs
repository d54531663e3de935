//! Hints for keys and values that do not fit.
//!
//! In: the position and the value. Out: one line. A text that a hint tells to write is accepted there; if
//! nothing is sure enough, the hint lists the choices instead. `keys` is about unknown keys, `values` about
//! values of the wrong kind, with `sections`, `lists` and `units` (times, sizes, shares); `accepted` repeats
//! the checks of `compile`, `write` writes values as YAML.

mod accepted;
mod keys;
mod lists;
mod sections;
mod units;
mod values;
mod write;

use crate::tree::{KeyValue, Value, YamlNode};

pub(super) use keys::unknown_key;
pub(super) use values::value;

/// The value that the advice is about.
#[derive(Clone, Copy)]
pub(super) struct Spot<'t> {
    /// The whole configuration, for the names in it.
    pub(super) root: &'t YamlNode,
    /// The section of the key.
    pub(super) section: &'static str,
    pub(super) key: &'t str,
    /// The value is an element of the key's list.
    pub(super) element: bool,
    pub(super) node: &'t YamlNode,
}

/// The names in a list at the top: pools, TLS profiles.
fn names<'t>(root: &'t YamlNode, list: &str) -> Vec<&'t str> {
    let nodes = entry(root, list).map(|entry| &entry.node.value);
    let Some(Value::List(nodes)) = nodes else { return Vec::new() };
    let name = |node: &'t YamlNode| match entry(node, "name").map(|entry| &entry.node.value) {
        Some(Value::Text { text, .. }) => Some(text.as_str()),
        _ => None,
    };
    nodes.iter().filter_map(name).collect()
}

fn entry<'t>(node: &'t YamlNode, key: &str) -> Option<&'t KeyValue> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.name() == key),
        _ => None,
    }
}

/// The list at the top whose names this key refers to.
fn refers_to(section: &str, key: &str) -> Option<&'static str> {
    match (section, key) {
        ("Listener", "default_pool") | ("Route", "pool") => Some("pools"),
        ("Listener" | "Route", "tls") => Some("tls_profiles"),
        _ => None,
    }
}

//! What to do about a key or a value that does not fit: the hints of [`super`].
//!
//! In: where it stands, and what stands there. Out: one line. What a hint tells to write is accepted there; where
//! nothing is sure enough it gives the choices instead. `keys` is about unknown keys, `values` about values of another
//! kind than the key takes, `units` about times, sizes and shares, `accepted` about what `compile` takes, `write` writes
//! values as YAML.

mod accepted;
mod keys;
mod units;
mod values;
mod write;

use crate::tree::{KeyValue, Value, YamlNode};

pub(super) use keys::unknown_key;
pub(super) use values::value;

/// The value that is being looked at.
#[derive(Clone, Copy)]
pub(super) struct Spot<'t> {
    /// The whole configuration, for the names in it.
    pub(super) root: &'t YamlNode,
    /// The section in which the key stands.
    pub(super) section: &'static str,
    pub(super) key: &'t str,
    /// It is an element of the list behind the key.
    pub(super) element: bool,
    pub(super) node: &'t YamlNode,
}

/// The names of a list at the top: pools, TLS profiles.
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

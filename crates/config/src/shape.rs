//! The structure of the configuration, from the JSON Schema: the keys of each section, and whether a value
//! fits a key.
//!
//! In: a section's serde name (`Listener`), and a key. Out: [`Kind`], and whether a value fits.
//! Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::schema;
use crate::speeds::{Pace, Speed};
use crate::tree::{Value, YamlNode};
use crate::units::{Percent, Rate, Size, Time};

/// The kind of value that a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Time,
    Size,
    Percent,
    /// How often.
    Rate,
    /// Bytes a second.
    Speed,
    /// A share within a time.
    Pace,
    Switch,
    /// A whole number.
    Number,
    /// A whole number, or `auto`.
    Count,
    /// A word of a closed set.
    Word,
    Text,
    /// One text, or a list of them.
    Texts,
    /// The keys of this section.
    Section(&'static str),
    /// The name of a TLS profile, or its keys.
    Profile,
    /// A list of sections with this name, or of texts.
    List(Option<&'static str>),
    /// Status codes, `same` or a list, and other special forms.
    Other,
}

/// The section at the top of the file.
pub(crate) const ROOT: &str = "File";

static SCHEMA: LazyLock<Json> = LazyLock::new(schema::declared);
/// The first path of each section: `Timeouts` is `listeners[].timeouts`.
static PATHS: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(paths);

/// The keys of a section, in the schema's order.
pub(crate) fn keys(section: &str) -> Vec<&'static str> {
    properties(section).into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The schema's own text of a key's name.
pub(crate) fn key(section: &str, name: &str) -> Option<&'static str> {
    properties(section)?.get_key_value(name).map(|(name, _)| name.as_str())
}

/// The kind of value that a section's key takes; `None` for an unknown key.
pub(crate) fn kind(section: &str, key: &str) -> Option<Kind> {
    property(section, key).map(kind_of)
}

/// Whether the value fits this key. Ignores references, and ranges of values.
pub(crate) fn fits(section: &str, key: &str, node: &YamlNode) -> bool {
    property(section, key).is_some_and(|schema| fits_schema(schema, node))
}

/// Whether the value fits as an element of this key's list.
pub(crate) fn fits_element(section: &str, key: &str, node: &YamlNode) -> bool {
    property(section, key)
        .and_then(|schema| resolve(schema).get("items"))
        .is_some_and(|items| fits_schema(items, node))
}

/// The paths of the sections with this key: `listeners[].timeouts`; empty for the top of the file.
pub(crate) fn places_of(key: &str) -> Vec<&'static str> {
    let has = |section: &str| property(section, key).is_some();
    PATHS.iter().filter(|(section, _)| has(section)).map(|(_, path)| path.as_str()).collect()
}

/// The first path of a section.
#[cfg(test)]
pub(crate) fn path_of(section: &str) -> Option<&'static str> {
    PATHS.get(section).map(String::as_str)
}

fn properties(section: &str) -> Option<&'static serde_json::Map<String, Json>> {
    let schema = if section == ROOT { &*SCHEMA } else { definition(section)? };
    schema.get("properties")?.as_object()
}

fn definition(name: &str) -> Option<&'static Json> {
    SCHEMA.get("definitions")?.get(name)
}

fn property(section: &str, key: &str) -> Option<&'static Json> {
    properties(section)?.get(key)
}

/// The schema itself, with references and `null` resolved.
fn resolve(schema: &'static Json) -> &'static Json {
    let mut schema = schema;
    // References are not nested deeper than this, and never circular.
    for _ in 0..4 {
        let target = match (reference(schema), schema.get("anyOf").and_then(Json::as_array)) {
            (Some(name), _) => definition(name),
            (None, Some(any)) if any.iter().any(|one| one["type"] == "null") => {
                any.iter().find(|one| one["type"] != "null")
            }
            _ => None,
        };
        match target {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn reference(schema: &'static Json) -> Option<&'static str> {
    // A key with a description of its own has the reference one level deeper.
    let inner = schema.get("allOf").and_then(|all| all.get(0)).unwrap_or(schema);
    inner.get("$ref")?.as_str()?.rsplit('/').next()
}

/// The name of the section that a schema is or refers to.
fn section_of(schema: &'static Json) -> Option<&'static str> {
    let name = reference(schema).or_else(|| {
        schema.get("anyOf")?.as_array()?.iter().find_map(|one| section_of(one).or_else(|| reference(one)))
    })?;
    match definition(name)? {
        target if target["type"] == "object" => Some(name),
        target => section_of(target),
    }
}

fn kind_of(schema: &'static Json) -> Kind {
    let named = reference(schema).or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(reference));
    match named {
        Some("Duration") => return Kind::Time,
        Some("Size") => return Kind::Size,
        Some("Percent") => return Kind::Percent,
        Some("Rate") => return Kind::Rate,
        Some("Speed") => return Kind::Speed,
        Some("Pace") => return Kind::Pace,
        // Its keys are the names of header fields.
        Some("Fields") => return Kind::Other,
        Some("Auto") => return Kind::Count,
        Some("Texts") => return Kind::Texts,
        Some("LogLevel") => return Kind::Text,
        Some("Access") => return Kind::Switch,
        Some("HelloReplay" | "MinVersion") => return Kind::Word,
        Some("TlsChoice") => return Kind::Profile,
        _ => {}
    }
    let schema = resolve(schema);
    let is = |kind: &str| match &schema["type"] {
        Json::String(one) => one == kind,
        Json::Array(list) => list.iter().any(|one| one == kind),
        _ => false,
    };
    match () {
        () if is("object") => Kind::Section(named.unwrap_or(ROOT)),
        () if is("array") => Kind::List(schema.get("items").and_then(section_of)),
        () if is("boolean") => Kind::Switch,
        () if is("integer") => Kind::Number,
        () if is("string") => Kind::Text,
        () if schema.get("oneOf").is_some() => Kind::Word,
        () => Kind::Other,
    }
}

fn fits_schema(schema: &'static Json, node: &YamlNode) -> bool {
    if let Some(name) = reference(schema) {
        let text = match &node.value {
            Value::Text { text, .. } => Some(text.as_str()),
            _ => None,
        };
        return match name {
            "Duration" => text.is_some_and(|text| Time::parse(text).is_ok()),
            "Size" => text.is_some_and(|text| Size::parse(text).is_ok()),
            "Percent" => text.is_some_and(|text| Percent::parse(text).is_ok()),
            "Rate" => text.is_some_and(|text| Rate::parse(text).is_ok()),
            "Speed" => text.is_some_and(|text| Speed::parse(text).is_ok()),
            "Pace" => text.is_some_and(|text| Pace::parse(text).is_ok()),
            name => definition(name).is_some_and(|target| fits_schema(target, node)),
        };
    }
    for of in ["anyOf", "oneOf"] {
        // At the top of the file `anyOf` is about required keys, which do not matter here.
        if let Some(any) = schema.get(of).and_then(Json::as_array).filter(|_| schema.get("type").is_none()) {
            return any.iter().any(|one| fits_schema(one, node));
        }
    }
    if let Some(word) = schema.get("const") {
        return is_word(word, node);
    }
    match &schema["type"] {
        Json::String(kind) => fits_type(schema, kind, node),
        Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).any(|kind| fits_type(schema, kind, node)),
        _ => true,
    }
}

fn fits_type(schema: &'static Json, kind: &str, node: &YamlNode) -> bool {
    match (&node.value, kind) {
        (Value::Null, _) | (Value::Text { .. }, "string") | (Value::Bool(_), "boolean") => true,
        (Value::Text { text, .. }, "integer") => text.parse::<u64>().is_ok(),
        (Value::Text { text, .. }, "boolean") => text.parse::<bool>().is_ok(),
        (Value::Unsigned(_), "integer") => true,
        (Value::List(nodes), "array") => {
            let items = schema.get("items");
            nodes.iter().take(MOST_ELEMENTS).all(|one| items.is_none_or(|items| fits_schema(items, one)))
        }
        (Value::Map(entries), "object") => {
            let properties = schema.get("properties").and_then(Json::as_object);
            // A misspelling further in is no reason to think that another key was meant.
            let known =
                entries.iter().filter(|entry| properties.is_some_and(|all| all.contains_key(&entry.key)));
            known.count() * 2 >= entries.len()
        }
        _ => false,
    }
}

fn is_word(word: &Json, node: &YamlNode) -> bool {
    match (&node.value, word) {
        (Value::Text { text, .. }, Json::String(word)) => text == word,
        (Value::Bool(value), Json::Bool(word)) => value == word,
        (Value::Float(value), Json::Number(word)) => word.as_f64() == Some(*value),
        _ => false,
    }
}

fn paths() -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::from([(ROOT, String::new())]);
    let mut open = VecDeque::from([ROOT]);
    while let Some(section) = open.pop_front() {
        let path = found.get(section).cloned().unwrap_or_default();
        for key in keys(section) {
            let Some(schema) = property(section, key) else { continue };
            let (inner, list) = match resolve(schema).get("items") {
                Some(items) => (section_of(items), "[]"),
                None => (section_of(schema), ""),
            };
            let Some(inner) = inner.filter(|inner| !found.contains_key(inner)) else { continue };
            let dot = if path.is_empty() { "" } else { "." };
            found.insert(inner, format!("{path}{dot}{key}{list}"));
            open.push_back(inner);
        }
    }
    found
}

/// Elements of a list to look at: enough to recognise its type.
const MOST_ELEMENTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Position;

    fn text(text: &str) -> YamlNode {
        YamlNode::new(Position::default(), Value::Text { text: text.into(), substituted: false })
    }

    #[test]
    fn all_keys_have_their_kind() {
        for (section, key, wanted) in [
            ("Timeouts", "idle", Kind::Time),
            ("Limits", "client_hello", Kind::Size),
            ("Pool", "panic_threshold", Kind::Percent),
            ("Runtime", "watch", Kind::Switch),
            ("Log", "access", Kind::Switch),
            ("Pool", "retries", Kind::Number),
            ("Runtime", "workers", Kind::Count),
            ("Listener", "mode", Kind::Word),
            ("Listener", "protocol", Kind::Word),
            ("Pool", "hello_replay", Kind::Word),
            ("Profile", "min_version", Kind::Word),
            ("Listener", "name", Kind::Text),
            ("Listener", "address", Kind::Texts),
            ("Match", "sni", Kind::Texts),
            ("Pool", "health_check", Kind::Section("HealthCheck")),
            ("Pool", "passive_check", Kind::Section("PassiveCheck")),
            ("Route", "match", Kind::Section("Match")),
            ("Match", "header", Kind::Other),
            ("RouteLimits", "requests", Kind::Rate),
            ("Bandwidth", "listener", Kind::Speed),
            ("Pool", "rebalance", Kind::Pace),
            ("Limits", "bandwidth", Kind::Section("Bandwidth")),
            ("Route", "redirect", Kind::Section("Redirect")),
            ("Listener", "tls", Kind::Profile),
            (ROOT, "listeners", Kind::List(Some("Listener"))),
            ("Pool", "backends", Kind::List(Some("BackendFields"))),
            ("Profile", "alpn", Kind::List(None)),
            ("HealthCheck", "status", Kind::Other),
        ] {
            assert_eq!(kind(section, key), Some(wanted), "{section}.{key}");
        }
    }

    #[test]
    fn values_fit_or_do_not() {
        assert!(fits("Listener", "mode", &text("offload")) && !fits("Listener", "mode", &text("x")));
        assert!(fits("Timeouts", "idle", &text("5s")) && !fits("Timeouts", "idle", &text("5")));
        assert!(!fits("Profile", "name", &YamlNode::new(Position::default(), Value::Map(Vec::new()))));
        assert!(fits_element("Pool", "backends", &text("a:1")) && !fits("Pool", "backends", &text("a:1")));
        assert!(fits("Limits", "pending", &text("7")) && !fits("Limits", "pending", &text("many")));
    }

    #[test]
    fn sections_have_their_paths() {
        assert_eq!(places_of("half_closed"), ["listeners[].timeouts"]);
        assert_eq!(places_of("certificates"), ["tls_profiles[]"]);
        assert_eq!(places_of("max_connections").len(), 3);
    }
}

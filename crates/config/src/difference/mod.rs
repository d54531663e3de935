//! The changes of a reload: two configurations → the parts that are added, removed or changed, each with its
//! differing keys.
//!
//! In: the output of [`effective`](crate::effective) for the old and for the new file. Because defaults are
//! written out, adding a key with its default value is no change. Out: [`Difference`], which prints one line
//! per change and travels as JSON. Pure.
//!
//! Parts are identified as everywhere else: listeners, pools and TLS profiles by name, backends by name or
//! address, routes by their conditions. So the order of these lists means nothing, as in the plan. If a part
//! is added or removed, its inner parts are listed too.

mod text;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema::BackendFields;

/// All differences. Prints one line per change, without a line break at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Difference {
    /// In the order of the sections: process, TLS profiles, listeners with their routes, pools with their backends.
    pub changes: Vec<Change>,
}

/// One part that was added, removed or changed. Prints as one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What happened to it.
    pub kind: Kind,
    /// The kind of part.
    pub what: What,
    /// Its name: `web`; a backend's or route's pool or listener goes in front: `web/10.0.0.11:8080`,
    /// `edge/sni=api.example.com`. Empty for the sections of the process.
    pub name: String,
    /// The differing keys, by their dotted path; for an added or removed part, all its keys.
    pub keys: Vec<KeyChange>,
}

/// A key whose value has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Its path within the part: `health_check.interval`.
    pub key: String,
    /// `null` if the key was absent.
    pub old: Value,
    /// `null` if the key is absent now.
    pub new: Value,
    /// A reload does not apply it; only a restart does.
    pub restart: bool,
}

/// What happened to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was added.
    Added,
    /// It was removed.
    Removed,
    /// Some of its keys differ.
    Changed,
}

/// The parts of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The section of that name.
    Runtime,
    /// The section of that name.
    Log,
    /// The section of that name.
    Admin,
    /// The section of that name.
    Metrics,
    /// The section of that name.
    Fleet,
    /// One of `tls_profiles`.
    TlsProfile,
    /// One of `listeners`.
    Listener,
    /// A route of a listener.
    Route,
    /// One of `pools`.
    Pool,
    /// A backend of a pool.
    Backend,
}

/// Compares two effective configurations.
pub fn difference(old: &Value, new: &Value) -> Difference {
    let mut changes = Vec::new();
    for (what, key) in SECTIONS {
        changes.extend(change(what, String::new(), section(old, key), section(new, key)));
    }
    let (old, new) = (old.as_object(), new.as_object());
    for (what, key) in LISTS {
        for (name, old, new) in pairs(&members(old, key, named), &members(new, key, named)) {
            changes.extend(change(what, name.to_owned(), old, new));
            if what == What::Listener {
                inner(&mut changes, (What::Route, "routes", matching), name, old, new);
            }
            if what == What::Pool {
                inner(&mut changes, (What::Backend, "backends", reached), name, old, new);
            }
        }
    }
    Difference { changes }
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Keeps only the first changes, and returns the number of the others. Those of the process, which may
    /// need a restart, come first.
    pub fn keep_first(&mut self, most: usize) -> usize {
        let more = self.changes.len().saturating_sub(most);
        self.changes.truncate(most);
        more
    }

    /// Whether any change needs an upgrade, which a restart is too.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(Change::needs_restart)
    }
}

impl Change {
    /// Whether this change does.
    pub fn needs_restart(&self) -> bool {
        self.keys.iter().any(|key| key.restart)
    }
}

/// A part of the configuration: a map, without the defaults that `effective` does not write either.
type Part = Map<String, Value>;

/// The parts of one list, each with its identity; the number keeps duplicates apart.
type Members<'v> = Vec<((String, usize), Cow<'v, Part>)>;

fn section<'v>(configuration: &'v Value, key: &str) -> Option<&'v Part> {
    configuration.get(key).and_then(Value::as_object)
}

/// The changes of a list within a part.
fn inner(
    changes: &mut Vec<Change>,
    (what, key, known_by): (What, &str, fn(&Part) -> String),
    outer: &str,
    old: Option<&Part>,
    new: Option<&Part>,
) {
    for (name, old, new) in pairs(&members(old, key, known_by), &members(new, key, known_by)) {
        changes.extend(change(what, format!("{outer}/{name}"), old, new));
    }
}

fn members<'v>(outer: Option<&'v Part>, key: &str, known_by: fn(&Part) -> String) -> Members<'v> {
    outer.and_then(|outer| outer.get(key)).map_or_else(Vec::new, |list| within(list, known_by))
}

fn within(list: &Value, known_by: fn(&Part) -> String) -> Members<'_> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let parts = list.as_array().into_iter().flatten().map(part);
    let numbered = parts.map(|part| {
        let name = known_by(&part);
        let number = seen.entry(name.clone()).or_default();
        *number += 1;
        ((name, *number), part)
    });
    numbered.collect()
}

/// The parts that both lists have, then those of the old list alone, then those of the new one alone.
fn pairs<'m>(
    old: &'m Members<'m>,
    new: &'m Members<'m>,
) -> impl Iterator<Item = (&'m str, Option<&'m Part>, Option<&'m Part>)> {
    let index =
        |members: &'m Members<'m>| members.iter().map(|(id, part)| (id, &**part)).collect::<HashMap<_, _>>();
    let (before, after) = (index(old), index(new));
    let kept = old.iter().map(move |(id, part)| (id.0.as_str(), Some(&**part), after.get(id).copied()));
    let added = new.iter().filter(move |(id, _)| !before.contains_key(id));
    kept.chain(added.map(|(id, part)| (id.0.as_str(), None, Some(&**part))))
}

/// A list's element as a map: a backend may be its address alone.
fn part(element: &Value) -> Cow<'_, Part> {
    match element {
        // Borrows, because a listener may contain 10,000 routes.
        Value::Object(part) => Cow::Borrowed(part),
        address => Cow::Owned(Map::from_iter([("address".to_owned(), address.clone())])),
    }
}

fn named(part: &Part) -> String {
    part.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn reached(backend: &Part) -> String {
    let known_by = backend.get("name").filter(|name| !name.is_null()).or_else(|| backend.get("address"));
    known_by.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn matching(route: &Part) -> String {
    let conditions = route.get("match").and_then(Value::as_object);
    let condition = |(key, value): (&String, &Value)| match value {
        Value::Array(list) => format!("{key}={}", sorted(list).join(",")),
        other => format!("{key}={}", text::plain(other)),
    };
    let given = conditions.into_iter().flatten().filter(|(_, value)| !value.is_null());
    let all = given.map(condition).collect::<Vec<_>>().join(" ");
    if all.is_empty() { "any".to_owned() } else { all }
}

/// The change of one part, if any.
fn change(what: What, name: String, old: Option<&Part>, new: Option<&Part>) -> Option<Change> {
    let kind = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => Kind::Added,
        (Some(_), None) => Kind::Removed,
        // The usual case: most parts stay the same in most reloads.
        (Some(old), Some(new)) if old == new => return None,
        (Some(_), Some(_)) => Kind::Changed,
    };
    let (old, new) = (keys(what, old), keys(what, new));
    let all: BTreeMap<&str, ()> = old.keys().chain(new.keys()).map(|key| (key.as_str(), ())).collect();
    let differs = |key: &&str| match (old.get(*key), new.get(*key)) {
        (Some(Value::Array(old)), Some(Value::Array(new))) if *key == "address" => sorted(old) != sorted(new),
        (old, new) => old != new,
    };
    let value =
        |keys: &BTreeMap<String, &Value>, key: &str| keys.get(key).map_or(Value::Null, |v| (*v).clone());
    let keys: Vec<KeyChange> = all
        .into_keys()
        .filter(differs)
        .map(|key| KeyChange {
            key: key.to_owned(),
            old: value(&old, key),
            new: value(&new, key),
            restart: RESTART.contains(&(what, key)),
        })
        .collect();
    (kind != Kind::Changed || !keys.is_empty()).then_some(Change { kind, what, name, keys })
}

/// The keys of a part by their dotted paths, without its name, its inner parts, and values equal to the
/// default.
fn keys(what: What, part: Option<&Part>) -> BTreeMap<String, &Value> {
    let own = |key: &str| match what {
        What::Listener => !matches!(key, "name" | "routes"),
        What::Pool => !matches!(key, "name" | "backends"),
        What::Route => key != "match",
        What::TlsProfile | What::Backend => key != "name",
        What::Runtime | What::Log | What::Admin | What::Metrics | What::Fleet => true,
    };
    let mut found = BTreeMap::new();
    for (key, value) in part.into_iter().flatten().filter(|(key, _)| own(key)) {
        // Backends are the only parts that `effective` leaves as they were written.
        if !(what == What::Backend && is_default_of_backend(key, value)) {
            flatten(key.clone(), value, &mut found);
        }
    }
    found
}

fn is_default_of_backend(key: &str, value: &Value) -> bool {
    match key {
        "weight" => value.as_u64() == Some(u64::from(BackendFields::default().weight())),
        "backup" => *value == Value::Bool(BackendFields::default().backup()),
        _ => false,
    }
}

fn flatten<'v>(path: String, value: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Null => {}
        // An empty section still has a meaning: `tls: {}`.
        Value::Object(section) if !section.is_empty() => {
            section.iter().for_each(|(key, value)| flatten(format!("{path}.{key}"), value, found));
        }
        _ => {
            found.insert(path, value);
        }
    }
}

fn sorted(list: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = list.iter().map(text::plain).collect();
    texts.sort_unstable();
    texts
}

/// Sections of the process. `include` is not among them, because the included content is compared instead.
const SECTIONS: [(What, &str); 5] = [
    (What::Runtime, "runtime"),
    (What::Log, "log"),
    (What::Admin, "admin"),
    (What::Metrics, "metrics"),
    (What::Fleet, "fleet"),
];
/// Lists of named parts.
const LISTS: [(What, &str); 3] =
    [(What::TlsProfile, "tls_profiles"), (What::Listener, "listeners"), (What::Pool, "pools")];
/// Threads are started and the admin address is bound only once in a process's life.
const RESTART: [(What, &str); 3] =
    [(What::Runtime, "workers"), (What::Runtime, "affinity"), (What::Admin, "address")];

//! Adds an included file to the main file's tree: its elements go behind those of the three lists.
//!
//! In: the tree of a file, or a failed read. Out: longer lists, and a finding for each key that only the main
//! file may have. For an unreadable file the lists get a refused element: it may have contained any missing
//! name, so no name must be called missing.

use crate::decode::{unknown_key, wrong_kind};
use crate::finding::{Finding, Found};
use crate::source::Position;
use crate::tree::{KeyValue, Value, YamlNode};

/// The result for one entry of `include`, or for one file.
#[derive(Debug)]
pub(super) enum Part {
    /// The file's tree.
    Says(YamlNode),
    /// It could not be read; the error is reported at this position.
    Gap(Position),
}

/// Adds a part to the main file's entries.
pub(super) fn append(main: &mut Vec<KeyValue>, part: Part, found: &mut Found) {
    let root = match part {
        Part::Gap(at) => return gap(main, at),
        Part::Says(root) => root,
    };
    match root.value {
        _ if root.is_refused() => gap(main, root.at),
        // Nothing but comments: a file that was switched off.
        Value::Null => {}
        Value::Map(entries) => {
            let keys: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
            entries.into_iter().for_each(|entry| append_entry(main, entry, &keys, found));
        }
        _ => {
            found.push(wrong_kind(&root, None, "struct File"));
            gap(main, root.at);
        }
    }
}

/// Adds an entry; `keys` are all keys of its file.
fn append_entry(main: &mut Vec<KeyValue>, entry: KeyValue, keys: &[String], found: &mut Found) {
    let key = entry.key.as_str();
    if MAIN_ONLY.contains(&key) {
        let message = format!("`{key}` is not allowed in an included file");
        found.push(Finding { at: entry.at, message, hint: Some("only in the main file".to_owned()) });
    } else if !LISTS.contains(&key) {
        // Without a hint beyond the ceiling: making each hint compares all keys beside it.
        match found.is_full() {
            true => found.more += 1,
            false => {
                let others: Vec<&str> =
                    keys.iter().map(String::as_str).filter(|key| *key != entry.key).collect();
                found.push(unknown_key(&entry, &others, &LISTS));
            }
        }
        gap(main, entry.at);
    } else if entry.node.is_refused() {
        hole(main, key, entry.at);
    } else {
        match entry.node.value {
            Value::Null => {}
            Value::List(nodes) => {
                if let Some(list) = list(main, key, entry.at) {
                    list.extend(nodes);
                }
            }
            _ => {
                found.push(wrong_kind(&entry.node, Some(&entry), "a sequence"));
                hole(main, key, entry.at);
            }
        }
    }
}

fn gap(main: &mut Vec<KeyValue>, at: Position) {
    LISTS.iter().for_each(|key| hole(main, key, at));
}

fn hole(main: &mut Vec<KeyValue>, key: &str, at: Position) {
    if let Some(list) = list(main, key, at) {
        let node = YamlNode::new(at, Value::Null);
        node.refuse();
        list.push(node);
    }
}

/// The list of a key of the main file, created if it is absent. `None` if the main file has another value
/// there, which `decode` reports.
fn list<'t>(main: &'t mut Vec<KeyValue>, key: &str, at: Position) -> Option<&'t mut Vec<YamlNode>> {
    let index = main.iter().position(|entry| entry.key == key).unwrap_or(main.len());
    if index == main.len() {
        main.push(KeyValue { key: key.to_owned(), at, node: YamlNode::new(at, Value::Null) });
    }
    let value = &mut main.get_mut(index)?.node.value;
    if matches!(value, Value::Null) {
        *value = Value::List(Vec::new());
    }
    match value {
        Value::List(nodes) => Some(nodes),
        _ => None,
    }
}

/// The keys that an included file may have.
const LISTS: [&str; 3] = ["listeners", "pools", "tls_profiles"];
/// The schema's other keys: they concern the one process, or name the files.
const MAIN_ONLY: [&str; 6] = ["include", "runtime", "log", "admin", "metrics", "fleet"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_the_schema_have_their_file() {
        let schema = crate::schema::declared();
        let mut keys: Vec<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut known: Vec<&str> = LISTS.iter().chain(&MAIN_ONLY).copied().collect();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
    }
}

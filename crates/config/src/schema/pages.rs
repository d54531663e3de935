//! Writes the docs of every key from the schema: the tables of docs/configuration.md, the schema for editors,
//! and missing lines of docs/reference.yaml. A test that changes a file fails, so that the change is reviewed
//! and committed; run again, it passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ranges::{self, Zero};
use crate::shape::{self, Kind};

/// The tables of keys: the heading of each, and its keys at the top of the file.
const TABLES: [(&str, &[&str]); 4] = [
    ("### The process\n", &["include", "runtime", "log", "admin", "metrics", "fleet"]),
    ("### TLS profiles\n", &["tls_profiles"]),
    ("### Listeners\n", &["listeners"]),
    ("### Pools\n", &["pools"]),
];
const KEYS: &str = "| key | value | default | meaning |\n|---|---|---|---|\n";

/// A key of the schema.
struct Row {
    section: String,
    key: String,
    /// `listeners[].name`.
    path: String,
    own: Value,
    required: bool,
}

impl Row {
    fn text(&self, name: &str) -> Option<String> {
        self.own[name].as_str().map(|text| text.replace('\n', " "))
    }

    fn meaning(&self) -> String {
        self.text("description").unwrap()
    }

    /// The values that the key takes.
    fn value(&self) -> String {
        if let Some(value) = self.text("x-value") {
            return value;
        }
        let span = |(least, most): (String, String)| format!("`{least}` to `{most}`");
        match shape::kind(&self.section, &self.key).unwrap() {
            Kind::Switch => "`true`, `false`".to_owned(),
            Kind::Section(_) => "section".to_owned(),
            Kind::List(Some(_)) => "list".to_owned(),
            Kind::Time => {
                let range = ranges::times(&self.section, &self.key);
                let longest = range.most == ranges::times("Timeouts", "idle").most;
                match (range.zero, longest) {
                    (Zero::AtOnce, _) => "time".to_owned(),
                    (Zero::Never, _) => {
                        format!("`0s`, or {}", span((range.least.to_string(), range.most.to_string())))
                    }
                    (Zero::Refused, true) => format!("from `{}`", range.least),
                    (Zero::Refused, false) => span((range.least.to_string(), range.most.to_string())),
                }
            }
            Kind::Size => {
                let (least, most) = ranges::sizes(&self.section, &self.key);
                span((least.to_string(), most.to_string()))
            }
            Kind::Percent => match ranges::shares(&self.key) {
                (least, most) if most.0 == u32::MAX => format!("from `{least}`"),
                (least, most) => span((least.to_string(), most.to_string())),
            },
            Kind::Number => match (&self.own["minimum"], &self.own["maximum"]) {
                (least, Value::Null) => format!("from `{least}`"),
                (least, most) => span((least.to_string(), most.to_string())),
            },
            Kind::Word => words(&self.own).join(", "),
            other => panic!("{}: say with `x-value` what it may be ({other:?})", self.path),
        }
    }

    /// The key's default.
    fn default(&self) -> String {
        let section = matches!(shape::kind(&self.section, &self.key), Some(Kind::Section(_)));
        match (self.text("x-default"), self.own.get("default")) {
            (Some(default), _) => default,
            (None, Some(default)) if !default.is_object() => code(default),
            _ if self.required => "required".to_owned(),
            _ if section => String::new(),
            _ => "none".to_owned(),
        }
    }

    fn line(&self) -> String {
        let default = self.default();
        let gap = if default.is_empty() { "" } else { " " };
        let (path, value) = (&self.path, self.value());
        format!("| `{path}` | {value} |{gap}{default} | {} |\n", self.meaning())
    }
}

/// A value as YAML code: a version is quoted.
fn code(value: &Value) -> String {
    match value {
        Value::String(text) if text.parse::<f64>().is_ok() => format!("`\"{text}\"`"),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// The words that a key takes.
fn words(own: &Value) -> Vec<String> {
    let schema = super::declared();
    let mut open = vec![own.clone()];
    let mut words = Vec::new();
    while let Some(part) = open.pop() {
        if let Some(reference) = part["$ref"].as_str() {
            open.push(schema.pointer(reference.trim_start_matches('#')).unwrap().clone());
        }
        for of in ["anyOf", "allOf", "oneOf"] {
            open.extend(part[of].as_array().into_iter().flatten().rev().cloned());
        }
        // A version without quotes is accepted too, but not documented.
        words.extend(part.get("const").filter(|word| !word.is_number()).map(code));
    }
    words
}

/// Every key of the file; each section follows the first key that uses it.
fn rows() -> Vec<Row> {
    let schema = super::declared();
    let mut rows = Vec::new();
    walk(&schema, shape::ROOT, "", &mut rows);
    assert!(rows.len() > 120, "the walk lost its way");
    rows
}

fn walk(schema: &Value, section: &str, path: &str, rows: &mut Vec<Row>) {
    let own = if section == shape::ROOT { schema } else { &schema["definitions"][section] };
    let listed = |key: &str| section == shape::ROOT && matches!(key, "listeners" | "pools");
    for (key, property) in own["properties"].as_object().unwrap() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let required = own["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key));
        rows.push(Row {
            section: section.to_owned(),
            key: key.clone(),
            path: path.clone(),
            own: property.clone(),
            required: required || listed(key),
        });
        let (inner, path) = match shape::kind(section, key) {
            Some(Kind::Section(inner)) => (inner, path),
            Some(Kind::List(Some(inner))) => (inner, format!("{path}[]")),
            _ => continue,
        };
        if shape::path_of(inner) == Some(path.as_str()) {
            walk(schema, inner, &path, rows);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Writes a page, and fails if its content changed.
fn keep(name: &str, text: &str) {
    let path = root().join(name);
    if std::fs::read_to_string(&path).unwrap() != text {
        std::fs::write(&path, text).unwrap();
        panic!("{name} was written anew from the schema: look at the change, and commit it");
    }
}

/// The page with new rows in the table of keys behind `heading`.
fn with_table(page: &str, heading: &str, rows: &str) -> String {
    let section = page.find(heading).unwrap_or_else(|| panic!("there is no {heading:?}"));
    let start = section + page[section..].find(KEYS).unwrap() + KEYS.len();
    let end = start + page[start..].find("\n\n").unwrap() + 1;
    format!("{}{rows}{}", &page[..start], &page[end..])
}

#[test]
fn tables_of_keys_match_the_schema() {
    let rows = rows();
    let mut page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut placed = 0;
    for (heading, keys) in TABLES {
        let of_table = |row: &&Row| {
            let top = row.path.split(['.', '[']).next().unwrap();
            keys.contains(&top)
        };
        let lines: Vec<String> = rows.iter().filter(of_table).map(Row::line).collect();
        placed += lines.len();
        page = with_table(&page, heading, &lines.concat());
    }
    assert_eq!(placed, rows.len(), "a key at the top has no table: see TABLES");
    keep("docs/configuration.md", &page);
}

#[test]
fn editors_get_the_schema_of_the_program() {
    let text = serde_json::to_string_pretty(&super::json_schema()).unwrap();
    keep("config/weir.schema.json", &format!("{text}\n"));
}

/// A line of the reference with a key, in use or as a comment.
struct Line {
    number: usize,
    /// Columns before the key.
    indent: usize,
    path: String,
}

/// The keys with a line of their own, or in braces on another key's line.
fn lines(text: &str, rows: &[Row]) -> Vec<Line> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut indent = line.len() - rest.len();
        let element = rest.starts_with("- ");
        // An element begins with its first key.
        if element {
            rest = rest[2..].trim_start();
            indent = line.len() - rest.len();
        }
        let commented = rest.starts_with("# ");
        let code = rest.strip_prefix("# ").unwrap_or(rest);
        let key = code.split(':').next().unwrap();
        let is_key = code.len() > key.len()
            && !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let parent =
            open.iter().rev().find(|(column, _)| *column < indent).map_or("", |(_, path)| path.as_str());
        let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
        // Other comments may have a colon too.
        if !is_key || commented && !rows.iter().any(|row| row.path == path) {
            continue;
        }
        open.retain(|(column, _)| *column < indent);
        let inner = code.split('#').next().unwrap().split(['{', '}', ',', '[']).skip(1);
        let inner = inner.filter_map(|part| part.split_once(':')).map(|(key, _)| key.trim().to_owned());
        for key in inner {
            found.push(Line { number, indent, path: format!("{path}.{key}") });
        }
        let list =
            ["tls_profiles", "certificates", "listeners", "routes", "pools", "backends"].contains(&key);
        open.push((indent, if list { format!("{path}[]") } else { path.clone() }));
        found.push(Line { number, indent, path });
    }
    found
}

#[test]
fn the_reference_has_a_line_for_every_key() {
    let mut text = std::fs::read_to_string(root().join("docs/reference.yaml")).unwrap();
    let rows = rows();
    for (index, row) in rows.iter().enumerate() {
        let lines = lines(&text, &rows);
        let known: BTreeSet<&str> = lines.iter().map(|line| line.path.as_str()).collect();
        let in_braces =
            |path: &str| known.contains(path) || known.contains(path.replace("[].", ".").as_str());
        if in_braces(&row.path) || row.path.ends_with("[].address") {
            continue;
        }
        // Inserts the line after the previous key of its section, and everything that belongs to that key.
        let before = rows[..index]
            .iter()
            .rev()
            .find(|other| other.section == row.section && lines.iter().any(|line| line.path == other.path));
        let before =
            before.unwrap_or_else(|| panic!("{}: the first key of a section must be put there", row.path));
        let line = lines.iter().find(|line| line.path == before.path).unwrap();
        let all: Vec<&str> = text.lines().collect();
        let inside = |other: &&str| other.len() - other.trim_start().len() > line.indent;
        let end = line.number + 1 + all[line.number + 1..].iter().take_while(|other| inside(other)).count();
        let space = " ".repeat(line.indent);
        let new = match row.own.get("default") {
            Some(default) => {
                let key = format!("{space}{}: {}", row.key, code(default).trim_matches('`'));
                format!("{key:<35} # {}", row.meaning())
            }
            None => format!("{space}# {}: …  {}", row.key, row.meaning()),
        };
        let (above, below) = all.split_at(end);
        text = [above, &[new.as_str()], below].concat().join("\n") + "\n";
    }
    keep("docs/reference.yaml", &text);
}

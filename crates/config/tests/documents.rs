//! The example files and the reference are right as they stand, and the reference leaves nothing out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "all of this is test code"
)]

mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::with_input;
use serde_json::Value;
use weir_config::{check, effective, load, schema};

/// The examples, the reference and fresh certificates, in one folder.
fn workbench() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in
        examples().into_iter().chain([root().join("docs/reference.yaml"), root().join("config/certs.sh")])
    {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let made = Command::new("sh").arg(folder.path().join("certs.sh")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn examples() -> Vec<PathBuf> {
    let all = std::fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn every_example_and_the_reference_check_without_a_warning() {
    let folder = workbench();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let (_, warnings) =
                with_input(|input| check(&path, input)).unwrap_or_else(|rejected| panic!("{rejected}"));
            assert!(warnings.is_empty(), "{}: {}", path.display(), warnings[0]);
            seen.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["quickstart", "passthrough", "offload", "bridging", "mixed", "appliance", "reference"] {
        assert!(seen.iter().any(|stem| stem == name), "{name} is missing");
    }
}

#[test]
fn every_example_says_how_to_try_it() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("curl ") && text.contains("weir run -c "), "{}", path.display());
    }
}

/// Every key under `properties`, with a `$ref` followed once a path.
fn keys(schema: &Value, root: &Value, seen: &mut Vec<String>, out: &mut Vec<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap().to_owned();
        if !seen.contains(&name) {
            seen.push(name.clone());
            keys(&root["definitions"][&name], root, seen, out);
        }
    }
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "properties" {
                    out.extend(value.as_object().unwrap().keys().cloned());
                }
                if name != "definitions" {
                    keys(value, root, seen, out);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, root, seen, out)),
        _ => {}
    }
}

#[test]
fn the_reference_mentions_every_key_of_the_schema() {
    let schema = schema::with_later_keys();
    let mut names = Vec::new();
    keys(&schema, &schema, &mut Vec::new(), &mut names);
    assert!(names.len() > 100, "the walk lost its way: {names:?}");
    let text = std::fs::read_to_string(root().join("docs/reference.yaml")).unwrap();
    // A key begins a word and ends with its colon, in a comment or not.
    let mentions = |name: &str| {
        text.match_indices(&format!("{name}:")).any(|(at, _)| {
            text[..at].chars().next_back().is_none_or(|before| matches!(before, ' ' | '{' | '\n' | '`'))
        })
    };
    let missing: Vec<&String> = names.iter().filter(|name| !mentions(name)).collect();
    assert!(missing.is_empty(), "not in docs/reference.yaml: {missing:?}");
}

#[test]
fn no_editor_offers_what_is_refused() {
    let schema = schema::json_schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let text = schema.to_string();
    assert!(text.contains("\"least_connections\"") && text.contains("\"tcp\""));
    assert_eq!(schema["definitions"]["Protocol"].to_string().matches("\"http\"").count(), 0, "{schema}");
    // Complete alone, or with what it includes.
    assert_eq!(schema["anyOf"][0]["required"], serde_json::json!(["listeners", "pools"]));
    assert_eq!(schema["anyOf"][1]["required"], serde_json::json!(["include"]));
    assert!(schema.get("required").is_none());
}

#[test]
fn the_schema_in_config_is_the_programs() {
    let path = root().join("config/weir.schema.json");
    let mut current = serde_json::to_string_pretty(&schema::json_schema()).unwrap();
    current.push('\n');
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == current, "run this test once with UPDATE_SCHEMA=1 and commit config/weir.schema.json");
}

/// A line `# key: value   (not supported yet) …` as its indent, its key and its value.
fn later(line: &str) -> Option<(&str, &str, &str)> {
    let (code, _) = line.split_once("(not supported yet)")?;
    let (indent, code) = code.split_once("# ")?;
    let (key, value) = code.trim_end().split_once(": ")?;
    let a_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (indent.trim().is_empty() && a_key).then_some((indent, key, value))
}

#[test]
fn every_key_marked_as_later_is_refused_as_later() {
    let folder = workbench();
    let text = std::fs::read_to_string(folder.path().join("reference.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut tried = 0;
    for (number, (indent, key, value)) in
        lines.iter().enumerate().filter_map(|(n, line)| Some((n, later(line)?)))
    {
        let mut changed = lines.clone();
        let live = format!("{indent}{key}: {value}");
        changed[number] = &live;
        std::fs::write(folder.path().join("later.yaml"), changed.join("\n")).unwrap();
        let rejected = with_input(|input| check(&folder.path().join("later.yaml"), input)).unwrap_err();
        let [only] = rejected.0.as_slice() else { panic!("{live}: {rejected}") };
        assert_eq!(only.message, format!("`{key}` is not supported yet"), "{live}");
        assert_eq!((only.line, only.column), (number + 1, indent.len() + 1), "{live}");
        tried += 1;
    }
    assert!(tried > 30, "only {tried} lines are marked");
}

#[test]
fn what_the_reference_says_is_the_default_is_the_default() {
    let folder = workbench();
    let reference = serde_json::to_value(load(&folder.path().join("reference.yaml")).unwrap().file).unwrap();
    let bare = load(&folder.path().join("quickstart.yaml")).unwrap().file;
    let defaults = effective(&bare);
    for place in ["/listeners/0/timeouts", "/listeners/0/limits", "/listeners/0/tcp", "/runtime", "/log"] {
        let (said, is) = (reference.pointer(place).unwrap(), defaults.pointer(place).unwrap());
        assert_eq!(said, is, "{place}");
    }
    for place in ["/listeners/0/peek", "/listeners/0/non_tls", "/pools/0/retries", "/pools/0/balance"] {
        assert_eq!(reference.pointer(place), defaults.pointer(place), "{place}");
    }
    for key in ["interval", "timeout", "rise", "fall"] {
        let place = format!("/pools/0/health_check/{key}");
        assert_eq!(reference.pointer(&place), defaults.pointer(&place), "{place}");
    }
    let full = effective(&load(&folder.path().join("reference.yaml")).unwrap().file);
    let inline = full.pointer("/listeners/1/tls").unwrap();
    for key in ["unknown_sni", "min_version", "truncation", "sessions"] {
        assert_eq!(inline.get(key), reference.pointer(&format!("/tls_profiles/0/{key}")), "{key}");
    }
}

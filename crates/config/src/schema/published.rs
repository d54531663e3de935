//! The schema for editors: each key with a title and its default, and variables as alternatives to numbers,
//! switches and words.
//!
//! In: the schema as declared. Out: the content of `config/weir.schema.json`. Pure.

use serde_json::{Map, Value, json};

/// Makes the schema for editors.
pub(super) fn publish(mut schema: Value) -> Value {
    if let Some(definitions) = schema.get_mut("definitions").and_then(Value::as_object_mut) {
        for (name, section) in definitions {
            complete(section);
            let title = title_of(name);
            front(section, "title", json!(title));
        }
    }
    complete(&mut schema);
    front(&mut schema, "title", json!("weir.yaml"));
    front(&mut schema, "$id", json!("urn:weir:weir.schema.json"));
    let draft = schema.get("$schema").cloned().unwrap_or_default();
    front(&mut schema, "$schema", draft);
    schema
}

/// Gives each key its title and default.
fn complete(section: &mut Value) {
    accept_variables(section);
    let required = section.get("required").cloned().unwrap_or_default();
    let Some(properties) = section.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (key, own) in properties {
        // These two may be in other files, but are lists anyway.
        let listed = matches!(key.as_str(), "listeners" | "pools");
        if listed || required.as_array().is_some_and(|all| all.iter().any(|one| one == key)) {
            refuse_null(own);
        }
        front(own, "title", json!(key.replace('_', " ")));
        plain(own);
    }
}

/// Removes the annotations for the docs' tables, and Markdown links, which editors do not show.
fn plain(own: &mut Value) {
    let Some(fields) = own.as_object_mut() else { return };
    fields.retain(|name, _| !name.starts_with("x-"));
    // Goes behind everything else. A section has no default, because each of its keys has one.
    if let Some(default) = fields.remove("default").filter(|default| !default.is_object()) {
        fields.insert("default".to_owned(), default);
    }
    if let Some(Value::String(meaning)) = fields.get_mut("description") {
        *meaning = sentence(meaning);
    }
}

/// A key's meaning as a sentence, without its links.
fn sentence(meaning: &str) -> String {
    let mut text = String::new();
    let mut rest = meaning;
    while let Some((before, link)) = rest.split_once('[')
        && let Some((words, behind)) = link.split_once("](")
        && let Some((_, behind)) = behind.split_once(')')
    {
        text.extend([before, words]);
        rest = behind;
    }
    text.push_str(rest);
    let mut letters = text.replace('\n', " ").chars().collect::<Vec<_>>().into_iter();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.collect::<String>())
}

/// Refuses `null` for required keys.
fn refuse_null(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
    }
}

/// Accepts a variable for any value except a list or a section, because it arrives as text; so does a quoted
/// number.
fn accept_variables(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            accept_text(fields);
            for of in ["oneOf", "anyOf"] {
                let Some(choices) = fields.get_mut(of).and_then(Value::as_array_mut) else { continue };
                let words = choices.iter().any(|choice| choice.get("const").is_some());
                let texts = choices.iter().any(|choice| {
                    choice["type"].to_string().contains("\"string\"") && choice.get("const").is_none()
                });
                let numbers = choices.iter().any(|choice| choice["type"] == "integer");
                let switches = choices.iter().any(|choice| choice["const"].is_boolean());
                if words && !texts && !numbers {
                    let pattern =
                        if switches { format!("^(true|false)$|{VARIABLE}") } else { VARIABLE.to_owned() };
                    choices.push(json!({"type": "string", "pattern": pattern, "description": FROM_VARIABLE}));
                }
            }
            fields
                .iter_mut()
                .filter(|(name, _)| *name != "definitions")
                .for_each(|(_, inner)| accept_variables(inner));
        }
        Value::Array(list) => list.iter_mut().for_each(accept_variables),
        _ => {}
    }
}

/// Accepts a text in place of a number or a switch.
fn accept_text(fields: &mut Map<String, Value>) {
    let kinds: Vec<String> = match fields.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return,
    };
    let has = |kind: &str| kinds.iter().any(|one| one == kind);
    let written = match () {
        () if has("string") => return,
        () if has("integer") => "^[0-9]+$",
        () if has("boolean") => "^(true|false)$",
        () => return,
    };
    let first = kinds.first().cloned().into_iter();
    let all = first.chain(std::iter::once("string".to_owned())).chain(kinds.iter().skip(1).cloned());
    fields.insert("type".to_owned(), all.collect());
    fields.insert("pattern".to_owned(), json!(format!("{written}|{VARIABLE}")));
}

/// Puts a field at the front, where people look.
fn front(schema: &mut Value, name: &str, value: Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove(name);
        let others = std::mem::take(fields);
        fields.insert(name.to_owned(), value);
        fields.extend(others);
    }
}

/// The name of a section or a kind of value for people.
fn title_of(name: &str) -> String {
    let known = match name {
        "Profile" => "TLS profile",
        "PoolTls" => "TLS to the backends",
        "TlsChoice" => "TLS profile, by its name or its keys",
        "BackendFields" => "backend with its settings",
        "Texts" => "text or list",
        "Auto" => "number or auto",
        "Tcp" => "options of sockets",
        "ClientAuth" => "certificates of clients",
        "ClientAuthMode" => "clients without a certificate",
        "MinVersion" => "oldest TLS version",
        "UnknownSni" => "unknown names",
        "NonTls" => "connections without TLS",
        "StartTls" => "words before TLS",
        "BackendAlpn" => "ALPN to backends",
        name => {
            let mut words = String::new();
            for (index, c) in name.chars().enumerate() {
                if index > 0 && c.is_uppercase() {
                    words.push(' ');
                }
                words.extend(c.to_lowercase());
            }
            return words;
        }
    };
    known.to_owned()
}

/// A variable in a text.
const VARIABLE: &str = r"\$\{";
const FROM_VARIABLE: &str = "From the environment: ${NAME}, or ${NAME:-fallback}.";

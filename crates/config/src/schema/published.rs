//! What editors get of the schema: the keys that weir takes, each with a title and its default, and beside numbers,
//! switches and words the variables that may stand for them.
//!
//! In: the schema with all keys. Out: that of `config/weir.schema.json`. Pure.

use serde_json::{Map, Value, json};

use super::NOT_YET;

/// Makes the schema for editors.
pub(super) fn publish(mut schema: Value) -> Value {
    if let Some(definitions) = schema.get_mut("definitions").and_then(Value::as_object_mut) {
        for (name, section) in definitions {
            complete(name, section);
            let title = title_of(name);
            front(section, "title", json!(title));
        }
    }
    complete("File", &mut schema);
    front(&mut schema, "title", json!("weir.yaml"));
    front(&mut schema, "$id", json!("urn:weir:weir.schema.json"));
    let draft = schema.get("$schema").cloned().unwrap_or_default();
    front(&mut schema, "$schema", draft);
    schema
}

/// Drops what is refused, and says of each key what it is called and what it is when it is left out.
fn complete(name: &str, section: &mut Value) {
    accept_variables(section);
    let required = section.get("required").cloned().unwrap_or_default();
    let Some(properties) = section.get_mut("properties").and_then(Value::as_object_mut) else { return };
    properties.retain(|_, own| own["title"] != NOT_YET);
    for (key, own) in properties {
        match required.as_array().is_some_and(|all| all.iter().any(|one| one == key)) {
            true => refuse_null(own),
            // Nothing behind the colon is an empty list.
            false if own["type"] == "array" && !matches!(key.as_str(), "listeners" | "pools") => {
                own["type"] = json!(["array", "null"]);
            }
            false => {}
        }
        front(own, "title", json!(key.replace('_', " ")));
        if let Some(default) = default_of(name, key)
            && let Some(own) = own.as_object_mut()
        {
            own.insert("default".to_owned(), default);
        }
    }
}

/// A key that must be there must be something.
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

/// A variable may stand for any value but a list or a section, and arrives as a text; so may a number in quotes.
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

/// Lets a text stand where a number or a switch may.
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

/// Puts a field in front of the others, where people look.
fn front(schema: &mut Value, name: &str, value: Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove(name);
        let others = std::mem::take(fields);
        fields.insert(name.to_owned(), value);
        fields.extend(others);
    }
}

/// What people call a section or a kind of value.
fn title_of(name: &str) -> String {
    let known = match name {
        "Profile" => "TLS profile",
        "PoolTls" => "TLS to the backends",
        "TlsChoice" => "TLS profile, by its name or its keys",
        "BackendFields" => "backend with its settings",
        "Texts" => "text or list",
        "Auto" => "number or auto",
        "Tcp" => "options of sockets",
        "MinVersion" => "oldest TLS version",
        "UnknownSni" => "unknown names",
        "NonTls" => "connections without TLS",
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

/// What a key is when it is left out; a test holds this to what `effective` says.
fn default_of(section: &str, key: &str) -> Option<Value> {
    let value = match (section, key) {
        ("File", "tls_profiles")
        | ("Listener", "routes")
        | ("Profile", "alpn")
        | ("Runtime", "resolvers") => json!([]),
        ("Runtime", "workers" | "max_connections") | ("Log", "format") => json!("auto"),
        ("Runtime", "affinity" | "watch") => json!(false),
        ("Runtime", "shutdown_delay") => json!("0s"),
        ("Runtime" | "Pool", "drain_timeout") => json!("300s"),
        ("Log", "level") => json!("info"),
        ("Log", "access") => json!(true),
        ("Profile", "unknown_sni") => json!("refuse"),
        ("Profile" | "PoolTls", "min_version") => json!("1.2"),
        ("Profile", "truncation") => json!("reset"),
        ("Sessions", "tickets") => json!(true),
        ("Sessions", "ticket_lifetime") => json!("12h"),
        ("Sessions", "cache") => json!(20_000),
        ("Listener", "protocol") => json!("tcp"),
        ("Listener", "peek") => json!(true),
        ("Listener", "non_tls") => json!("refuse"),
        ("Timeouts", "client_hello" | "handshake") => json!("10s"),
        ("Timeouts", "connect") => json!("3s"),
        ("Timeouts", "idle") => json!("350s"),
        ("Timeouts", "half_closed") => json!("30s"),
        ("Limits", "max_connections") => json!(100_000),
        ("Limits", "pending") => json!(10_000),
        ("Limits", "client_hello") => json!("16KiB"),
        ("Tcp", "nodelay") => json!(true),
        ("Tcp", "keepalive" | "user_timeout") => json!("60s"),
        ("Tcp", "backlog") => json!(4096),
        ("Pool", "balance") => json!("round_robin"),
        ("Pool", "on_unhealthy") => json!("keep"),
        ("Pool", "slow_start") => json!("0s"),
        ("Pool", "panic_threshold") => json!("0%"),
        ("Pool", "retries") => json!(2),
        ("Pool", "hello_replay") => json!(true),
        ("BackendFields", "weight") => json!(1),
        ("BackendFields", "backup") => json!(false),
        ("PassiveCheck", "failures") => json!(5),
        ("PassiveCheck", "window") => json!("10s"),
        ("PassiveCheck", "eject") => json!("30s"),
        ("PassiveCheck", "max_ejected") => json!("50%"),
        ("HealthCheck", "type") => json!("tcp"),
        ("HealthCheck", "path") => json!("/"),
        ("HealthCheck", "status") => json!("200-399"),
        ("HealthCheck", "interval") => json!("5s"),
        ("HealthCheck", "timeout") => json!("2s"),
        ("HealthCheck", "rise") => json!(2),
        ("HealthCheck", "fall") => json!(3),
        ("PoolTls", "server_name") => json!("sni"),
        ("PoolTls", "verify") => json!(true),
        ("PoolTls", "alpn") => json!("same"),
        _ => return None,
    };
    Some(value)
}

/// A variable in a text.
const VARIABLE: &str = r"\$\{";
const FROM_VARIABLE: &str = "From the environment: ${NAME}, or ${NAME:-fallback}.";

//! The schema for editors, checked by a validator that is not ours: it accepts every example and all that
//! weir accepts, and refuses what weir refuses.

use std::path::{Path, PathBuf};

use crate::fixture::Folder;
use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Map, Value, json};
use weir_config::{CompileInput, effective, load, parse, schema};

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let mut compiler = Compiler::new();
        compiler.add_resource("weir.schema.json", schema::json_schema()).unwrap();
        let mut schemas = Schemas::new();
        let index = compiler.compile("weir.schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.index).map_err(|error| format!("{error:#}"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// A YAML text as editors see it: merge keys resolved, variables as written.
fn yaml(text: &str) -> Value {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

fn files() -> Vec<PathBuf> {
    let all = std::fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path());
    let yaml = all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.chain([root().join("docs/reference.yaml")]).collect()
}

/// The YAML blocks of the docs, completed with the parts that they leave out.
fn blocks() -> Vec<String> {
    let pages = page("docs/configuration.md") + &page("README.md");
    let blocks = pages.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole = |block: &str| {
        let lacking = ["listeners:", "pools:"]
            .into_iter()
            .filter(|key| !block.lines().any(|line| line.starts_with(key)));
        lacking.fold(block.to_owned(), |text, key| format!("{text}\n{key} []\n"))
    };
    blocks.map(whole).collect()
}

#[test]
fn the_schema_accepts_every_example() {
    let validator = Validator::new();
    let files = files();
    assert!(files.len() >= 7);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        validator.check(&yaml(&text)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
    let blocks = blocks();
    assert!(blocks.len() >= 6, "only {} blocks", blocks.len());
    for block in blocks {
        validator.check(&yaml(&block)).unwrap_or_else(|why| panic!("{why}\n{block}"));
    }
}

#[test]
fn examples_lead_editors_to_the_schema() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let schema = first.strip_prefix("# yaml-language-server: $schema=");
        let schema = schema.unwrap_or_else(|| panic!("{} begins with {first}", path.display()));
        let target = path.parent().unwrap().join(schema).canonicalize().unwrap();
        assert_eq!(
            target,
            root().join("config/weir.schema.json").canonicalize().unwrap(),
            "{}",
            path.display()
        );
    }
}

/// The reference, without null values.
fn reference() -> Value {
    fn drop_null(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| !value.is_null());
                fields.values_mut().for_each(drop_null);
            }
            Value::Array(list) => list.iter_mut().for_each(drop_null),
            _ => {}
        }
    }
    let folder = Folder::new();
    let loaded =
        parse("weir.yaml", folder.path(), page("docs/reference.yaml").into_bytes(), &|_| None).unwrap();
    let mut full = effective(&loaded.file);
    drop_null(&mut full);
    full
}

/// The path of every value, as a JSON pointer.
fn places(value: &Value, path: &str, out: &mut Vec<String>) {
    out.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, inner)| places(inner, &format!("{path}/{key}"), out));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, inner)| places(inner, &format!("{path}/{index}"), out));
        }
        _ => {}
    }
}

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// Whether weir accepts the form of every value. Ignores references, and whether files exist.
fn weir_reads(folder: &Folder, input: &CompileInput<'_>, value: &Value) -> bool {
    let of_form = [
        "expected ",
        "is not a value of",
        "unknown key",
        "is not a duration",
        "is not a size",
        "is not a share",
        "is at least 1",
        "is not a range of status codes",
        "is not a port",
        " has no `",
        "without `certificates`",
        "is empty",
        "matches nothing",
    ];
    let text = value.to_string();
    let Ok(loaded) = parse("weir.yaml", folder.path(), text.into_bytes(), &|_| None) else { return false };
    let errors = weir_config::compile(&loaded, input).err();
    let refused = |message: &str| of_form.iter().any(|part| message.contains(part));
    errors.is_none_or(|rejected| !rejected.0.iter().any(|found| refused(&found.message)))
}

#[test]
fn the_schema_accepts_variables_wherever_weir_does() {
    let (validator, full) = (Validator::new(), reference());
    validator.check(&full).unwrap();
    let mut all = Vec::new();
    places(&full, "", &mut all);
    let mut tried = 0;
    for place in all {
        if !is_scalar(full.pointer(&place).unwrap()) {
            continue;
        }
        for variable in ["${NAME}", "${NAME:-1}"] {
            let mut changed = full.clone();
            *changed.pointer_mut(&place).unwrap() = json!(variable);
            validator.check(&changed).unwrap_or_else(|why| panic!("{place}: {why}"));
        }
        tried += 1;
    }
    assert!(tried > 80, "only {tried} values");
}

#[test]
fn the_schema_accepts_all_that_weir_accepts() {
    crate::fixture::with_input(takes_what_weir_takes);
}

fn takes_what_weir_takes(input: &CompileInput<'_>) {
    let (validator, full, folder) = (Validator::new(), reference(), Folder::new());
    let values = [
        json!(null),
        json!(true),
        json!("true"),
        json!(0),
        json!(1),
        json!(7),
        json!("7"),
        json!(1.2),
        json!("1.2"),
        json!(-1),
        json!("5s"),
        json!("64KiB"),
        json!("50%"),
        json!("auto"),
        json!("x"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!("reset_only"),
        json!("same"),
        json!("offload"),
        json!(200),
    ];
    let mut all = Vec::new();
    places(&full, "", &mut all);
    let (mut taken, mut refused) = (0, 0);
    for place in all.iter().filter(|place| !place.is_empty()) {
        // Left out: lists and sections at the top, because there presence is judged too, not the form alone.
        if place.matches('/').count() == 1 && !is_scalar(full.pointer(place).unwrap()) {
            continue;
        }
        // The elements of a list are alike, except the inline profile of a listener.
        let other = ["/listeners/1", "/listeners/2", "/pools/1", "/pools/2", "/pools/3"];
        if other.iter().any(|other| place.starts_with(other)) && !place.starts_with("/listeners/1/tls") {
            continue;
        }
        for value in &values {
            let mut changed = full.clone();
            *changed.pointer_mut(place).unwrap() = value.clone();
            match validator.check(&changed) {
                Ok(()) => taken += 1,
                Err(why) => {
                    refused += 1;
                    assert!(!weir_reads(&folder, input, &changed), "{place}: {value}: {why}");
                }
            }
        }
    }
    assert!(taken > 300 && refused > 500, "{taken} taken, {refused} refused");
}

/// Every section of a schema by its name, with its keys.
fn sections(schema: &Value) -> Map<String, Value> {
    let mut all = schema["definitions"].as_object().unwrap().clone();
    all.retain(|_, section| section.get("properties").is_some());
    all.insert("File".to_owned(), schema.clone());
    all
}

#[test]
fn the_schema_refuses_what_weir_refuses() {
    let (validator, full) = (Validator::new(), reference());
    for (place, value) in [
        ("/fleet", json!({})),
        ("/fleet", json!({"secret": ["a"]})),
        ("/runtime/max_memory", json!(5)),
        ("/listeners/0/allow", json!(5)),
        ("/listeners/0/protocol", json!("https")),
        ("/listeners/0/mode", json!("tcp")),
        ("/listeners/0/timeouts/idle", json!(5)),
        ("/listeners/0/timeouts/idle", json!("5")),
        ("/listeners/0/limits/pending", json!(0)),
        ("/listeners/0/tcp/fast_open", json!(-3)),
        ("/log/access", json!({"opened": true})),
        ("/log/access", json!({"interval": 60})),
        ("/log/access", json!("stdout")),
        ("/pools/0/balance", json!("leastconn")),
        ("/pools/0/servers", json!([])),
    ] {
        let mut changed = full.clone();
        let (section, key) = place.rsplit_once('/').unwrap();
        changed.pointer_mut(section).unwrap()[key] = value;
        assert!(validator.check(&changed).is_err(), "{place}");
    }
}

#[test]
fn the_schema_explains_every_key_and_every_word() {
    let schema = schema::json_schema();
    assert_eq!(schema["$id"], "urn:weir:weir.schema.json");
    assert_eq!(schema["title"], "weir.yaml");
    for (name, section) in sections(&schema) {
        assert!(section["title"].is_string() && section["description"].is_string(), "{name}");
        for (key, own) in section["properties"].as_object().unwrap() {
            assert!(own["title"].is_string() && own["description"].is_string(), "{name}.{key}");
        }
    }
    let mut words = 0;
    let mut open = vec![&schema];
    while let Some(part) = open.pop() {
        if part.get("const").is_some() {
            assert!(part["description"].is_string(), "{part}");
            words += 1;
        }
        match part {
            Value::Object(fields) => {
                open.extend(fields.iter().filter(|(key, _)| *key != "default").map(|(_, inner)| inner))
            }
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    assert!(words > 35, "only {words} words");
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        assert!(definition["description"].is_string() && definition["title"].is_string(), "{name}");
    }
}

#[test]
fn defaults_in_the_schema_are_those_in_force() {
    let folder = Folder::with_certificate("weir", &["a.example.com"]);
    let text = "
log: {}
runtime: {}
tls_profiles: [{name: p, certificates: [{cert: a, key: a}]}]
listeners: [{name: l, address: \":1\", mode: passthrough, default_pool: w}]
pools: [{name: w, backends: [{address: \"a:1\"}], tls: {}, health_check: {type: http}}]
";
    folder.write("weir.yaml", text);
    let in_force = effective(&load(&folder.path().join("weir.yaml")).unwrap().file);
    let schema = schema::json_schema();
    let mut compared = 0;
    for (name, place) in [
        ("Runtime", "/runtime"),
        ("Log", "/log"),
        ("Profile", "/tls_profiles/0"),
        ("Sessions", "/tls_profiles/0/sessions"),
        ("Listener", "/listeners/0"),
        ("Timeouts", "/listeners/0/timeouts"),
        ("Limits", "/listeners/0/limits"),
        ("Tcp", "/listeners/0/tcp"),
        ("Pool", "/pools/0"),
        ("PassiveCheck", "/pools/0/passive_check"),
        ("HealthCheck", "/pools/0/health_check"),
        ("PoolTls", "/pools/0/tls"),
    ] {
        let (section, values) = (&schema["definitions"][name], in_force.pointer(place).unwrap());
        for (key, own) in section["properties"].as_object().unwrap() {
            let scalar = values.get(key).filter(|value| !value.is_null() && !value.is_object());
            // The check keeps its written type, and the plan has the default of its path.
            let written = [
                "name",
                "certificates",
                "address",
                "mode",
                "default_pool",
                "backends",
                "type",
                "path",
                "status",
            ];
            let Some(value) = scalar.filter(|_| !written.contains(&key.as_str())) else { continue };
            assert_eq!(own.get("default"), Some(value), "{name}.{key}");
            compared += 1;
        }
    }
    assert!(compared > 45, "only {compared} defaults");
}

//! docs/configuration.md and the program agree on every key: its existence, its values and its default. The
//! examples of that page, and those of the README, are valid configurations.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fixture::Folder;
use serde_json::{Value, json};
use weir_config::{effective, parse};
use weir_core::plan::Plan;

/// A row of a table of keys.
#[derive(Debug)]
struct Row {
    key: String,
    value: String,
    default: String,
}

impl Row {
    /// The default, if the cell contains only code.
    fn stated(&self) -> Option<Value> {
        let text = self.default.strip_prefix('`')?.strip_suffix('`')?;
        (!text.contains('`')).then(|| scalar(text))
    }

    /// The ends of "`1` to `9`" and "from `1`".
    fn range(&self) -> Option<(&str, Option<&str>)> {
        if let Some((first, last)) = self.value.split_once("` to `") {
            return Some((first.rsplit('`').next()?, Some(last.split('`').next()?)));
        }
        self.value.split_once("from `").map(|(_, rest)| (rest.split('`').next().unwrap(), None))
    }
}

/// A word, a number or a switch, in the notation of the file.
fn scalar(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_no_json| json!(text))
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The tables whose first heading this is, as rows of cells.
fn tables(heading: &str) -> Vec<Vec<String>> {
    let page = page("docs/configuration.md");
    let (mut lines, mut rows) = (page.lines(), Vec::new());
    while let Some(line) = lines.next() {
        if line.starts_with(&format!("| {heading} |")) {
            rows.extend(lines.by_ref().skip(1).take_while(|line| line.starts_with('|')).map(cells));
        }
    }
    rows
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn code(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn rows() -> Vec<Row> {
    let row = |cells: Vec<String>| {
        let [key, value, default, meaning] = cells.as_slice() else { panic!("four columns: {cells:?}") };
        assert!(!value.is_empty() && !meaning.is_empty(), "{cells:?}");
        Row { key: code(key), value: value.clone(), default: default.clone() }
    };
    tables("key").into_iter().map(row).collect()
}

/// A folder with every file that the examples name.
fn folder() -> Folder {
    let folder = Folder::with_certificate("weir", &["www.example.com", "api.example.com"]);
    std::fs::create_dir_all(folder.path().join("certs/live")).unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for name in ["weir.pem", "weir-rsa.pem", "weir-client.pem", "ca.pem", "clients-ca.pem"] {
        folder.write(&format!("certs/{name}"), &read("weir.pem"));
    }
    for name in ["weir.key", "weir-rsa.key", "weir-client.key"] {
        std::fs::copy(folder.path().join("weir.key"), folder.path().join("certs").join(name)).unwrap();
    }
    folder.write("certs/fleet.key", &weir_tls::new_secret().unwrap());
    folder.revocation_list("certs/ca.crl");
    folder.write("shared.yaml", "x-shared: {}\n");
    folder.revocation_list("certs/revoked.pem");
    folder
}

fn compiled(folder: &Folder, text: &str) -> Result<Plan, String> {
    folder.compile(text).map(|(plan, _)| plan).map_err(|rejected| rejected.to_string())
}

/// A configuration with nearly every key: the reference, including its keys in comments.
fn full() -> Value {
    let folder = folder();
    let text = page("docs/reference.yaml").into_bytes();
    let loaded = parse("weir.yaml", folder.path(), text, &|_| None).unwrap();
    let mut full = serde_json::to_value(&loaded.file).unwrap();
    full["runtime"]["max_memory"] = json!("64GiB");
    full["runtime"]["max_connection_age"] = json!("1h");
    full["pools"][1]["balance"] = json!("source_ip");
    full["pools"][1]["bounded_load"] = json!("125%");
    full["listeners"][2]["http"]["timeouts"]["request"] = json!("5m");
    full["listeners"][2]["http"]["redirect_port"] = json!(443);
    full["listeners"][2]["routes"][2]["redirect"]["port"] = json!(8446);
    // Its check may be of any type, because it has no keys that only one type knows.
    let plain = json!({"name": "plain", "backends": ["127.0.0.1:9081"], "health_check": {"type": "none"}});
    full["pools"].as_array_mut().unwrap().insert(0, plain);
    for (name, sticky) in [
        ("by cookie", json!({"cookie": {"name": "WEIRLB", "duration": "1d"}})),
        ("by its own", json!({"app_cookie": "JSESSIONID", "duration": "1d"})),
    ] {
        let pool = json!({"name": name, "backends": ["127.0.0.1:9081"], "sticky": sticky});
        full["pools"].as_array_mut().unwrap().push(pool);
    }
    compiled(&folder, &full.to_string()).unwrap();
    full
}

/// The first section in `within` that has the key.
fn place<'v>(within: &'v mut Value, key: &str) -> Option<(&'v mut serde_json::Map<String, Value>, String)> {
    let (head, rest) = key.split_once('.').unwrap_or((key, ""));
    let name = head.trim_end_matches("[]");
    if rest.is_empty() {
        let has = within.get(name).is_some_and(|value| !value.is_null());
        return has.then(|| (within.as_object_mut().unwrap(), name.to_owned()));
    }
    let inner = within.get_mut(name)?;
    match inner {
        Value::Array(list) => list.iter_mut().find_map(|one| place(one, rest)),
        one => place(one, rest),
    }
}

/// The full configuration with another value for a key, or without the key; `None` if it lacks the key.
fn changed(full: &Value, key: &str, value: Option<Value>) -> Option<Value> {
    let mut changed = full.clone();
    let (section, name) = place(&mut changed, key)?;
    match value {
        Some(value) => section.insert(name, value),
        None => section.remove(&name),
    };
    Some(changed)
}

/// The pools of a plan, as text.
fn shape(plan: &Plan) -> String {
    let pool = |pool: &std::sync::Arc<weir_pool::Pool>| {
        let members = pool.members();
        let weights = |tier: &weir_pool::Tier| tier.backends.iter().map(|b| b.weight).collect::<Vec<_>>();
        format!("{:?} {:?} {:?}", pool.settings, weights(&members.primaries), weights(&members.backups))
    };
    plan.pools.iter().map(pool).collect()
}

/// One less, or one more, in the same unit.
fn next_to(text: &str, step: i64) -> String {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    format!("{}{unit}", number.parse::<i64>().unwrap() + step)
}

#[test]
fn defaults_on_the_page_are_the_defaults() {
    let (folder, full) = (folder(), full());
    let in_force = |config: &Value| {
        let text = config.to_string().into_bytes();
        effective(&parse("weir.yaml", folder.path(), text, &|_| None).unwrap().file)
    };
    let (mut tried, mut left_as_written) = (0, Vec::new());
    for row in rows() {
        let Some(stated) = row.stated() else { continue };
        let [without, with] = [None, Some(stated.clone())].map(|value| {
            changed(&full, &row.key, value).unwrap_or_else(|| panic!("{} is not in full()", row.key))
        });
        let plans = [&without, &with].map(|config| {
            compiled(&folder, &config.to_string()).unwrap_or_else(|why| panic!("{}: {why}", row.key))
        });
        assert_eq!(shape(&plans[0]), shape(&plans[1]), "{} is not {stated}", row.key);
        let mut filled_in = in_force(&without);
        if place(&mut filled_in, &row.key).is_some() {
            assert_eq!(filled_in, in_force(&with), "{} is not {stated}", row.key);
        } else {
            left_as_written.push(row.key);
        }
        tried += 1;
    }
    assert!(tried > 40, "only {tried} defaults are stated");
    // The plan alone has the defaults of these keys.
    assert_eq!(
        left_as_written,
        [
            "listeners[].routes[].require_client_cert",
            "pools[].backends[].weight",
            "pools[].backends[].backup",
            "pools[].sticky.duration",
            "pools[].health_check.path",
            "pools[].health_check.status"
        ]
    );
}

#[test]
fn required_keys_are_required() {
    let (folder, full) = (folder(), full());
    let mut tried = 0;
    for row in rows().iter().filter(|row| row.default == "required") {
        let without = changed(&full, &row.key, None).unwrap_or_else(|| panic!("{}: not in full()", row.key));
        assert!(compiled(&folder, &without.to_string()).is_err(), "{} can be left out", row.key);
        tried += 1;
    }
    assert!(tried > 12, "only {tried} keys are required");
}

#[test]
fn ranges_end_where_the_page_says() {
    let (folder, full) = (folder(), full());
    let mut tried = 0;
    for row in rows() {
        let Some((first, last)) = row.range() else { continue };
        let taken = |text: &str| {
            let config = changed(&full, &row.key, Some(scalar(text)));
            let config = config.unwrap_or_else(|| panic!("{}: not in full()", row.key));
            compiled(&folder, &config.to_string()).is_ok()
        };
        assert!(taken(first), "{}: {first} is refused", row.key);
        let below = next_to(first, -1);
        let stated = below.starts_with('0') && row.value.contains("`0s`");
        assert!(taken(&below) == stated, "{}: is less than {first} taken?", row.key);
        if let Some(last) = last {
            assert!(taken(last), "{}: {last} is refused", row.key);
            assert!(!taken(&next_to(last, 1)), "{}: more than {last} is taken", row.key);
        }
        tried += 1;
    }
    assert!(tried > 20, "only {tried} ranges");
}

/// Every block of YAML in a page.
fn examples(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// An example completed with the parts that it leaves out.
fn whole(example: &str) -> String {
    let others = [
        (
            "listeners:",
            "listeners: [{name: other, address: \"127.0.0.1:1\", mode: passthrough, default_pool: web}]",
        ),
        (
            "pools:",
            "pools: [{name: web, backends: [\"127.0.0.1:2\"]}, {name: secure, backends: [\"127.0.0.1:3\"], tls: {}}]",
        ),
        (
            "tls_profiles:",
            "tls_profiles: [{name: public, certificates: [{cert: certs/weir.pem, key: certs/weir.key}]}]",
        ),
    ];
    let lacking = others.iter().filter(|(key, _)| !example.lines().any(|line| line.starts_with(key)));
    lacking.fold(example.to_owned(), |text, (_, other)| format!("{text}{other}\n"))
}

/// The paths of all keys in use.
fn written(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(section) => {
            for (name, value) in section.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                written(value, &path, out);
                out.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|one| written(one, &format!("{path}[]"), out)),
        _ => {}
    }
}

#[test]
fn examples_check_and_every_key_has_one() {
    let folder = folder();
    let mut shown = BTreeSet::new();
    let (configuration, readme) = (page("docs/configuration.md"), page("README.md"));
    let all = [examples(&configuration), examples(&readme)];
    assert!(all[0].len() >= 5 && all[1].len() >= 3, "blocks are missing");
    for example in all.iter().flatten() {
        compiled(&folder, &whole(example)).unwrap_or_else(|why| panic!("{why}\n\n{example}"));
    }
    for example in &all[0] {
        let loaded = parse("weir.yaml", folder.path(), example.as_bytes().to_vec(), &|_| None);
        written(&serde_json::to_value(&loaded.unwrap().file).unwrap(), "", &mut shown);
    }
    let lacking: Vec<String> =
        rows().into_iter().map(|row| row.key).filter(|key| !shown.contains(key)).collect();
    assert!(lacking.is_empty(), "no example shows {lacking:?}");
}

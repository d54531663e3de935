//! Each slip gives one error, at its position, with a hint that helps: a suggested text is accepted there.

mod slips;

use crate::fixture::Folder;
use crate::fixture::mend::{mended, suggestions};
use proptest::prelude::*;
use serde_json::Value;
use slips::ALL;
use weir_config::{Diagnostic, effective, parse};

/// A valid configuration, to put one slip into.
const GOOD: &str = r#"
tls_profiles:
  - name: public
    certificates: [{cert: a.pem, key: a.key}]
    sessions: {tickets: true}
listeners:
  - name: edge
    address: "127.0.0.1:8443"
    mode: passthrough
    routes:
      - match: {sni: api.example.com}
        pool: web
      - match: {sni: www.example.com}
        pool: plain
        mode: offload
        tls: public
    default_pool: web
    timeouts: {connect: 3s}
pools:
  - name: web
    balance: source_ip
    backends: ["127.0.0.1:9443", {address: "127.0.0.1:9444", name: second, weight: 2}]
    tls: {verify: true, ca: a.pem}
  - name: plain
    backends: ["127.0.0.1:9080"]
    health_check: {type: http, status: 200-399}
"#;

fn folder() -> Folder {
    Folder::with_certificate("a", &["api.example.com", "www.example.com"])
}

fn found(folder: &Folder, text: &str) -> Vec<Diagnostic> {
    folder.compile(text).err().map(|rejected| rejected_list(&rejected)).unwrap_or_default()
}

fn rejected_list(rejected: &weir_config::Rejected) -> Vec<Diagnostic> {
    rejected.0.clone()
}

fn line(d: &Diagnostic) -> String {
    format!("{}:{} {} / {}", d.line, d.column, d.message, d.hint.as_deref().unwrap_or_default())
}

#[test]
fn slips_give_one_error_whose_hint_helps() {
    let folder = folder();
    assert_eq!(found(&folder, GOOD).iter().map(line).collect::<Vec<_>>(), [""; 0]);
    let mut wrong = Vec::new();
    let mut applied = 0;
    for (from, to, wanted) in ALL.iter().copied().flatten() {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let errors = found(&folder, &text);
        let [only] = errors.as_slice() else {
            wrong.push(format!("{to:?} gives {:#?}", errors.iter().map(line).collect::<Vec<_>>()));
            continue;
        };
        if !line(only).contains(wanted) {
            wrong.push(format!("{to:?}: wanted {wanted:?}, got {:?}", line(only)));
        }
        for better in mended(&text, only) {
            applied += 1;
            let left = found(&folder, &better);
            if !left.is_empty() {
                let left: Vec<String> = left.iter().map(line).collect();
                wrong.push(format!("{to:?}: {:?} leads to {left:#?}\n{better}", only.hint));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(applied > 150, "only {applied} hints were followed");
}

#[test]
fn files_of_other_programs_are_one_error() {
    let folder = folder();
    for (text, wanted) in [
        (
            "global\n  daemon\nfrontend x\n  bind *:443\n  mode tcp\n  default_backend b\n",
            "HAProxy's configuration",
        ),
        (
            "frontend fe\n    bind :443 ssl crt a.pem\n    use_backend b if { req.ssl_sni -i a.example }\n",
            "HAProxy's",
        ),
        ("http {\n  server {\n    listen 443 ssl;\n  }\n}\n", "nginx's configuration"),
        ("stream { upstream b { server 10.0.0.1:80; } server { listen 443; proxy_pass b; } }\n", "nginx's"),
        ("[listeners]\nname = \"edge\"\n", "TOML"),
        ("[[listeners]]\nname = \"edge\"\n[[pools]]\nname = \"web\"\n", "TOML"),
        ("[entryPoints]\n  [entryPoints.web]\n    address = \":80\"\n", "TOML"),
        ("static_resources:\n  listeners: []\n", "Envoy's configuration"),
        ("{\"static_resources\": {\"listeners\": []}}", "Envoy's configuration"),
        ("admin: {address: {socket_address: {}}}\nstatic_resources: {}\n", "Envoy's"),
        (
            "listeners:\n  - name: a\n    address: {socket_address: {port_value: 1}}\n    filter_chains: []\n",
            "Envoy's",
        ),
        ("entryPoints:\n  web:\n    address: \":80\"\n", "Traefik's configuration"),
        ("tcp:\n  routers:\n    r: {rule: \"HostSNI(`a`)\", service: s}\n", "Traefik's configuration"),
        ("apiVersion: v1\nkind: Service\n", "a Kubernetes manifest"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "a PEM file"),
        ("<!DOCTYPE html>\n<html></html>\n", "HTML"),
    ] {
        let errors: Vec<String> = found(&folder, text).iter().map(line).collect();
        let [only] = errors.as_slice() else { panic!("{text}: {errors:#?}") };
        assert!(only.contains(wanted) && only.contains("not weir's / weir's is YAML"), "{text}: {only}");
    }
}

#[test]
fn sections_in_place_of_lists_get_the_notation_of_a_list() {
    let folder = folder();
    let head = &GOOD[..GOOD.find("pools:").unwrap()];
    for (pools, wanted) in [
        (
            "pools:\n  web: [\"127.0.0.1:1\"]\n  plain: {backends: [\"127.0.0.1:2\"]}\n",
            "write `pools: [{name: web, backends: [\"127.0.0.1:1\"]}, {name: plain, backends: [\"127.0.0.1:2\"]}]`",
        ),
        (
            "pools: {web: {backends: [\"127.0.0.1:1\"]}, plain: {backends: [\"127.0.0.1:2\"]}}\n",
            "write `pools: [{name: web",
        ),
    ] {
        let text = format!("{head}{pools}");
        let errors = found(&folder, &text);
        let [only] = errors.as_slice() else { panic!("{pools}: {errors:#?}") };
        assert!(line(only).contains("`pools`: expected a list, found a section"), "{}", line(only));
        assert!(line(only).contains(wanted), "{}", line(only));
        for better in mended(&text, only) {
            assert_eq!(found(&folder, &better).iter().map(line).collect::<Vec<_>>(), [""; 0], "{better}");
        }
    }
}

#[test]
fn numbers_and_switches_may_stand_in_quotes_everywhere() {
    let folder = folder();
    for (from, to) in [
        ("weight: 2", "weight: \"3\""),
        (
            "tls_profiles:",
            "runtime: {workers: \"4\", watch: \"true\", max_connections: \"9\"}\ntls_profiles:",
        ),
        ("tickets: true", "tickets: \"true\", cache: \"0\""),
        (
            "timeouts: {connect: 3s}",
            "limits: {pending: \"5\"}\n    tcp: {nodelay: \"false\", backlog: \"9\"}",
        ),
        ("type: http, ", "type: http, port: \"81\", rise: \"1\", "),
        ("verify: true", "verify: \"true\""),
        ("source_ip\n", "source_ip\n    retries: \"1\"\n    hello_replay: \"false\"\n"),
        ("tls_profiles:", "log: {access: \"false\"}\ntls_profiles:"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        assert_eq!(found(&folder, &text).iter().map(line).collect::<Vec<_>>(), [""; 0], "{to}");
    }
}

#[test]
fn shell_variables_taken_as_text_are_pointed_out() {
    let folder = folder();
    let warnings = crate::fixture::warnings(&folder, &GOOD.replace("name: second", "name: \"$HOSTNAME\""));
    assert!(
        warnings.iter().any(|w| w.contains("`$HOSTNAME` stays as it is") && w.contains("${HOSTNAME}")),
        "{warnings:#?}"
    );
    let found = crate::fixture::errors(&folder, &GOOD.replace("ca: a.pem", "ca: $DIR/a.pem"));
    assert!(found.len() == 1 && found[0].contains("a variable is written `${DIR}`"), "{found:#?}");
}

/// Every section of a configuration in JSON, by its pointer, with its keys.
fn sections(value: &Value, path: &str, out: &mut Vec<(String, Vec<String>)>) {
    match value {
        Value::Object(fields) => {
            out.push((path.to_owned(), fields.keys().cloned().collect()));
            fields.iter().for_each(|(key, inner)| sections(inner, &format!("{path}/{key}"), out));
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, inner)| sections(inner, &format!("{path}/{index}"), out));
        }
        _ => {}
    }
}

/// A configuration with nearly every key.
fn full() -> Value {
    let folder = folder();
    let text = GOOD.to_owned() + "admin: {address: \"127.0.0.1:9901\"}\n";
    let mut full = effective(&parse("weir.yaml", folder.path(), text.into_bytes(), &|_| None).unwrap().file);
    drop_null(&mut full);
    full
}

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

/// The configuration with one key renamed.
fn renamed(full: &Value, section: &str, from: &str, to: &str) -> Value {
    let mut changed = full.clone();
    let fields = changed.pointer_mut(section).unwrap().as_object_mut().unwrap();
    let value = fields.remove(from).unwrap();
    fields.insert(to.to_owned(), value);
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn mistyped_keys_are_one_error_whose_hint_helps(
        section in any::<prop::sample::Index>(),
        key in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        kind in 0..4_u8,
        letter in "[a-z_]",
    ) {
        let (folder, full) = (folder(), full());
        let mut all = Vec::new();
        sections(&full, "", &mut all);
        all.retain(|(_, keys)| !keys.is_empty());
        let (path, keys) = &all[section.index(all.len())];
        let key = &keys[key.index(keys.len())];
        let (at, mut wrong) = (at.index(key.len()), key.clone());
        match kind {
            0 => drop(wrong.remove(at)),
            1 => wrong.insert_str(at, &letter),
            2 => wrong.replace_range(at..=at, &letter),
            _ if at > 0 => {
                let one = wrong.remove(at);
                wrong.insert(at - 1, one);
            }
            _ => {}
        }
        prop_assume!(!keys.contains(&wrong) && !wrong.is_empty() && !wrong.starts_with("x-"));
        let text = renamed(&full, path, key, &wrong).to_string();
        let errors = found(&folder, &text);
        let at = format!("unknown key `{wrong}`");
        let Some(error) = errors.iter().find(|error| error.message == at) else {
            // The random change may give another key of the section.
            return Ok(());
        };
        let hint = error.hint.clone().unwrap_or_default();
        prop_assert!(suggestions(&hint).len() <= 1, "{}", hint);
        for suggestion in suggestions(&hint) {
            let plain = suggestion.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            prop_assert!(plain || suggestion == *key, "{}", hint);
            let better = renamed(&full, path, key, &suggestion).to_string();
            let left = found(&folder, &better);
            prop_assert!(suggestion != *key || left.is_empty(), "{}: {:?}", hint, left);
            prop_assert!(left.iter().all(|left| left.message != at && left.column != error.column), "{}: {:?}", hint, left);
            if suggestion == *key {
                prop_assert_eq!(errors.len(), 1, "{:?}", errors.iter().map(line).collect::<Vec<_>>());
            }
        }
    }
}

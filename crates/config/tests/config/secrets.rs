//! Pasted keys and the values of variables: no message shows them.

use std::sync::LazyLock;

use proptest::prelude::*;
use weir_config::{compile, parse};

use crate::errors::GOOD;
use crate::fixture::{Folder, with_input};

/// A private key in the form that people keep in a variable.
fn pasted_key() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

#[test]
fn private_keys_in_place_of_a_path_are_never_shown() {
    let key = pasted_key();
    let pieces: Vec<&str> = key.lines().filter(|line| !line.starts_with("---")).collect();
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let in_one_line = key.trim().replace('\n', "\\n");
    let indented = |spaces: usize| {
        let lines: Vec<String> = key.lines().map(|line| format!("{}{line}", " ".repeat(spaces))).collect();
        lines.join("\n")
    };
    let base64 = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5";
    for (from, to) in [
        ("key: a.key", "key: \"${KEY}\"".to_owned()),
        ("key: a.key", format!("key: \"{in_one_line}\"")),
        ("key: a.key", format!("key: '{in_one_line}', kee: 1")),
        ("cert: a.pem", format!("\"{in_one_line}\": 1, cert: a.pem")),
        ("ca: a.pem", "ca: \"${KEY}\"".to_owned()),
        ("name: edge\n", "name: \"${KEY}\"\n".to_owned()),
        ("name: edge\n", "name: \"${FOLDED}\"\n".to_owned()),
        ("name: edge\n", format!("name: edge\n    peak: |\n{}\n", indented(6))),
        ("name: edge\n", format!("name: edge\n    tls: |\n{}\n", indented(2))),
        ("name: edge\n", format!("name: edge\n    tls: {}\n", key.trim())),
        ("default_pool: web", "default_pool: \"${KEY}\"".to_owned()),
        ("default_pool: web", "default_pool: \"x${FOLDED}\"".to_owned()),
        ("sni: www.example.com", "sni: [\"${KEY}\"]".to_owned()),
        ("weight: 2", "weight: \"${KEY}\"".to_owned()),
        ("mode: passthrough", "mode: \"${KEY}\"".to_owned()),
        ("address: \"127.0.0.1:8443\"", "address: \"${KEY}\"".to_owned()),
        ("listeners:", "include: \"${KEY}\"\nlisteners:".to_owned()),
        ("listeners:", "admin: {address: \"unix:${KEY}\"}\nlisteners:".to_owned()),
        ("listeners:", "log: {level: \"${KEY}\"}\nlisteners:".to_owned()),
        ("key: a.key", format!("key: {base64}")),
    ] {
        let text = GOOD.replacen(from, &to, 1);
        let variable = |name: &str| match name {
            "KEY" => Some(key.clone()),
            "FOLDED" => Some(key.trim().replace('\n', " ")),
            _ => None,
        };
        let rejected = parse("weir.yaml", folder.path(), text.into_bytes(), &variable)
            .and_then(|loaded| with_input(|input| compile(&loaded, input)))
            .unwrap_err();
        let shown = format!("{rejected} {}", serde_json::to_string(&rejected.0).unwrap());
        for piece in pieces.iter().flat_map(|piece| [&piece[..16], &piece[piece.len() - 16..]]) {
            assert!(!shown.contains(piece), "{to}: {shown}");
        }
        assert!(!shown.contains(&base64[..20]), "{shown}");
    }
}

/// Longer than the part of a text that messages show.
const LONG: &str = "hunter2-of-somebody-whose-name-is-much-longer-than-what-a-message-shows-of-a-text-at-any-place-at-all.hunter2";

#[test]
fn values_of_variables_are_not_shown() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    for (from, to, value) in [
        ("key: a.key", "key: \"${VALUE}\"", "hunter2-of-somebody"),
        ("default_pool: web", "default_pool: \"${VALUE}\"", "hunter2"),
        ("default_pool: web", "default_pool: \"x-${VALUE}-y\"", "Hunter2-Of-Somebody"),
        ("mode: passthrough", "mode: \"${VALUE}\"", "hunter2"),
        ("mode: passthrough", "mode: \"${VALUE}\"", "hun\nter2"),
        ("address: \"127.0.0.1:8443\"", "address: \"127.0.0.1:${VALUE}\"", "70001"),
        ("weight: 2", "weight: \"${VALUE}\"", "70001"),
        ("sni: www.example.com", "sni: \"${VALUE}\"", "-Hunter2.example"),
        ("listeners:", "include: \"${VALUE}\"\nlisteners:", "hunter2/hunter2.yaml"),
        ("listeners:", "log: {level: \"${VALUE}\"}\nlisteners:", "hunter2"),
        ("- name: plain\n", "- name: \"${VALUE}\"\n", "web"),
        ("default_pool: web", "default_pool: \"${VALUE}\"", LONG),
        ("mode: passthrough", "mode: \"${VALUE}\"", LONG),
        ("address: \"127.0.0.1:8443\"", "address: \"${VALUE}\"", LONG),
        ("address: \"127.0.0.1:8443\"", "address: \"${VALUE}\"", "svc:hunter2-of-somebody"),
        ("address: \"127.0.0.1:8443\"", "address: \"${VALUE}\"", "is"),
        ("listeners:", "log: {level: \"${VALUE}\"}\nlisteners:", "info,weir=hunter2-of-somebody"),
        ("listeners:", "runtime: {drain_timeout: \"${VALUE}\"}\nlisteners:", LONG),
        ("mode: passthrough", "mode: \"${VALUE}\"", "hun\u{1b}ter\"2\\"),
        ("default_pool: web", "default_pool: \"${VALUE}\"", "hun\u{1b}ter\"2\\"),
        ("\"127.0.0.1:9080\"", "\"${VALUE}\"", "https://hunter2-of-somebody:x/"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let variable = |name: &str| (name == "VALUE").then(|| value.to_owned());
        let rejected = parse("weir.yaml", folder.path(), text.into_bytes(), &variable)
            .and_then(|loaded| with_input(|input| compile(&loaded, input)))
            .unwrap_err();
        let first =
            rejected.0.iter().find(|error| error.message.contains("another")).unwrap_or(&rejected.0[0]);
        let told = format!("{} {}", first.message, first.hint.as_deref().unwrap_or_default());
        for form in [value.to_owned(), value.to_lowercase(), value.escape_debug().to_string()] {
            assert!(["web", "is"].contains(&value) || !told.contains(&form), "{to}: {told}");
        }
        assert!(!told.contains("hunter2") && !told.contains("of-some"), "{to}: {told}");
        assert!(told.contains("${VALUE}"), "{to}: {told}");
    }
}

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::with_certificate("a", &["api.example.com"]));

/// Misplaced values of variables.
const PLACES: &[(&str, &str)] = &[
    ("key: a.key", "key: \"${VALUE}\""),
    ("cert: a.pem", "cert: \"x/${VALUE}\""),
    ("ca: a.pem", "ca: \"${VALUE}\""),
    ("default_pool: web", "default_pool: \"${VALUE}\""),
    ("default_pool: web", "default_pool: \"x-${VALUE}-y\""),
    ("pool: plain", "pool: \"http://${VALUE}/\""),
    ("mode: passthrough", "mode: \"${VALUE}\""),
    ("address: \"127.0.0.1:8443\"", "address: \"${VALUE}\""),
    ("address: \"127.0.0.1:8443\"", "address: \"127.0.0.1:${VALUE}\""),
    ("address: \"127.0.0.1:8443\"", "address: \"https://user:${VALUE}@example.com/x\""),
    ("\"127.0.0.1:9080\"", "\"${VALUE}\""),
    ("\"127.0.0.1:9080\"", "\"http://${VALUE}\""),
    ("\"127.0.0.1:9080\"", "\"srv:${VALUE}\""),
    ("\"127.0.0.1:9080\"", "{address: \"${VALUE}:443\"}"),
    ("weight: 2", "weight: \"${VALUE}\""),
    ("sni: www.example.com", "sni: \"${VALUE}\""),
    ("sni: www.example.com", "sni: [\"https://${VALUE}:1\", \"${VALUE}.\"]"),
    ("sni: www.example.com", "source: [\"${VALUE}\"]"),
    ("sni: www.example.com", "alpn: [\"${VALUE}\"]"),
    ("listeners:", "include: \"${VALUE}\"\nlisteners:"),
    ("listeners:", "log: {level: \"${VALUE}\"}\nlisteners:"),
    ("listeners:", "log: {level: \"info,x=${VALUE}\"}\nlisteners:"),
    ("listeners:", "log: {access: \"${VALUE}\"}\nlisteners:"),
    ("listeners:", "log: {access: {file: \"/none/${VALUE}\"}}\nlisteners:"),
    ("listeners:", "admin: {address: \"${VALUE}\"}\nlisteners:"),
    ("listeners:", "admin: {address: \"unix:${VALUE}\"}\nlisteners:"),
    ("listeners:", "runtime: {drain_timeout: \"${VALUE}\"}\nlisteners:"),
    ("listeners:", "runtime: {resolvers: \"dns://${VALUE}\"}\nlisteners:"),
    ("- name: plain\n", "- name: \"${VALUE}\"\n"),
    ("- name: plain\n", "- name: plain\n    balance: \"${VALUE}\"\n"),
    ("- name: plain\n", "- name: plain\n    panic_threshold: \"${VALUE}\"\n"),
    ("- name: plain\n", "- name: plain\n    tls: \"${VALUE}\"\n"),
    ("listeners:", "\"${VALUE}\": 1\nlisteners:"),
];

fn cases() -> u32 {
    std::env::var("VALUE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1024)
}

/// Values of several words, so that no piece of one is a word of a message.
fn values() -> impl Strategy<Value = String> {
    let piece = "[qxzjkw0-9QXZJKW]{1,9}";
    let between = prop::sample::select(vec![
        ":", "/", "@", ".", ",", "=", "-", "_", "?", "#", "://", ":4", "%", "\\", "\"", "'", "`", "\n", "\t",
        "\u{1b}", "é", "…", " ", "[", "]", "{", "*",
    ]);
    prop::collection::vec((piece, between), 1..60)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, between)| format!("{piece}{between}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]
    #[test]
    fn parts_of_values_are_never_shown(
        value in values(),
        place in prop::sample::select(PLACES),
        second in prop::sample::select(PLACES),
    ) {
        let folder = &FOLDER;
        let text = GOOD.replacen(place.0, place.1, 1).replacen(second.0, second.1, 1);
        let variable = |name: &str| (name == "VALUE").then(|| value.clone());
        let found = parse("weir.yaml", folder.path(), text.into_bytes(), &variable)
            .and_then(|loaded| with_input(|input| compile(&loaded, input)))
            .map_or_else(|rejected| rejected.0, |(_, warnings)| warnings);
        for one in &found {
            let told = format!("{} {} {one}", one.message, one.hint.as_deref().unwrap_or_default()).to_lowercase();
            let value = value.to_lowercase();
            for (start, _) in value.char_indices() {
                let end = value[start..].char_indices().map(|(at, c)| at + c.len_utf8()).find(|end| *end >= 6);
                let Some(end) = end else { break };
                let part = &value[start..start + end];
                prop_assert!(!told.contains(part), "{place:?} {second:?}: {part:?} in {told}");
            }
        }
    }
}

#[test]
fn configurations_in_force_are_shown_with_their_variables() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let text = GOOD
        .replace("address: \"127.0.0.1:8443\"", "address: \"${HOST}:8443\"")
        .replace("key: a.key", "key: \"${KEY}\"")
        .replace("weight: 2", "weight: \"${WEIGHT}\"")
        .replace("sni: www.example.com", "sni: [\"${NAME}.example.com\", a.b]")
        .replace("\"127.0.0.1:9080\"", "\"${HOST:-x}:9080\"")
        .replace("listeners:", "runtime: {drain_timeout: \"${TIME}\"}\nlisteners:");
    let variable = |name: &str| match name {
        "HOST" => Some("127.0.0.1".to_owned()),
        "KEY" => Some("a.key".to_owned()),
        "WEIGHT" => Some("7".to_owned()),
        "NAME" => Some("www".to_owned()),
        "TIME" => Some("77s".to_owned()),
        _ => None,
    };
    let loaded = parse("weir.yaml", folder.path(), text.into_bytes(), &variable).unwrap();
    assert!(with_input(|input| compile(&loaded, input)).is_ok());
    let shown = loaded.effective();
    assert_eq!(shown["listeners"][0]["address"], serde_json::json!(["${HOST}:8443"]));
    assert_eq!(shown["tls_profiles"][0]["certificates"][0]["key"], "${KEY}");
    assert_eq!(shown["pools"][0]["backends"][1]["weight"], "${WEIGHT}");
    assert_eq!(
        shown["listeners"][0]["routes"][1]["match"]["sni"],
        serde_json::json!(["${NAME}.example.com", "a.b"])
    );
    assert_eq!(shown["pools"][1]["backends"][0], "${HOST:-x}:9080");
    assert_eq!(shown["runtime"]["drain_timeout"], "${TIME}");
    assert_eq!(shown["pools"][0]["balance"], "round_robin", "defaults are written out");
}

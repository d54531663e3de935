//! Files that are not weir's configuration: another program's, or in another language.
//!
//! In: the text of a file that is not YAML or has no section at the top, or else its top-level keys. Out: the
//! file's owner. A guess needs several signs, because a single word could be a slip. Pure.

use crate::finding::Finding;
use crate::source::Position;
use crate::tree::{Value, YamlNode};

/// Recognises a text that weir cannot read as a configuration; `None` without enough signs.
pub(crate) fn of_text(file: usize, text: &str) -> Option<Finding> {
    if text.starts_with("#!/") {
        return Some(refusal(file, 1, "a script"));
    }
    let lines = text.lines().take(MOST_LINES).enumerate();
    let mut lines = lines.map(|(number, line)| (number + 1, line.trim_end())).filter(|(_, line)| {
        let line = &line.trim_start();
        !line.is_empty() && !line.starts_with('#') && !line.starts_with("//") && *line != "---"
    });
    let (first_number, first) = lines.next()?;
    if let Some(what) = by_first_line(first.trim_start()) {
        return Some(refusal(file, first_number, what));
    }
    let mut signs = [0_usize; TEXTS.len()];
    for (_, line) in std::iter::once((first_number, first)).chain(lines) {
        for (count, (_, is_sign)) in signs.iter_mut().zip(TEXTS) {
            *count += usize::from(is_sign(line));
        }
    }
    let (count, (what, _)) = signs.iter().zip(TEXTS).max_by_key(|(count, _)| **count)?;
    (*count >= ENOUGH_SIGNS).then(|| refusal(file, first_number, what))
}

/// Recognises a file by its top-level keys; `None` if it may be weir's.
pub(crate) fn of_tree(root: &YamlNode) -> Option<Finding> {
    let text = match &root.value {
        Value::Map(entries) => {
            let has = |key: &str| entries.iter().any(|entry| entry.key == key);
            if OWN_KEYS.iter().any(|key| has(key)) && !envoys_listeners(root) {
                return None;
            }
            let whose = TREES.iter().find(|(_, keys)| keys.iter().any(|key| has(key)));
            let listeners = envoys_listeners(root).then_some("Envoy's configuration");
            listeners.or(whose.map(|(whose, _)| *whose))
        }
        _ => None,
    };
    text.map(|what| refusal(root.at.file, root.at.line, what))
}

/// In Envoy a listener's address is a section.
fn envoys_listeners(root: &YamlNode) -> bool {
    let Value::Map(entries) = &root.value else { return false };
    let Some(listeners) = entries.iter().find(|entry| entry.key == "listeners") else { return false };
    let Value::List(nodes) = &listeners.node.value else { return false };
    let is_envoys = |node: &YamlNode| match &node.value {
        Value::Map(entries) => entries.iter().any(|entry| entry.key == "filter_chains"),
        _ => false,
    };
    nodes.iter().take(ENOUGH_SIGNS).any(is_envoys)
}

fn refusal(file: usize, line: usize, what: &str) -> Finding {
    Finding {
        at: Position { file, line, column: 1 },
        message: format!("this is {what}, not weir's"),
        hint: Some(
            "weir's is YAML with `listeners` and `pools`; config/quickstart.yaml is a small one".to_owned(),
        ),
    }
}

fn by_first_line(line: &str) -> Option<&'static str> {
    let lower = line.to_ascii_lowercase();
    match () {
        () if line.starts_with("-----BEGIN ") => Some("a PEM file (a certificate or a key)"),
        () if lower.starts_with("<!doctype") || lower.starts_with("<html") => Some("a page of HTML"),
        () if line.starts_with("<?xml") => Some("an XML file"),
        () if is_nginxs(line) && line.contains('{') && line.contains(';') => Some("nginx's configuration"),
        () => None,
    }
}

fn first_word(line: &str) -> &str {
    line.split(|c: char| c.is_whitespace() || c == '{').next().unwrap_or_default()
}

fn is_haproxys(line: &str) -> bool {
    let word = first_word(line);
    let alone = matches!(line, "global" | "defaults");
    // A colon behind the word is YAML.
    let named = matches!(word, "frontend" | "backend" | "listen") && line.split_whitespace().count() == 2;
    let two = |second: &[&str]| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|word| second.contains(&word))
    };
    alone
        || named && !line.ends_with([';', '{'])
        || word == "mode" && two(&["tcp", "http"])
        || word == "timeout" && two(&["client", "server", "connect", "queue", "tunnel", "check"])
        || word == "balance" && !line.contains(':') && line.split_whitespace().count() >= 2
        || word == "server" && line.split_whitespace().count() >= 3 && !line.ends_with([';', '{'])
        || matches!(word, "default_backend" | "use_backend" | "acl" | "maxconn" | "tcp-request" | "option")
            && !line.ends_with(';')
            && line.split_whitespace().count() >= 2
        || word == "bind" && line.split_whitespace().count() >= 2 && !line.ends_with(';')
}

fn is_nginxs(line: &str) -> bool {
    let block = line.contains('{') && !line.contains(": ") && !line.contains('[');
    let names = ["http", "stream", "events", "server", "upstream", "location", "map", "types"];
    let directive = line.ends_with(';') && line.split_whitespace().count() >= 2 && !line.contains(": ");
    block && names.contains(&first_word(line)) || directive
}

fn is_toml(line: &str) -> bool {
    // Further in it may be a list of YAML over several lines: `sni:`, and `[www.example.com]` below it.
    let table = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = |name: &str| {
        let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"'))
    };
    let assigned = line.split_once('=').is_some_and(|(key, value)| {
        let key = key.trim();
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        key != line && !key.is_empty() && key.chars().all(bare) && !value.trim().is_empty()
    });
    // A table alone is enough: as YAML it would be a list before a section.
    table.is_some_and(is_name) || assigned
}

fn is_caddys(line: &str) -> bool {
    let directive = ["reverse_proxy", "file_server", "handle", "layer4", "tls", "route", "encode"];
    let site = line.ends_with('{') && (line.starts_with(':') || line.contains('.')) && !line.contains(": ");
    site || directive.contains(&first_word(line)) && !line.contains(": ") && !line.ends_with(';')
}

type Sign = fn(&str) -> bool;
/// The signs in a line, program by program. Of two programs with equally many signs the later one wins.
const TEXTS: [(&str, Sign); 4] = [
    ("a Caddyfile", |line| is_caddys(line.trim_start())),
    ("TOML", is_toml),
    ("nginx's configuration", |line| is_nginxs(line.trim_start())),
    ("HAProxy's configuration", |line| is_haproxys(line.trim_start())),
];

/// Top-level keys that only other programs have.
const TREES: [(&str, &[&str]); 5] = [
    (
        "Envoy's configuration",
        &["static_resources", "dynamic_resources", "layered_runtime", "bootstrap_extensions"],
    ),
    ("Traefik's configuration", &["entryPoints", "providers", "certificatesResolvers", "serversTransport"]),
    ("Traefik's configuration", &["routers", "middlewares", "tcp", "udp", "http"]),
    ("a Kubernetes manifest", &["apiVersion", "kind"]),
    ("a Compose file", &["services"]),
];
/// Keys that make a file weir's, whatever else it contains.
const OWN_KEYS: [&str; 5] = ["listeners", "pools", "tls_profiles", "include", "runtime"];
/// This many signs are no chance.
const ENOUGH_SIGNS: usize = 2;
/// Lines to look at.
const MOST_LINES: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_programs_are_recognised_by_their_lines() {
        for (text, wanted) in [
            ("global\n  daemon\ndefaults\n  mode tcp\nfrontend x\n  bind *:443\n", "HAProxy"),
            ("frontend web\n  bind :443 ssl crt a.pem\n  default_backend b\n", "HAProxy"),
            ("backend b\n    balance roundrobin\n    server s1 10.0.0.1:80 check\n", "HAProxy"),
            ("user nginx;\nevents {\n}\nstream {\n  server {\n    listen 443;\n  }\n}\n", "nginx"),
            ("upstream b {\n  server 10.0.0.1:80;\n}\nserver {\n  proxy_pass b;\n}\n", "nginx"),
            ("http { server {\n listen 80; } }\nserver { listen 1; }\n", "nginx"),
            ("# x\n[[listeners]]\nname = \"edge\"\n", "TOML"),
            ("a = 1\nb = \"x\"\n", "TOML"),
            ("example.com {\n  reverse_proxy 10.0.0.1:80\n}\n", "Caddyfile"),
            ("-----BEGIN CERTIFICATE-----\nabc\n", "PEM"),
            ("<!DOCTYPE html>\n<p>", "HTML"),
            ("#!/bin/sh\necho x\n", "a script"),
        ] {
            let found = of_text(0, text).unwrap_or_else(|| panic!("{text}"));
            assert!(found.message.contains(wanted), "{text}: {found:?}");
        }
    }

    #[test]
    fn broken_files_of_weir_are_not_taken_for_another_programs() {
        let reference = include_str!("../../../../docs/reference.yaml");
        assert_eq!(of_text(0, reference), None);
        for text in [
            "sni:\n  [www.example.com]\nsource:\n  [web]\n x",
            "just text",
            "listeners:\n  - name:edge\n",
            "a: [",
            "mode tcp",
            "",
            "# x",
            "listeners: [{\n",
        ] {
            assert_eq!(of_text(0, text), None, "{text}");
        }
    }
}

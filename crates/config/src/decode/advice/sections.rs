//! Other values in place of a section.

use super::accepted::takes;
use super::keys::example;
use super::write::{flow, plain, scalar};
use super::{Spot, names};
use crate::schema::LogLevel;
use crate::tree::{Value, YamlNode};
use crate::words::{self, NO, YES, squash};

/// Advice for a scalar or a list in place of a section.
pub(super) fn section_hint(spot: Spot<'_>, name: &str) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    if let Value::List(nodes) = &node.value {
        let only = match nodes.as_slice() {
            [only] if matches!(only.value, Value::Map(_)) => flow(only),
            _ => None,
        };
        return Some(match only {
            Some(text) => format!("write `{key}: {text}`"),
            None => format!("its keys have no dashes: {}", example(section, key)),
        });
    }
    if let Some(inside) = shorthand(name, node) {
        return Some(format!("write `{key}: {{{inside}}}`"));
    }
    let squashed = plain(&node.value).map(|word| squash(&word)).unwrap_or_default();
    let (yes, no) = (YES.contains(&&*squashed), NO.contains(&&*squashed));
    Some(match (name, yes, no) {
        ("PassiveCheck", _, true) => format!("write `{key}: null`"),
        ("HealthCheck", _, true) => format!("write `{key}: {{type: none}}`"),
        ("Admin", true, _) => format!("write `{key}: {{address: \"127.0.0.1:9901\"}}`"),
        ("MetricsServer", true, _) => format!("write `{key}: {{address: \":9902\"}}`"),
        ("Match", _, _) => example(section, key),
        (_, true, _) => format!("write `{key}: {{}}`"),
        (_, _, true) => format!("leave `{key}` out"),
        _ => example(section, key),
    })
}

/// The key of the section that a scalar in its place stands for, with the scalar.
fn shorthand(name: &str, node: &YamlNode) -> Option<String> {
    let text = plain(&node.value)?;
    let is_text = matches!(node.value, Value::Text { .. });
    let inner = match name {
        "HealthCheck" if text.starts_with('/') => {
            return Some(format!("type: http, path: {}", scalar(&text)));
        }
        "HealthCheck" => {
            let word = words::value("type", &text).filter(|_| !NO.contains(&&*squash(&text)));
            let word = word.map(str::to_owned).unwrap_or(text);
            let node = YamlNode::new(node.at, Value::Text { text: word.clone(), substituted: false });
            return takes(name, "type", &node).then(|| format!("type: {word}"));
        }
        "Admin" if is_text && text.starts_with('/') => {
            return Some(format!("address: {}", scalar(&format!("unix:{text}"))));
        }
        "Admin" | "MetricsServer" if is_text && text.contains(':') => "address",
        "MetricsServer" if matches!(node.value, Value::Unsigned(1..=65_535)) => {
            return Some(format!("address: \":{text}\""));
        }
        "Admin" if matches!(node.value, Value::Unsigned(1..=65_535)) => {
            return Some(format!("address: \"127.0.0.1:{text}\""));
        }
        "Fleet" => "secret_files",
        "Match" if is_text && text.contains('/') => "source",
        "Match" if is_text && text.contains('.') => "sni",
        "Sessions" => "tickets",
        "Limits" => "max_connections",
        "Bandwidth" => "connection",
        "Runtime" if !matches!(node.value, Value::Bool(_)) => "workers",
        "PassiveCheck" => "failures",
        "StickyCookie" if is_text => "name",
        "Timeouts" => "idle",
        "Log" if LogLevel::names().contains(&&*text) => "level",
        "Log" => "format",
        "PoolTls" if text.ends_with(".pem") || text.ends_with(".crt") => "ca",
        _ => return None,
    };
    let large_enough = !matches!(node.value, Value::Unsigned(0));
    (large_enough && takes(name, inner, node)).then(|| Some(format!("{inner}: {}", flow(node)?))).flatten()
}

/// Advice for a value that is neither the name of a profile nor a section.
pub(super) fn profile(spot: Spot<'_>) -> Option<String> {
    let known = names(spot.root, "tls_profiles");
    match (&spot.node.value, known.as_slice()) {
        (Value::List(nodes), _) if nodes.len() == 1 => {
            let only = nodes.first()?;
            let is_known = matches!(&only.value, Value::Text { text, .. } if known.contains(&text.as_str()));
            is_known.then(|| Some(format!("write `{}`", flow(only)?))).flatten()
        }
        (_, [only]) => Some(format!("write `{}`", scalar(only))),
        (_, []) => Some(example("File", "tls_profiles")),
        _ => None,
    }
}

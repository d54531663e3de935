//! Values of another kind than their key takes.

use std::net::{IpAddr, SocketAddr};

use super::accepted::{is_backend, most, takes};
use super::keys::example;
use super::write::{flow, pairs, scalar};
use super::{Spot, names, refers_to, units};
use crate::nearest::nearest;
use crate::shape::{self, Kind};
use crate::tree::{KeyValue, Value, YamlNode};
use crate::words::{self, NEVER, NO, YES, squash};

/// What to write instead of a value that was refused; `words` are those of a closed set.
pub(crate) fn value(spot: Spot<'_>, words: &[&str]) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    let kind = shape::kind(section, key)?;
    if let Value::Text { substituted: true, .. } = node.value {
        return None;
    }
    match kind {
        Kind::Time => Some(units::time(section, key, &node.value)),
        Kind::Size => Some(units::size(section, key, &node.value)),
        Kind::Percent => Some(units::share(key, &node.value)),
        Kind::Switch => Some(switch(key, &node.value)),
        Kind::Number | Kind::Count => number(spot, kind == Kind::Count),
        Kind::Word => Some(word(key, &node.value, words)).filter(|hint| !hint.is_empty()),
        Kind::Section(name) => section_hint(spot, name),
        Kind::List(item) if !spot.element => list(spot, item),
        Kind::List(Some(item)) => element(spot, item),
        Kind::Text | Kind::Texts | Kind::List(None) => text(spot, kind),
        Kind::Profile => profile(spot),
        Kind::Other => other(key, &node.value),
    }
}

/// A scalar as it is written, without quotes.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Unsigned(value) => Some(value.to_string()),
        Value::Signed(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Text { text, .. } => Some(text.clone()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

fn switch(key: &str, value: &Value) -> String {
    let word = plain(value).unwrap_or_default();
    let squashed = squash(&word);
    let meant = match squashed.as_str() {
        word if YES.contains(&word) => Some("true"),
        word if NO.contains(&word) => Some("false"),
        _ => words::value(key, &word).or_else(|| nearest(&word, ["true", "false"])),
    };
    match meant {
        Some(meant) => format!("write `{meant}`"),
        None => "write `true` or `false`".to_owned(),
    }
}

fn word(key: &str, value: &Value, known: &[&str]) -> String {
    let choices = if known.is_empty() { String::new() } else { format!("one of: {}", known.join(", ")) };
    let Some(word) = plain(value) else { return choices };
    let squashed = squash(&word);
    if key == "min_version" && OLD_VERSIONS.contains(&&*squashed) {
        return "nothing older than TLS 1.2 is spoken: write `1.2` or `1.3`".to_owned();
    }
    let same = known.iter().copied().find(|known| squash(known) == squashed && !squashed.is_empty());
    let near = || nearest(&word, known.iter().copied());
    match same.or_else(|| words::value(key, &word)).or_else(near) {
        Some(meant) if choices.is_empty() => format!("did you mean `{meant}`?"),
        Some(meant) => format!("did you mean `{meant}`? {choices}"),
        None => choices,
    }
}

fn number(spot: Spot<'_>, or_auto: bool) -> Option<String> {
    let value = match &spot.node.value {
        Value::Text { text, .. } => text.as_str(),
        Value::Float(value) if value.fract() == 0.0 && *value >= 0.0 => {
            return fitting(spot, &value.to_string());
        }
        Value::Float(value) if value.is_infinite() => "inf",
        Value::Signed(-1) => "unlimited",
        Value::Map(_) | Value::List(_) => return None,
        _ => return or_auto.then(|| "write `auto`, or a whole number from 1".to_owned()),
    };
    let squashed = squash(value);
    if or_auto && (AUTO.contains(&&*squashed) || NEVER.contains(&&*squashed)) {
        return Some("write `auto`".to_owned());
    }
    let digits: String = value.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    let (digits, zeros) = match digits.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, "000"),
        None => match digits.strip_suffix('M') {
            Some(digits) => (digits, "000000"),
            None => (&*digits, ""),
        },
    };
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return fitting(spot, &format!("{digits}{zeros}"));
    }
    let bounded = (spot.section, spot.key) == ("BackendFields", "max_connections");
    (bounded && NEVER.contains(&&*squashed)).then(|| "leave it out: then there is no ceiling".to_owned())
}

/// The number, where the key takes it.
fn fitting(spot: Spot<'_>, digits: &str) -> Option<String> {
    let most = most(spot.section, spot.key);
    let number = digits.parse::<u64>().ok().filter(|number| (1..=most).contains(number))?;
    Some(format!("write `{number}`"))
}

/// A scalar or a list where the keys of a section have to stand.
fn section_hint(spot: Spot<'_>, name: &str) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    if let Value::List(nodes) = &node.value {
        let only = match nodes.as_slice() {
            [only] if matches!(only.value, Value::Map(_)) => flow(only),
            _ => None,
        };
        return Some(match only {
            Some(text) => format!("write `{key}: {text}`"),
            None => format!("its keys stand without dashes: {}", example(section, key)),
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
        ("Match", _, _) => example(section, key),
        (_, true, _) => format!("write `{key}: {{}}`"),
        (_, _, true) => format!("leave `{key}` out"),
        _ => example(section, key),
    })
}

/// The key within a section that a scalar in its place stands for, with the scalar.
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
        "Admin" if is_text && text.contains(':') => "address",
        "Admin" if matches!(node.value, Value::Unsigned(1..=65_535)) => {
            return Some(format!("address: \"127.0.0.1:{text}\""));
        }
        "Match" if is_text && text.contains('/') => "source",
        "Match" if is_text && text.contains('.') => "sni",
        "Sessions" => "tickets",
        "Limits" => "max_connections",
        "Runtime" if !matches!(node.value, Value::Bool(_)) => "workers",
        "PassiveCheck" => "failures",
        "Timeouts" => "idle",
        "Log" if LEVELS.contains(&&*text) => "level",
        "Log" => "format",
        "PoolTls" if text.ends_with(".pem") || text.ends_with(".crt") => "ca",
        _ => return None,
    };
    let large_enough = !matches!(node.value, Value::Unsigned(0));
    (large_enough && takes(name, inner, node)).then(|| Some(format!("{inner}: {}", flow(node)?))).flatten()
}

/// Something else where a list has to stand.
fn list(spot: Spot<'_>, item: Option<&'static str>) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    match (&node.value, item) {
        (Value::Map(entries), Some(item)) => Some(list_from_map(spot, item, entries)),
        (Value::Text { text, .. }, None) => {
            let parts: Vec<String> =
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(scalar).collect();
            Some(match parts.is_empty() {
                true => format!("write `{key}: []`"),
                false => format!("write `{key}: [{}]`", parts.join(", ")),
            })
        }
        (Value::Text { text, .. }, Some("BackendFields")) => {
            let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
            if parts.is_empty() || !parts.iter().all(|part| is_backend(part)) {
                return Some(example(section, key));
            }
            let parts: Vec<String> = parts.into_iter().map(scalar).collect();
            Some(format!("write `{key}: [{}]`", parts.join(", ")))
        }
        _ => Some(example(section, key)),
    }
}

/// A section where a list has to stand: one element without its dash, or elements behind their names.
fn list_from_map(spot: Spot<'_>, item: &'static str, entries: &[KeyValue]) -> String {
    let known = shape::keys(item);
    if entries.iter().any(|entry| known.contains(&entry.key.as_str())) {
        return match flow(spot.node) {
            Some(text) => format!("write `{}: [{text}]`", spot.key),
            None => "it is a list: put `- ` in front of the first key of each element".to_owned(),
        };
    }
    let whole: Option<Vec<String>> = entries.iter().map(|entry| named(item, entry)).collect();
    match whole.map(|parts| parts.join(", ")).filter(|text| text.len() <= LONGEST_LIST && !text.is_empty()) {
        Some(text) => format!("write `{}: [{text}]`", spot.key),
        None => match item {
            "Route" => "it is a list: `- match: {sni: www.example.com}`, with its `pool`".to_owned(),
            _ => "it is a list, and each element has its name inside: `- name: web`".to_owned(),
        },
    }
}

/// One element of a list, out of a name and what stands behind it.
fn named(item: &str, entry: &KeyValue) -> Option<String> {
    let name = scalar(&entry.key);
    match (item, &entry.node.value) {
        ("Pool", Value::List(_)) => Some(format!("{{name: {name}, backends: {}}}", flow(&entry.node)?)),
        ("BackendFields", Value::Text { .. }) => {
            Some(format!("{{name: {name}, address: {}}}", flow(&entry.node)?))
        }
        ("Route", Value::Text { .. }) => {
            Some(format!("{{match: {{sni: {name}}}, pool: {}}}", flow(&entry.node)?))
        }
        ("Route" | "Certificate", _) => None,
        (_, Value::Map(inner)) => {
            let known = shape::keys(item);
            let fits = inner.iter().all(|entry| known.contains(&entry.key.as_str()) && entry.key != "name");
            fits.then(|| Some(format!("{{name: {name}, {}}}", pairs(inner)?))).flatten()
        }
        _ => None,
    }
}

/// An element of a list of sections that is no section.
fn element(spot: Spot<'_>, item: &str) -> Option<String> {
    match (item, &spot.node.value) {
        ("BackendFields", Value::Unsigned(port @ 1..=65_535)) => {
            Some(format!("an address and a port, such as \"127.0.0.1:{port}\""))
        }
        ("BackendFields", Value::List(nodes)) => match nodes.as_slice() {
            [only] if matches!(only.value, Value::Text { .. } | Value::Map(_)) => {
                flow(only).map(|text| format!("write `{text}`"))
            }
            _ => None,
        },
        (_, Value::List(nodes)) => match nodes.as_slice() {
            [only] if matches!(only.value, Value::Map(_)) => flow(only).map(|text| format!("write `{text}`")),
            _ => None,
        },
        ("Certificate", _) => Some("such as {cert: a.pem, key: a.key}".to_owned()),
        ("Route", _) => Some("such as {match: {sni: www.example.com}, pool: web}".to_owned()),
        ("Pool", _) => Some("such as {name: web, backends: [\"10.0.0.11:8080\"]}".to_owned()),
        ("Listener", _) => {
            Some("such as {name: edge, address: \":443\", mode: passthrough, default_pool: web}".to_owned())
        }
        _ => None,
    }
}

/// Something else where a text has to stand.
fn text(spot: Spot<'_>, kind: Kind) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    if let Some(list) = refers_to(section, key) {
        return reference(spot, list);
    }
    match (&node.value, section, key) {
        (Value::Unsigned(port @ 1..=65_535), "Listener", "address") => Some(format!("write `\":{port}\"`")),
        (Value::Unsigned(port @ 1..=65_535), "Admin", "address") => {
            Some(format!("write `\"127.0.0.1:{port}\"`"))
        }
        (Value::Unsigned(port @ 1..=65_535), _, "address") => {
            Some(format!("an address and a port, such as \"127.0.0.1:{port}\""))
        }
        (Value::Unsigned(_), _, "address") => Some("a port is a number from 1 to 65535".to_owned()),
        (
            Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) | Value::Bool(_),
            _,
            "address" | "resolvers",
        ) => None,
        (Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) | Value::Bool(_), "Match", "sni") => {
            Some("a host name, such as `www2.example.com`".to_owned())
        }
        (Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) | Value::Bool(_), "Match", "source") => {
            Some("a network, such as `10.0.0.0/8`".to_owned())
        }
        // A number may be a name, and is surely no path, no level and no protocol.
        (Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) | Value::Bool(_), _, key)
            if key != "name" =>
        {
            None
        }
        // A float is not written back as it was: `1.10`.
        (Value::Float(_), ..) => Some("write it in quotes".to_owned()),
        (Value::Unsigned(_) | Value::Signed(_) | Value::Bool(_), ..) => {
            plain(&node.value).map(|text| format!("write `\"{text}\"`"))
        }
        (Value::List(nodes), ..) if kind == Kind::Text => match nodes.as_slice() {
            [only] if is_text(only) => Some(format!("write `{}`", flow(only)?)),
            _ => Some("one text, not a list".to_owned()),
        },
        (Value::List(nodes), ..) => match nodes.as_slice() {
            [only] if spot.element && is_text(only) => Some(format!("write `{}`", flow(only)?)),
            _ => None,
        },
        (Value::Map(_), _, "address") => {
            Some(match host_and_port(node).filter(|text| stands(section, text)) {
                Some(address) => format!("write `\"{address}\"`"),
                None => "address and port are one text, such as \"127.0.0.1:443\"".to_owned(),
            })
        }
        (Value::Map(entries), ..) => match entries.as_slice() {
            // `[10.0.0.1: 80]`: a blank behind the colon makes a section of an address.
            [only] if matches!(key, "address" | "resolvers") => {
                let address = format!("{}:{}", only.key, flow(&only.node)?);
                stands(section, &address).then(|| format!("write `\"{address}\"`"))
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_text(node: &YamlNode) -> bool {
    matches!(node.value, Value::Text { .. })
}

/// Whether an address may stand in this section.
fn stands(section: &str, text: &str) -> bool {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    match section {
        "Listener" => address.is_some(),
        "Admin" => address.is_some_and(|address| address.ip().is_loopback()),
        "Runtime" => address.is_some() && is_backend(text),
        _ => is_backend(text),
    }
}

/// `{ip: 127.0.0.1, port: 443}`, and the same within `socket_address`.
fn host_and_port(node: &YamlNode) -> Option<String> {
    let node = super::entry(node, "socket_address").map_or(node, |entry| &entry.node);
    let find =
        |keys: &[&str]| keys.iter().find_map(|key| super::entry(node, key)).map(|entry| &entry.node.value);
    match (find(&["address", "ip", "host", "addr"])?, find(&["port", "port_value"])?) {
        (Value::Text { text, substituted: false }, Value::Unsigned(port @ 1..=65_535)) => {
            let host: IpAddr = text.parse().ok()?;
            let port = u16::try_from(*port).ok()?;
            Some(SocketAddr::from((host, port)).to_string())
        }
        _ => None,
    }
}

/// Something else where the name of a pool has to stand.
fn reference(spot: Spot<'_>, list: &str) -> Option<String> {
    let node = match &spot.node.value {
        Value::List(nodes) => nodes.first().filter(|_| nodes.len() == 1),
        Value::Map(_) => super::entry(spot.node, "name").map(|entry| &entry.node),
        _ => Some(spot.node),
    };
    let known = names(spot.root, list);
    let name = node.and_then(|node| plain(&node.value)).filter(|name| known.contains(&name.as_str()));
    Some(match name {
        Some(name) => format!("write `{}`", scalar(&name)),
        None => format!("the name of one of `{list}`"),
    })
}

/// What is neither the name of a profile nor its keys.
fn profile(spot: Spot<'_>) -> Option<String> {
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

fn other(key: &str, value: &Value) -> Option<String> {
    match (key, value) {
        // Codes in a list.
        ("status", Value::List(nodes)) => {
            let codes: Option<Vec<String>> = nodes.iter().map(|node| plain(&node.value)).collect();
            let codes =
                codes.filter(|codes| codes.iter().all(|code| is_status(code)) && !codes.is_empty())?;
            Some(format!("write `\"{}\"`", codes.join(",")))
        }
        ("alpn", Value::Text { text, .. }) => {
            let parts: Vec<String> =
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(scalar).collect();
            let none = parts.is_empty() || NO.contains(&&*squash(text));
            Some(if none { "write `[]`".to_owned() } else { format!("write `[{}]`", parts.join(", ")) })
        }
        _ => None,
    }
}

fn is_status(text: &str) -> bool {
    let code = |text: &str| text.parse::<u16>().is_ok_and(|code| (100..=599).contains(&code));
    text.split_once('-')
        .map_or_else(|| code(text), |(first, last)| code(first) && code(last) && first <= last)
}

/// Words for "as many as there are".
const AUTO: [&str; 9] = ["auto", "automatic", "max", "cpu", "cpus", "nproc", "all", "default", "cores"];
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// Versions of TLS that are not spoken.
const OLD_VERSIONS: [&str; 9] = ["tlsv10", "tls10", "10", "1", "tlsv1", "tls1", "tlsv11", "tls11", "11"];
/// Bytes of a list that is repeated in a hint.
const LONGEST_LIST: usize = 160;

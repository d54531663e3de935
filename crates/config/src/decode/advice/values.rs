//! Values of another kind than their key takes.

use std::net::{IpAddr, SocketAddr};

use super::accepted::{is_backend, most};
use super::lists::{element, list};
use super::sections::{profile, section_hint};
use super::write::{flow, plain, scalar};
use super::{Spot, names, refers_to, units};
use crate::nearest::nearest;
use crate::shape::{self, Kind};
use crate::tree::{Value, YamlNode};
use crate::words::{self, NEVER, NO, YES, squash};

/// Advice for a refused value; `words` are the key's closed set.
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
        Kind::Rate => Some(units::rate(&node.value)),
        Kind::Speed => Some(units::speed(section, key, &node.value)),
        Kind::Pace => Some(units::pace(&node.value)),
        Kind::Switch => Some(switch(key, &node.value)),
        Kind::Number | Kind::Count => number(spot, kind == Kind::Count),
        Kind::Word => Some(word(key, &node.value, words)).filter(|hint| !hint.is_empty()),
        Kind::Section(name) => section_hint(spot, name),
        Kind::List(item) if !spot.element => list(spot, item),
        Kind::List(Some(item)) => element(spot, item),
        Kind::List(None) if !words.is_empty() => {
            Some(word(key, &node.value, words)).filter(|hint| !hint.is_empty())
        }
        Kind::Text | Kind::Texts | Kind::List(None) => text(spot, kind),
        Kind::Profile => profile(spot),
        Kind::Other => other(key, &node.value),
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
    // Several sections have a key of this name: a value of another section's key would mislead.
    let foreign = || words::value(key, &word).filter(|meant| known.is_empty() || known.contains(meant));
    match same.or_else(foreign).or_else(near) {
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

/// The number, if the key takes it.
fn fitting(spot: Spot<'_>, digits: &str) -> Option<String> {
    let most = most(spot.section, spot.key);
    let number = digits.parse::<u64>().ok().filter(|number| (1..=most).contains(number))?;
    Some(format!("write `{number}`"))
}

/// Advice for another value in place of a text.
fn text(spot: Spot<'_>, kind: Kind) -> Option<String> {
    let Spot { section, key, node, .. } = spot;
    if let Some(list) = refers_to(section, key) {
        return reference(spot, list);
    }
    match (&node.value, section, key) {
        (Value::Unsigned(port @ 1..=65_535), "Listener" | "MetricsServer", "address") => {
            Some(format!("write `\":{port}\"`"))
        }
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
        // A number may be a name, but surely is not a path, a level or a protocol.
        (Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) | Value::Bool(_), _, key)
            if key != "name" =>
        {
            None
        }
        // A float cannot be written back as it was, as with `1.10`.
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
            // `[10.0.0.1: 80]`: a blank after the colon makes a section of an address.
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

/// Whether this section accepts the address.
fn stands(section: &str, text: &str) -> bool {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    match section {
        "Listener" | "MetricsServer" => address.is_some(),
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

/// Advice for another value in place of a pool's name.
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

fn other(key: &str, value: &Value) -> Option<String> {
    match (key, value) {
        // A list of status codes.
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

/// Other programs' words for "as many as there are".
const AUTO: [&str; 9] = ["auto", "automatic", "max", "cpu", "cpus", "nproc", "all", "default", "cores"];
/// TLS versions that weir does not speak.
const OLD_VERSIONS: [&str; 9] = ["tlsv10", "tls10", "10", "1", "tlsv1", "tls1", "tlsv11", "tls11", "11"];

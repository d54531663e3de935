//! Checks of `compile` beyond the schema (ranges and addresses), repeated here so that no hint leads to
//! another error.

use std::net::SocketAddr;

use weir_pool::dialable::forbidden;

use crate::ranges;
use crate::shape::{self, Kind};
use crate::speeds::Speed;
use crate::tree::{Value, YamlNode};
use crate::units::{Percent, Size, Time};

/// Whether the key takes this value, as far as this can be judged without the rest of the file.
pub(super) fn takes(section: &str, key: &str, node: &YamlNode) -> bool {
    shape::fits(section, key, node) && in_range(section, key, node)
}

fn in_range(section: &str, key: &str, node: &YamlNode) -> bool {
    match (shape::kind(section, key), &node.value) {
        (Some(Kind::Time), Value::Text { text, .. }) => {
            Time::parse(text).is_ok_and(|time| ranges::times(section, key).contains(time))
        }
        (Some(Kind::Size), Value::Text { text, .. }) => Size::parse(text).is_ok_and(|size| {
            let (least, most) = ranges::sizes(section, key);
            least <= size && size <= most
        }),
        (Some(Kind::Speed), Value::Text { text, .. }) => {
            Speed::parse(text).is_ok_and(|speed| ranges::sizes(section, key).0 <= speed.0)
        }
        (Some(Kind::Percent), Value::Text { text, .. }) => Percent::parse(text).is_ok_and(|share| {
            let (least, most) = ranges::shares(key);
            least <= share && share <= most
        }),
        (Some(Kind::Number | Kind::Count), Value::Unsigned(number)) => *number <= most(section, key),
        (Some(Kind::Number | Kind::Count), Value::Text { text, .. }) => {
            text.parse::<u64>().map_or(true, |number| number <= most(section, key))
        }
        (Some(Kind::Section(name)), Value::Map(entries)) => {
            entries.iter().all(|entry| in_range(name, &entry.key, &entry.node))
        }
        _ => true,
    }
}

/// The largest number that a key takes.
pub(super) fn most(section: &str, key: &str) -> u64 {
    match (section, key) {
        ("BackendFields", "weight")
        | ("HealthCheck" | "Redirect", "port")
        | ("Redirect" | "Respond", "status") => u64::from(u16::MAX),
        ("Runtime", "workers") => 1024,
        _ => u64::from(u32::MAX),
    }
}

/// Whether this is a backend's address: a dialable IP address, or a host name, and a port.
pub(super) fn is_backend(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() > 0 && forbidden(address.ip()).is_none();
    }
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let numeric = host.rsplit('.').next().is_some_and(|label| label.parse::<u64>().is_ok());
        is_port(port) && !numeric && weir_tls::is_dns_name(&host.to_ascii_lowercase())
    })
}

pub(super) fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

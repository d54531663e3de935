//! Unknown keys: a misspelling, another program's word, or a key that belongs elsewhere.

use super::accepted::{is_backend, takes};
use super::write::{flow, scalar};
use super::{names, refers_to};
use crate::nearest::nearest;
use crate::shape::{self, Kind};
use crate::tree::{KeyValue, Value, YamlNode};
use crate::words::{self, Means, squash};

/// Advice for an unknown key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) hint: String,
    /// The key that must have been meant, and is therefore not missing.
    pub(crate) meant: Option<&'static str>,
    /// The value fits that key, so it is read as that key's value, and mistakes in it are reported at the
    /// same time.
    pub(crate) adopt: bool,
}

/// Advice for a key that the section does not have. `all` are all entries of the section, as they are read,
/// including this one; `allowed` are the section's keys that may be used here.
pub(crate) fn unknown_key(
    root: &YamlNode,
    section: &'static str,
    wrong: &KeyValue,
    all: &[KeyValue],
    allowed: &[&'static str],
) -> Advice {
    let known: Vec<&'static str> =
        shape::keys(section).into_iter().filter(|key| allowed.contains(key)).collect();
    let free: Vec<&'static str> =
        known.iter().copied().filter(|key| !all.iter().any(|other| other.name() == *key)).collect();
    let unknown = Unknown { root, section, wrong, all, free: &free };
    if let Some(advice) =
        unknown.split_address().or_else(|| unknown.host_and_port()).or_else(|| unknown.glued())
    {
        return advice;
    }
    let word = squash(&wrong.key);
    let spelt = known.iter().copied().find(|key| squash(key) == word);
    unknown
        .meant(spelt.map(Means::Key).or_else(|| words::key(section, &wrong.key)))
        .or_else(|| unknown.near())
        .or_else(|| unknown.inside(inner_section_with(section, wrong, &free)?, &wrong.key))
        .or_else(|| unknown.elsewhere())
        .unwrap_or_else(|| Advice {
            hint: format!("known here: {}", known.join(", ")),
            meant: None,
            adopt: false,
        })
}

struct Unknown<'u> {
    root: &'u YamlNode,
    section: &'static str,
    wrong: &'u KeyValue,
    all: &'u [KeyValue],
    /// The keys of the section that are not used yet.
    free: &'u [&'static str],
}

impl Unknown<'_> {
    fn meant(&self, means: Option<Means>) -> Option<Advice> {
        match means? {
            Means::Key(key) if !self.free.contains(&key) => {
                let refused = shape::keys(self.section).contains(&key);
                refused.then(|| self.say(format!("weir calls it `{key}`, which is here already"), None))
            }
            Means::Key(key) => Some(self.key(key)),
            Means::Inside(inner, key) => self.inside(inner, key),
            Means::Not(key) => {
                let value = match &self.wrong.node.value {
                    Value::Bool(value) => Some(*value),
                    Value::Text { text, .. } if words::YES.contains(&&*squash(text)) => Some(true),
                    Value::Text { text, .. } if words::NO.contains(&&*squash(text)) => Some(false),
                    _ => None,
                };
                let free = self.free.contains(&key);
                Some(match value.filter(|_| free) {
                    Some(value) => self.say(format!("write `{key}: {}`", !value), Some(key)),
                    None => self.say(format!("weir calls the opposite `{key}`"), Some(key)),
                })
            }
            Means::Note(note) => Some(self.say(note.to_owned(), None)),
        }
    }

    /// `10.0.0.1: 80`: a blank after its colon turns an address into a key and a value. An address alone may
    /// also be a key.
    fn split_address(&self) -> Option<Advice> {
        let host = self.wrong.key.as_str();
        let is_host = host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost");
        let short = host.len() <= LONGEST_HOST && !host.contains(['"', '\\']);
        let hint = match self.wrong.node.value {
            _ if self.section != "BackendFields" || !is_host || !short => return None,
            Value::Unsigned(port) if is_backend(&format!("{host}:{port}")) => {
                format!("write `\"{host}:{port}\"`: no blank after the colon")
            }
            _ if is_backend(host) => format!("the address is a value: {{address: \"{host}\", weight: 2}}"),
            _ => "the address is a value, with its port: {address: \"10.0.0.11:8080\", weight: 2}".to_owned(),
        };
        Some(self.say(hint, Some("address")))
    }

    /// `{idle:5s}`, `{idle=5s}`: without a space after its colon the whole text is a key.
    fn glued(&self) -> Option<Advice> {
        let (key, value) = self.wrong.key.split_once([':', '='])?;
        let key = self.free.iter().copied().find(|known| *known == key.trim())?;
        let short = matches!(self.wrong.node.value, Value::Null) && value.len() <= LONGEST_HOST;
        short.then(|| self.say(format!("write `{key}: {}`", scalar(value.trim())), Some(key)))
    }

    /// `{host: 10.0.0.1, port: 80}`: one mistake in two keys, reported as one error.
    fn host_and_port(&self) -> Option<Advice> {
        let is_host =
            |key: &str| key == "address" || words::key("BackendFields", key) == Some(Means::Key("address"));
        let text = |entry: &KeyValue| match &entry.node.value {
            Value::Text { text, substituted: false } if !text.contains([':', '"', '\\']) => {
                Some(text.clone())
            }
            _ => None,
        };
        let port = self.all.iter().find(|entry| entry.key == "port")?;
        let host = self.all.iter().find(|entry| is_host(&entry.key))?;
        let (Value::Unsigned(number @ 1..=65_535), Some(text)) = (&port.node.value, text(host)) else {
            return None;
        };
        let mine = std::ptr::eq(self.wrong, port) || std::ptr::eq(self.wrong, host);
        if self.section != "BackendFields" || !mine || text.len() > LONGEST_HOST {
            return None;
        }
        // The error of the other key is reported here.
        host.mean("address");
        host.node.refuse();
        port.node.refuse();
        let address = format!("{text}:{number}");
        Some(self.say(
            match is_backend(&address) {
                true => format!("address and port are one text: `address: \"{address}\"`"),
                false => {
                    "address and port are one text, of one server: address: \"10.0.0.11:8080\"".to_owned()
                }
            },
            None,
        ))
    }

    /// The hint for a misnamed key of this section.
    fn key(&self, key: &'static str) -> Advice {
        let node = &self.wrong.node;
        if let Some(list) = refers_to(self.section, key) {
            return self.reference(key, list);
        }
        if let Some(address) = self.bare_address(key) {
            return self.say(format!("write `{key}: \"{address}\"`"), Some(key));
        }
        if shape::fits(self.section, key, node) {
            return Advice { hint: format!("did you mean `{key}`?"), meant: Some(key), adopt: true };
        }
        if shape::fits_element(self.section, key, node)
            && !matches!(node.value, Value::Null)
            && let Some(text) = flow(node)
        {
            return self.say(format!("write `{key}: [{text}]`"), Some(key));
        }
        self.say(format!("weir calls it `{key}`: {}", example(self.section, key)), Some(key))
    }

    /// The address in a URL that is the value of another word for `address`: one mistake, not two.
    fn bare_address(&self, key: &str) -> Option<String> {
        let Value::Text { text, substituted: false } = &self.wrong.node.value else { return None };
        let (scheme, rest) =
            text.split_once("://").filter(|_| (self.section, key) == ("BackendFields", "address"))?;
        let host = rest.split(['/', '?', '#']).next()?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let port = if matches!(scheme, "http" | "ws") { 80 } else { 443 };
        [host.to_owned(), format!("{host}:{port}")].into_iter().find(|address| is_backend(address))
    }

    /// The hint for a misnamed key that refers to a pool or a profile.
    fn reference(&self, key: &'static str, list: &str) -> Advice {
        let node = match &self.wrong.node.value {
            Value::List(nodes) if nodes.len() == 1 => nodes.first().unwrap_or(&self.wrong.node),
            _ => &self.wrong.node,
        };
        let is_list = !std::ptr::eq(node, &self.wrong.node);
        let text = match &node.value {
            Value::Text { text, substituted: false } => text.as_str(),
            // The profile is written inline.
            Value::Map(_) if list == "tls_profiles" && shape::fits(self.section, key, &self.wrong.node) => {
                return Advice { hint: format!("did you mean `{key}`?"), meant: Some(key), adopt: true };
            }
            _ => return self.say(format!("weir calls it `{key}`: the name of one of `{list}`"), Some(key)),
        };
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches([';', '/']);
        let known = names(self.root, list);
        if is_list && known.contains(&text) {
            return self.say(format!("write `{key}: {}`", scalar(text)), Some(key));
        }
        if known.contains(&text) || nearest(text, known.iter().copied()).is_some() {
            return Advice { hint: format!("did you mean `{key}`?"), meant: Some(key), adopt: true };
        }
        match known.iter().find(|name| **name == bare) {
            Some(name) => self.say(format!("write `{key}: {}`", scalar(name)), Some(key)),
            None => self.say(format!("weir calls it `{key}`: the name of one of `{list}`"), Some(key)),
        }
    }

    /// A misspelling.
    fn near(&self) -> Option<Advice> {
        let fitting = |key: &&&'static str| {
            shape::fits(self.section, key, &self.wrong.node) || refers_to(self.section, key).is_some()
        };
        if let Some(key) = nearest(&self.wrong.key, self.free.iter().filter(fitting).copied()) {
            return Some(Advice { hint: format!("did you mean `{key}`?"), meant: Some(key), adopt: true });
        }
        // A long word that nearly matches a key is that key, even if its value is wrong too.
        let key = nearest(&self.wrong.key, self.free.iter().copied().filter(|key| key.len() > SHORT_KEY))?;
        Some(self.key(key))
    }

    /// The hint for a key that belongs in a section within this one.
    fn inside(&self, inner: &'static str, key: &str) -> Option<Advice> {
        let name = inner_name(self.section, inner)?;
        let key = shape::keys(name).into_iter().find(|known| *known == key)?;
        let fits = takes(name, key, &self.wrong.node) && self.free.contains(&inner);
        Some(match flow(&self.wrong.node).filter(|_| fits) {
            Some(text) => self.say(format!("write `{inner}: {{{key}: {text}}}`"), Some(inner)),
            None if key == self.wrong.key => self.say(format!("`{key}` belongs in `{inner}`"), None),
            None => self.say(format!("weir has it in `{inner}`, as `{key}`"), None),
        })
    }

    /// The hint for a key that belongs in another section.
    fn elsewhere(&self) -> Option<Advice> {
        let places = shape::places_of(&self.wrong.key);
        let shown: Vec<String> = places
            .iter()
            .take(MOST_PLACES)
            .map(
                |place| {
                    if place.is_empty() { "the top of the file".to_owned() } else { format!("`{place}`") }
                },
            )
            .collect();
        // `name` or `tls` may be in so many places that a list of them tells nothing.
        let (last, others) = shown.split_last()?;
        let list = if others.is_empty() { last.clone() } else { format!("{} or {last}", others.join(", ")) };
        (places.len() <= MOST_PLACES).then(|| self.say(format!("this key belongs in {list}"), None))
    }

    fn say(&self, hint: String, meant: Option<&'static str>) -> Advice {
        Advice { hint, meant: meant.filter(|key| self.free.contains(key)), adopt: false }
    }
}

/// The name of the section behind a key.
fn inner_name(section: &str, key: &str) -> Option<&'static str> {
    match shape::kind(section, key)? {
        Kind::Section(name) => Some(name),
        Kind::Profile => Some("Profile"),
        _ => None,
    }
}

/// The section within this one that has the key.
fn inner_section_with(section: &str, wrong: &KeyValue, free: &[&'static str]) -> Option<&'static str> {
    let key = wrong.key.as_str();
    let has = |inner: &&'static str| {
        inner_name(section, inner).is_some_and(|name| shape::keys(name).contains(&key))
    };
    let all: Vec<&'static str> = shape::keys(section).into_iter().filter(has).collect();
    let suits = |inner: &&'static str| {
        inner_name(section, inner).is_some_and(|name| shape::fits(name, key, &wrong.node))
    };
    // A section that is still missing can be suggested as a whole.
    let free = |inner: &&'static str| free.contains(inner);
    let of = |wanted: &dyn Fn(&&'static str) -> bool| all.iter().copied().find(|inner| wanted(inner));
    of(&|inner| suits(inner) && free(inner))
        .or_else(|| of(&suits))
        .or_else(|| of(&free))
        .or_else(|| of(&|_| true))
}

/// An example for a key that takes more than a word.
pub(super) fn example(section: &str, key: &str) -> String {
    let text = match (section, key) {
        ("File", "listeners") => "[{name: edge, address: \":443\", mode: passthrough, default_pool: web}]",
        ("File", "pools") => "[{name: web, backends: [\"10.0.0.11:8080\"]}]",
        ("File", "tls_profiles") => "[{name: public, certificates: [{cert: a.pem, key: a.key}]}]",
        ("Pool", "backends") => "[\"10.0.0.11:8080\"]",
        ("Listener", "routes") => "[{match: {sni: www.example.com}, pool: web}]",
        ("Profile", "certificates") => "[{cert: a.pem, key: a.key}]",
        ("Profile", "alpn") => "[h2, http/1.1]",
        ("File", "admin") => "{address: \"127.0.0.1:9901\"}",
        ("File", "metrics") => "{address: \":9902\"}",
        ("File", "log") => "{level: info}",
        ("File", "runtime") => "{workers: auto}",
        ("Route", "match") => "{sni: www.example.com}",
        ("Pool", "health_check") => "{type: tcp}",
        ("Pool", "passive_check") => "{failures: 5}",
        ("Pool", "tls") => "{}",
        ("Listener", "timeouts") => "{idle: 350s}",
        ("Listener", "limits") => "{max_connections: 100000}",
        ("Listener", "tcp") => "{nodelay: true}",
        ("Profile", "sessions") => "{tickets: true}",
        _ => match shape::kind(section, key) {
            Some(Kind::Time) => "5s",
            Some(Kind::Size) => "16KiB",
            Some(Kind::Percent) if key == "bounded_load" => "125%",
            Some(Kind::Percent) => "50%",
            Some(Kind::Rate) => "100/s",
            Some(Kind::Speed) => "10MiB/s",
            Some(Kind::Pace) => "1%/m",
            Some(Kind::Switch) => "true",
            Some(Kind::Number | Kind::Count) => "2",
            Some(Kind::Word) => return "one of its words".to_owned(),
            _ => return "a text".to_owned(),
        },
    };
    format!("such as `{key}: {text}`")
}

/// Bytes of a host name (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;
/// Places to list for a key.
const MOST_PLACES: usize = 3;
/// Keys this short or shorter resemble others by chance.
const SHORT_KEY: usize = 5;

//! The names that may come in: entries of `names`, and how they match the names in a client's certificate.
//!
//! Only subject alternative names count. A common name is free text of the authority, and RFC 9525 gave it up as a
//! name.

use std::collections::HashSet;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::name::is_dns_name;

/// An entry of `names`, checked and in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AllowedName {
    /// A DNS name, lower-cased.
    Dns(String),
    /// All DNS names of one more label than this one: `*.example.com`, kept as `example.com`.
    DnsBelow(String),
    /// An email address, its domain lower-cased.
    Email(String),
    /// A URI, its scheme and authority lower-cased.
    Uri(String),
    /// All URIs below this one: `spiffe://example.org/ops/*`, kept as `spiffe://example.org/ops`.
    UriBelow(String),
}

/// Why an entry of `names` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadAllowedName {
    message: String,
    /// What the operator can write instead.
    pub hint: String,
}

impl BadAllowedName {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl AllowedName {
    /// Reads an entry: a text with `@` is an email address, one with `:` a URI, any other a DNS name.
    ///
    /// # Errors
    /// No certificate could have such a name, or it allows more than it seems to.
    pub fn parse(text: &str) -> Result<Self, BadAllowedName> {
        if let Some(refused) = slip(text) {
            return Err(refused);
        }
        if text.contains("://") || (text.contains(':') && !text.contains('@')) {
            return uri_entry(text);
        }
        if text.contains('@') {
            return email(text).map(Self::Email).ok_or_else(|| {
                BadAllowedName::new(
                    format!("`{text}` is no email address"),
                    "one whole address, such as alice@example.com",
                )
            });
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let entry = match name.strip_prefix("*.") {
            Some(parent) => Self::DnsBelow(parent.to_owned()),
            None => Self::Dns(name),
        };
        match &entry {
            Self::Dns(name) | Self::DnsBelow(name) if is_dns_name(name) => Ok(entry),
            _ => Err(BadAllowedName::new(
                format!("`{text}` is no DNS name"),
                "such as client.example.com, *.ops.example.com, alice@example.com or spiffe://example.org/ops/*",
            )),
        }
    }
}

/// Texts that people write here, and that mean something else or too much.
fn slip(text: &str) -> Option<BadAllowedName> {
    let kinds = ["dns:", "uri:", "email:", "rfc822:"];
    let lower = text.to_ascii_lowercase();
    if text.is_empty() {
        return Some(BadAllowedName::new("a name is empty", "leave the entry out"));
    }
    if text == "*" {
        let hint = "leave `names` out to let in every certificate of the authorities";
        return Some(BadAllowedName::new("`*` is no name", hint));
    }
    if let Some(kind) = kinds.iter().find(|kind| lower.starts_with(**kind)) {
        let rest = text.get(kind.len()..).unwrap_or_default();
        return Some(BadAllowedName::new(
            format!("`{text}` has the kind of the name in front of it"),
            format!("the name alone says its kind: {rest}"),
        ));
    }
    if text.contains('=') && !text.contains("://") {
        let hint = "only subject alternative names count: DNS names, email addresses and URIs";
        return Some(BadAllowedName::new(
            format!("`{text}` is a part of a subject, which `names` does not look at"),
            hint,
        ));
    }
    let host = text.trim_start_matches('[').split(['/', ']']).next().unwrap_or_default();
    if host.parse::<std::net::IpAddr>().is_ok() {
        let hint = "`source` in a route's `match` chooses by address";
        return Some(BadAllowedName::new(format!("`{text}` is an address, not a name"), hint));
    }
    if text.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        let hint = "names in certificates are ASCII; write an international name as xn--…";
        return Some(BadAllowedName::new(format!("`{text}` has a character that no name has"), hint));
    }
    None
}

fn uri_entry(text: &str) -> Result<AllowedName, BadAllowedName> {
    let example = "such as spiffe://example.org/ops/web, or spiffe://example.org/ops/* for all below it";
    let refuse = |message: String| Err(BadAllowedName::new(message, example));
    if let Some(above) = text.strip_suffix("/*") {
        return match uri(above) {
            Some(above) if !above.contains('*') && plain_path(&above).is_some() => {
                Ok(AllowedName::UriBelow(above))
            }
            _ => refuse(format!("`{text}` is no URI with `/*` behind a whole part of its path")),
        };
    }
    match uri(text) {
        Some(uri) if !uri.contains('*') => Ok(AllowedName::Uri(uri)),
        Some(_) => refuse(format!("`{text}` has a `*` that is not `/*` at its end")),
        None => refuse(format!("`{text}` is no URI")),
    }
}

/// An email address in the form in which it is compared: only its domain is without case (RFC 5280 §7.5).
fn email(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let domain = domain.to_ascii_lowercase();
    let good = |byte: u8| byte.is_ascii_graphic() && !b"*@,;<>()[]\\\"".contains(&byte);
    (!local.is_empty() && local.bytes().all(good) && is_dns_name(&domain))
        .then(|| format!("{local}@{domain}"))
}

/// A URI in the form in which it is compared: scheme and authority are without case (RFC 5280 §7.4).
fn uri(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let ascii = rest.bytes().all(|byte| byte.is_ascii_graphic());
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        || !scheme.bytes().all(good)
        || rest.is_empty()
        || !ascii
    {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let Some(rest) = rest.strip_prefix("//") else { return Some(format!("{scheme}:{rest}")) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    (!authority.is_empty()).then(|| format!("{scheme}://{}{path}", authority.to_ascii_lowercase()))
}

/// The path of a URI that means one thing to every reader: `//`, `..`, an encoded or a backward slash, a query or a
/// fragment could make one that looks as if it was below another.
fn plain_path(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
    let plain = !rest.contains(['?', '#', '%', '\\', '@'])
        && path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    plain.then_some(path)
}

fn is_spiffe(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// The entries of `names`, so that a certificate costs one look-up a name, however long the list is.
#[derive(Debug, Default)]
pub(super) struct AllowedNames(HashSet<AllowedName>);

impl AllowedNames {
    pub(super) fn new(names: &[AllowedName]) -> Self {
        Self(names.iter().cloned().collect())
    }

    /// Whether a client with this certificate may come in. Without entries any may.
    pub(super) fn allow(&self, certificate: &X509Certificate<'_>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        let names = &names.value.general_names;
        let uris = names.iter().filter(|name| matches!(name, GeneralName::URI(_))).count();
        names.iter().any(|name| match name {
            GeneralName::DNSName(name) => self.allows_dns(name),
            GeneralName::RFC822Name(name) => {
                email(name).is_some_and(|name| self.0.contains(&AllowedName::Email(name)))
            }
            // A SPIFFE ID with another URI beside it identifies nothing (X509-SVID, section 2).
            GeneralName::URI(name) => (uris == 1 || !is_spiffe(name)) && self.allows_uri(name),
            _ => false,
        })
    }

    /// A wildcard in a client's certificate stands for no name at all.
    fn allows_dns(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if !is_dns_name(&name) {
            return false;
        }
        let parent = name.split_once('.').map(|(_, parent)| AllowedName::DnsBelow(parent.to_owned()));
        parent.is_some_and(|parent| self.0.contains(&parent)) || self.0.contains(&AllowedName::Dns(name))
    }

    fn allows_uri(&self, name: &str) -> bool {
        let Some(name) = uri(name) else { return false };
        let below = plain_path(&name).is_some_and(|path| {
            let first = name.len() - path.len();
            let cuts = path.match_indices('/').map(|(at, _)| first + at);
            cuts.filter_map(|cut| name.get(..cut))
                .any(|above| self.0.contains(&AllowedName::UriBelow(above.to_owned())))
        });
        below || self.0.contains(&AllowedName::Uri(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(names: &[&str]) -> AllowedNames {
        let names: Vec<_> = names.iter().map(|name| AllowedName::parse(name).unwrap()).collect();
        AllowedNames::new(&names)
    }

    #[test]
    fn a_dns_wildcard_stands_for_one_label() {
        let names = allowed(&["*.Ops.example.com.", "one.example.org"]);
        for good in ["a.ops.example.com", "A.OPS.example.com", "a.ops.example.com.", "one.example.org"] {
            assert!(names.allows_dns(good), "{good}");
        }
        for bad in [
            "ops.example.com",
            "a.b.ops.example.com",
            "*.ops.example.com",
            ".ops.example.com",
            "a.ops.example.com.evil.test",
            "xops.example.com",
            "a.one.example.org",
            "",
        ] {
            assert!(!names.allows_dns(bad), "{bad}");
        }
    }

    #[test]
    fn a_uri_wildcard_stands_for_what_is_below() {
        let names = allowed(&["spiffe://Example.org/ops/*", "spiffe://example.org/one", "urn:uuid:F0-a"]);
        for good in [
            "spiffe://example.org/ops/a",
            "SPIFFE://EXAMPLE.org/ops/a/b",
            "spiffe://example.org/one",
            "urn:uuid:F0-a",
        ] {
            assert!(names.allows_uri(good), "{good}");
        }
        for bad in [
            "spiffe://example.org/ops",
            "spiffe://example.org/ops/",
            "spiffe://example.org/opsx/a",
            "spiffe://example.org/ops/../admin",
            "spiffe://example.org/ops/./a",
            "spiffe://example.org/ops//a",
            "spiffe://example.org/ops/%2e%2e/admin",
            "spiffe://example.org/ops/a?x",
            "spiffe://example.org/ops/a#x",
            "spiffe://example.org.evil.test/ops/a",
            "spiffe://evil.test@example.org/ops/a",
            "spiffe://example.org:1/ops/a",
            "https://example.org/ops/a",
            "spiffe://example.org/One",
            "spiffe://example.org/one/a",
            "urn:uuid:f0-a",
            "spiffe:///ops/a",
        ] {
            assert!(!names.allows_uri(bad), "{bad}");
        }
        assert!(allowed(&["spiffe://example.org/*"]).allows_uri("spiffe://example.org/a"));
    }

    #[test]
    fn an_email_address_is_without_case_in_its_domain() {
        assert_eq!(
            AllowedName::parse("Al@Example.COM").unwrap(),
            AllowedName::Email("Al@example.com".into())
        );
        assert_eq!(email("a@example.com@evil.test"), None);
    }

    #[test]
    fn entries_that_mean_too_much_or_nothing_are_refused_with_a_hint() {
        for bad in [
            "",
            "*",
            "*.*.example.com",
            "a*.example.com",
            "-a.example.com",
            "a b.example.com",
            "bücher.example",
            "10.0.0.1",
            "::1",
            "[::1]",
            "10.0.0.0/8",
            "CN=alice",
            "DNS:a.example.com",
            "email:alice@example.com",
            "*@example.com",
            "@example.com",
            "alice@",
            "a@b@example.com",
            "spiffe://",
            "spiffe:///ops",
            "spiffe://*/ops",
            "spiffe://*",
            "spiffe://example.org/o*",
            "spiffe://example.org/*/web",
            "spiffe://example.org//*",
            "spiffe://example.org/../*",
            "https://example.org/a?b/*",
            "://x",
        ] {
            let refused = AllowedName::parse(bad).expect_err(bad);
            assert!(!refused.hint.is_empty() && !refused.to_string().is_empty(), "{bad}");
        }
        let hint = AllowedName::parse("URI:spiffe://example.org/ops").unwrap_err().hint;
        assert!(hint.ends_with("spiffe://example.org/ops"), "{hint}");
    }
}

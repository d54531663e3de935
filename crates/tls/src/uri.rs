//! Names of backends that are URIs, such as `spiffe://example.org/payments`.

use std::fmt;

/// The URI that a backend's certificate must have among its alternative names, letter by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriName(Box<str>);

/// Why a text is no URI name. `Display` says what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// An address for a browser, and not an identity.
    #[error("a server name has no `{0}://`")]
    Url(&'static str),
    /// No URI (RFC 3986).
    #[error("not a URI")]
    NotUri,
    /// No SPIFFE ID: its trust domain.
    #[error("not a SPIFFE ID: a trust domain has lower-case letters, digits, dots, dashes and underscores")]
    TrustDomain,
    /// No SPIFFE ID: its path.
    #[error("not a SPIFFE ID: a path has letters, digits, dots, dashes and underscores, and no empty part")]
    Path,
}

impl UriError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Url(_) => "the host name alone, such as backend.internal",
            Self::NotUri | Self::TrustDomain | Self::Path => "such as spiffe://example.org/payments",
        }
    }
}

impl UriName {
    /// Whether `text` is meant as a URI, and not as a DNS name or an address.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains("://") || text.contains(":/") || text.starts_with("spiffe:") || text.starts_with("urn:")
    }

    /// Reads a URI. A SPIFFE ID must follow its own rules, so that no other spelling of it is taken for it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str) -> Result<Self, UriError> {
        if let Some(url) = URLS.iter().find(|url| starts_with_scheme(text, url)) {
            return Err(UriError::Url(url));
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::NotUri)?;
        let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let begins = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        let graphic = rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        if !(letters && begins && graphic) || rest.is_empty() || text.len() > LONGEST {
            return Err(UriError::NotUri);
        }
        if scheme.eq_ignore_ascii_case(SPIFFE) {
            spiffe(text)?;
        }
        Ok(Self(text.into()))
    }

    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a certificate with these URIs has the name. One with a SPIFFE ID must have no second URI,
    /// because neither of them then identifies it (X509-SVID, section 2).
    pub(crate) fn is_among(&self, uris: &[&str]) -> bool {
        let alone = uris.len() == 1 || !self.0.starts_with("spiffe://");
        alone && uris.contains(&&*self.0)
    }
}

impl fmt::Display for UriName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn starts_with_scheme(text: &str, scheme: &str) -> bool {
    let (start, rest) = text.split_at_checked(scheme.len()).unwrap_or_default();
    start.eq_ignore_ascii_case(scheme) && rest.starts_with("://")
}

/// The rules of SPIFFE-ID, section 2.
fn spiffe(text: &str) -> Result<(), UriError> {
    let rest = text.strip_prefix("spiffe://").ok_or(UriError::NotUri)?;
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let of_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    if domain.is_empty() || domain.len() > LONGEST_DOMAIN || !domain.bytes().all(of_domain) {
        return Err(UriError::TrustDomain);
    }
    let of_path = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(of_path);
    if path.strip_prefix('/').is_some_and(|path| !path.split('/').all(part)) {
        return Err(UriError::Path);
    }
    Ok(())
}

/// Addresses that people paste where a name belongs.
const URLS: [&str; 5] = ["https", "http", "tls", "ssl", "tcp"];
const SPIFFE: &str = "spiffe";
/// The longest SPIFFE ID and trust domain.
const LONGEST: usize = 2048;
const LONGEST_DOMAIN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_told_from_other_names() {
        for uri in ["spiffe://a.org/x", "spiffe:/a", "https://a", "urn:uuid:1"] {
            assert!(UriName::is_meant(uri), "{uri}");
        }
        for other in ["backend.internal", "::1", "fd00::1", "10.0.0.1", "sni", "backend:8443"] {
            assert!(!UriName::is_meant(other), "{other}");
        }
    }

    #[test]
    fn only_one_spelling_of_a_spiffe_id_is_taken() {
        for good in ["spiffe://example.org", "spiffe://a_b.example.org/ns/x/sa/Y.1", "urn:uuid:f81d4fae"] {
            assert_eq!(UriName::read(good).map(|uri| uri.to_string()).as_deref(), Ok(good));
        }
        let bad = [
            ("spiffe://Example.org/x", UriError::TrustDomain),
            ("spiffe:///x", UriError::TrustDomain),
            ("spiffe://a.org:443/x", UriError::TrustDomain),
            ("spiffe://u@a.org/x", UriError::TrustDomain),
            ("spiffe://a.org/", UriError::Path),
            ("spiffe://a.org/x/", UriError::Path),
            ("spiffe://a.org//x", UriError::Path),
            ("spiffe://a.org/x/../y", UriError::Path),
            ("spiffe://a.org/x?y", UriError::Path),
            ("spiffe://a.org/%41", UriError::Path),
            ("spiffe://a.org/*", UriError::Path),
            ("SPIFFE://a.org/x", UriError::NotUri),
            ("spiffe:/a.org/x", UriError::NotUri),
            ("urn:a b", UriError::NotUri),
            ("1x://a", UriError::NotUri),
            ("x://\u{fc}", UriError::NotUri),
            ("https://backend.internal", UriError::Url("https")),
            ("HTTP://backend.internal", UriError::Url("http")),
        ];
        for (text, error) in bad {
            assert_eq!(UriName::read(text), Err(error), "{text}");
            assert!(!error.hint().is_empty() && !error.to_string().is_empty());
        }
        assert_eq!(UriName::read(&format!("spiffe://a.org/{}", "x".repeat(2048))), Err(UriError::NotUri));
    }

    #[test]
    fn a_second_uri_beside_a_spiffe_id_spoils_it() {
        let id = UriName::read("spiffe://a.org/x").expect("a URI");
        assert!(id.is_among(&["spiffe://a.org/x"]));
        assert!(!id.is_among(&["spiffe://a.org/x", "spiffe://a.org/y"]));
        assert!(!id.is_among(&["spiffe://a.org/xy"]) && !id.is_among(&[]));
        let urn = UriName::read("urn:a").expect("a URI");
        assert!(urn.is_among(&["urn:b", "urn:a"]));
    }
}

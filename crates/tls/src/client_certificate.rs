//! The facts about a client's certificate, bounded and printable, however it was made.

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// The certificate that a client proved to hold, and that its authorities vouch for.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's first common name. Escaped and cut, as are the other texts.
    pub common_name: Option<Box<str>>,
    /// The subject, its parts in their order: `C=NL, O=Example, CN=alice`.
    pub subject: Box<str>,
    /// The subject alternative names with their kind, at most 16: `DNS:a.example.com`, `URI:spiffe://example.org/a`,
    /// `email:alice@example.com`, `IP:192.0.2.1`.
    pub names: Box<[Box<str>]>,
    /// SHA-256 of the whole certificate.
    pub fingerprint: Fingerprint,
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
}

/// A SHA-256 of a certificate; `Display` gives 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` has them,
/// in lower case and without colons.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl ClientCertificate {
    /// The facts about `parsed`, whose bytes are `der`.
    pub(crate) fn of(der: &CertificateDer<'_>, parsed: &X509Certificate<'_>) -> Self {
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let mut fingerprint = [0; SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Self {
            common_name: common_name.map(printable),
            subject: printable(&parsed.subject().to_string()),
            names: names.filter_map(named).take(MOST_NAMES).collect(),
            fingerprint: Fingerprint(fingerprint),
            not_after: parsed.validity().not_after.timestamp(),
        }
    }
}

fn named(name: &GeneralName<'_>) -> Option<Box<str>> {
    let text = match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from)).ok()?;
            format!("IP:{address}")
        }
        _ => return None,
    };
    Some(printable(&text))
}

/// The text without anything that could change how a line of a log looks, and at most [`MOST_CHARACTERS`] long.
fn printable(text: &str) -> Box<str> {
    let mut out = String::new();
    for (count, one) in text.chars().enumerate() {
        if count == MOST_CHARACTERS {
            out.push('…');
            break;
        }
        match one {
            '"' | '\'' => out.push(one),
            other => out.extend(other.escape_debug()),
        }
    }
    out.into()
}

const MOST_NAMES: usize = 16;
const MOST_CHARACTERS: usize = 256;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({}, {})", self.subject, self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_are_escaped_and_cut() {
        assert_eq!(&*printable("a\nb\u{202e}c\u{1b}[0m \"é\"'\\"), "a\\nb\\u{202e}c\\u{1b}[0m \"é\"'\\\\");
        assert_eq!(printable(&"x".repeat(10_000)).chars().count(), MOST_CHARACTERS + 1);
    }
}

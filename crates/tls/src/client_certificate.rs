//! The facts about a client's certificate, bounded and printable, however it was made.

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use der::Decode;
use rustls::pki_types::CertificateDer;
use x509_cert::name::Name;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// The certificate that a client proved to hold, and that its authorities vouch for.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's first common name. Escaped and cut, as are the other texts.
    pub common_name: Option<Box<str>>,
    /// The subject as RFC 4514 writes it, the last part first: `CN=alice,O=Example\\, Ltd,C=NL`. Empty if it breaks
    /// the rules of DER. One that was cut ends with `…`, which no other does.
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
            subject: subject(parsed.subject().as_raw()),
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

/// A name as RFC 4514 writes it. Characters that could change how a line of a log looks are written as their bytes in
/// hexadecimal (`\\e2\\80\\ae`), as that RFC allows for every character.
fn subject(der: &[u8]) -> Box<str> {
    let text = Name::from_der(der).map(|name| name.to_string()).unwrap_or_default();
    let mut characters = text.chars();
    let (mut out, mut length) = (String::new(), 0);
    while let Some(one) = characters.next() {
        // What must not be cut in two.
        let mut part = String::from(one);
        match one {
            '\\' => {
                let escaped = characters.next();
                part.extend(escaped);
                if escaped.is_some_and(|digit| digit.is_ascii_hexdigit()) {
                    part.extend(characters.next());
                }
            }
            '"' | '\'' => {}
            _ if one == CUT || one.escape_debug().len() > 1 => {
                part = part.bytes().map(|byte| format!("\\{byte:02x}")).collect();
            }
            _ => {}
        }
        length += part.chars().count();
        if length > MOST_CHARACTERS {
            out.push(CUT);
            break;
        }
        out.push_str(&part);
    }
    out.into()
}

/// The text without anything that could change how a line of a log looks, and at most [`MOST_CHARACTERS`] long.
fn printable(text: &str) -> Box<str> {
    let mut out = String::new();
    for (count, one) in text.chars().enumerate() {
        if count == MOST_CHARACTERS {
            out.push(CUT);
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
/// Stands for what was cut off.
const CUT: char = '…';

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
    use der::asn1::{Any, ObjectIdentifier, SetOfVec};
    use der::{Encode, Tag};
    use proptest::prelude::*;
    use x509_cert::attr::AttributeTypeAndValue;
    use x509_cert::name::RelativeDistinguishedName;

    const CN: &str = "2.5.4.3";
    const O: &str = "2.5.4.10";

    /// A name whose parts have one type and value each, the first part first.
    fn name(parts: &[(&str, &str)]) -> Vec<u8> {
        let part = |(oid, value): &(&str, &str)| {
            let value = Any::new(Tag::Utf8String, value.as_bytes()).unwrap();
            let one = AttributeTypeAndValue { oid: ObjectIdentifier::new_unwrap(oid), value };
            RelativeDistinguishedName(SetOfVec::try_from(vec![one]).unwrap())
        };
        Name::from(parts.iter().map(part).collect::<Vec<_>>()).to_der().unwrap()
    }

    /// The parts that a reader of RFC 4514 §3 finds, in the order of the text.
    fn read(text: &str) -> Vec<(String, String)> {
        let (mut parts, mut raw) = (Vec::new(), vec![Vec::new()]);
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let part: &mut Vec<u8> = raw.last_mut().unwrap();
            match byte {
                b'\\' => match bytes.next().unwrap() {
                    digit if digit.is_ascii_hexdigit() => {
                        let pair = [digit, bytes.next().unwrap()];
                        part.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
                    }
                    special => part.push(special),
                },
                b',' => raw.push(Vec::new()),
                b'"' | b'+' | b';' | b'<' | b'>' | 0 => panic!("{text:?}: a special character"),
                other => part.push(other),
            }
        }
        for part in raw {
            let part = String::from_utf8(part).unwrap();
            let (kind, value) = part.split_once('=').unwrap();
            parts.push((kind.to_owned(), value.to_owned()));
        }
        parts
    }

    #[test]
    fn subjects_are_written_as_rfc_4514_has_it() {
        for (parts, text) in [
            (&[("2.5.4.6", "NL"), (O, "Example"), (CN, "alice")][..], "CN=alice,O=Example,C=NL"),
            (&[(CN, "alice, O=Admin")], "CN=alice\\, O=Admin"),
            (&[(CN, " #a+b;<c>\"\\ ")], "CN=\\ #a\\+b\\;\\<c\\>\\\"\\\\\\ "),
            (&[(CN, "#a")], "CN=\\#a"),
            (&[(CN, "a\n\u{0}\u{202e}\u{2026}é")], "CN=a\\0a\\00\\e2\\80\\ae\\e2\\80\\a6é"),
            (&[("1.2.3.4", "a")], "1.2.3.4=#0c0161"),
            (&[], ""),
        ] {
            assert_eq!(&*subject(&name(parts)), text);
        }
        assert_eq!(&*subject(b"no DER"), "");
    }

    #[test]
    fn a_cut_subject_ends_between_two_characters() {
        for before in 0..4 {
            let value = "x".repeat(before) + &",\n".repeat(100);
            let text = subject(&name(&[(CN, &value)]));
            let whole = text.strip_suffix('…').unwrap();
            assert!((MOST_CHARACTERS - 3..=MOST_CHARACTERS).contains(&whole.chars().count()), "{text}");
            assert!(value.starts_with(&read(whole)[0].1), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_subject_has_one_reading(values in prop::collection::vec("[\\PC\\x00-\\x20,+;<>\"\\\\=#]{0,20}", 1..4)) {
            let parts: Vec<(&str, &str)> = values.iter().map(|value| (O, value.as_str())).collect();
            let text = subject(&name(&parts));
            prop_assert!(!text.chars().any(|one| one.is_control() || one == '\u{202e}'), "{text}");
            if !text.ends_with('…') {
                let found = read(&text);
                let wanted: Vec<_> = values.iter().rev().map(|value| ("O".to_owned(), value.clone())).collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn hostile_texts_are_escaped_and_cut() {
        assert_eq!(&*printable("a\nb\u{202e}c\u{1b}[0m \"é\"'\\"), "a\\nb\\u{202e}c\\u{1b}[0m \"é\"'\\\\");
        assert_eq!(printable(&"x".repeat(10_000)).chars().count(), MOST_CHARACTERS + 1);
    }
}

//! Pure: the client's certificate in fields for backends.
//!
//! RFC 9440 has the whole certificate in `Client-Cert`; weir gives the two facts by which applications decide. Both
//! kinds of fields are always removed from what clients send, trusted proxies included: only weir has verified.

use super::names::{X_CLIENT_CERT_FINGERPRINT, X_CLIENT_CERT_SUBJECT};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use weir_tls::ClientCertificate;

/// The fields of a verified certificate.
#[derive(Debug)]
pub(super) struct CertificateFields {
    subject: HeaderValue,
    fingerprint: HeaderValue,
}

impl CertificateFields {
    /// The fields of this certificate. Characters of the subject beyond ASCII, and `%`, are percent-encoded in UTF-8.
    pub(super) fn of(certificate: &ClientCertificate) -> Self {
        Self {
            subject: encoded(&certificate.subject),
            fingerprint: encoded(&certificate.fingerprint.to_string()),
        }
    }

    /// Sets the fields.
    pub(super) fn set(&self, headers: &mut HeaderMap) {
        headers.insert(X_CLIENT_CERT_SUBJECT, self.subject.clone());
        headers.insert(X_CLIENT_CERT_FINGERPRINT, self.fingerprint.clone());
    }
}

fn encoded(text: &str) -> HeaderValue {
    let text = utf8_percent_encode(text, ENCODED).to_string();
    // Never another value than ASCII by now.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Control characters, and the character that begins an encoded one. Those beyond ASCII are encoded in any case.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subjects_are_ascii_and_have_one_reading() {
        for (subject, field) in [
            ("C=NL, O=Example, CN=alice", "C=NL, O=Example, CN=alice"),
            ("CN=J\u{f6}rg 100%", "CN=J%C3%B6rg 100%25"),
            ("CN=a\r\nX-Admin: 1", "CN=a%0D%0AX-Admin: 1"),
            ("CN=\u{2026}\u{0}\u{7f}", "CN=%E2%80%A6%00%7F"),
        ] {
            assert_eq!(encoded(subject), field);
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC{0,60}") {
            let value = encoded(&text);
            prop_assert!(value.to_str().is_ok());
            let back = percent_encoding::percent_decode(value.as_bytes()).decode_utf8().unwrap();
            prop_assert_eq!(back, text);
        }
    }
}

//! Which of several certificates a name gets.

use super::*;
use crate::certificate::{CertificateFiles, load_all};
use crate::fixtures::{Pki, ecdsa, params, rsa};
use crate::kept::Certificates;

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
const BOTH: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

struct Names {
    served: Vec<Served>,
    resolver: Resolver,
}

impl Names {
    fn new(files: &[CertificateFiles], unknown: UnknownSni) -> Self {
        let (served, _) = load_all(files, &Certificates::default(), 1_800_000_000).expect("certificates");
        let resolver = Resolver::new(&served, unknown);
        Self { served, resolver }
    }

    /// The file that is served.
    fn file(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<&str> {
        let chosen = self.resolver.choose(sni, schemes)?;
        assert!(self.resolver.answers(sni), "{sni:?} is served but not answered");
        let one = self.served.iter().find(|one| Arc::ptr_eq(&one.certified, chosen));
        one.map(|one| one.facts.file.as_str())
    }
}

#[test]
fn exact_before_wildcard_and_a_wildcard_is_one_label() {
    let pki = Pki::new();
    let files = [
        pki.issue("wild", &["*.example.com"]),
        pki.issue("exact", &["www.example.com"]),
        pki.issue("other", &["example.org"]),
    ];
    let names = Names::new(&files, UnknownSni::Refuse);
    let cases = [
        (Some("www.example.com"), Some("exact.pem")),
        (Some("WWW.Example.COM"), Some("exact.pem")),
        (Some("www.example.com."), Some("exact.pem")),
        (Some("api.example.com"), Some("wild.pem")),
        (Some("a.b.example.com"), None),
        (Some("example.com"), None),
        (Some(".example.com"), None),
        (Some("*.example.com"), Some("wild.pem")),
        (Some("example.org"), Some("other.pem")),
        (Some("nowhere.test"), None),
        (Some(""), None),
        (None, Some("wild.pem")),
    ];
    for (sni, file) in cases {
        assert_eq!(names.file(sni, BOTH), file, "{sni:?}");
        assert_eq!(names.resolver.answers(sni), file.is_some(), "{sni:?}");
    }
}

#[test]
fn unknown_names_may_get_the_first() {
    let pki = Pki::new();
    let files = [pki.issue("a", &["a.test"]), pki.issue("b", &["b.test"])];
    let names = Names::new(&files, UnknownSni::First);
    assert_eq!(names.file(Some("nowhere.test"), BOTH), Some("a.pem"));
    assert_eq!(names.file(Some("b.test"), BOTH), Some("b.pem"));
    assert_eq!(names.file(None, BOTH), Some("a.pem"));
}

#[test]
fn rsa_and_ecdsa_stand_side_by_side() {
    let pki = Pki::new();
    let name = &["example.com"];
    let files = [
        pki.issue_for("rsa", &rsa(), params(name)),
        pki.issue_for("ecdsa", &ecdsa(), params(name)),
        pki.issue("other", &["example.org"]),
    ];
    let names = Names::new(&files, UnknownSni::Refuse);
    for sni in [Some("example.com"), None] {
        assert_eq!(names.file(sni, BOTH), Some("ecdsa.pem"), "{sni:?}");
        assert_eq!(names.file(sni, ECDSA), Some("ecdsa.pem"), "{sni:?}");
        assert_eq!(names.file(sni, RSA), Some("rsa.pem"), "{sni:?}");
    }
    // A certificate that does not fit is still better than none: the alert then names the cause.
    assert_eq!(names.file(Some("example.org"), RSA), Some("other.pem"));
}

#[test]
fn a_wildcard_helps_out_where_the_exact_certificate_does_not_fit() {
    let pki = Pki::new();
    let files =
        [pki.issue("exact", &["www.example.com"]), pki.issue_for("wild", &rsa(), params(&["*.example.com"]))];
    let names = Names::new(&files, UnknownSni::Refuse);
    assert_eq!(names.file(Some("www.example.com"), RSA), Some("wild.pem"));
    assert_eq!(names.file(Some("www.example.com"), BOTH), Some("exact.pem"));
}

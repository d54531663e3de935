//! Which of several certificates a name gets.

use super::*;
use crate::certificate::{CertificateFiles, CertificateStore, load_all};
use crate::fixtures::{Pki, ecdsa, params, rsa};
use crate::provider::MinVersion;
use rustls::{CipherSuite, NamedGroup, SignatureScheme};

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
const BOTH: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

const NOW: i64 = 1_800_000_000;

struct Names {
    served: Vec<Served>,
    resolver: CertificateResolver,
}

impl Names {
    fn new(files: &[CertificateFiles], unknown: UnknownSni) -> Self {
        let (served, _) = load_all(files, &CertificateStore::default(), None, NOW).expect("certificates");
        let choice = Choice::new(MinVersion::Tls12, &[], &[]).expect("suites");
        let resolver = CertificateResolver::new(&served, unknown, Arc::new(choice), NOW);
        Self { served, resolver }
    }

    /// The same certificates at another time.
    fn at(&self, now: i64) -> Self {
        let choice = Arc::clone(&self.resolver.choice);
        let resolver = CertificateResolver::new(&self.served, self.resolver.unknown, choice, now);
        Self { served: self.served.clone(), resolver }
    }

    /// The file that is served.
    fn file(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<&str> {
        let suites = vec![
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ];
        let groups = Some(vec![NamedGroup::X25519, NamedGroup::secp256r1]);
        let schemes = schemes.to_vec();
        self.chosen(sni, &Offer { tls13: true, suites, groups, schemes, of_certificates: None })
    }

    fn chosen(&self, sni: Option<&str>, offer: &Offer) -> Option<&str> {
        let chosen = self.resolver.choose(sni, offer)?;
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

/// RSA, ECDSA on P-256 and on P-384, all for one name and of one authority, which signs by ECDSA with SHA-256.
fn three_kinds(pki: &Pki) -> Names {
    let name = &["example.com"];
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let files = [
        pki.issue_for("rsa", &rsa(), params(name)),
        pki.issue_for("p256", &ecdsa(), params(name)),
        pki.issue_for("p384", &p384, params(name)),
    ];
    Names::new(&files, UnknownSni::Refuse)
}

/// A client that can do everything but what the test takes away.
fn able(tls13: bool) -> Offer {
    Offer {
        tls13,
        suites: vec![
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ],
        groups: Some(vec![NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1]),
        schemes: vec![
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
        ],
        of_certificates: None,
    }
}

#[test]
fn the_curve_of_a_key_must_be_known_to_a_tls12_client() {
    let pki = Pki::new();
    let names = three_kinds(&pki);
    let sni = Some("example.com");
    let with =
        |tls13, groups: Option<&[NamedGroup]>| Offer { groups: groups.map(<[_]>::to_vec), ..able(tls13) };
    assert_eq!(names.chosen(sni, &able(false)), Some("p256.pem"));
    assert_eq!(names.chosen(sni, &with(false, None)), Some("p256.pem"));
    assert_eq!(names.chosen(sni, &with(false, Some(&[NamedGroup::X25519]))), Some("rsa.pem"));
    assert_eq!(names.chosen(None, &with(false, Some(&[NamedGroup::X25519]))), Some("rsa.pem"));
    assert_eq!(names.chosen(sni, &with(false, Some(&[NamedGroup::secp384r1]))), Some("p384.pem"));
    // In TLS 1.3 groups are about the key exchange alone (RFC 8446 §4.2.7).
    assert_eq!(names.chosen(sni, &with(true, Some(&[NamedGroup::X25519]))), Some("p256.pem"));
}

#[test]
fn a_key_must_fit_the_version_and_its_suites() {
    let pki = Pki::new();
    let names = three_kinds(&pki);
    let sni = Some("example.com");
    let rsa_only =
        vec![CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    assert_eq!(names.chosen(sni, &Offer { suites: rsa_only.clone(), ..able(false) }), Some("rsa.pem"));
    assert_eq!(names.chosen(sni, &Offer { suites: rsa_only, ..able(true) }), Some("p256.pem"));
    // PKCS#1 signs no handshake of TLS 1.3.
    let schemes = vec![SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384];
    assert_eq!(names.chosen(sni, &Offer { schemes, ..able(true) }), Some("p384.pem"));
}

#[test]
fn a_chain_that_the_client_can_check_is_preferred() {
    let pki = Pki::new();
    let mut authority = params(&[]);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority with an RSA key");
    let ca_of_rsa = rcgen::Issuer::new(authority, rsa());
    let signed_by_rsa = |file: &str, key: &rcgen::KeyPair| {
        let cert = params(&["example.com"]).signed_by(key, &ca_of_rsa).expect("a certificate");
        CertificateFiles::new(
            pki.file(&format!("{file}.pem"), cert.pem()),
            pki.file(&format!("{file}.key"), key.serialize_pem()),
        )
    };
    let by_rsa = signed_by_rsa("by-rsa", &ecdsa());
    let by_ecdsa = pki.issue("by-ecdsa", &["example.com"]);
    let names = Names::new(&[by_rsa, by_ecdsa], UnknownSni::Refuse);
    let sni = Some("example.com");
    assert_eq!(names.chosen(sni, &able(true)), Some("by-rsa.pem"));
    let schemes = vec![SignatureScheme::ECDSA_NISTP256_SHA256];
    assert_eq!(names.chosen(sni, &Offer { schemes: schemes.clone(), ..able(false) }), Some("by-ecdsa.pem"));
    assert_eq!(
        names.chosen(sni, &Offer { of_certificates: Some(schemes.clone()), ..able(true) }),
        Some("by-ecdsa.pem")
    );
    let of_certificates = Some(vec![SignatureScheme::RSA_PKCS1_SHA256]);
    assert_eq!(names.chosen(sni, &Offer { schemes, of_certificates, ..able(true) }), Some("by-rsa.pem"));
    // None that it can check: one all the same.
    let of_certificates = Some(vec![SignatureScheme::ED25519]);
    assert_eq!(names.chosen(sni, &Offer { of_certificates, ..able(true) }), Some("by-rsa.pem"));
}

fn until(year: i32) -> rcgen::CertificateParams {
    let mut params = params(&["example.com"]);
    params.not_before = rcgen::date_time_ymd(year - 10, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params
}

#[test]
fn the_valid_one_that_lasts_longest_is_served() {
    let pki = Pki::new();
    let files = [
        pki.issue_for("short", &ecdsa(), until(2030)),
        pki.issue_for("expired", &ecdsa(), until(2020)),
        pki.issue_for("long", &ecdsa(), until(2036)),
        pki.issue_for("early", &ecdsa(), until(2050)),
        pki.issue_for("rsa", &rsa(), until(2033)),
    ];
    let names = Names::new(&files, UnknownSni::Refuse);
    for sni in [Some("example.com"), None] {
        assert_eq!(names.file(sni, BOTH), Some("long.pem"), "{sni:?}");
        assert_eq!(names.file(sni, RSA), Some("rsa.pem"), "{sni:?}");
    }
    let hidden: Vec<_> = names.resolver.hidden().iter().map(ToString::to_string).collect();
    assert_eq!(hidden.len(), 3, "{hidden:?}");
    assert!(hidden.iter().all(|line| line.contains("long.pem has the name example.com")), "{hidden:?}");

    // The order holds from the last end to the next one, and after it another one is served.
    let day = |year| until(year).not_after.unix_timestamp();
    for (now, holds) in [(NOW, true), (day(2030), true), (day(2030) + 1, false), (day(2020), false)] {
        assert_eq!(names.resolver.holds(now), holds, "{now}");
    }
    for (now, file) in [(day(2036), "long.pem"), (day(2036) + 1, "early.pem"), (day(2020) - 1, "expired.pem")]
    {
        let again = names.at(now);
        assert_eq!(again.file(Some("example.com"), ECDSA), Some(file), "{now}");
    }
}

#[test]
fn a_valid_certificate_of_another_kind_or_a_wildcard_goes_before_an_expired_one() {
    let pki = Pki::new();
    let mut wild = params(&["*.example.com"]);
    wild.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let mut old = params(&["www.example.com"]);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let files = [
        pki.issue_for("expired", &ecdsa(), until(2020)),
        pki.issue_for("rsa", &rsa(), until(2033)),
        pki.issue_for("exact", &ecdsa(), old),
        pki.issue_for("wild", &ecdsa(), wild),
    ];
    let names = Names::new(&files, UnknownSni::Refuse);
    assert_eq!(names.file(Some("example.com"), BOTH), Some("rsa.pem"));
    assert_eq!(names.file(Some("example.com"), ECDSA), Some("expired.pem"), "better than none");
    assert_eq!(names.file(Some("www.example.com"), BOTH), Some("wild.pem"));
    assert_eq!(names.resolver.hidden(), [], "of different kinds or names");
}

#[test]
fn one_certificate_under_two_paths_hides_nothing() {
    let pki = Pki::new();
    let one = pki.issue("one", &["example.com"]);
    let two = CertificateFiles::new(pki.file("two.pem", std::fs::read(&one.cert).unwrap()), one.key.clone());
    assert_eq!(Names::new(&[one, two], UnknownSni::Refuse).resolver.hidden(), []);
}

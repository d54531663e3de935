//! The report, its filter and its exit code, of what a weir answers.

use super::*;
use serde_json::{Value, json};

fn certs(more: &[&str]) -> Certs {
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        certs: Certs,
    }
    <Line as clap::Parser>::parse_from([&["certs"], more].concat()).certs
}

fn certificates(value: Value) -> Vec<Certificate> {
    serde_json::from_value(value).unwrap()
}

fn some() -> Vec<Certificate> {
    certificates(json!([
        {"listener": "edge", "path": "/certs/late.pem", "names": ["late.test"], "fingerprint": "aa", "key": "ECDSA P-256",
         "issuer": "C=XX, CN=Some CA", "serial": "0F", "not_after": "2030-01-01T00:00:00Z", "days_left": 1500,
         "ocsp": {"state": "stapled", "next_update": "2026-12-01T00:00:00Z"}},
        {"listener": "edge", "path": "/certs/soon.pem", "names": ["a.test", "*.b.test"], "fingerprint": "bb",
         "key": "RSA 2048", "issuer": "CN=Some CA", "not_after": "2026-12-24T10:00:00Z", "days_left": 1,
         "faults": [{"code": "root_included", "message": "certificate 2 is a root", "note": true}]},
        {"listener": "other", "path": "/certs/soon.pem", "names": ["a.test", "*.b.test"], "fingerprint": "bb",
         "key": "RSA 2048", "issuer": "CN=Some CA", "not_after": "2026-12-24T10:00:00Z", "days_left": 1,
         "faults": [{"code": "root_included", "message": "certificate 2 is a root", "note": true}]},
    ]))
}

#[test]
fn certificates_are_shown_once_and_by_their_end() {
    let shown = certs(&[]).judged(some()).unwrap();
    assert_eq!(
        text::report(&shown, false, 80),
        "\
/certs/soon.pem
  names      a.test, *.b.test
  key        RSA 2048
  issuer     CN=Some CA
  ends       2026-12-24, 1 day left
  listeners  edge, other
  stapled    no
  note       certificate 2 is a root

/certs/late.pem
  names      late.test
  key        ECDSA P-256
  issuer     C=XX, CN=Some CA
  serial     0F
  ends       2030-01-01, 1500 days left
  listeners  edge
  stapled    yes, until 2026-12-01T00:00:00Z

2 certificates"
    );
    assert!(certs(&[]).is_well(&shown), "a note is no fault");
}

/// What two listeners show of one certificate whose states differ only in `of_second`.
fn shown_by_two(of_second: &Value, more: &[&str]) -> (Vec<Shown>, bool) {
    let one = json!({"listener": "edge", "path": "/certs/a.pem", "names": ["a.test"], "fingerprint": "aa",
                     "not_after": "9000-01-01T00:00:00Z", "days_left": 1500,
                     "ocsp": {"state": "stapled", "next_update": "2026-12-01T00:00:00Z"}});
    let mut other = one.clone();
    other["listener"] = json!("other");
    for (key, value) in of_second.as_object().expect("keys") {
        other[key] = value.clone();
    }
    let certs = certs(more);
    let shown = certs.judged(certificates(json!([one, other]))).unwrap();
    let is_well = certs.is_well(&shown);
    (shown, is_well)
}

#[test]
fn a_certificate_with_a_fault_at_one_listener_alone_is_shown_for_each() {
    let listeners = |shown: &[Shown]| -> Vec<String> {
        shown
            .iter()
            .map(|one| format!("{}: {}", one.listeners.join(" "), one.certificate.faults.len()))
            .collect()
    };
    let faults = json!({"faults": [{"code": "refused", "message": "the newer file is no certificate"}]});
    let (shown, is_well) = shown_by_two(&faults, &[]);
    assert_eq!((listeners(&shown), is_well), (vec!["edge: 0".to_owned(), "other: 1".to_owned()], false));
    let (shown, is_well) = shown_by_two(&json!({"ocsp": {"state": "expired"}}), &[]);
    assert_eq!((listeners(&shown), is_well), (vec!["edge: 0".to_owned(), "other: 0".to_owned()], true));
    let (shown, is_well) = shown_by_two(&json!({}), &[]);
    assert_eq!((listeners(&shown), is_well), (vec!["edge other: 0".to_owned()], true));
}

#[test]
fn certificates_with_a_fault_are_shown_beside_those_that_end_soon() {
    let soon = ["--expires-within", "30d"];
    let fault =
        |note: bool| json!({"faults": [{"code": "refused", "message": "it is no PEM", "note": note}]});
    let (shown, is_well) = shown_by_two(&fault(false), &soon);
    assert_eq!((shown.len(), is_well), (1, false));
    assert_eq!(*shown[0].listeners, ["other".into()]);
    let text = text::report(&shown, true, 80);
    assert!(text.contains("/certs/a.pem") && text.contains("it is no PEM"), "{text}");
    let (shown, is_well) = shown_by_two(&fault(true), &soon);
    assert_eq!((shown.len(), is_well), (0, true), "a note is no fault");
}

#[test]
fn certificates_that_end_soon_fail() {
    let within = |time: &str| {
        let certs = certs(&["--expires-within", time]);
        let late = json!({"path": "late", "not_after": "9000-01-01T00:00:00Z"});
        let past = json!({"path": "past", "not_after": "2020-01-01T00:00:00Z"});
        let shown = certs.judged(certificates(json!([late, past]))).unwrap();
        let found: Vec<_> = shown.iter().map(|one| one.certificate.path.clone()).collect();
        (found.join(" "), certs.is_well(&shown))
    };
    assert_eq!(within("30d"), ("past".to_owned(), false));
    let certs = certs(&["--expires-within", "1h"]);
    let none = certs.judged(certificates(json!([{"not_after": "9000-01-01T00:00:00Z"}]))).unwrap();
    assert!(certs.is_well(&none));
    assert_eq!(text::report(&none, true, 80), "no certificate ends within that time, and none has a fault");
    assert!(super::within("30").is_err() && super::within("soon").is_err());
}

#[test]
fn incomplete_chains_are_faults_where_the_issuer_is_known_to_be_no_authority() {
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let path = folder.path().join(format!("{name}.pem"));
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (mine, other) = (authority("mine"), authority("other"));
    let judged = |more: &[&str], fetchable: bool| {
        let certificate =
            json!([{"issuer": "CN=mine", "faults": [{"code": "incomplete", "note": !fetchable}]}]);
        let certs = certs(more);
        let shown = certs.judged(certificates(certificate)).unwrap();
        (shown[0].certificate.faults.len(), certs.is_well(&shown))
    };
    assert_eq!(judged(&[], false), (1, true), "the issuer may be a root");
    assert_eq!(judged(&[], true), (1, false));
    assert_eq!(judged(&["--trust", &mine], true), (0, true));
    assert_eq!(judged(&["--trust", &other], false), (1, false));
    let missing = certs(&["--trust", "/nowhere.pem"]);
    let found = certificates(json!([{"faults": [{"code": "incomplete"}]}]));
    assert!(format!("{:#}", missing.judged(found).unwrap_err()).contains("/nowhere.pem"));
}

#[test]
fn faults_fail_also_in_json() {
    let found = certificates(json!([{"faults": [{"code": "expired", "message": "expired", "note": false}]}]));
    let certs = certs(&["--format", "json"]);
    let shown = certs.judged(found).unwrap();
    assert!(!certs.is_well(&shown));
    let value = serde_json::to_value(&shown).unwrap();
    assert_eq!(value[0]["faults"][0]["code"], "expired");
    assert!(value[0]["listeners"].is_array());
}

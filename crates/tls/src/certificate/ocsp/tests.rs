//! Responses by openssl's own responder, good ones and each way in which one is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::certificate::{
    CertificateFiles, CertificateStore, Entry, EntryKey, certificates_in, load_all, stage,
};
use crate::fixtures::{Pki, ecdsa, params, rsa};
use crate::rotation::Rotation;
use crate::tickets::unix_now;
use crate::warning::Warning;

/// What openssl's responder knows about a certificate, as `index.txt` begins its line.
const GOOD: &str = "V\t491231235959Z\t";
const REVOKED: &str = "R\t491231235959Z\t250101000000Z";
const MISSING: &str = "";

/// Who signs a response: the file of its certificate and that of its key.
struct Signer {
    cert: PathBuf,
    key: PathBuf,
}

impl Signer {
    fn authority(pki: &Pki) -> Self {
        Self { cert: pki.ca.clone(), key: pki.ca_key() }
    }
}

impl From<CertificateFiles> for Signer {
    fn from(files: CertificateFiles) -> Self {
        Self { cert: files.cert, key: files.key }
    }
}

fn openssl(args: &[&str], files: &[(&str, &Path)]) -> String {
    let mut command = Command::new("openssl");
    command.args(args);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.output().expect("openssl");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A response about `cert` whose line in the index begins with `state`; `more` are further options.
fn respond(pki: &Pki, cert: &Path, state: &str, signer: &Signer, more: &[&str]) -> Vec<u8> {
    let serial = openssl(&["x509", "-noout", "-serial"], &[("-in", cert)]);
    let serial = serial.trim().strip_prefix("serial=").expect("a serial number").to_owned();
    let line =
        if state == MISSING { String::new() } else { format!("{state}\t{serial}\tunknown\t/CN=leaf\n") };
    let index = pki.file("index.txt", line);
    let response = pki.path().join("response.der");
    let files = [
        ("-index", index.as_path()),
        ("-CA", &pki.ca),
        ("-rsigner", &signer.cert),
        ("-rkey", &signer.key),
        ("-issuer", &pki.ca),
        ("-cert", cert),
        ("-respout", &response),
    ];
    openssl(&[&["ocsp", "-noverify"], more].concat(), &files);
    fs::read(response).expect("a response")
}

const TOMORROW: &[&str] = &["-ndays", "1"];

fn now() -> i64 {
    i64::try_from(unix_now()).expect("a date")
}

fn check(response: &[u8], files: &CertificateFiles, now: i64) -> Result<Staple, OcspProblem> {
    Staple::check(response, &certificates_in(&files.cert).expect("a chain"), now)
}

#[test]
fn good_responses_are_stapled_until_their_next_update() {
    let pki = Pki::new();
    for (name, key) in [("ecdsa", ecdsa()), ("rsa", rsa())] {
        let files = pki.issue_for(name, &key, params(&["example.com"]));
        for more in [&[][..], &["-sha256"], &["-resp_key_id"], &["-resp_no_certs"]] {
            if more == ["-resp_no_certs"] {
                // Then the issuer must stand in the chain.
                let chain = fs::read_to_string(&files.cert).unwrap() + &fs::read_to_string(&pki.ca).unwrap();
                fs::write(&files.cert, chain).unwrap();
            }
            // The hash of a request must stand before its certificate, so it comes first.
            let more = [more, TOMORROW].concat();
            let response = respond(&pki, &files.cert, GOOD, &Signer::authority(&pki), &more);
            let staple = check(&response, &files, now()).unwrap_or_else(|e| panic!("{name} {more:?}: {e}"));
            assert_eq!(staple.response, response);
            assert!((staple.next_update - now() - 24 * 60 * 60).abs() < 60, "{}", staple.next_update - now());
        }
    }
}

#[test]
fn responders_need_the_word_of_the_issuer() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let responder = |pki: &Pki, name: &str, usages: Vec<rcgen::ExtendedKeyUsagePurpose>, until: i32| {
        let mut params = params(&[]);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = usages;
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        Signer::from(pki.issue_for(name, &ecdsa(), params))
    };
    let for_ocsp = || vec![rcgen::ExtendedKeyUsagePurpose::OcspSigning];
    let for_servers = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let (stranger, namesake) = (Pki::new(), pki.namesake());
    let cases = [
        (responder(&pki, "named", for_ocsp(), 2049), true),
        (responder(&pki, "for servers", for_servers, 2049), false),
        (responder(&pki, "for anything", Vec::new(), 2049), false),
        (responder(&pki, "expired", for_ocsp(), 2020), false),
        (responder(&stranger, "of a stranger", for_ocsp(), 2049), false),
        (responder(&namesake, "of a namesake", for_ocsp(), 2049), false),
        (Signer::authority(&stranger), false),
    ];
    // The chain has the issuer, so that a stranger's certificate in the response is not taken for it.
    let chain = fs::read_to_string(&files.cert).unwrap() + &fs::read_to_string(&pki.ca).unwrap();
    fs::write(&files.cert, chain).unwrap();
    for (signer, is_good) in cases {
        let response = respond(&pki, &files.cert, GOOD, &signer, TOMORROW);
        let checked = check(&response, &files, now()).map(drop);
        let expected = if is_good { Ok(()) } else { Err(OcspProblem::BadSignature) };
        assert_eq!(checked, expected, "{}", signer.cert.display());
    }
}

#[test]
fn responses_end() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let signer = Signer::authority(&pki);
    let begin = now();
    for more in [TOMORROW, &[]] {
        let response = respond(&pki, &files.cert, GOOD, &signer, more);
        let at = |now| check(&response, &files, now).map(drop);
        let day = 24 * 60 * 60;
        assert_eq!(at(begin + day - 60), Ok(()), "without an end of its own it lasts for a day");
        assert!(matches!(at(begin + day + 60), Err(OcspProblem::Expired { .. })));
        assert_eq!(at(begin - 240), Ok(()), "clocks differ");
        assert!(matches!(at(begin - 600), Err(OcspProblem::NotYetValid { .. })));
    }
}

#[test]
fn other_answers_are_not_stapled() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let other = pki.issue("other", &["example.com"]);
    let signer = Signer::authority(&pki);
    let answer = |cert: &Path, state| respond(&pki, cert, state, &signer, TOMORROW);
    let problem = |bytes: &[u8]| check(bytes, &files, now()).expect_err("refused");
    let good = answer(&files.cert, GOOD);

    let revoked = problem(&answer(&files.cert, REVOKED));
    assert_eq!(revoked, OcspProblem::Revoked { since: 1_735_689_600 });
    assert_eq!(problem(&answer(&other.cert, GOOD)), OcspProblem::OtherCertificate);
    assert_eq!(problem(&answer(&files.cert, MISSING)), OcspProblem::Unknown);
    // The same name and serial number of a namesake's: another key has signed.
    let namesake = pki.namesake();
    assert!(check(&good, &namesake.issue("leaf", &["example.com"]), now()).is_err());

    assert_eq!(problem(b""), OcspProblem::Empty);
    assert_eq!(problem(b"-----BEGIN OCSP RESPONSE-----\n"), OcspProblem::Pem);
    assert_eq!(problem(&[0x30, 3, 10, 1, 3]), OcspProblem::NoAnswer { status: "tryLater" });
    let is_malformed = |bytes: &[u8]| matches!(problem(bytes), OcspProblem::Malformed { .. });
    assert!(is_malformed(b"<html>404</html>") && is_malformed(&[0x30, 3, 10, 1, 0]));
    assert!(is_malformed(&[&good[..], b"\n"].concat()), "bytes behind the response");
}

#[test]
fn damaged_responses_are_never_stapled() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let chain = certificates_in(&files.cert).unwrap();
    let good = respond(&pki, &files.cert, GOOD, &Signer::authority(&pki), TOMORROW);
    for length in 0..good.len() {
        assert!(Staple::check(&good[..length], &chain, now()).is_err(), "cut at {length}");
    }
    // Behind the signature stands the responder's certificate, which is a convenience.
    let basic = basic_response(&good).unwrap();
    let signed = Signed::read(&basic).unwrap();
    let first = good.windows(signed.message.len()).position(|w| w == signed.message).unwrap();
    for at in first..first + signed.message.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        assert!(Staple::check(&damaged, &chain, now()).is_err(), "byte {at}");
    }
}

#[test]
fn certificates_without_a_valid_response_warn_only_if_they_must_have_one() {
    let pki = Pki::new();
    let mut demanding = params(&["example.com"]);
    demanding.custom_extensions.push(rcgen::CustomExtension::from_oid_content(
        &[1, 3, 6, 1, 5, 5, 7, 1, 24],
        vec![0x30, 3, 2, 1, 5],
    ));
    let demanding = pki.issue_for("demanding", &ecdsa(), demanding);
    let plain = pki.issue("plain", &["example.com"]);
    let load = |files: &CertificateFiles| {
        let kept = CertificateStore::default();
        let (served, warnings) =
            load_all(std::slice::from_ref(files), &kept, None, now()).expect("a certificate");
        (served[0].certified.ocsp.clone(), served[0].facts.must_staple, warnings)
    };
    assert_eq!(load(&plain), (None, false, Vec::new()));
    let must = Warning::MustStaple { path: demanding.cert.clone() };
    assert_eq!(load(&demanding), (None, true, vec![must.clone()]));

    let path = pki.path().join("response.der");
    let with_response = CertificateFiles { ocsp: Some(path.clone()), ..demanding.clone() };
    let (_, _, warnings) = load(&with_response);
    assert!(
        matches!(&warnings[..], [Warning::Ocsp { problem: OcspProblem::Missing, .. }, w] if *w == must),
        "{warnings:?}"
    );
    let response = respond(&pki, &demanding.cert, GOOD, &Signer::authority(&pki), TOMORROW);
    assert_eq!(load(&with_response), (Some(response), true, Vec::new()));
    fs::write(&path, vec![0; 70_000]).unwrap();
    assert!(matches!(
        &load(&with_response).2[0],
        Warning::Ocsp { problem: OcspProblem::TooLarge { .. }, .. }
    ));
    // A response is no reason to refuse a certificate.
    let with_garbage = CertificateFiles { ocsp: Some(plain.key.clone()), ..plain };
    let (staple, _, warnings) = load(&with_garbage);
    assert_eq!((staple, warnings.len()), (None, 1));
}

#[test]
fn staples_follow_their_file_and_outlive_its_faults() {
    let pki = Pki::new();
    let plain = pki.issue("leaf", &["example.com"]);
    let signer = Signer::authority(&pki);
    let path = pki.path().join("leaf.ocsp");
    let files = CertificateFiles { ocsp: Some(path.clone()), ..plain.clone() };
    let respond = |state| respond(&pki, &plain.cert, state, &signer, TOMORROW);
    let (first, second, revoked) = (respond(GOOD), respond(GOOD), respond(REVOKED));
    assert_ne!(first, second);
    fs::write(&path, &first).unwrap();
    let store = CertificateStore::default();
    let key = EntryKey { files, strict: false };
    let entry = Entry::read(&key, 0, (&store.held, None), now()).expect("a certificate").0;
    let stapled = || entry.served().expect("served").certified.ocsp.clone();
    let since = || entry.status().since;
    let take = || entry.look(now()).and_then(|_changed| entry.take(&store.held, now()));
    assert_eq!((stapled(), take()), (Some(first.clone()), None));
    let begun = since();

    fs::write(&path, &second).unwrap();
    assert!(matches!(take(), Some(Rotation::Served { new: false, .. })));
    assert_eq!((stapled(), since()), (Some(second.clone()), begun), "the certificate is the same");

    for bad in [&second[..100], b""] {
        fs::write(&path, bad).unwrap();
        let told = take();
        assert!(matches!(told, Some(Rotation::Refused { serves_on: true, .. })), "{told:?}");
        assert_eq!(stapled(), Some(second.clone()));
        assert!(entry.status().refused.is_some() && take().is_none(), "said once");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(take(), Some(Rotation::Refused { .. })));
    assert_eq!(stapled(), Some(second.clone()), "it may be on its way");
    // A plan that is made meanwhile staples it on too.
    let again = Entry::read(&key, 0, (&store.held, Some(&*entry)), now()).expect("a certificate").0;
    assert_eq!(again.served().unwrap().certified.ocsp, Some(second.clone()));

    fs::write(&path, &second).unwrap();
    take();
    assert!(entry.status().refused.is_none());
    fs::write(&path, &revoked).unwrap();
    assert!(matches!(take(), Some(Rotation::Served { warnings, .. }) if warnings.len() == 1));
    assert_eq!(stapled(), None, "a newer answer counts");
    fs::write(&path, &first).unwrap();
    take();
    assert_eq!(stapled(), Some(first.clone()));
    assert!(!entry.end_staple(now()) && entry.end_staple(now() + 2 * DAY));
    assert_eq!((stapled(), take()), (None, None));

    // A renewed certificate does not keep the response of the one before.
    fs::write(&path, &second).unwrap();
    take();
    pki.issue("leaf", &["example.com"]);
    assert!(matches!(take(), Some(Rotation::Served { warnings, .. }) if warnings.len() == 1));
    assert_eq!((stapled(), entry.served().unwrap().facts.ocsp.result()), (None, Some(OcspResult::Unusable)));
}

#[test]
fn responses_that_came_too_early_are_stapled_later() {
    let pki = Pki::new();
    let plain = pki.issue("leaf", &["example.com"]);
    let path = pki.path().join("leaf.ocsp");
    let response = respond(&pki, &plain.cert, GOOD, &Signer::authority(&pki), TOMORROW);
    fs::write(&path, &response).unwrap();
    let store = CertificateStore::default();
    let key = EntryKey { files: CertificateFiles { ocsp: Some(path), ..plain }, strict: false };
    let entry = Entry::read(&key, 0, (&store.held, None), now() - 3600).expect("a certificate").0;
    assert!(entry.served().unwrap().certified.ocsp.is_none() && entry.look(now() - 3600).is_none());
    assert!(entry.look(now()).is_some() && entry.take(&store.held, now()).is_some());
    assert_eq!(entry.served().unwrap().certified.ocsp, Some(response));
}

/// The response as it would be `seconds` later, signed anew by the authority.
fn later(pki: &Pki, response: &[u8], seconds: i64) -> Vec<u8> {
    let mut basic = BasicOcspResponse::from_der(&basic_response(response).unwrap()).unwrap();
    let shift = |time: &mut OcspGeneralizedTime| {
        let shifted = u64::try_from(super::seconds(time) + seconds).unwrap();
        let shifted = der::DateTime::from_unix_duration(Duration::from_secs(shifted)).unwrap();
        *time = OcspGeneralizedTime(der::asn1::GeneralizedTime::from_date_time(shifted));
    };
    for answer in &mut basic.tbs_response_data.responses {
        shift(&mut answer.this_update);
        answer.next_update.as_mut().map(shift);
    }
    let signature = pki.sign(&basic.tbs_response_data.to_der().unwrap());
    basic.signature = der::asn1::BitString::from_bytes(&signature).unwrap();
    OcspResponse::successful(basic).unwrap().to_der().unwrap()
}

#[test]
fn early_responses_wait_beside_the_stapled_one() {
    let pki = Pki::new();
    let plain = pki.issue("leaf", &["example.com"]);
    let path = pki.path().join("leaf.ocsp");
    let first = respond(&pki, &plain.cert, GOOD, &Signer::authority(&pki), TOMORROW);
    let second = later(&pki, &first, 3600);
    let store = CertificateStore::default();
    let key = EntryKey { files: CertificateFiles { ocsp: Some(path.clone()), ..plain }, strict: false };
    let (now, then) = (now(), now() + 3600);
    // The watcher finds the early response, or a reload does.
    for reload in [false, true] {
        fs::write(&path, &first).unwrap();
        let entry = Entry::read(&key, 0, (&store.held, None), now).expect("a certificate").0;
        let entry = store.put_in_force(&entry);
        let stapled = || entry.served().expect("served").certified.ocsp.clone();
        let take = |now| entry.look(now).and_then(|_changed| entry.take(&store.held, now));
        fs::write(&path, &second).unwrap();
        if reload {
            let (staged, warnings) = stage(&key, 0, &store, None, now).expect("a certificate");
            assert!(matches!(&warnings[..], [Warning::Ocsp { .. }]), "{warnings:?}");
            store.put_in_force(&staged);
        } else {
            assert!(matches!(take(now), Some(Rotation::Refused { serves_on: true, .. })));
        }
        let refused = entry.status().refused.expect("a refusal in the status");
        assert!(refused.reason.contains("not valid before"), "{}", refused.reason);
        assert_eq!((stapled(), take(now)), (Some(first.clone()), None), "told once");
        // Clocks may differ by five minutes.
        assert_eq!((take(then - CLOCKS - 60), stapled()), (None, Some(first.clone())));
        assert!(matches!(take(then), Some(Rotation::Served { new: false, .. })), "reload {reload}");
        assert_eq!((stapled(), entry.status().refused), (Some(second.clone()), None));
    }
}

#[test]
fn responses_in_a_folder_have_conventional_names_and_may_lack() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &Path, to: &str| {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, fs::read(from).unwrap()).unwrap();
    };
    let [pair, both, none] = ["pair", "both", "none"].map(|name| pki.issue(name, &["example.com"]));
    for (files, name) in [(&pair, "pair"), (&none, "none")] {
        copy(&files.cert, &format!("{name}/fullchain.pem"));
        copy(&files.key, &format!("{name}/privkey.pem"));
    }
    let text = [fs::read(&both.key).unwrap(), fs::read(&both.cert).unwrap()].concat();
    fs::write(folder.path().join("both.pem"), text).unwrap();
    let respond = |cert| respond(&pki, cert, GOOD, &Signer::authority(&pki), TOMORROW);
    fs::write(folder.path().join("pair/ocsp.der"), respond(&pair.cert)).unwrap();
    fs::write(folder.path().join("both.pem.ocsp"), respond(&both.cert)).unwrap();
    let entries = crate::certificate::directory::list(folder.path()).expect("a listing").entries;
    let (served, warnings) =
        load_all(&entries, &CertificateStore::default(), None, now()).expect("certificates");
    let stapled: Vec<_> =
        served.iter().map(|one| (one.facts.file.as_str(), one.certified.ocsp.is_some())).collect();
    assert_eq!(stapled, [("both.pem", true), ("fullchain.pem", false), ("fullchain.pem", true)]);
    let of_responses = warnings.iter().any(|warning| matches!(warning, Warning::Ocsp { .. }));
    assert!(!of_responses, "{warnings:?}");
}

//! Files as operators have them, the wrong ones above all.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::DnType;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::fixtures::{Pki, ecdsa, params, rsa};

const NOW: i64 = 1_800_000_000;

fn only_error(files: CertificateFiles) -> CertificateError {
    let mut errors = load_all(&[files], &CertificateStore::default(), None, NOW).expect_err("an error");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn a_pair_loads_with_its_facts() {
    let pki = Pki::new();
    let files = pki.issue("a", &["b.example.com", "A.Example.com", "*.example.com"]);
    let (served, warnings) =
        load_all(&[files], &CertificateStore::default(), None, NOW).expect("a certificate");
    let facts = &served[0].facts;
    assert_eq!(facts.file, "a.pem");
    assert_eq!(facts.names, ["*.example.com", "a.example.com", "b.example.com"]);
    assert!(facts.not_before < NOW && facts.not_after > NOW);
    assert_eq!(warnings, []);
}

#[test]
fn the_common_name_counts_only_without_other_names_and_only_as_a_name() {
    let pki = Pki::new();
    let named = |file, common: &str, names: &[&str]| {
        let mut params = params(names);
        params.distinguished_name.push(DnType::CommonName, common);
        let files = pki.issue_for(file, &ecdsa(), params);
        let (served, warnings) =
            load_all(&[files], &CertificateStore::default(), None, NOW).expect("a certificate");
        (served[0].facts.names.clone(), warnings.len())
    };
    assert_eq!(named("a", "Old.Example.com", &[]), (vec!["old.example.com".to_owned()], 0));
    assert_eq!(named("b", "cn.example.com", &["san.example.com"]), (vec!["san.example.com".to_owned()], 0));
    assert_eq!(named("c", "Example & Sons", &[]), (Vec::new(), 1));
}

#[test]
fn keys_come_in_three_encodings() {
    let pki = Pki::new();
    // The older two are what PKCS#8 wraps; rcgen writes PKCS#8 only, of fixed layout for these keys.
    let (rsa, ec) = (rsa(), ecdsa());
    let cases = [
        ("pkcs1", &rsa, "RSA PRIVATE KEY", 26),
        ("sec1", &ec, "EC PRIVATE KEY", 29),
        ("pkcs8", &rsa, "PRIVATE KEY", 0),
    ];
    for (file, key, label, wrapping) in cases {
        let mut files = pki.issue_for(file, key, params(&["example.com"]));
        files.key = pki.file(&format!("{file}.key"), pem(label, &key.serialize_der()[wrapping..]));
        load_all(&[files], &CertificateStore::default(), None, NOW)
            .unwrap_or_else(|errors| panic!("{file}: {errors:?}"));
    }
}

#[test]
fn one_file_may_hold_both() {
    let pki = Pki::new();
    let files = pki.issue("a", &["example.com"]);
    let both = [fs::read(&files.key).unwrap(), fs::read(&files.cert).unwrap()].concat();
    let both = pki.file("both.pem", both);
    load_all(&[CertificateFiles::new(both.clone(), both)], &CertificateStore::default(), None, NOW)
        .expect("a certificate");
}

#[test]
fn each_problem_has_its_name_its_place_and_a_hint() {
    let pki = Pki::new();
    let good = pki.issue("good", &["example.com"]);
    let other = pki.issue("other", &["example.org"]);
    let with_cert = |cert| CertificateFiles::new(cert, good.key.clone());
    let with_key = |key| CertificateFiles::new(good.cert.clone(), key);
    let key_text = fs::read_to_string(&good.key).unwrap();
    let old_encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
                         AAAA\n-----END RSA PRIVATE KEY-----\n";
    let new_encrypted = pem("ENCRYPTED PRIVATE KEY", b"whatever");
    let leaf = CertificateDer::from_pem_file(&good.cert).unwrap();
    let cases: Vec<(CertificateFiles, &str, &str)> = vec![
        (with_cert(pki.path().join("nowhere.pem")), "cert: cannot be read", "relative to the folder"),
        (with_cert(pki.path().to_owned()), "cert: cannot be read", ""),
        (with_cert(good.key.clone()), "cert: has no certificate", "swapped"),
        (with_cert(pki.file("empty", "")), "cert: is empty", "written"),
        (with_cert(pki.file("der", &leaf)), "cert: has no certificate", "DER"),
        (
            with_cert(pki.file("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n")),
            "cert: is not well-formed",
            "base64",
        ),
        (with_cert(pki.file("junk", pem("CERTIFICATE", b"junk"))), "cert: the certificate cannot", "openssl"),
        (with_key(pki.path().join("nowhere.key")), "key: cannot be read", "relative"),
        (with_key(good.cert.clone()), "key: has no private key", "put the key into this one"),
        (with_key(other.cert.clone()), "key: has no private key", "swapped"),
        (with_key(pki.file("pub", pem("PUBLIC KEY", b"x"))), "key: has no private key", "public key only"),
        (with_key(pki.file("enc1", old_encrypted)), "key: the private key is encrypted", "openssl pkey"),
        (with_key(pki.file("enc2", new_encrypted)), "key: the private key is encrypted", "openssl pkey"),
        (with_key(pki.file("bad", pem("PRIVATE KEY", b"junk"))), "key: the private key cannot", "ECDSA"),
        (with_key(pki.file("cut.key", &key_text[..100])), "key: is not well-formed", "base64"),
        (with_key(other.key.clone()), "key: the private key does not match", "openssl"),
    ];
    for (files, text, hint) in cases {
        let error = only_error(files);
        let said = format!("{}: {}", error.file, error.problem);
        assert!(said.starts_with(text), "{said} / {text}");
        assert!(error.hint().contains(hint), "{said}: {} / {hint}", error.hint());
    }
}

#[test]
fn a_chain_in_the_wrong_order_is_told_apart_from_a_foreign_key() {
    let pki = Pki::new();
    let files = pki.issue("a", &["example.com"]);
    let reversed = [fs::read(&pki.ca).unwrap(), fs::read(&files.cert).unwrap()].concat();
    let cert = pki.file("reversed.pem", reversed);
    let error = only_error(CertificateFiles::new(cert, files.key));
    assert!(matches!(error.problem, CertificateProblem::WrongOrder { position: 2 }), "{error}");
}

#[test]
fn errors_are_reported_together() {
    let pki = Pki::new();
    let good = pki.issue("good", &["example.com"]);
    let nowhere = |name: &str| pki.path().join(name);
    let bad = CertificateFiles::new(nowhere("a"), nowhere("b"));
    let half = CertificateFiles::new(good.cert.clone(), nowhere("c"));
    let errors = load_all(&[bad, good, half], &CertificateStore::default(), None, NOW).expect_err("errors");
    let places: Vec<_> = errors.iter().map(|error| (error.entry, error.file.label())).collect();
    assert_eq!(places, [(0, "cert"), (0, "key"), (2, "key")]);
}

#[test]
fn dates_and_modes_are_warnings() {
    let pki = Pki::new();
    let mut params = params(&["example.com"]);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let files = pki.issue_for("a", &ecdsa(), params);
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    let warnings = |now| {
        load_all(std::slice::from_ref(&files), &CertificateStore::default(), None, now)
            .expect("a certificate")
            .1
    };
    let readable = Warning::KeyReadable { path: files.key.clone(), mode: 0o640 };
    let expired = Warning::Expired { path: files.cert.clone(), not_after: 1_609_459_200 };
    let early = Warning::NotYetValid { path: files.cert.clone(), not_before: 1_577_836_800 };
    assert_eq!(warnings(NOW), [expired, readable.clone()]);
    assert_eq!(warnings(0), [early, readable.clone()]);
    assert_eq!(warnings(1_600_000_000), [readable]);
}

#[test]
fn errors_never_quote_the_key() {
    let pki = Pki::new();
    let good = pki.issue("good", &["example.com"]);
    // A broken line is what a PEM reader likes to quote.
    let secret = "c2VjcmV0LWtleS1tYXRlcmlhbA";
    let text = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----BEGIN {secret}\n");
    let error = only_error(CertificateFiles::new(good.cert, pki.file("broken.key", text)));
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn debug_shows_no_key() {
    let pki = Pki::new();
    let key = ecdsa();
    let files = pki.issue_for("a", &key, params(&["example.com"]));
    let (served, _) = load_all(&[files], &CertificateStore::default(), None, NOW).expect("a certificate");
    let shown = format!("{served:?}");
    // The scalar of a P-256 key in PKCS#8 stands at a fixed place.
    let scalar: Vec<String> = key.serialized_der()[36..68].iter().map(u8::to_string).collect();
    assert!(!shown.contains(&scalar.join(", ")));
}

/// A PEM section around `der`.
fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, chunk) in der.chunks(3).enumerate() {
        if index % 16 == 0 {
            text.push('\n');
        }
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
            text.push(if place > chunk.len() { '=' } else { letter });
        }
    }
    format!("-----BEGIN {label}-----{text}\n-----END {label}-----\n")
}

#[test]
fn certificates_in_use_are_not_held_twice() {
    let (pki, kept) = (Pki::new(), CertificateStore::default());
    let (one, two) = (pki.issue("one", &["one.test"]), pki.issue("two", &["two.test"]));
    let load = |files: &CertificateFiles| {
        load_all(std::slice::from_ref(files), &kept, None, NOW).expect("a certificate").0.remove(0)
    };
    let (first, other) = (load(&one), load(&two));
    assert!(Arc::ptr_eq(&first.certified, &load(&one).certified));
    assert!(!Arc::ptr_eq(&first.certified, &other.certified));
    // The bytes count, not the paths; and the facts are those of the files that were named.
    fs::copy(&one.cert, &two.cert).expect("a copy");
    fs::copy(&one.key, &two.key).expect("a copy");
    let copied = load(&two);
    assert!(Arc::ptr_eq(&first.certified, &copied.certified) && copied.facts.path == two.cert);
    // A certificate in use does not lend itself to another key.
    fs::copy(pki.issue("three", &["three.test"]).key, &two.key).expect("a copy");
    assert!(load_all(std::slice::from_ref(&two), &kept, None, NOW).is_err());
}

#[test]
fn chains_are_served_whole() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let (leaf, ca) = (fs::read_to_string(&files.cert).unwrap(), fs::read_to_string(&pki.ca).unwrap());
    let (leaf, ca) = (leaf.trim_end(), ca.trim_end());
    let key = fs::read_to_string(&files.key).unwrap();
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let odd = |text: &str| text.replace("BEGIN CERTIFICATE", "BEGIN X509 CERTIFICATE");
    let odd = |text: &str| odd(text).replace("END CERTIFICATE", "END X509 CERTIFICATE");
    let forms = [
        format!("{leaf}\n{ca}\n"),
        format!("{leaf}{ca}"),
        format!("\u{feff}{leaf}\n{ca}"),
        format!("{}{}", indented(leaf), indented(ca)),
        format!("{leaf}\n{ca}\n").replace('\n', "\r\n"),
        format!("{leaf}\n{ca}\n").replace('\n', "\r"),
        format!("subject=CN = a\n--------\n{leaf}\n# the authority ---\n{ca}\nend\n"),
        format!("{key}{leaf}{ca}"),
        format!("{}\n{}", odd(leaf), odd(ca)),
    ];
    for (index, form) in forms.iter().enumerate() {
        let path = pki.file(&format!("{index}.pem"), form);
        let chain = certificates_in(&path).unwrap_or_else(|problem| panic!("{index}: {problem}"));
        assert_eq!(chain.len(), 2, "{index}");
    }
}

#[test]
fn unusable_sections_are_refused_by_their_line() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let leaf = fs::read_to_string(&files.cert).unwrap();
    let lines = leaf.lines().count();
    let utf16: Vec<u8> = leaf.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let relabelled = |label| format!("{leaf}{}", leaf.replace("CERTIFICATE", label));
    let cases: Vec<(Vec<u8>, String)> = vec![
        (relabelled("TRUSTED CERTIFICATE").into(), format!("line {}: a section `TRUSTED", lines + 1)),
        (relabelled("PKCS7").into(), format!("line {}: a section `PKCS7`", lines + 1)),
        (relabelled("SOMETHING").into(), format!("line {}: a section `SOMETHING`", lines + 1)),
        (format!("{leaf}{}", leaf.replace("-----BEGIN", "----BEGIN")).into(), format!("line {}:", lines + 1)),
        (format!("{leaf}{}", leaf.replace("-----END", "-----")).into(), format!("line {}:", lines + 1)),
        (format!("{leaf}MIIB\n-----END CERTIFICATE-----\n").into(), format!("line {}:", lines + 2)),
        (leaf.replace("MII", "M(I").into(), "line 1: a section is not base64".to_owned()),
        (utf16.clone(), "is UTF-16 text".to_owned()),
        ([b"\xff\xfe", utf16.as_slice()].concat(), "is UTF-16 text".to_owned()),
        (b"<!DOCTYPE html><p>404".to_vec(), "is an HTML".to_owned()),
        (b" \n".to_vec(), "is empty".to_owned()),
        (b"\xef\xbb\xbf<!DOCTYPE html><p>404".to_vec(), "is an HTML".to_owned()),
        (b"\xef\xbb\xbf\n".to_vec(), "is empty".to_owned()),
        (
            format!("{}{leaf}", leaf.replace("-----END CERTIFICATE-----\n", "")).into(),
            "line 1: a section has no end".to_owned(),
        ),
    ];
    for (index, (text, expected)) in cases.into_iter().enumerate() {
        let problem = certificates_in(&pki.file(&format!("{index}.pem"), text)).expect_err("refused");
        assert!(problem.to_string().contains(&expected), "{index}: {problem} / {expected}");
        assert!(!problem.hint().is_empty(), "{index}");
    }
    let key = fs::read_to_string(&files.key).unwrap();
    let twice = CertificateFiles { key: pki.file("two.key", format!("{key}{key}")), ..files };
    assert!(only_error(twice).to_string().contains("a second private key"));
}

#[test]
fn members_of_a_chain_are_looked_at() {
    let pki = Pki::new();
    let files = pki.issue("leaf", &["example.com"]);
    let stranger = fs::read_to_string(&Pki::new().ca).unwrap();
    let with = |name: &str, more: &str| {
        let text = fs::read_to_string(&files.cert).unwrap() + more;
        let files = [CertificateFiles::new(pki.file(name, text), files.key.clone())];
        let (_, warnings) =
            load_all(&files, &CertificateStore::default(), None, 1_800_000_000).expect("it loads");
        warnings
    };
    assert_eq!(with("good.pem", &fs::read_to_string(&pki.ca).unwrap()), []);
    let warnings = with("strange.pem", &stranger);
    assert!(
        matches!(&warnings[..], [Warning::Member { position: 2, problem: MemberProblem::Misplaced, .. }]),
        "{warnings:?}"
    );
    let text = fs::read_to_string(&files.cert).unwrap() + &fs::read_to_string(&pki.ca).unwrap();
    let chain = certificates_in(&pki.file("two.pem", text)).unwrap();
    let early = of_members(&files.cert, &chain, 0);
    assert!(
        matches!(
            &early[..],
            [Warning::Member { position: 2, problem: MemberProblem::NotYetValid { .. }, .. }]
        ),
        "{early:?}"
    );
    let late = of_members(&files.cert, &chain, i64::MAX);
    assert!(
        matches!(&late[..], [Warning::Member { position: 2, problem: MemberProblem::Expired { .. }, .. }]),
        "{late:?}"
    );
}

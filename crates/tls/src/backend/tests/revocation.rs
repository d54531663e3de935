//! Backends whose certificates are revoked.

use super::*;

fn numbered(serial: u64) -> CertificateParams {
    let mut params = params(&[NAME]);
    params.serial_number = Some(serial.into());
    params
}

fn listing(pki: &Pki, lists: &[std::path::PathBuf]) -> BackendSettings {
    BackendSettings { crl: lists.to_vec(), ..trusting(&pki.ca) }
}

#[tokio::test]
async fn revoked_backends_are_refused() {
    let pki = Pki::new();
    let (one, two) = (pki.issue_for("1", &ecdsa(), numbered(1)), pki.issue_for("2", &ecdsa(), numbered(2)));
    let (first, second) = (pki.revoke("one.pem", &[1], 2100), pki.revoke("two.pem", &[2, 9], 2100));
    let revoked = Some(HandshakeFailure::Revoked);
    let lists = listing(&pki, std::slice::from_ref(&first));
    assert_eq!((reason(&lists, &one).await, reason(&lists, &two).await), (revoked, None));
    // The checks' verdict is the same.
    let probe = BackendTls::build(&lists).expect("a policy").0.probe();
    let presented = probe::probed(&probe, &Arc::new(plain_server(&one, 1)), Some(NAME)).await;
    let verdict = presented.expect("a session").verdict.expect("a verifier");
    assert_eq!(verdict.expect_err("revoked").reason, HandshakeFailure::Revoked);
    // Of several lists, and several in one file, each counts.
    let both = [&first, &second].map(|list| fs::read(list).expect("a list")).concat();
    let another = Pki::new();
    for lists in [vec![pki.file("both.pem", both)], vec![another.revoke("x.pem", &[3], 2100), first]] {
        assert_eq!(reason(&listing(&pki, &lists), &one).await, revoked, "{lists:?}");
    }
}

#[tokio::test]
async fn a_list_in_der_is_taken_too() {
    let pki = Pki::new();
    let files = pki.issue_for("a", &ecdsa(), numbered(5));
    let lists = crate::certificate::lists_and_state(&pki.revoke("list.pem", &[5], 2100)).0.expect("a list");
    let der = pki.file("der.crl", &lists[0]);
    assert_eq!(reason(&listing(&pki, &[der]), &files).await, Some(HandshakeFailure::Revoked));
}

/// As for clients: a list that was forgotten must not leave certificates unchecked.
#[tokio::test]
async fn an_authority_without_a_list_warns_and_its_certificates_are_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let bundle = [&pki.ca, &other.ca].map(|path| fs::read(path).expect("PEM")).concat();
    let ca = Some(pki.file("both.pem", bundle));
    let settings = BackendSettings { ca, ..listing(&pki, &[pki.revoke("list.pem", &[4], 2100)]) };
    let (_, warnings) = BackendTls::build(&settings).expect("a policy");
    assert!(matches!(warnings[..], [Warning::CaWithoutCrl { position: 2, .. }]), "{warnings:?}");
    let theirs = other.issue_for("theirs", &ecdsa(), numbered(5));
    assert_eq!(reason(&settings, &theirs).await, Some(HandshakeFailure::RevocationUnknown));
    assert_eq!(reason(&settings, &pki.issue_for("ours", &ecdsa(), numbered(5))).await, None);
}

#[tokio::test]
async fn a_listed_certificate_can_be_revoked() {
    let pki = Pki::new();
    let bundle = |name: &str, serial| {
        let files = pki.issue_for(name, &ecdsa(), numbered(serial));
        let both = [&pki.ca, &files.cert].map(|path| fs::read(path).expect("PEM")).concat();
        (pki.file(&format!("ca-{name}.pem"), both), files)
    };
    let list = pki.revoke("a.pem", &[6], 2100);
    for (serial, expected) in [(6, Some(HandshakeFailure::Revoked)), (60, None)] {
        let (ca, files) = bundle(&serial.to_string(), serial);
        let settings =
            BackendSettings { ca: Some(ca), crl: vec![list.clone()], ..BackendSettings::default() };
        assert_eq!(reason(&settings, &files).await, expected);
    }
}

#[tokio::test]
async fn an_outdated_list_counts_and_warns() {
    let pki = Pki::new();
    let files = pki.issue_for("a", &ecdsa(), numbered(1));
    let good = pki.issue_for("b", &ecdsa(), numbered(2));
    let settings = listing(&pki, &[pki.revoke("old.pem", &[1], 2021)]);
    let (tls, warnings) = BackendTls::build(&settings).expect("a policy");
    assert!(matches!(warnings[..], [Warning::CrlStale { next_update: 1_609_459_200, .. }]), "{warnings:?}");
    assert_eq!(tls.revocation_lists()[0].next_update, 1_609_459_200);
    assert_eq!(reason(&settings, &files).await, Some(HandshakeFailure::Revoked));
    assert_eq!(reason(&settings, &good).await, None, "an outdated list takes no backend down");
}

#[test]
fn a_list_by_no_authority_of_the_pool_warns() {
    let (pki, other) = (Pki::new(), Pki::new());
    let list = other.revoke("a.pem", &[1], 2100);
    let (_, warnings) = BackendTls::build(&listing(&pki, &[list])).expect("a policy");
    assert!(
        matches!(warnings[..], [Warning::CrlForeign { .. }, Warning::CaWithoutCrl { position: 1, .. }]),
        "{warnings:?}"
    );
}

#[test]
fn files_that_are_no_lists_say_what_they_are() {
    let pki = Pki::new();
    let damaged = {
        let list =
            crate::certificate::lists_and_state(&pki.revoke("list.pem", &[5], 2100)).0.expect("a list");
        pki.file("damaged.crl", &list[0][..40])
    };
    let cases = [
        ("/nowhere/crl.pem".into(), "cannot be read"),
        (pki.ca.clone(), "cannot be used here"),
        (pki.file("empty.pem", ""), "is empty"),
        (damaged, "cannot be used"),
    ];
    for (path, said) in cases {
        let good = pki.revoke("good.pem", &[1], 2100);
        let errors = BackendTls::build(&listing(&pki, &[good, path])).expect_err("an error");
        assert_eq!((errors.len(), errors[0].key(), errors[0].entry()), (1, "crl", Some(1)));
        assert!(errors[0].to_string().contains(said), "{}", errors[0]);
        assert!(!errors[0].hint().is_empty(), "{}", errors[0]);
    }
    let settings = BackendSettings { ca: None, ..listing(&pki, &[pki.revoke("good.pem", &[1], 2100)]) };
    let errors = BackendTls::build(&settings).expect_err("an error");
    assert!(
        matches!(errors[..], [BackendTlsError::ListWithoutCa | BackendTlsError::NoSystemRoots]),
        "{errors:?}"
    );
}

#[tokio::test]
async fn sessions_do_not_outlive_a_revocation() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), numbered(1)), 2));
    let sessions = Sessions::random().expect("randomness");
    let client = |serials: &[u64]| {
        let settings = listing(&pki, &[pki.revoke("crl.pem", serials, 2100)]);
        BackendTls::build(&settings).expect("a policy").0.keeping(&sessions).client_for("10.0.0.1:443")
    };
    let before = client(&[2]);
    assert_eq!(connect(&before, &server).await.expect("a session").1.resumed, Resumed::No);
    assert_eq!(connect(&before, &server).await.expect("a session").1.resumed, Resumed::Ticket);
    let error = connect(&client(&[1, 2]), &server).await.expect_err("revoked");
    assert_eq!(error.reason, HandshakeFailure::Revoked);
}

/// rustls verifies no certificate when it resumes a session.
#[tokio::test]
async fn sessions_do_not_outlive_the_backends_certificate() {
    let pki = Pki::new();
    let mut params = params(&[NAME]);
    let soon = std::time::Duration::from_secs(crate::tickets::unix_now() + 2);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + soon;
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), params), 2));
    let client = BackendTls::build(&trusting(&pki.ca)).expect("a policy").0.client();
    assert_eq!(connect(&client, &server).await.expect("a session").1.resumed, Resumed::No);
    assert_eq!(connect(&client, &server).await.expect("a session").1.resumed, Resumed::Ticket);
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(connect(&client, &server).await.expect_err("expired").reason, HandshakeFailure::Expired);
}

//! Backends whose certificates have a URI in place of a DNS name.

use rcgen::SanType;

use super::*;

const ID: &str = "spiffe://example.org/payments";

fn with_uris(names: &[&str], uris: &[&str]) -> CertificateParams {
    let mut params = params(names);
    let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("ASCII"));
    params.subject_alt_names.extend(uris.iter().map(uri));
    params
}

fn asking_for(ca: &std::path::Path, uri: &str) -> BackendSettings {
    BackendSettings { server_name: ServerNameFrom::Fixed(uri.to_owned()), ..trusting(ca) }
}

#[tokio::test]
async fn the_uri_counts_in_place_of_the_name() {
    let pki = Pki::new();
    let settings = asking_for(&pki.ca, ID);
    let mismatch = Some(HandshakeFailure::NameMismatch);
    let cases: [(&str, &[&str], &[&str], _); 6] = [
        ("alone", &[], &[ID], None),
        ("beside", &["other.test"], &[ID], None),
        ("none", &[NAME], &[], mismatch),
        ("other", &[NAME], &["spiffe://example.org/payments2"], mismatch),
        ("shorter", &[NAME], &["spiffe://example.org"], mismatch),
        ("second", &[NAME], &[ID, "spiffe://example.org/other"], mismatch),
    ];
    for (file, names, uris, expected) in cases {
        let files = pki.issue_for(file, &ecdsa(), with_uris(names, uris));
        assert_eq!(reason(&settings, &files).await, expected, "{file}");
        let own = pki.self_signed(&format!("own-{file}"), with_uris(names, uris));
        assert_eq!(reason(&asking_for(&own.cert, ID), &own).await, expected, "listed: {file}");
    }
}

#[tokio::test]
async fn the_chain_and_its_dates_are_checked_under_a_uri() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let settings = asking_for(&pki.ca, ID);
    let stranger = strangers.issue_for("stranger", &ecdsa(), with_uris(&[NAME], &[ID]));
    assert_eq!(reason(&settings, &stranger).await, Some(HandshakeFailure::UnknownCa));
    let mut expired = with_uris(&[NAME], &[ID]);
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    expired.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let issued = pki.issue_for("expired", &ecdsa(), expired.clone());
    assert_eq!(reason(&settings, &issued).await, Some(HandshakeFailure::Expired));
    let own = pki.self_signed("own", expired);
    assert_eq!(reason(&asking_for(&own.cert, ID), &own).await, Some(HandshakeFailure::Expired));
    let mut revoked = with_uris(&[NAME], &[ID]);
    revoked.serial_number = Some(7.into());
    let revoked = pki.issue_for("revoked", &ecdsa(), revoked);
    let listing = BackendSettings { crl: vec![pki.revoke("crl.pem", &[7], 2100)], ..settings };
    assert_eq!(reason(&listing, &revoked).await, Some(HandshakeFailure::Revoked));
}

/// An SNI cannot hold a URI: the server is asked for the client's name, as by default.
#[tokio::test]
async fn the_sni_is_the_clients_under_a_uri() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), with_uris(&[], &[ID])), 1));
    let (tls, _) = BackendTls::build(&asking_for(&pki.ca, ID)).expect("a policy");
    let client = tls.client();
    assert!(client.asks_for(Some(NAME)) && !client.asks_for(None));
    for (sni, host, expected) in [
        (Some(NAME), "host.test", Some(NAME)),
        (None, "host.test", Some("host.test")),
        (None, "10.0.0.1", None),
    ] {
        let (near, far) = pipe();
        let server = async {
            let stream = TlsAcceptor::from(Arc::clone(&server)).accept(far).await.expect("a session");
            stream.get_ref().1.server_name().map(str::to_owned)
        };
        let scratch = Scratch::default();
        let (seen, session) = tokio::join!(server, client.connect(near, &scratch, sni, host, None));
        session.expect("a session");
        assert_eq!(seen.as_deref(), expected);
    }
}

#[tokio::test]
async fn another_uri_is_told_with_the_one_that_was_shown() {
    let pki = Pki::new();
    let shown = "spiffe://example.org/other";
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), with_uris(&[], &[shown])), 1));
    let (tls, _) = BackendTls::build(&asking_for(&pki.ca, ID)).expect("a policy");
    let error = connect(&tls.client(), &server).await.expect_err("another URI").to_string();
    assert!(error.contains(shown) && error.contains(ID), "{error}");
    let presented = probe::probed(&tls.probe(), &server, None).await.expect("a session");
    let error = presented.verdict.expect("a verifier").expect_err("another URI");
    assert_eq!(error.reason, HandshakeFailure::NameMismatch);
}

#[test]
fn a_bad_uri_is_an_error_of_the_server_name() {
    for bad in ["https://backend.internal", "spiffe://Example.org/x", "spiffe:/example.org"] {
        let settings = BackendSettings {
            server_name: ServerNameFrom::Fixed(bad.to_owned()),
            ..BackendSettings::default()
        };
        let errors = BackendTls::build(&settings).expect_err("an error");
        let error = errors.last().expect("an error");
        assert_eq!(error.key(), "server_name");
        assert!(error.to_string().contains(bad) && !error.hint().is_empty(), "{error}");
    }
}

//! weir's own certificate, shown to backends that ask for one.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;

use super::*;

/// A server that requires a certificate of `pki`.
fn asking(pki: &Pki, version: &'static rustls::SupportedProtocolVersion) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for anchor in crate::certificate::certificates_in(&pki.ca).expect("an authority") {
        roots.add(anchor).expect("an anchor");
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build().expect("a verifier");
    let files = pki.issue("server", &[NAME]);
    Arc::new(
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&plain_server(&files, 1).cert_resolver)),
    )
}

fn showing(pki: &Pki, files: Option<CertificateFiles>) -> BackendSettings {
    BackendSettings { client_cert: files, ..trusting(&pki.ca) }
}

#[tokio::test]
async fn the_certificate_is_shown_in_traffic_and_in_checks() {
    let pki = Pki::new();
    let files = pki.issue("weir", &[]);
    for version in [&TLS12, &TLS13] {
        let server = asking(&pki, version);
        let (tls, warnings) = BackendTls::build(&showing(&pki, Some(files.clone()))).expect("a policy");
        assert_eq!(warnings, [], "a client needs no DNS name");
        connect(&tls.client(), &server).await.expect("a session");
        probe::probed(&tls.probe(), &server, Some(NAME)).await.expect("a session");

        let (tls, _) = BackendTls::build(&showing(&pki, None)).expect("a policy");
        assert!(connect(&tls.client(), &server).await.is_err(), "{version:?}");
        assert!(probe::probed(&tls.probe(), &server, Some(NAME)).await.is_err(), "{version:?}");
    }
}

#[tokio::test]
async fn sessions_begin_anew_with_another_certificate() {
    let pki = Pki::new();
    let sessions = Sessions::random().expect("randomness");
    let (one, two) = (pki.issue("one", &[]), pki.issue("two", &[]));
    for (version, expected) in [(&TLS12, Resumed::SessionId), (&TLS13, Resumed::Ticket)] {
        let server = asking(&pki, version);
        let resumed = async |files: &CertificateFiles| {
            let (tls, _) = BackendTls::build(&showing(&pki, Some(files.clone()))).expect("a policy");
            let client = tls.keeping(&sessions).client_for("10.0.0.1:443");
            let (_, session) = connect(&client, &server).await.expect("a session");
            // Held, as a plan does: sessions go with their last client.
            (client, session.resumed)
        };
        let first = resumed(&one).await;
        let again = resumed(&one).await;
        let other = resumed(&two).await;
        assert_eq!([first.1, again.1, other.1], [Resumed::No, expected, Resumed::No], "{version:?}");
    }
}

#[test]
fn a_certificate_that_is_not_for_clients_warns() {
    let pki = Pki::new();
    let with = |file: &str, usages: &[ExtendedKeyUsagePurpose]| {
        let mut params = params(&[NAME]);
        params.extended_key_usages = usages.to_vec();
        let settings = showing(&pki, Some(pki.issue_for(file, &ecdsa(), params)));
        BackendTls::build(&settings).expect("a policy").1
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    assert!(matches!(with("server", &[ServerAuth])[..], [Warning::NotForClients { .. }]));
    for usages in [&[][..], &[Any], &[ClientAuth], &[ServerAuth, ClientAuth]] {
        assert_eq!(with("client", usages), [], "{usages:?}");
    }
    let (_, warnings) =
        BackendTls::build(&showing(&pki, Some(pki.issue_for("old", &ecdsa(), dated(2000, 2001)))))
            .expect("a policy");
    assert!(matches!(warnings[..], [Warning::Expired { .. }]), "{warnings:?}");
}

#[test]
fn errors_name_the_file_of_the_pair() {
    let pki = Pki::new();
    let (one, two) = (pki.issue("one", &[]), pki.issue("two", &[]));
    let cases = [
        (CertificateFiles::new(&one.cert, two.key), "key", "does not match"),
        (CertificateFiles::new("/nowhere.pem", &one.key), "cert", "cannot be read"),
        (CertificateFiles::new(&one.cert, &one.cert), "key", "has no private key"),
    ];
    for (files, file, said) in cases {
        let errors = BackendTls::build(&showing(&pki, Some(files))).expect_err("an error");
        assert_eq!((errors.len(), errors[0].key()), (1, "client_cert"));
        assert_eq!(errors[0].file().map(crate::certificate::CertificateFile::label), Some(file));
        assert!(errors[0].to_string().contains(said), "{}", errors[0]);
    }
}

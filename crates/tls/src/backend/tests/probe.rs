//! Handshakes of health checks: the certificates they see, and the authorities that verify them.

use super::*;

/// Checks a server under this name.
pub(super) async fn probed(
    probe: &Probe,
    server: &Arc<ServerConfig>,
    name: Option<&str>,
) -> Result<Presented, HandshakeError> {
    let (near, far) = pipe();
    let server = Box::pin(async {
        let mut stream = TlsAcceptor::from(Arc::clone(server)).accept(far).await?;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        stream.write_all(b"!").await?;
        stream.flush().await?;
        std::io::Result::Ok(stream)
    });
    let client = Box::pin(async {
        let (mut stream, presented) = probe.connect(near, name, "127.0.0.1", None).await?;
        stream.read_u8().await?;
        Ok(presented)
    });
    let (ours, theirs): (Result<Presented, HandshakeError>, _) = tokio::join!(client, server);
    if let Err(error) = &ours {
        agree_on_the_alert(error, theirs.err());
    }
    ours
}

/// The reason why a server with this certificate is not trusted; without a name, the check asks for its address.
async fn verdict(probe: &Probe, files: &CertificateFiles, name: Option<&str>) -> Option<HandshakeFailure> {
    let presented = probed(probe, &Arc::new(plain_server(files, 1)), name).await.expect("a session");
    presented.verdict.expect("a verifier").err().map(|error| error.reason)
}

#[tokio::test]
async fn probes_resume_nothing_and_see_the_end() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), dated(2020, 2100)), 2));
    let (tls, _) = BackendTls::build(&trusting(&pki.ca)).expect("a policy");
    for policy in [tls, BackendTls::unverified()] {
        let probe = policy.probe();
        for _ in 0..2 {
            let presented = probed(&probe, &server, Some(NAME)).await.expect("a session");
            assert_eq!(presented.not_after, Some(4_102_444_800));
        }
    }
}

#[tokio::test]
async fn certificates_are_verified_after_the_handshake() {
    let (pki, untrusted) = (Pki::new(), Pki::new());
    let (tls, _) = BackendTls::build(&trusting(&pki.ca)).expect("a policy");
    let probe = tls.probe();
    assert!(probe.verifies());
    let cases = [
        (pki.issue("good", &[NAME]), None),
        (pki.issue_for("old", &ecdsa(), dated(2000, 2001)), Some(HandshakeFailure::Expired)),
        (pki.issue_for("new", &ecdsa(), dated(2100, 2101)), Some(HandshakeFailure::NotYetValid)),
        (pki.issue("other", &["other.test"]), Some(HandshakeFailure::NameMismatch)),
        (untrusted.issue("stranger", &[NAME]), Some(HandshakeFailure::UnknownCa)),
    ];
    for (files, expected) in cases {
        assert_eq!(verdict(&probe, &files, Some(NAME)).await, expected, "{files:?}");
        // The text is the same as from a verifying handshake.
        let server = Arc::new(plain_server(&files, 1));
        let presented = probed(&probe, &server, Some(NAME)).await.expect("a session");
        let said = presented.verdict.expect("a verifier").err().map(|error| error.to_string());
        let refused = connect(&tls.client(), &server).await.err().map(|error| error.to_string());
        let without_times = |text: Option<String>| text.map(|t| t.replace(|c: char| c.is_ascii_digit(), ""));
        assert_eq!(without_times(said), without_times(refused));
    }
}

#[tokio::test]
async fn the_checks_own_name_precedes_the_policys() {
    let pki = Pki::new();
    let files = pki.issue("a", &[NAME]);
    let names = [
        (ServerNameFrom::Sni, "the address"),
        (ServerNameFrom::Address, "the address"),
        (ServerNameFrom::Fixed("fixed.test".to_owned()), "the fixed one"),
    ];
    for (server_name, which) in names {
        let settings = BackendSettings { server_name, ..trusting(&pki.ca) };
        let probe = BackendTls::build(&settings).expect("a policy").0.probe();
        assert_eq!(verdict(&probe, &files, Some(NAME)).await, None);
        assert_eq!(verdict(&probe, &files, None).await, Some(HandshakeFailure::NameMismatch), "{which}");
    }
    let settings =
        BackendSettings { server_name: ServerNameFrom::Fixed(NAME.to_owned()), ..trusting(&pki.ca) };
    let probe = BackendTls::build(&settings).expect("a policy").0.probe();
    assert_eq!(verdict(&probe, &files, None).await, None);
    let server = Arc::new(plain_server(&files, 0));
    let error = probed(&probe, &server, Some("no name")).await.expect_err("no name");
    assert_eq!(error.reason, HandshakeFailure::BadName);
}

#[tokio::test]
async fn probes_without_an_authority_use_the_systems() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue("a", &[NAME]), 1));
    let unverified = BackendSettings { verify: false, ..trusting(&pki.ca) };
    for policy in [BackendTls::build(&unverified).expect("a policy").0, BackendTls::unverified()] {
        let probe = policy.probe();
        assert!(!probe.verifies());
        let presented = probed(&probe, &server, Some(NAME)).await.expect("a session");
        // No verdict on a system without authorities.
        if let Some(verdict) = presented.verdict {
            assert_eq!(verdict.expect_err("a stranger to the system").reason, HandshakeFailure::UnknownCa);
        }
    }
}

#[tokio::test]
async fn plaintext_servers_have_their_own_reason() {
    let probe = BackendTls::unverified().probe();
    let (near, mut far) = pipe();
    far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("room");
    let error = probe.connect(near, None, NAME, None).await.expect_err("no TLS");
    assert_eq!(error.reason, HandshakeFailure::NotTls);
}

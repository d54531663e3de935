//! Handshakes of health checks: what they see, and by whom it is judged.

use super::*;

/// One check of a server, under this name.
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
    tokio::join!(client, server).0
}

/// Why a server that shows this certificate does not convince; without a name it is asked for by its address.
async fn verdict(probe: &Probe, files: &CertificateFiles, name: Option<&str>) -> Option<HandshakeFailure> {
    let presented = probed(probe, &Arc::new(plain_server(files, 1)), name).await.expect("a session");
    presented.verdict.expect("a judge").err().map(|error| error.reason)
}

#[tokio::test]
async fn it_resumes_nothing_and_sees_the_end() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), dated(2020, 2100)), 2));
    let (tls, _) = BackendTls::build(&trusting(&pki.ca)).expect("a policy");
    for policy in [tls, BackendTls::unjudged()] {
        let probe = policy.probe();
        for _ in 0..2 {
            let presented = probed(&probe, &server, Some(NAME)).await.expect("a session");
            assert_eq!(presented.not_after, Some(4_102_444_800));
        }
    }
}

#[tokio::test]
async fn a_certificate_is_judged_after_the_handshake() {
    let (pki, nobody) = (Pki::new(), Pki::new());
    let (tls, _) = BackendTls::build(&trusting(&pki.ca)).expect("a policy");
    let probe = tls.probe();
    assert!(probe.verifies());
    let cases = [
        (pki.issue("good", &[NAME]), None),
        (pki.issue_for("old", &ecdsa(), dated(2000, 2001)), Some(HandshakeFailure::Expired)),
        (pki.issue_for("new", &ecdsa(), dated(2100, 2101)), Some(HandshakeFailure::NotYetValid)),
        (pki.issue("other", &["other.test"]), Some(HandshakeFailure::NameMismatch)),
        (nobody.issue("stranger", &[NAME]), Some(HandshakeFailure::UnknownCa)),
    ];
    for (files, expected) in cases {
        assert_eq!(verdict(&probe, &files, Some(NAME)).await, expected, "{files:?}");
        // The same words as of a handshake that judges.
        let server = Arc::new(plain_server(&files, 1));
        let presented = probed(&probe, &server, Some(NAME)).await.expect("a session");
        let said = presented.verdict.expect("a judge").err().map(|error| error.to_string());
        let judged = connect(&tls.client(), &server).await.err().map(|error| error.to_string());
        let without_times = |text: Option<String>| text.map(|t| t.replace(|c: char| c.is_ascii_digit(), ""));
        assert_eq!(without_times(said), without_times(judged));
    }
}

#[tokio::test]
async fn a_name_of_its_own_comes_before_the_policys() {
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
async fn who_trusts_nobody_is_told_what_the_system_says() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue("a", &[NAME]), 1));
    let unverified = BackendSettings { verify: false, ..trusting(&pki.ca) };
    for policy in [BackendTls::build(&unverified).expect("a policy").0, BackendTls::unjudged()] {
        let probe = policy.probe();
        assert!(!probe.verifies());
        let presented = probed(&probe, &server, Some(NAME)).await.expect("a session");
        // Nothing, on a system without authorities.
        if let Some(verdict) = presented.verdict {
            assert_eq!(verdict.expect_err("a stranger to the system").reason, HandshakeFailure::UnknownCa);
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_apart() {
    let probe = BackendTls::unjudged().probe();
    let (near, mut far) = pipe();
    far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("room");
    let error = probe.connect(near, None, NAME, None).await.expect_err("no TLS");
    assert_eq!(error.reason, HandshakeFailure::NotTls);
}

//! The server side against a rustls client, in memory: what is agreed, resumed, and refused how.

use std::io;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::agreed::Resumed;
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::fixtures::{Pki, ecdsa, params, pipe, profile, rsa, settings, tls_error};
use crate::sessions::Certificates;
use crate::stream::Buffered;

const NAME: &str = "www.example.com";

/// Both ends of one handshake. The server says a byte behind it, which carries its tickets to a client
/// that reads.
async fn handshake(
    profile: &ServerProfile,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> (Result<Session, HandshakeError>, io::Result<()>) {
    let (near, far) = pipe();
    let server = Box::pin(async {
        let (stream, session) = profile.accept(near, Vec::new(), &Scratch::default()).await?;
        let mut stream = Buffered::new(stream);
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(session)
    });
    let client = Box::pin(async {
        let name = ServerName::try_from(name).expect("a name");
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, far).await?;
        stream.read_u8().await.map(drop)
    });
    tokio::join!(server, client)
}

/// A good handshake's session.
async fn session(profile: &ServerProfile, client: &Arc<ClientConfig>, name: &'static str) -> Session {
    let (server, client) = handshake(profile, client, name).await;
    client.expect("the client's side");
    server.expect("the server's side")
}

async fn failure(profile: &ServerProfile, client: ClientConfig) -> (HandshakeError, Error) {
    let (server, client) = handshake(profile, &Arc::new(client), NAME).await;
    (server.expect_err("the server refuses"), tls_error(&client.expect_err("the client fails")))
}

#[tokio::test]
async fn a_session_says_what_was_agreed() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &[NAME])]);
    settings.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let profile = profile(&settings);
    let mut client = pki.client(rustls::ALL_VERSIONS);
    client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let agreed = session(&profile, &Arc::new(client), NAME).await;
    let expected = Session {
        version: "1.3",
        cipher: "TLS_AES_256_GCM_SHA384",
        group: "X25519MLKEM768",
        resumed: Resumed::No,
        alpn: Some(b"h2"[..].into()),
    };
    assert_eq!(agreed, expected);

    let agreed = session(&profile, &Arc::new(pki.client(&[&TLS12])), NAME).await;
    assert_eq!(agreed.version, "1.2");
    assert_eq!(agreed.cipher, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    assert_eq!(agreed.alpn, None);
}

#[tokio::test]
async fn each_kind_of_resumption_is_told_apart() {
    let ids_only = |config: &mut ClientConfig| {
        config.resumption = Resumption::default().tls12_resumption(Tls12Resumption::SessionIdOnly);
    };
    let as_is = |_: &mut ClientConfig| {};
    type Change = dyn Fn(&mut ClientConfig);
    let cases: [(&'static SupportedProtocolVersion, bool, usize, &Change, Resumed); 7] = [
        (&TLS13, true, 100, &as_is, Resumed::Ticket),
        (&TLS12, true, 100, &as_is, Resumed::Ticket),
        (&TLS12, true, 100, &ids_only, Resumed::SessionId),
        (&TLS12, false, 100, &as_is, Resumed::SessionId),
        (&TLS12, false, 0, &as_is, Resumed::No),
        (&TLS13, false, 100, &as_is, Resumed::No),
        (&TLS13, true, 0, &as_is, Resumed::Ticket),
    ];
    let pki = Pki::new();
    for (version, tickets, cache, change, expected) in cases {
        let mut settings = settings(vec![pki.issue("a", &[NAME])]);
        (settings.tickets, settings.cache) = (tickets, cache);
        let profile = profile(&settings);
        let mut client = pki.client(&[version]);
        change(&mut client);
        let client = Arc::new(client);
        let case = format!("{version:?}, tickets {tickets}, cache {cache}");
        assert_eq!(session(&profile, &client, NAME).await.resumed, Resumed::No, "{case}");
        assert_eq!(session(&profile, &client, NAME).await.resumed, expected, "{case}");
        assert_eq!(session(&profile, &client, NAME).await.resumed, expected, "{case}, again");
    }
}

#[tokio::test]
async fn a_ticket_is_good_for_the_secret_and_the_name_it_was_made_for() {
    let pki = Pki::new();
    let settings = settings(vec![pki.issue("a", &[NAME, "api.example.com"])]);
    let sessions = Sessions::random().expect("randomness");
    let node = || ServerProfile::build(&settings, &sessions).expect("a profile").0;
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(pki.client(&[version]));
        assert_eq!(session(&node(), &client, NAME).await.resumed, Resumed::No);
        assert_eq!(session(&node(), &client, NAME).await.resumed, Resumed::Ticket, "{version:?}");
        assert_eq!(session(&profile(&settings), &client, NAME).await.resumed, Resumed::No, "{version:?}");
        assert_eq!(session(&node(), &client, "api.example.com").await.resumed, Resumed::No);
    }
}

#[tokio::test]
async fn a_session_by_id_outlives_its_profile_but_not_its_certificates() {
    let pki = Pki::new();
    let certificate = pki.issue("a", &[NAME]);
    let ours = ServerSettings { tickets: false, ..settings(vec![certificate.clone()]) };
    let sessions = Sessions::random().expect("randomness");
    let build = |settings: &ServerSettings| ServerProfile::build(settings, &sessions).expect("a profile").0;
    let first = build(&ours);
    let mut client = pki.client(&[&TLS12]);
    client.resumption = Resumption::default().tls12_resumption(Tls12Resumption::SessionIdOnly);
    let client = Arc::new(client);
    assert_eq!(session(&first, &client, NAME).await.resumed, Resumed::No);

    // Another alpn, another lifetime: the same sessions, also when the first profile is gone.
    let second = build(&ServerSettings {
        alpn: vec![b"h2".to_vec()],
        ticket_lifetime: Duration::from_secs(60),
        ..ours.clone()
    });
    drop(first);
    assert_eq!(session(&second, &client, NAME).await.resumed, Resumed::SessionId);

    // One certificate more, or anew in the same files, or another size: a cache of its own.
    let more = vec![certificate.clone(), pki.issue("b", &["b.example.com"])];
    let more = build(&ServerSettings { certificates: more, ..ours.clone() });
    let smaller = build(&ServerSettings { cache: 50, ..ours.clone() });
    let again = pki.issue("a", &[NAME]);
    assert_eq!(again, certificate);
    let renewed = build(&ours);
    for (profile, what) in [(more, "one more"), (smaller, "smaller"), (renewed, "renewed")] {
        session(&second, &client, NAME).await;
        assert_eq!(session(&second, &client, NAME).await.resumed, Resumed::SessionId);
        assert_eq!(session(&profile, &client, NAME).await.resumed, Resumed::No, "{what}");
    }
}

#[tokio::test]
async fn sessions_of_a_profile_that_nobody_has_are_gone() {
    let pki = Pki::new();
    let settings = ServerSettings { tickets: false, ..settings(vec![pki.issue("a", &[NAME])]) };
    let sessions = Sessions::random().expect("randomness");
    let client = Arc::new(pki.client(&[&TLS12]));
    for _ in 0..2 {
        let profile = ServerProfile::build(&settings, &sessions).expect("a profile").0;
        assert_eq!(session(&profile, &client, NAME).await.resumed, Resumed::No);
    }
}

#[test]
fn another_client_auth_policy_is_another_print() {
    let pki = Pki::new();
    let now = i64::try_from(unix_now()).expect("a date");
    let served = certificate::load_all(&[pki.issue("a", &[NAME])], &Certificates::default(), now)
        .expect("a certificate")
        .0;
    let of = |policy: &[u8]| digest(Scope::of(policy), &served);
    assert_eq!(of(CLIENT_AUTH_NONE), of(CLIENT_AUTH_NONE));
    assert_ne!(of(CLIENT_AUTH_NONE), of(b"client-auth: required"));
}

#[tokio::test]
async fn interleaved_handshakes_are_each_told_apart() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let known = Arc::new(pki.client(&[&TLS13]));
    session(&profile, &known, NAME).await;
    let mut by_id = pki.client(&[&TLS12]);
    by_id.resumption = Resumption::default().tls12_resumption(Tls12Resumption::SessionIdOnly);
    let by_id = Arc::new(by_id);
    session(&profile, &by_id, NAME).await;
    let stranger = Arc::new(pki.client(&[&TLS13]));
    let (one, two, three) = tokio::join!(
        session(&profile, &known, NAME),
        session(&profile, &stranger, NAME),
        session(&profile, &by_id, NAME),
    );
    assert_eq!([one.resumed, two.resumed, three.resumed], [Resumed::Ticket, Resumed::No, Resumed::SessionId]);
}

#[tokio::test]
async fn what_is_not_shared_is_named_and_the_client_gets_the_alert() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &[NAME])]);
    settings.alpn = vec![b"h2".to_vec()];
    settings.min_version = MinVersion::Tls13;
    let strict = profile(&settings);
    settings.min_version = MinVersion::Tls12;
    let open = profile(&settings);

    let (error, alert) = failure(&strict, pki.client(&[&TLS12])).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedVersion);
    assert_eq!(alert, Error::AlertReceived(AlertDescription::ProtocolVersion));

    let mut client = pki.client(rustls::ALL_VERSIONS);
    client.alpn_protocols = vec![b"smtp".to_vec()];
    let (error, alert) = failure(&open, client).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedAlpn);
    assert_eq!(alert, Error::AlertReceived(AlertDescription::NoApplicationProtocol));

    // RSA suites alone, and an ECDSA certificate.
    let mut rsa_only = rustls::crypto::aws_lc_rs::default_provider();
    rsa_only.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("ECDHE_RSA"));
    let client = with_provider(&pki, rsa_only);
    let (error, alert) = failure(&open, client).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedCipher, "{error}");
    assert_eq!(alert, Error::AlertReceived(AlertDescription::HandshakeFailure));

    let mut other_groups = rustls::crypto::aws_lc_rs::default_provider();
    other_groups.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::MLKEM768];
    let (error, _) = failure(&open, with_provider(&pki, other_groups)).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedGroup, "{error}");
}

fn with_provider(pki: &Pki, provider: rustls::crypto::CryptoProvider) -> ClientConfig {
    let versions: &[&SupportedProtocolVersion] =
        if provider.cipher_suites.iter().any(|suite| suite.tls13().is_some()) {
            &[&TLS13]
        } else {
            &[&TLS12]
        };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in crate::certificate::certificates_in(&pki.ca).expect("the authority") {
        roots.add(certificate).expect("an anchor");
    }
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_says_so() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let (error, _) = failure(&profile, Pki::new().client(rustls::ALL_VERSIONS)).await;
    assert_eq!((error.reason, error.alert_name()), (HandshakeFailure::Alert, Some("unknown_ca")));
}

#[tokio::test]
async fn an_unknown_name_finds_no_certificate() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &["other.example.com"])]);
    let refusing = profile(&settings);
    assert!(!refusing.answers(Some(NAME)));
    assert!(refusing.answers(None));
    let (error, alert) = failure(&refusing, pki.client(&[&TLS13])).await;
    assert_eq!(error.reason, HandshakeFailure::NoCertificate);
    assert_eq!(alert, Error::AlertReceived(AlertDescription::AccessDenied));

    settings.unknown_sni = UnknownSni::First;
    let lenient = profile(&settings);
    assert!(lenient.answers(Some(NAME)));
    let (error, alert) = failure(&lenient, pki.client(&[&TLS13])).await;
    assert_eq!((error.reason, error.alert_name()), (HandshakeFailure::Alert, Some("bad_certificate")));
    assert!(matches!(alert, Error::InvalidCertificate(_)), "the client saw the first: {alert}");
}

#[tokio::test]
async fn rsa_and_ecdsa_are_chosen_by_the_client() {
    let pki = Pki::new();
    let files = vec![
        pki.issue_for("rsa", &rsa(), params(&[NAME])),
        pki.issue_for("ecdsa", &ecdsa(), params(&[NAME])),
    ];
    let profile = profile(&settings(files));
    let both = session(&profile, &Arc::new(pki.client(&[&TLS12])), NAME).await;
    assert!(both.cipher.contains("_ECDSA_"), "{}", both.cipher);
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("ECDHE_RSA"));
    let rsa = session(&profile, &Arc::new(with_provider(&pki, provider)), NAME).await;
    assert!(rsa.cipher.contains("_RSA_"), "{}", rsa.cipher);
}

impl Transport for BufStream<DuplexStream> {}

#[tokio::test]
async fn what_is_not_tls_is_a_protocol_error_and_gets_an_alert_even_through_a_buffer() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let (near, mut far) = pipe();
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
    // A stream that keeps what is written until it is flushed.
    let failed =
        profile.accept(BufStream::new(near), Vec::new(), &Scratch::default()).await.expect_err("no TLS");
    assert_eq!(failed.error.reason, HandshakeFailure::Protocol);
    let mut alert = [0; 7];
    far.read_exact(&mut alert).await.expect("an alert");
    assert_eq!(alert[..2], [21, 3]);
    assert_eq!(alert[5], 2, "fatal");
    drop(failed.io);
    assert_eq!(far.read(&mut alert).await.expect("an end"), 0, "nothing behind the alert");
}

#[tokio::test]
async fn a_client_that_leaves_is_an_eof() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let (near, far) = pipe();
    drop(far);
    let failed = profile.accept(near, Vec::new(), &Scratch::default()).await.expect_err("nobody there");
    assert_eq!(failed.error.reason, HandshakeFailure::Eof);
    assert_eq!(failed.error.alert_name(), None);
}

#[tokio::test]
async fn a_handshake_fits_its_budget() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let (near, _far) = pipe();
    let size = size_of_val(&profile.accept(near, Vec::new(), &Scratch::default()));
    assert!(size <= 3 * 1024, "a pending handshake is {size} bytes");
}

#[tokio::test]
async fn debug_names_certificates_and_no_more() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let shown = format!("{profile:?}");
    assert!(shown.contains("a.pem") && !shown.to_lowercase().contains("secret"), "{shown}");
    assert_eq!(profile.certificates().map(|one| one.names.len()).sum::<usize>(), 1);
}

/// A hello as OpenSSL sends it for TLS 1.1: version 3.2, no signature schemes.
#[tokio::test]
async fn an_old_client_shares_no_version() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let mut body = vec![3, 2];
    body.extend([7; 32]); // random
    body.extend([0, 0, 4, 0xc0, 0x09, 0xc0, 0x0a, 1, 0]); // no session, two suites, no compression
    let mut hello = vec![22, 3, 1, 0, 4 + u8::try_from(body.len()).expect("short")];
    hello.extend([1, 0, 0, u8::try_from(body.len()).expect("short")]);
    hello.extend(body);
    let (near, mut far) = pipe();
    far.write_all(&hello).await.expect("room");
    let failed = profile.accept(near, Vec::new(), &Scratch::default()).await.expect_err("too old");
    assert_eq!(failed.error.reason, HandshakeFailure::NoSharedVersion, "{}", failed.error);
}

//! The server side against a rustls client, in memory: what is agreed, resumed, and refused how.

mod choice;

use std::io;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::Version;
use crate::agreed::Resumed;
use crate::alert::{Alert, FatalAlert};
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::fixtures::{Pki, ecdsa, params, pipe, profile, rsa, settings, tls_error};
use crate::fleet::FleetSecrets;
use crate::secret::{ProcessSecret, Secret};
use crate::stream::Buffered;

const NAME: &str = "www.example.com";

/// Reads the client's hello, as callers do before the handshake.
async fn peeked(io: &mut DuplexStream) -> Vec<u8> {
    let mut ahead = Vec::new();
    while Offer::read(&ahead).is_none() && io.read_buf(&mut ahead).await.is_ok_and(|read| read > 0) {}
    ahead
}

/// Both ends of one handshake. The server says a byte behind it, which carries its tickets to a client
/// that reads.
async fn handshake(
    profile: &ServerProfile,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> (Result<Session, HandshakeError>, io::Result<()>) {
    let (mut near, far) = pipe();
    let server = Box::pin(async {
        let ahead = peeked(&mut near).await;
        let (stream, session) = profile.accept(near, ahead, &Scratch::default()).await?;
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

/// The first certificate that a client gets.
async fn leaf(profile: &ServerProfile, client: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let (mut near, far) = pipe();
    let server = Box::pin(async {
        let ahead = peeked(&mut near).await;
        profile.accept(near, ahead, &Scratch::default()).await.map(drop)
    });
    let name = ServerName::try_from(NAME).expect("a name");
    let client = Box::pin(TlsConnector::from(Arc::clone(client)).connect(name, far));
    let (_server, client) = tokio::join!(server, client);
    let stream = client.expect("the client's side");
    let chain = stream.get_ref().1.peer_certificates().expect("a chain");
    chain.first().expect("a certificate").clone().into_owned()
}

/// Both ends' errors. The alert of the error is the one that the client received, or else the client's own.
async fn failure(profile: &ServerProfile, client: impl Into<Arc<ClientConfig>>) -> (HandshakeError, Error) {
    let (server, client) = handshake(profile, &client.into(), NAME).await;
    let error = server.expect_err("the server refuses");
    let other = tls_error(&client.expect_err("the client fails"));
    match (&other, error.alert) {
        (Error::AlertReceived(heard), sent) => {
            assert_eq!(sent, Some(FatalAlert::Sent(Alert::of(u8::from(*heard)))), "{error}");
        }
        (_, alert) => assert!(matches!(alert, Some(FatalAlert::Received(_))), "{alert:?}"),
    }
    (error, other)
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
        version: Version::Tls13,
        cipher: "TLS_AES_256_GCM_SHA384",
        group: "X25519MLKEM768",
        resumed: Resumed::No,
        alpn: Some(b"h2"[..].into()),
        client: None,
    };
    assert_eq!(agreed, expected);

    let agreed = session(&profile, &Arc::new(pki.client(&[&TLS12])), NAME).await;
    assert_eq!(agreed.version, Version::Tls12);
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
async fn a_rotated_secret_seals_new_tickets_and_opens_old_ones_across_reloads() {
    let pki = Pki::new();
    let settings = settings(vec![pki.issue("a", &[NAME])]);
    let sessions = Sessions::random().expect("randomness");
    let profile = || ServerProfile::build(&settings, &sessions).expect("a profile").0;
    let rotate = |secrets: &[&Secret]| {
        let secrets: Vec<Secret> = secrets.iter().map(|one| (*one).clone()).collect();
        assert!(sessions.join(&FleetSecrets::of(&secrets)));
        assert!(!sessions.join(&FleetSecrets::of(&secrets)), "no change");
    };
    let [one, two] = [0, 1].map(|_| ProcessSecret::random().expect("randomness").secret());
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(pki.client(&[version]));
        rotate(&[&one]);
        let before = profile();
        assert_eq!(session(&before, &client, NAME).await.resumed, Resumed::No);
        rotate(&[&two, &one]);
        let reloaded = profile();
        for profile in [&before, &reloaded] {
            assert_eq!(session(profile, &client, NAME).await.resumed, Resumed::Ticket, "{version:?}");
        }
        // The client's ticket is by the second secret now, in the profile of before the rotation as in the other.
        rotate(&[&two]);
        assert_eq!(session(&before, &client, NAME).await.resumed, Resumed::Ticket, "{version:?}");
        rotate(&[]);
        assert_eq!(
            session(&reloaded, &client, NAME).await.resumed,
            Resumed::No,
            "{version:?}: a removed secret"
        );
    }
}

#[tokio::test]
async fn nodes_with_one_secret_resume_each_others_sessions() {
    let pki = Pki::new();
    let settings = settings(vec![pki.issue("a", &[NAME])]);
    let secret = ProcessSecret::random().expect("randomness").secret();
    let node = |secrets: &[Secret], lifetime| {
        let sessions = Sessions::random().expect("randomness");
        let settings = ServerSettings { ticket_lifetime: Duration::from_secs(lifetime), ..settings.clone() };
        let profile = ServerProfile::build(&settings, &sessions).expect("a profile").0;
        // In force after the profile was built, as a watched file's secret is.
        sessions.join(&FleetSecrets::of(secrets));
        profile
    };
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(pki.client(&[version]));
        let same = std::slice::from_ref(&secret);
        assert_eq!(session(&node(same, 3600), &client, NAME).await.resumed, Resumed::No);
        assert_eq!(session(&node(same, 3600), &client, NAME).await.resumed, Resumed::Ticket, "{version:?}");
        assert_eq!(
            session(&node(same, 60), &client, NAME).await.resumed,
            Resumed::Ticket,
            "another lifetime"
        );
        assert_eq!(session(&node(&[], 3600), &client, NAME).await.resumed, Resumed::No, "a node alone");
        let other = ProcessSecret::random().expect("randomness").secret();
        assert_eq!(
            session(&node(&[other], 3600), &client, NAME).await.resumed,
            Resumed::No,
            "another secret"
        );
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
async fn sessions_go_with_the_last_profile_of_their_kind() {
    let pki = Pki::new();
    let settings = ServerSettings { tickets: false, ..settings(vec![pki.issue("a", &[NAME])]) };
    let sessions = Sessions::random().expect("randomness");
    let client = Arc::new(pki.client(&[&TLS12]));
    for _ in 0..2 {
        let profile = ServerProfile::build(&settings, &sessions).expect("a profile").0;
        assert_eq!(session(&profile, &client, NAME).await.resumed, Resumed::No);
    }
}

/// The end of the certificate that a client is shown.
fn not_after(profile: &ServerProfile) -> i64 {
    profile.certificates()[0].not_after
}

fn valid_until(year: i32) -> rcgen::CertificateParams {
    let mut params = params(&[NAME]);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params
}

#[tokio::test]
async fn staged_certificates_serve_no_handshake_before_their_plan() {
    let pki = Pki::new();
    let sessions = Sessions::random().expect("randomness");
    let files = pki.issue_for("a", &ecdsa(), valid_until(2040));
    let ours = ServerSettings { tickets: false, ..settings(vec![files.clone()]) };
    let build = || Arc::new(ServerProfile::build(&ours, &sessions.for_a_plan()).expect("a profile").0);
    let before = build();
    ServerProfile::put_in_force([&before], &sessions);
    let old = not_after(&before);
    let client = Arc::new(pki.client(&[&TLS12]));
    session(&before, &client, NAME).await;

    // A reload reads a renewed certificate, and then comes to nothing.
    pki.issue_for("a", &ecdsa(), valid_until(2041));
    let abandoned = build();
    assert!(!before.follow(&sessions), "nothing was put in force");
    assert_eq!((not_after(&before), not_after(&abandoned) > old), (old, true));
    drop(abandoned);
    assert_eq!(session(&before, &client, NAME).await.resumed, Resumed::SessionId, "its sessions stay");

    // The next reload succeeds: profiles of the earlier plan serve the renewed certificate too.
    let after = build();
    ServerProfile::put_in_force([&after], &sessions);
    assert!(before.follow(&sessions) && !before.follow(&sessions), "changed once");
    assert!(not_after(&before) > old);
    let key = |profile: &ServerProfile| Arc::clone(&profile.serving.load().served[0].certified);
    assert!(Arc::ptr_eq(&key(&before), &key(&after)), "held once");
    assert_eq!(
        session(&before, &client, NAME).await.resumed,
        Resumed::No,
        "the sessions went with their certificate"
    );
    assert_eq!(
        session(&after, &client, NAME).await.resumed,
        Resumed::SessionId,
        "and the new ones are shared"
    );
}

#[tokio::test]
async fn renewed_certificates_serve_their_new_names() {
    let pki = Pki::new();
    let sessions = Sessions::random().expect("randomness");
    let files = [pki.issue("a", &[NAME]), pki.issue("b", &["b.example.com"])];
    let build = |files: &[CertificateFiles]| {
        let built = ServerProfile::build(&settings(files.to_vec()), &sessions.for_a_plan());
        Arc::new(built.expect("a profile").0)
    };
    let profile = build(&files);
    ServerProfile::put_in_force([&profile], &sessions);
    pki.issue("b", &["c.example.com"]);
    // The plan in force has the second file alone: the first keeps what it served.
    ServerProfile::put_in_force([&build(&files[1..])], &sessions);
    assert!(profile.follow(&sessions));
    let answers = |name| profile.answers(Some(name));
    assert!(answers(NAME) && answers("c.example.com") && !answers("b.example.com"));
    let client = Arc::new(pki.client(&[&TLS13]));
    session(&profile, &client, "c.example.com").await;
}

#[test]
fn profiles_of_one_plan_share_what_was_read_once() {
    let pki = Pki::new();
    let settings = settings(vec![pki.issue_for("a", &ecdsa(), valid_until(2040))]);
    let sessions = Sessions::random().expect("randomness");
    let plan = sessions.for_a_plan();
    let build = |sessions: &Sessions| ServerProfile::build(&settings, sessions).expect("a profile").0;
    let first = build(&plan);
    pki.issue_for("a", &ecdsa(), valid_until(2041));
    assert_eq!(not_after(&build(&plan)), not_after(&first));
    assert!(not_after(&build(&sessions.for_a_plan())) > not_after(&first), "the next plan reads anew");
}

#[test]
fn another_client_auth_policy_has_another_digest() {
    let pki = Pki::new();
    let now = i64::try_from(unix_now()).expect("a date");
    let served = crate::certificate::load_all(
        &[pki.issue("a", &[NAME])],
        &crate::certificate::CertificateStore::default(),
        None,
        now,
    )
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
async fn missing_agreement_is_named_and_alerted() {
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
async fn distrusting_clients_say_so() {
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
async fn non_tls_bytes_are_a_bad_message_with_an_alert_even_through_a_buffer() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let (near, mut far) = pipe();
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
    // A stream that keeps what is written until it is flushed.
    let failed =
        profile.accept(BufStream::new(near), Vec::new(), &Scratch::default()).await.expect_err("no TLS");
    assert_eq!(failed.error.reason, HandshakeFailure::BadMessage);
    assert_eq!(failed.error.alert, Some(FatalAlert::Sent(Alert::DecodeError)));
    let mut alert = [0; 7];
    far.read_exact(&mut alert).await.expect("an alert");
    assert_eq!(alert[..2], [21, 3]);
    assert_eq!(alert[5..], [2, 50], "fatal");
    drop(failed.io);
    assert_eq!(far.read(&mut alert).await.expect("an end"), 0, "nothing behind the alert");
}

#[tokio::test]
async fn a_client_that_leaves_is_an_eof() {
    let pki = Pki::new();
    let profile = profile(&settings(vec![pki.issue("a", &[NAME])]));
    let (near, far) = pipe();
    drop(far);
    let failed = profile.accept(near, Vec::new(), &Scratch::default()).await.expect_err("no peer");
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
    assert_eq!(profile.certificates().iter().map(|one| one.names.len()).sum::<usize>(), 1);
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
    // rustls complains about the signature schemes first; weir refuses such a client itself, before rustls.
    assert_eq!(failed.error.alert, Some(FatalAlert::Sent(Alert::HandshakeFailure)));
}

#[test]
fn a_profile_without_certificate_and_directory_is_refused() {
    let sessions = Sessions::random().expect("randomness");
    let errors = ServerProfile::build(&settings(Vec::new()), &sessions).expect_err("nothing to serve");
    assert!(matches!(errors[0].problem, crate::CertificateProblem::NoneListed));
}

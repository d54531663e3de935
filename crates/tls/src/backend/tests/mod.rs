//! The client side against rustls servers, in memory: trust, names and sessions.

mod identity;
mod looks;
mod pins;
mod probe;
mod revocation;
mod uris;

use std::fs;
use std::sync::Arc;

use rcgen::CertificateParams;
use rustls::server::ServerConfig;
use rustls::version::TLS12;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::agreed::{Resumed, Session};
use crate::alert::{Alert, FatalAlert};
use crate::certificate::CertificateFiles;
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::fixtures::{Pki, ecdsa, params, pipe, plain_server};
use crate::provider::{MinVersion, provider};
use crate::sessions::Sessions;
use crate::stream::{Buffered, Scratch};
use crate::warning::Warning;

const NAME: &str = "backend.test";

type Connected = Result<(Box<BackendStream<DuplexStream>>, Session), HandshakeError>;

/// One connection to a server that sends a byte, with which its tickets reach the client.
async fn connect_as(
    client: &BackendClient,
    server: &Arc<ServerConfig>,
    sni: Option<&str>,
    host: &str,
    negotiated: Option<&[u8]>,
) -> Connected {
    let (near, far) = pipe();
    let server = Box::pin(async {
        let mut stream = TlsAcceptor::from(Arc::clone(server)).accept(far).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        std::io::Result::Ok(stream)
    });
    let client = Box::pin(async {
        let (stream, session) = client.connect(near, &Scratch::default(), sni, host, negotiated).await?;
        let mut stream = Buffered::new(stream);
        stream.read_u8().await?;
        Ok((stream.into_inner(), session))
    });
    // If the client refuses, the server fails too; the client has the reason.
    let (ours, theirs) = tokio::join!(client, server);
    if let Err(error) = &ours {
        agree_on_the_alert(error, theirs.err());
    }
    ours
}

/// The alert in weir's error is the one that the server heard, if it heard one.
fn agree_on_the_alert(error: &HandshakeError, theirs: Option<std::io::Error>) {
    let theirs = theirs.as_ref().and_then(std::io::Error::get_ref);
    match theirs.and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(heard)) => {
            assert_eq!(error.alert, Some(FatalAlert::Sent(Alert::of(u8::from(*heard)))), "{error}");
        }
        _ => assert!(!matches!(error.alert, Some(FatalAlert::Sent(_))), "{error}: {theirs:?}"),
    }
}

async fn connect(client: &BackendClient, server: &Arc<ServerConfig>) -> Connected {
    connect_as(client, server, Some(NAME), "127.0.0.1", None).await
}

async fn reason(settings: &BackendSettings, files: &CertificateFiles) -> Option<HandshakeFailure> {
    let (tls, _) = BackendTls::build(settings).expect("a policy");
    connect(&tls.client(), &Arc::new(plain_server(files, 1))).await.err().map(|error| error.reason)
}

fn trusting(ca: &std::path::Path) -> BackendSettings {
    BackendSettings { ca: Some(ca.to_owned()), ..BackendSettings::default() }
}

#[tokio::test]
async fn chain_and_name_are_checked() {
    let pki = Pki::new();
    let good = pki.issue("good", &[NAME]);
    let other = pki.issue("other", &["other.test"]);
    let settings = trusting(&pki.ca);
    assert_eq!(reason(&settings, &good).await, None);
    assert_eq!(reason(&settings, &other).await, Some(HandshakeFailure::NameMismatch));
    assert_eq!(reason(&trusting(&Pki::new().ca), &good).await, Some(HandshakeFailure::UnknownCa));
    assert_eq!(
        reason(&trusting(&pki.namesake().ca), &good).await,
        Some(HandshakeFailure::UnknownCa),
        "made anew"
    );
    let system = BackendSettings::default();
    assert_eq!(reason(&system, &good).await, Some(HandshakeFailure::UnknownCa));
}

fn dated(from: i32, to: i32) -> CertificateParams {
    let mut params = params(&[NAME]);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

#[tokio::test]
async fn dates_are_checked_under_any_authority() {
    let pki = Pki::new();
    for (from, to, expected) in
        [(2000, 2001, HandshakeFailure::Expired), (2100, 2101, HandshakeFailure::NotYetValid)]
    {
        let issued = pki.issue_for("issued", &ecdsa(), dated(from, to));
        assert_eq!(reason(&trusting(&pki.ca), &issued).await, Some(expected));
        let own = pki.self_signed("own", dated(from, to));
        assert_eq!(reason(&trusting(&own.cert), &own).await, Some(expected));
    }
}

#[test]
fn expired_authorities_are_warnings() {
    let pki = Pki::new();
    let expired = pki.self_signed("expired", dated(2000, 2001));
    let bundle = [&pki.ca, &expired.cert].map(|path| fs::read(path).unwrap()).concat();
    let (_, warnings) =
        BackendTls::build(&trusting(&pki.file("bundle.pem", bundle))).expect("the other one is good");
    assert!(matches!(warnings[..], [Warning::CaExpired { position: 2, .. }]), "{warnings:?}");
}

#[tokio::test]
async fn a_listed_self_signed_certificate_is_trusted_for_its_name_alone() {
    let pki = Pki::new();
    let own = pki.self_signed("own", params(&[NAME]));
    let twin = pki.self_signed("twin", params(&[NAME]));
    let misnamed = pki.self_signed("misnamed", params(&["other.test"]));
    assert_eq!(reason(&trusting(&own.cert), &own).await, None);
    assert_eq!(
        reason(&trusting(&own.cert), &twin).await,
        Some(HandshakeFailure::UnknownCa),
        "same name, not listed"
    );
    assert_eq!(reason(&trusting(&misnamed.cert), &misnamed).await, Some(HandshakeFailure::NameMismatch));
    // One bundle with several of them, and an authority.
    let bundle = [&own.cert, &twin.cert, &pki.ca].map(|path| fs::read(path).unwrap()).concat();
    let bundle = trusting(&pki.file("bundle.pem", bundle));
    for files in [&own, &twin, &pki.issue("issued", &[NAME])] {
        assert_eq!(reason(&bundle, files).await, None);
    }
}

/// The server presents a certificate without holding its key.
#[tokio::test]
async fn the_handshake_signature_is_always_verified() {
    #[derive(Debug)]
    struct Impostor(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Impostor {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let pki = Pki::new();
    let own = pki.self_signed("own", params(&[NAME]));
    let other = pki.issue("other", &[NAME]);
    let chain = crate::certificate::certificates_in(&own.cert).expect("a certificate");
    let key = rustls::pki_types::pem::PemObject::from_pem_file(&other.key).expect("a key");
    let key = provider().key_provider.load_private_key(key).expect("a key");
    let mut server = plain_server(&other, 0);
    server.cert_resolver = Arc::new(Impostor(Arc::new(rustls::sign::CertifiedKey::new(chain, key))));
    let server = Arc::new(server);

    let unverified = BackendSettings { verify: false, ..BackendSettings::default() };
    let policies = [
        BackendTls::build(&trusting(&own.cert)).expect("a policy").0,
        BackendTls::build(&unverified).expect("a policy").0,
        BackendTls::unverified(),
    ];
    for policy in policies {
        let error = connect(&policy.client(), &server).await.expect_err("an impostor");
        assert_eq!(error.reason, HandshakeFailure::BadCertificate, "{error}");
        let error = probe::probed(&policy.probe(), &server, None).await.expect_err("an impostor");
        assert_eq!(error.reason, HandshakeFailure::BadCertificate, "{error}");
    }
}

#[tokio::test]
async fn verify_false_takes_any_certificate_and_says_so() {
    let pki = Pki::new();
    let settings = BackendSettings { verify: false, ..BackendSettings::default() };
    let (_, warnings) = BackendTls::build(&settings).expect("a policy");
    assert_eq!(warnings, [Warning::Unverified]);
    assert_eq!(reason(&settings, &pki.issue("a", &["other.test"])).await, None);
    assert_eq!(reason(&settings, &pki.self_signed("b", dated(2000, 2001))).await, None);
}

#[tokio::test]
async fn the_server_name_comes_from_the_configured_source() {
    let pki = Pki::new();
    let server = |names: &[&str]| Arc::new(plain_server(&pki.issue("a", names), 0));
    let client = |server_name| {
        let settings = BackendSettings { server_name, ..trusting(&pki.ca) };
        BackendTls::build(&settings).expect("a policy").0.client()
    };
    let fixed = || ServerNameFrom::Fixed("fixed.test".to_owned());
    let cases = [
        (ServerNameFrom::Sni, Some("sni.test"), "host.test", "sni.test"),
        (ServerNameFrom::Sni, None, "host.test", "host.test"),
        (ServerNameFrom::Sni, None, "10.0.0.1", "10.0.0.1"),
        (ServerNameFrom::Address, Some("sni.test"), "host.test", "host.test"),
        (ServerNameFrom::Address, Some("sni.test"), "::1", "::1"),
        (fixed(), Some("sni.test"), "host.test", "fixed.test"),
    ];
    for (from, sni, host, expected) in cases {
        let client = client(from);
        let asked = connect_as(&client, &server(&[expected]), sni, host, None).await;
        asked.unwrap_or_else(|error| panic!("{expected}: {error}"));
        let asked = connect_as(&client, &server(&["nobody.test"]), sni, host, None).await;
        assert_eq!(asked.expect_err("another name").reason, HandshakeFailure::NameMismatch, "{expected}");
    }
    let asked =
        connect_as(&client(ServerNameFrom::Sni), &server(&[NAME]), Some("not a name"), NAME, None).await;
    assert_eq!(asked.expect_err("no name").reason, HandshakeFailure::BadName);
}

#[tokio::test]
async fn alpn_is_the_clients_or_the_list() {
    let pki = Pki::new();
    let mut server = plain_server(&pki.issue("a", &[NAME]), 0);
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = Arc::new(server);
    let list = BackendAlpn::List(vec![b"http/1.1".to_vec()]);
    type Protocol = Option<&'static [u8]>;
    let cases: [(BackendAlpn, Protocol, Protocol); 4] = [
        (BackendAlpn::Same, Some(b"h2"), Some(b"h2")),
        (BackendAlpn::Same, None, None),
        (list, Some(b"h2"), Some(b"http/1.1")),
        (BackendAlpn::List(Vec::new()), Some(b"h2"), None),
    ];
    for (alpn, negotiated, expected) in cases {
        let (tls, _) = BackendTls::build(&BackendSettings { alpn, ..trusting(&pki.ca) }).expect("a policy");
        let asked = connect_as(&tls.client(), &server, Some(NAME), NAME, negotiated).await;
        let (_, session) = asked.expect("a session");
        assert_eq!(session.alpn.as_deref(), expected);
    }
    let (tls, _) = BackendTls::build(&trusting(&pki.ca)).expect("a policy");
    let asked = connect_as(&tls.client(), &server, Some(NAME), NAME, Some(b"smtp")).await;
    let error = asked.expect_err("nothing in common");
    assert_eq!(
        (error.reason, error.alert_name()),
        (HandshakeFailure::Alert, Some("no_application_protocol"))
    );
}

#[tokio::test]
async fn each_backend_has_sessions_of_its_own() {
    let pki = Pki::new();
    let files = pki.issue("a", &[NAME]);
    for version in [rustls::ALL_VERSIONS, &[&TLS12]] {
        let server = || {
            let mut server = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(version)
                .expect("versions")
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&plain_server(&files, 1).cert_resolver));
            server.send_tls13_tickets = 1;
            Arc::new(server)
        };
        let (one, two) = (server(), server());
        let (tls, _) = BackendTls::build(&trusting(&pki.ca)).expect("a policy");
        let (to_one, to_two) = (tls.client(), tls.client());
        let expected = if version.len() == 1 { Resumed::SessionId } else { Resumed::Ticket };
        let mut seen = Vec::new();
        for _ in 0..3 {
            for (client, server) in [(&to_one, &one), (&to_two, &two)] {
                seen.push(connect(client, server).await.expect("a session").1.resumed);
            }
        }
        let full = Resumed::No;
        assert_eq!(seen, [full, full, expected, expected, expected, expected]);
    }
}

/// Connects to each backend's own server, with clients made one after the other, and checks the resumptions.
#[tokio::test]
async fn sessions_outlive_a_policy_of_the_same_trust() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue("a", &[NAME]), 2));
    let (one, two) = ("10.0.0.1:443", "10.0.0.2:443");
    let sessions = Sessions::random().expect("randomness");
    let build =
        |settings: &BackendSettings| BackendTls::build(settings).expect("a policy").0.keeping(&sessions);
    let before = build(&trusting(&pki.ca)).client_for(one);
    let resumed = async |client: &BackendClient| {
        let (_, session) = connect(client, &server).await.expect("a session");
        session.resumed
    };
    assert_eq!(resumed(&before).await, Resumed::No);
    let alpn = BackendAlpn::List(vec![b"h2".to_vec()]);
    let after = build(&BackendSettings { alpn, ..trusting(&pki.ca) });
    assert_eq!(resumed(&after.client_for(one)).await, Resumed::Ticket);
    assert_eq!(resumed(&after.client_for(two)).await, Resumed::No, "another address");

    // A policy with other trust or versions starts without sessions, and so does one without `keeping`.
    let more = pki.ca.with_file_name("more.pem");
    let both = [pki.ca.clone(), pki.issue("b", &["b.test"]).cert].map(|pem| fs::read(pem).expect("PEM"));
    fs::write(&more, both.concat()).expect("a file");
    let differing = [
        build(&trusting(&more)),
        build(&BackendSettings { verify: false, ..trusting(&pki.ca) }),
        build(&BackendSettings { min_version: MinVersion::Tls13, ..trusting(&pki.ca) }),
        BackendTls::build(&trusting(&pki.ca)).expect("a policy").0,
    ];
    for policy in differing {
        assert_eq!(resumed(&policy.client_for(one)).await, Resumed::No, "{policy:?}");
    }
    assert_eq!(resumed(&before).await, Resumed::Ticket);
}

#[test]
fn errors_are_reported_together() {
    let settings = BackendSettings {
        ca: Some("/nowhere/ca.pem".into()),
        server_name: ServerNameFrom::Fixed("no name".to_owned()),
        ..BackendSettings::default()
    };
    let errors = BackendTls::build(&settings).expect_err("errors");
    let keys: Vec<_> = errors.iter().map(BackendTlsError::key).collect();
    assert_eq!(keys, ["ca", "server_name"]);
    assert!(errors.iter().all(|error| !error.hint().is_empty()));

    let pki = Pki::new();
    let key = pki.issue("a", &[NAME]).key;
    let errors = BackendTls::build(&trusting(&key)).expect_err("an error");
    assert!(errors[0].to_string().contains("has no certificate"), "{}", errors[0]);
}

#[tokio::test]
async fn plaintext_servers_and_closed_connections_have_their_own_reasons() {
    let client = BackendTls::unverified().client();
    let (near, mut far) = pipe();
    far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("room");
    let error = client.connect(near, &Scratch::default(), None, NAME, None).await.expect_err("no TLS");
    assert_eq!((error.reason, error.alert), (HandshakeFailure::NotTls, None));
    let (near, mut far) = pipe();
    far.write_all(b"\x16\x03\x03\x00\x04\x00\x00\x00\x00").await.expect("room");
    let error = client.connect(near, &Scratch::default(), None, NAME, None).await.expect_err("bad TLS");
    assert_eq!(error.reason, HandshakeFailure::UnexpectedMessage);
    let (near, far) = pipe();
    drop(far);
    let error = client.connect(near, &Scratch::default(), None, NAME, None).await.expect_err("no peer");
    assert!(matches!(error.reason, HandshakeFailure::Eof | HandshakeFailure::Reset), "{error}");
}

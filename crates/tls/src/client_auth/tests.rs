//! Clients with and without certificates, against a rustls client in memory; and around resumption, with clients that
//! keep a good session.

use std::fs;
use std::io;
use std::time::Duration;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::agreed::{Resumed, Session};
use crate::certificate::{CertificateFiles, certificates_in};
use crate::failure::HandshakeError;
use crate::fixtures::{INTERMEDIATE, Pki, ecdsa, params, pipe, rsa, settings, tls_error};
use crate::rotation::{Peers, Rotation};
use crate::server::{ServerProfile, ServerSettings};
use crate::sessions::Sessions;
use crate::stream::{Buffered, Scratch};

const NAME: &str = "www.example.com";
const ALICE: u64 = 5;

/// What a client certificate has at least.
fn client_params(names: Vec<SanType>) -> CertificateParams {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(ALICE));
    params.subject_alt_names = names;
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("a name"))
}

fn required(ca: &Pki) -> ClientAuthSettings {
    ClientAuthSettings {
        ca: ca.ca.clone(),
        mode: ClientAuthMode::Required,
        crl: Vec::new(),
        names: Vec::new(),
    }
}

/// An authority of servers, one of clients, and what a process shares.
struct World {
    servers: Pki,
    clients: Pki,
    sessions: Sessions,
    certificate: CertificateFiles,
}

impl World {
    fn new() -> Self {
        let servers = Pki::new();
        let certificate = servers.issue("server", &[NAME, "other.example.com"]);
        Self { servers, clients: Pki::new(), sessions: Sessions::random().expect("randomness"), certificate }
    }

    fn profile(&self, auth: Option<&ClientAuthSettings>) -> ServerProfile {
        let client_auth = auth.map(|auth| ClientAuth::read(auth).expect("a policy").0);
        let settings = ServerSettings { client_auth, ..settings(vec![self.certificate.clone()]) };
        ServerProfile::build(&settings, &self.sessions).expect("a profile").0
    }

    fn alice(&self) -> CertificateFiles {
        self.clients.issue_for("alice", &ecdsa(), client_params(Vec::new()))
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        self.servers.client(&[version])
    }

    fn client_with(
        &self,
        files: &CertificateFiles,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let chain = certificates_in(&files.cert).expect("a chain");
        self.client_showing(chain, files, version)
    }

    fn client_showing(
        &self,
        chain: Vec<CertificateDer<'static>>,
        files: &CertificateFiles,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.servers.ca).expect("a file")).expect("an authority");
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).expect("a key"))
            .expect("a certificate and its key")
    }
}

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

async fn session(profile: &ServerProfile, client: &Arc<ClientConfig>) -> Session {
    let (server, client) = handshake(profile, client, NAME).await;
    client.expect("the client's side");
    server.expect("the server's side")
}

/// Why the server refuses, and the alert that the client gets.
async fn refused(
    profile: &ServerProfile,
    client: ClientConfig,
) -> (HandshakeFailure, Option<AlertDescription>) {
    let (server, client) = handshake(profile, &Arc::new(client), NAME).await;
    let alert = match tls_error(&client.expect_err("the client fails")) {
        Error::AlertReceived(alert) => Some(alert),
        _ => None,
    };
    (server.expect_err("the server refuses").reason, alert)
}

#[tokio::test]
async fn a_client_with_a_certificate_comes_in_and_its_facts_are_kept() {
    let world = World::new();
    let profile = world.profile(Some(&required(&world.clients)));
    let of = |algorithm| KeyPair::generate_for(algorithm).expect("a key");
    let classic: &[&'static SupportedProtocolVersion] = &[&TLS12, &TLS13];
    let modern: &[&'static SupportedProtocolVersion] = &[&TLS13];
    for (key, versions) in [
        (ecdsa(), classic),
        (of(&rcgen::PKCS_ECDSA_P384_SHA384), classic),
        (rsa(), classic),
        (of(&rcgen::PKCS_ED25519), classic),
        (of(&rcgen::PKCS_ML_DSA_44), modern),
        (of(&rcgen::PKCS_ML_DSA_65), modern),
        (of(&rcgen::PKCS_ML_DSA_87), modern),
    ] {
        let mut params = client_params(vec![uri("spiffe://example.org/a"), dns("a.example.com")]);
        params.distinguished_name.push(DnType::OrganizationName, "Example, O=Admin\n");
        let files = world.clients.issue_for("alice", &key, params);
        for version in versions {
            let client = Arc::new(world.client_with(&files, version));
            let seen = session(&profile, &client).await.client.expect("a certificate");
            assert_eq!(seen.common_name.as_deref(), Some("alice"));
            assert_eq!(&*seen.subject, "O=Example\\, O=Admin\\0a,CN=alice");
            assert_eq!(seen.names.join(" "), "URI:spiffe://example.org/a DNS:a.example.com");
            assert_eq!(seen.fingerprint.to_string().len(), 64);
            let again = session(&profile, &client).await;
            assert_eq!((again.resumed, again.client.as_ref()), (Resumed::Ticket, Some(&seen)), "{version:?}");
        }
    }
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_its_alert() {
    let world = World::new();
    let (stranger, namesake) = (Pki::new(), world.clients.namesake());
    let dated = |from: i32, to: i32| {
        let mut params = client_params(Vec::new());
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        world.clients.issue_for(&format!("until-{to}"), &ecdsa(), params)
    };
    let mut server_only = client_params(Vec::new());
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cases = [
        (stranger.issue_for("s", &ecdsa(), client_params(Vec::new())), HandshakeFailure::UnknownCa, 48),
        (dated(2000, 2001), HandshakeFailure::Expired, 45),
        (dated(2090, 2091), HandshakeFailure::NotYetValid, 45),
        (world.clients.issue_for("p", &ecdsa(), server_only), HandshakeFailure::WrongPurpose, 43),
        (world.clients.self_signed("self", client_params(Vec::new())), HandshakeFailure::UnknownCa, 48),
        // The name of the authority, and another key.
        (namesake.issue_for("n", &ecdsa(), client_params(Vec::new())), HandshakeFailure::UnknownCa, 48),
    ];
    for mode in [ClientAuthMode::Required, ClientAuthMode::Optional] {
        let profile = world.profile(Some(&ClientAuthSettings { mode, ..required(&world.clients) }));
        for version in [&TLS12, &TLS13] {
            for (files, reason, alert) in &cases {
                let seen = refused(&profile, world.client_with(files, version)).await;
                let case = format!("{version:?} {mode:?} {}", files.cert.display());
                assert_eq!((seen.0, seen.1.map(u8::from)), (*reason, Some(*alert)), "{case}");
            }
            let without = world.client(version);
            if mode == ClientAuthMode::Required {
                let seen = refused(&profile, without).await;
                let alert = AlertDescription::CertificateRequired;
                assert_eq!(seen, (HandshakeFailure::CertificateRequired, Some(alert)), "{version:?}");
            } else {
                assert_eq!(session(&profile, &Arc::new(without)).await.client, None);
            }
        }
    }
}

#[tokio::test]
async fn only_listed_names_come_in() {
    let world = World::new();
    let names = ["*.ops.example.com", "spiffe://example.org/ops/*", "alice@example.com"];
    let names = names.iter().map(|name| AllowedName::parse(name).expect("a name")).collect();
    let profile = world.profile(Some(&ClientAuthSettings { names, ..required(&world.clients) }));
    let email = |text: &str| SanType::Rfc822Name(text.try_into().expect("an address"));
    let issue = |names| world.clients.issue_for("named", &ecdsa(), client_params(names));
    for good in [dns("a.ops.example.com"), uri("spiffe://example.org/ops/a"), email("alice@EXAMPLE.com")] {
        let files = issue(vec![dns("x.test"), good]);
        session(&profile, &Arc::new(world.client_with(&files, &TLS13))).await;
    }
    // The last has the name as its common name alone.
    let mut common_name = client_params(Vec::new());
    common_name.distinguished_name.push(DnType::CommonName, "a.ops.example.com");
    for bad in [
        issue(vec![dns("a.b.ops.example.com"), uri("spiffe://example.org/ops"), email("bob@example.com")]),
        issue(vec![dns("*.ops.example.com")]),
        issue(Vec::new()),
        world.clients.issue_for("named", &ecdsa(), common_name),
    ] {
        for version in [&TLS12, &TLS13] {
            let seen = refused(&profile, world.client_with(&bad, version)).await;
            assert_eq!(seen, (HandshakeFailure::NameNotAllowed, Some(AlertDescription::AccessDenied)));
        }
    }
}

#[tokio::test]
async fn a_spiffe_id_beside_another_uri_is_no_name() {
    let world = World::new();
    let id = "spiffe://example.org/ops/a";
    let issue = |names| world.clients.issue_for("named", &ecdsa(), client_params(names));
    for names in [id, "spiffe://example.org/ops/*"] {
        let names = vec![AllowedName::parse(names).expect("a name")];
        let profile = world.profile(Some(&ClientAuthSettings { names, ..required(&world.clients) }));
        // Names of other kinds may stand beside it (X509-SVID, section 2).
        let alone = issue(vec![uri(id), dns("a.example.com")]);
        session(&profile, &Arc::new(world.client_with(&alone, &TLS13))).await;
        for second in
            ["https://example.org/a", "spiffe://example.org/ops/b", "urn:uuid:a", "SPIFFE://other/x"]
        {
            for both in [[uri(id), uri(second)], [uri(second), uri(id)]] {
                let files = issue(both.to_vec());
                for version in [&TLS12, &TLS13] {
                    let seen = refused(&profile, world.client_with(&files, version)).await;
                    let expected = (HandshakeFailure::NameNotAllowed, Some(AlertDescription::AccessDenied));
                    assert_eq!(seen, expected, "{second}");
                }
            }
        }
    }
    // Other URIs name the client each on its own.
    let names = vec![AllowedName::parse("https://example.org/a").expect("a name")];
    let profile = world.profile(Some(&ClientAuthSettings { names, ..required(&world.clients) }));
    for second in ["urn:uuid:a", id] {
        let files = issue(vec![uri(second), uri("https://example.org/a")]);
        session(&profile, &Arc::new(world.client_with(&files, &TLS13))).await;
    }
}

#[tokio::test]
async fn a_listed_certificate_needs_no_authority() {
    let world = World::new();
    let own = world.clients.self_signed("self", client_params(Vec::new()));
    let mut settings = required(&world.clients);
    settings.ca.clone_from(&own.cert);
    let profile = world.profile(Some(&settings));
    session(&profile, &Arc::new(world.client_with(&own, &TLS13))).await;
    let other = world.clients.self_signed("other", client_params(Vec::new()));
    let seen = refused(&profile, world.client_with(&other, &TLS13)).await;
    assert_eq!(seen.0, HandshakeFailure::UnknownCa);
}

#[tokio::test]
async fn revoked_certificates_are_refused_also_by_an_old_list() {
    let world = World::new();
    let alice = world.alice();
    let other = Pki::new();
    for (due, der) in [(2090, false), (2090, true), (2020, false)] {
        let list = |serials: &[u64]| {
            let pem = world.clients.revokes(serials, due);
            if !der {
                return world.clients.file("list.pem", pem);
            }
            let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes());
            world.clients.file("list.der", der.expect("a list"))
        };
        let policy = |file| ClientAuthSettings { crl: vec![file], ..required(&world.clients) };
        let (_, warnings) = ClientAuth::read(&policy(list(&[ALICE]))).expect("a policy");
        let stale =
            warnings.iter().any(|(entry, one)| *entry == Some(0) && matches!(one, Warning::CrlStale { .. }));
        assert_eq!((stale, warnings.len()), (due == 2020, usize::from(due == 2020)), "{warnings:?}");
        for version in [&TLS12, &TLS13] {
            let profile = world.profile(Some(&policy(list(&[ALICE]))));
            let seen = refused(&profile, world.client_with(&alice, version)).await;
            let alert = AlertDescription::CertificateRevoked;
            assert_eq!(seen, (HandshakeFailure::Revoked, Some(alert)), "{due} {der}");
            let client = Arc::new(world.client_with(&alice, version));
            session(&world.profile(Some(&policy(list(&[ALICE + 1])))), &client).await;
        }
    }
    // A list of another authority says nothing about alice.
    let foreign = other.file("list.pem", other.revokes(&[], 2090));
    let policy = ClientAuthSettings { crl: vec![foreign], ..required(&world.clients) };
    let (_, warnings) = ClientAuth::read(&policy).expect("a policy");
    assert!(
        matches!(
            warnings.as_slice(),
            [(Some(0), Warning::CrlForeign { .. }), (None, Warning::CaWithoutCrl { position: 1, .. })]
        ),
        "{warnings:?}"
    );
    let seen = refused(&world.profile(Some(&policy)), world.client_with(&alice, &TLS13)).await;
    assert_eq!(seen, (HandshakeFailure::RevocationUnknown, Some(AlertDescription::UnknownCA)));
}

#[tokio::test]
async fn intermediates_are_verified_and_revoked_too() {
    let world = World::new();
    let between = world.clients.intermediate();
    let files = between.issue_for("alice", &ecdsa(), client_params(Vec::new()));
    let chain = || [&files.cert, &between.ca].map(|path| certificates_in(path).expect("PEM")).concat();
    let list = |of: &Pki, serials: &[u64]| of.file(&format!("{serials:?}.crl"), of.revokes(serials, 2090));
    let root = |serials: &[u64]| list(&world.clients, serials);
    let issuer = |serials: &[u64]| list(&between, serials);
    let policy = |crl| ClientAuthSettings { crl, ..required(&world.clients) };
    let client = || world.client_showing(chain(), &files, &TLS13);

    session(&world.profile(Some(&policy(Vec::new()))), &Arc::new(client())).await;
    session(&world.profile(Some(&policy(vec![root(&[]), issuer(&[])]))), &Arc::new(client())).await;
    for (crl, reason) in [
        (vec![root(&[])], HandshakeFailure::RevocationUnknown),
        (vec![root(&[]), issuer(&[ALICE])], HandshakeFailure::Revoked),
        (vec![root(&[INTERMEDIATE]), issuer(&[])], HandshakeFailure::Revoked),
    ] {
        assert_eq!(refused(&world.profile(Some(&policy(crl))), client()).await.0, reason);
    }
    // Without its intermediate, the client's certificate leads nowhere.
    let alone = world.client_with(&files, &TLS13);
    let seen = refused(&world.profile(Some(&policy(Vec::new()))), alone).await;
    assert_eq!(seen.0, HandshakeFailure::UnknownCa);
}

#[tokio::test]
async fn a_long_chain_is_refused() {
    let world = World::new();
    let profile = world.profile(Some(&required(&world.clients)));
    let alice = world.alice();
    let leaf = certificates_in(&alice.cert).expect("PEM");
    let many = [leaf.clone(), vec![leaf[0].clone(); 10]].concat();
    let mut padded = client_params((0..700).map(|n| dns(&format!("n{n}.{}.test", "x".repeat(50)))).collect());
    padded.serial_number = Some(SerialNumber::from(9));
    let large = world.clients.issue_for("large", &ecdsa(), padded);
    let large_chain = certificates_in(&large.cert).expect("PEM");
    assert!((33_000..64_000).contains(&large_chain[0].len()), "{}", large_chain[0].len());
    for version in [&TLS12, &TLS13] {
        let clients = [
            world.client_showing(many.clone(), &alice, version),
            world.client_showing(large_chain.clone(), &large, version),
        ];
        for client in clients {
            assert_eq!(refused(&profile, client).await.0, HandshakeFailure::BadCertificate);
        }
        // Over 64 KiB, which rustls does not even collect.
        let huge = vec![large_chain[0].clone(); 3];
        let client = world.client_showing(huge, &large, version);
        let (server, _) = handshake(&profile, &Arc::new(client), NAME).await;
        server.expect_err("the server refuses");
    }
}

/// A client with a certificate that keeps its session.
fn keeper(
    world: &World,
    files: &CertificateFiles,
    (version, by_id): (&'static SupportedProtocolVersion, bool),
) -> Arc<ClientConfig> {
    let mut client = world.client_with(files, version);
    if by_id {
        client.resumption = Resumption::default().tls12_resumption(Tls12Resumption::SessionIdOnly);
    }
    Arc::new(client)
}

/// A version, whether by session ID alone, and how its sessions are resumed.
const KINDS: [(&SupportedProtocolVersion, bool, Resumed); 3] =
    [(&TLS12, false, Resumed::Ticket), (&TLS12, true, Resumed::SessionId), (&TLS13, false, Resumed::Ticket)];

#[tokio::test]
async fn sessions_are_resumed_under_equal_policies_alone() {
    let world = World::new();
    let alice = world.alice();
    let list = |name: &str, serials: &[u64]| world.clients.file(name, world.clients.revokes(serials, 2090));
    let plain = required(&world.clients);
    let with_list =
        |serials: &[u64]| ClientAuthSettings { crl: vec![list("l.pem", serials)], ..plain.clone() };
    let named = |name: &str| {
        let names = vec![AllowedName::parse(name).expect("a name")];
        ClientAuthSettings { names, ..plain.clone() }
    };
    // The same authority under another path, and one more authority.
    let copy = world.clients.file("copy.pem", fs::read(&world.clients.ca).expect("a file"));
    let two =
        [&world.clients.ca, &Pki::new().ca].map(|path| fs::read_to_string(path).expect("a file")).concat();
    let two = world.clients.file("two.pem", two);
    let base = world.profile(Some(&plain));
    let same =
        [world.profile(Some(&plain)), world.profile(Some(&ClientAuthSettings { ca: copy, ..plain.clone() }))];
    let others = [
        ("none", world.profile(None)),
        (
            "optional",
            world.profile(Some(&ClientAuthSettings { mode: ClientAuthMode::Optional, ..plain.clone() })),
        ),
        ("another authority", world.profile(Some(&ClientAuthSettings { ca: two, ..plain.clone() }))),
        ("a list", world.profile(Some(&with_list(&[99])))),
        ("a longer list", world.profile(Some(&with_list(&[98, 99])))),
    ];
    for (version, by_id, kind) in KINDS {
        let client = keeper(&world, &alice, (version, by_id));
        session(&base, &client).await;
        for profile in &same {
            assert_eq!(session(profile, &client).await.resumed, kind, "{version:?}");
        }
        for (what, profile) in &others {
            let client = keeper(&world, &alice, (version, by_id));
            session(&base, &client).await;
            assert_eq!(session(profile, &client).await.resumed, Resumed::No, "{version:?} to {what}");
            let client = keeper(&world, &alice, (version, by_id));
            session(profile, &client).await;
            assert_eq!(session(&base, &client).await.resumed, Resumed::No, "{version:?} from {what}");
        }
        // Names: alice may come in by neither list, and her good session does not help.
        let client = keeper(&world, &alice, (version, by_id));
        session(&base, &client).await;
        let (server, _) = handshake(&world.profile(Some(&named("a.example.com"))), &client, NAME).await;
        assert_eq!(server.expect_err("refused").reason, HandshakeFailure::NameNotAllowed);
    }
}

#[tokio::test]
async fn no_session_is_resumed_under_another_name() {
    let world = World::new();
    let alice = world.alice();
    let profile = world.profile(Some(&required(&world.clients)));
    for (version, by_id, _) in KINDS {
        let client = keeper(&world, &alice, (version, by_id));
        session(&profile, &client).await;
        let (server, _) = handshake(&profile, &client, "other.example.com").await;
        assert_eq!(server.expect("a session").resumed, Resumed::No, "{version:?}");
    }
}

#[tokio::test]
async fn a_session_ends_with_the_certificate_it_began_with() {
    let world = World::new();
    let mut params = client_params(Vec::new());
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_now() + 4);
    let short = world.clients.issue_for("short", &ecdsa(), params);
    let profile = world.profile(Some(&required(&world.clients)));
    let clients: Vec<_> = KINDS.iter().map(|kind| (kind, keeper(&world, &short, (kind.0, kind.1)))).collect();
    for ((version, _, kind), client) in &clients {
        session(&profile, client).await;
        assert_eq!(session(&profile, client).await.resumed, *kind, "{version:?}");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    for ((version, ..), client) in &clients {
        let (server, seen) = handshake(&profile, client, NAME).await;
        assert_eq!(server.expect_err("refused").reason, HandshakeFailure::Expired, "{version:?}");
        // It was asked anew, and heard why.
        let alert = tls_error(&seen.expect_err("refused"));
        assert_eq!(alert, Error::AlertReceived(AlertDescription::CertificateExpired), "{version:?}");
    }
}

#[test]
fn a_session_without_a_good_certificate_is_not_admitted() {
    let world = World::new();
    let policy = |settings: &ClientAuthSettings| ClientAuth::read(settings).expect("a policy").0;
    let plain = required(&world.clients);
    let now = unix_now();
    assert_eq!(policy(&plain).admit(None, now), Err(HandshakeFailure::CertificateRequired));
    assert_eq!(policy(&plain).admit(Some(&[]), now), Err(HandshakeFailure::CertificateRequired));
    let optional = ClientAuthSettings { mode: ClientAuthMode::Optional, ..plain.clone() };
    assert_eq!(policy(&optional).admit(None, now), Ok(None));
    let chain = certificates_in(&world.alice().cert).expect("PEM");
    assert!(policy(&plain).admit(Some(&chain), now).expect("admitted").is_some());
    for settings in [&plain, &optional] {
        assert_eq!(policy(settings).admit(Some(&chain), u64::MAX - 1), Err(HandshakeFailure::Expired));
    }
    let names = vec![AllowedName::parse("a.example.com").expect("a name")];
    let named = ClientAuthSettings { names, ..plain };
    assert_eq!(policy(&named).admit(Some(&chain), now), Err(HandshakeFailure::NameNotAllowed));
}

#[test]
fn every_bad_file_is_named_with_a_hint() {
    let world = World::new();
    let clients = &world.clients;
    let alice = world.alice();
    let namesake = clients.namesake();
    let good = clients.file("good.pem", clients.revokes(&[], 2090));
    let broken = fs::read_to_string(&good).expect("a file").replacen("\nM", "\nX", 1);
    let list = |name: &str, text: &str| clients.file(name, text);
    let bad = [
        (clients.path().join("missing.pem"), "cannot be read"),
        (list("empty.pem", ""), "is empty"),
        (list("text.pem", "no list"), "has no list"),
        (list("html.pem", "<html>"), "HTML"),
        (clients.ca.clone(), "cannot be used here"),
        (alice.key.clone(), "cannot be used here"),
        (list("broken.pem", &broken), "cannot be used"),
        (list("der.pem", "0garbage"), "cannot be used"),
        (namesake.file("n.pem", namesake.revokes(&[], 2090)), "not signed by the authority"),
    ];
    for (path, message) in &bad {
        let settings = ClientAuthSettings { crl: vec![good.clone(), path.clone()], ..required(clients) };
        let errors = ClientAuth::read(&settings).expect_err(message);
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(error.to_string().contains(message), "{error}");
        assert!(!error.hint().is_empty(), "{error}");
        assert_eq!(error.crl(), Some(1));
    }
    let bad = [
        (clients.path().join("missing.pem"), "cannot be read"),
        (alice.key.clone(), "has no certificate"),
        (good.clone(), "cannot be used here"),
    ];
    for (ca, message) in bad {
        let settings =
            ClientAuthSettings { ca, crl: vec![clients.path().join("no.pem")], ..required(clients) };
        let errors = ClientAuth::read(&settings).expect_err(message);
        let [error, list] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!((error.crl(), list.crl(), error.hint().is_empty()), (None, Some(0), false));
    }
}

#[test]
fn an_authority_with_key_usage_signs_lists() {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = rsa();
    let world = World::new();
    let ca = world.clients.file("rsa-ca.pem", params.self_signed(&key).expect("a certificate").pem());
    let authorities = certificates_in(&ca).expect("PEM");
    let issuer = rcgen::Issuer::new(params, key);
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let file = world.clients.file("rsa.crl", list.signed_by(&issuer).expect("a list").pem().expect("PEM"));
    let lists = crl::read(&file, &authorities).expect("a list");
    assert!(lists.iter().all(|list| list.of_an_authority && list.is_by(&authorities[0])));
}

fn now() -> i64 {
    i64::try_from(unix_now()).expect("a date")
}

#[test]
fn changed_files_are_in_force_if_they_are_valid_and_told_once_if_not() {
    let world = World::new();
    let clients = &world.clients;
    // Signatures are random: each list is another one.
    let first_list = clients.revokes(&[1], 2090);
    let list = clients.file("list.pem", &first_list);
    let settings = ClientAuthSettings { crl: vec![list.clone()], ..required(clients) };
    let first = ClientAuth::read(&settings).expect("a policy").0;
    let source = ClientAuthSource::new(Arc::clone(&first), now());
    assert_eq!((source.look(now()), source.take(now())), (None, Vec::new()));

    // Bad content: told once, and what was in force stays.
    for bad in ["", "garbage", &clients.namesake().revokes(&[], 2090)] {
        fs::write(&list, bad).expect("a file");
        assert!(source.look(now()).is_some(), "{bad}");
        let told = source.take(now());
        assert!(matches!(told.as_slice(), [Rotation::Refused { path, .. }] if *path == list), "{told:?}");
        assert_eq!((source.look(now()), source.take(now())), (None, Vec::new()), "{bad}");
        assert!(Arc::ptr_eq(&source.current(), &first));
        let refused = source.refused().expect("it lasts");
        assert!(refused.0 == list && !refused.1.reason.is_empty(), "{refused:?}");
    }
    // Longer than a file of authorities may be, and shorter than one of lists may be.
    let authorities = fs::read(&clients.ca).expect("a file");
    fs::write(&clients.ca, vec![b'#'; (8 << 20) + 1]).expect("a file");
    let told = source.take(now());
    assert!(matches!(told.as_slice(), [Rotation::Refused { path, .. }] if *path == clients.ca), "{told:?}");
    assert_eq!((source.look(now()), source.take(now())), (None, Vec::new()), "told once");
    fs::write(&clients.ca, authorities).expect("a file");
    source.take(now());
    // The same in other bytes: not told, and the sessions go on.
    fs::write(&list, format!("a comment\n{first_list}")).expect("a file");
    assert!(source.look(now()).is_some());
    source.take(now());
    assert_eq!((source.current().scope(), source.refused()), (first.scope(), None));

    fs::write(&list, clients.revokes(&[1, 2], 2090)).expect("a file");
    let told = source.take(now());
    assert!(matches!(told.as_slice(), [Rotation::InForce { of: Peers::Clients, .. }]), "{told:?}");
    assert_ne!(source.current().scope(), first.scope());

    // An authority more.
    let two = [&clients.ca, &Pki::new().ca].map(|path| fs::read_to_string(path).expect("a file")).concat();
    fs::write(&clients.ca, two).expect("a file");
    let told = source.take(now());
    assert!(
        matches!(told.as_slice(), [Rotation::InForce { warnings, .. }] if warnings.len() == 1),
        "{told:?}"
    );
}

#[test]
fn a_list_that_becomes_overdue_is_told_once() {
    let world = World::new();
    let clients = &world.clients;
    let list = clients.file("list.pem", clients.revokes(&[1], 2090));
    let settings = ClientAuthSettings { crl: vec![list], ..required(clients) };
    let auth = ClientAuth::read(&settings).expect("a policy").0;
    let due = auth.crls()[0].next_update;
    let source = ClientAuthSource::new(auth, now());
    assert_eq!(source.look(due), None);
    assert!(source.look(due + 1).is_some());
    let told = source.take(due + 1);
    assert!(
        matches!(told.as_slice(), [Rotation::Warned(Warning::CrlStale { next_update, .. })] if *next_update == due)
    );
    assert_eq!((source.look(due + 2), source.take(due + 2)), (None, Vec::new()));
}

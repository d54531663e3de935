//! In offload weir shows its own certificate and the backend sees plaintext, never TLS.

use weir_tests::client::{TlsClient, shown_certificate, tcp};
use weir_tests::curl;
use weir_tests::nginx::Nginx;
use weir_tests::openssl::s_client;
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, PROFILE, World};

#[tokio::test]
async fn curl_sees_weir_and_nginx_sees_plaintext() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let nginx = Nginx::start(certificates.path(), "backend").await;
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"]}}\n",
        edge.addr(),
        nginx.plain.addr()
    );
    let folder = identities.folder();
    identities.public.write(folder.path(), "public-ca");
    let weir = Launch::new(folder, body).plane().await;

    for version in [["--tls-max", "1.3"], ["--tls-max", "1.2"]] {
        let got = curl::https(edge.addr(), NAME, &weir.folder().join("public-ca.pem"), &version).await;
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        assert!(got.stdout.contains("scheme=http tls= "), "nginx saw TLS: {}", got.stdout);
    }
    let records = weir.some_records(2).await;
    let versions: Vec<&str> =
        records.iter().map(|record| record.field("tls")["version"].as_str().unwrap_or_default()).collect();
    assert_eq!(versions, ["1.3", "1.2"], "{records:#?}");
    let metrics = weir.settle().await;
    let finished = [("side", "client"), ("result", "ok")];
    assert_eq!(metrics.count("weir_tls_handshakes_total", &finished), 2);
}

#[tokio::test]
async fn openssl_verifies_weirs_certificate() {
    let world = World::of(Mode::Offload).plane().await;
    let folder = tempfile::tempdir().unwrap();
    world.identities.public.write(folder.path(), "ca");
    let ca = folder.path().join("ca.pem").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [
            "-servername",
            NAME,
            "-CAfile",
            &ca,
            "-verify_hostname",
            NAME,
            "-verify_return_error",
            "-brief",
            version,
        ];
        let seen = s_client(world.edge, &arguments).await;
        assert_eq!(seen.code, Some(0), "{}", seen.both());
        assert!(seen.both().contains("Verification: OK"), "{}", seen.both());
    }
    for version in ["-tls1", "-tls1_1"] {
        let old = s_client(world.edge, &["-servername", NAME, "-cipher", "ALL:@SECLEVEL=0", version]).await;
        assert_ne!(old.code, Some(0), "{version} was accepted: {}", old.both());
        assert!(old.both().contains("protocol version"), "{}", old.both());
    }
    world.weir.settle().await;
}

#[tokio::test]
async fn the_backend_gets_the_plain_bytes() {
    let world = World::of(Mode::Offload).plane().await;
    let mut stream = world.connect().await;
    assert_eq!(shown_certificate(&stream), world.identities.weir.fingerprint());
    stream.send(b"in the clear").await.unwrap();
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"in the clear".to_vec(), End::Clean));
    assert_eq!(world.backend.only_visit().await.head, b"in the clear");
    let record = world.weir.only_record().await;
    assert_eq!((record.outcome(), record.up(), record.down()), ("ok", 12, 12), "{record:#?}");
    let tls = record.field("tls");
    assert_eq!(tls["version"], "1.3");
    assert!(
        tls["cipher"].as_str().is_some_and(|name| name.starts_with("TLS13_") || name.starts_with("TLS_"))
    );
    assert_eq!(tls["group"], "X25519MLKEM768");
    world.weir.settle().await;
}

#[tokio::test]
async fn the_first_common_protocol_is_agreed_on() {
    let identities = Identities::default();
    let backend = weir_tests::peers::Backend::plain(weir_tests::peers::Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
         tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], alpn: [second, first]}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let weir = Launch::new(identities.folder(), body).plane().await;
    let client = identities.client().alpn(&["first", "second"]);
    let stream = client.connect(edge.addr(), NAME).await.unwrap();
    let weir_tests::stream::Stream::Client(tls) = &stream else { unreachable!() };
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"second".as_slice()));
    drop(stream);
    assert_eq!(weir.only_record().await.text("alpn"), "second");
    // No protocol in common: RFC 7301 asks for no_application_protocol.
    let error = identities.client().alpn(&["third"]).connect(edge.addr(), NAME).await.unwrap_err();
    assert_eq!(weir_tests::client::alert(&error), Some(rustls::AlertDescription::NoApplicationProtocol));
    weir.some_records(2).await[1].ended("tls_client_failed", "client");
    weir.settle().await;
}

#[tokio::test]
async fn a_failed_handshake_reaches_no_backend() {
    let world = World::of(Mode::Offload).plane().await;
    // This client trusts no authority, so it answers weir's certificate with an alert.
    let error = TlsClient::trusting(&[]).connect(world.edge, NAME).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    let record = world.weir.only_record().await;
    record.ended("tls_client_failed", "client");
    assert_eq!(record.text("sni"), NAME);
    assert_eq!(world.backend.count(), 0);
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_tls_handshake_failures_total", &[("side", "client")]), 1);
}

#[tokio::test]
async fn a_client_that_only_greets_is_gone() {
    let world = World::of(Mode::Offload).plane().await;
    let mut stream = tcp(world.edge).await;
    stream.send(&weir_tests::hello::large(NAME)).await.unwrap();
    // weir's first flight comes, then the client leaves in the middle of the handshake.
    stream.exactly(5).await.unwrap();
    drop(stream);
    let record = world.weir.only_record().await;
    record.ended("tls_client_failed", "client");
    assert_eq!(world.backend.count(), 0);
    world.weir.settle().await;
}

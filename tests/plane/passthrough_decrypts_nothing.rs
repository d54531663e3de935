//! In passthrough the client talks to the backend itself: its certificate, its session, its bytes.

use weir_tests::client::shown_certificate;
use weir_tests::curl;
use weir_tests::haproxy::Haproxy;
use weir_tests::nginx::Nginx;
use weir_tests::openssl::{Server, s_client};
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, World};

/// A passthrough listener in front of one backend.
async fn in_front_of(backend: &Port, identities: &Identities) -> (Plane, Port) {
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr()
    );
    (Launch::new(identities.folder(), body).plane().await, edge)
}

#[tokio::test]
async fn curl_sees_the_certificate_of_nginx() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let nginx = Nginx::start(certificates.path(), "backend").await;
    let (weir, edge) = in_front_of(&nginx.tls, &identities).await;

    let ca = weir.folder().join("inner-ca.pem");
    let got = curl::https(edge.addr(), NAME, &ca, &[]).await;
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert!(got.stdout.contains("scheme=https"), "{}", got.stdout);
    assert!(got.stdout.contains(&format!("sni={NAME}")), "{}", got.stdout);
    let record = weir.only_record().await;
    assert_eq!(record.outcome(), "ok");
    assert_eq!(record.text("mode"), "passthrough");
    assert_eq!(record.text("sni"), NAME);
    assert_eq!(record.text("pool"), "main");
    assert!(record.text("backend").contains(&nginx.tls.addr().to_string()), "{record:#?}");
    weir.settle().await;
}

#[tokio::test]
async fn curl_reaches_haproxy() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let haproxy = Haproxy::start(certificates.path(), "backend").await;
    let (weir, edge) = in_front_of(&haproxy.tls, &identities).await;

    let ca = weir.folder().join("inner-ca.pem");
    let got = curl::https(edge.addr(), NAME, &ca, &[]).await;
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert!(got.stdout.contains(&format!("haproxy tls=1 sni={NAME}")), "{}", got.stdout);
    weir.settle().await;
}

#[tokio::test]
async fn openssl_reaches_openssl_in_each_tls_version() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let server = Server::start(certificates.path(), "backend", &["-www"]).await;
    let (weir, edge) = in_front_of(&server.port, &identities).await;

    let ca = weir.folder().join("inner-ca.pem").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["-servername", NAME, "-CAfile", &ca, "-verify_return_error", "-brief", version];
        let seen = s_client(edge.addr(), &arguments).await;
        assert_eq!(seen.code, Some(0), "{version}: {}", seen.both());
        assert!(seen.both().contains("Verification: OK"), "{version}: {}", seen.both());
    }
    weir.settle().await;
}

#[tokio::test]
async fn the_bytes_are_those_of_the_client() {
    let world = World::of(Mode::Passthrough).plane().await;
    let mut stream = world.connect().await;
    assert_eq!(shown_certificate(&stream), world.identities.backend.fingerprint());
    stream.send(b"through the tunnel").await.unwrap();
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"through the tunnel".to_vec(), End::Clean));
    let visit = world.backend.only_visit().await;
    assert_eq!(visit.head, b"through the tunnel");
    assert_eq!(visit.tls.unwrap().sni.as_deref(), Some(NAME));
    let record = world.weir.only_record().await;
    assert_eq!(record.outcome(), "ok");
    // weir has no session of its own, because it decrypted nothing here.
    assert!(record.field("tls").is_null() || record.text("tls").is_empty(), "{record:#?}");
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_tls_handshakes_total", &[]), 0);
    assert_eq!(metrics.count("weir_client_hello_total", &[("outcome", "complete")]), 1);
}

#[tokio::test]
async fn other_protocols_than_tls_may_be_allowed() {
    // The world's own backend speaks TLS; this one does not.
    let plain = Backend::plain(Role::Echo).await;
    let world = World::of(Mode::Passthrough).listener("non_tls: allow").backends(&[plain.addr]).plane().await;
    let mut stream = weir_tests::client::tcp(world.edge).await;
    stream.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(stream.exactly(18).await.unwrap(), b"GET / HTTP/1.1\r\n\r\n");
    stream.finish().await;
    assert_eq!(stream.rest().await.1, End::Clean);
    let record = world.weir.only_record().await;
    assert_eq!((record.outcome(), record.up(), record.down()), ("ok", 18, 18));
    assert_eq!(plain.only_visit().await.head, b"GET / HTTP/1.1\r\n\r\n");
    world.weir.settle().await;
}

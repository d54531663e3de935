//! In bridging weir shows its own certificate and speaks TLS to the backend in a session of its own.

use weir_tests::client::shown_certificate;
use weir_tests::curl;
use weir_tests::haproxy::Haproxy;
use weir_tests::nginx::Nginx;
use weir_tests::openssl::{Server, s_client_saying};
use weir_tests::peers::{Backend, Role, acceptor};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, PROFILE, World};

/// A bridging listener in front of one backend that the inner authority vouches for.
async fn in_front_of(backend: &Port, identities: &Identities) -> (Plane, Port) {
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], tls: {{ca: inner-ca.pem}}, health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr()
    );
    let folder = identities.folder();
    identities.public.write(folder.path(), "public-ca");
    (Launch::new(folder, body).plane().await, edge)
}

#[tokio::test]
async fn curl_sees_weir_and_nginx_and_haproxy_see_tls() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let nginx = Nginx::start(certificates.path(), "backend").await;
    let haproxy = Haproxy::start(certificates.path(), "backend").await;
    for (port, answer) in [(&nginx.tls, "scheme=https tls=TLSv1.3"), (&haproxy.tls, "haproxy tls=1")] {
        let (weir, edge) = in_front_of(port, &identities).await;
        let got = curl::https(edge.addr(), NAME, &weir.folder().join("public-ca.pem"), &[]).await;
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        assert!(got.stdout.contains(answer), "{}", got.stdout);
        assert!(got.stdout.contains(&format!("sni={NAME}")), "{}", got.stdout);
        // nginx omits its close_notify when the client was the first to end; nothing is missing then.
        assert_eq!(weir.only_record().await.outcome(), "ok");
        let metrics = weir.settle().await;
        for side in ["client", "backend"] {
            let labels = [("side", side), ("result", "ok")];
            assert_eq!(metrics.count("weir_tls_handshakes_total", &labels), 1, "{side}");
        }
    }
}

/// When an answer is cut short, the record must not blame the client for what it does next.
#[tokio::test]
async fn an_answer_that_nginx_cuts_short_is_nginxs_truncation() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let mut nginx = Nginx::start(certificates.path(), "backend").await;
    nginx.put("long", &vec![b'x'; 1 << 20]);
    for reset in [false, true] {
        let (weir, edge) = in_front_of(&nginx.tls, &identities).await;
        let mut stream = identities.client().connect(edge.addr(), NAME).await.unwrap();
        stream.send(format!("GET /slow/long HTTP/1.1\r\nhost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
        stream.exactly(2_000).await.unwrap();
        nginx.kill().await;
        let (_, end) = stream.rest().await;
        assert_eq!(end, End::Truncated);
        if reset {
            stream.reset();
        } else {
            stream.truncate();
        }
        weir.only_record().await.ended("truncated", "backend");
        weir.settle().await;
        nginx.restart().await;
    }
}

#[tokio::test]
async fn openssl_talks_to_openssl() {
    let identities = Identities::default();
    let certificates = tempfile::tempdir().unwrap();
    identities.backend.write(certificates.path(), "backend");
    let server = Server::start(certificates.path(), "backend", &["-rev"]).await;
    let (weir, edge) = in_front_of(&server.port, &identities).await;
    let ca = weir.folder().join("public-ca.pem").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["-servername", NAME, "-CAfile", &ca, "-quiet", "-no_ign_eof", version];
        // s_server -rev sends each line back in reverse, and ends at CLOSE.
        let seen = s_client_saying(edge.addr(), &arguments, b"stressed\nCLOSE\n").await;
        assert!(seen.both().contains("depth=0"), "{}", seen.both());
    }
    weir.settle().await;
}

#[tokio::test]
async fn there_are_two_sessions() {
    let world = World::of(Mode::Bridging).plane().await;
    let mut stream = world.connect().await;
    assert_eq!(shown_certificate(&stream), world.identities.weir.fingerprint());
    stream.send(b"encrypted twice").await.unwrap();
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"encrypted twice".to_vec(), End::Clean));
    let visit = world.backend.only_visit().await;
    assert_eq!(visit.head, b"encrypted twice");
    assert_eq!(visit.end, Some(End::Clean));
    assert_eq!(visit.tls.unwrap().sni.as_deref(), Some(NAME));
    let record = world.weir.only_record().await;
    assert_eq!((record.outcome(), record.up(), record.down()), ("ok", 15, 15), "{record:#?}");
    world.weir.settle().await;
}

#[tokio::test]
async fn the_clients_protocol_is_asked_of_the_backend() {
    let identities = Identities::default();
    let addr = "127.0.0.1:0".parse().unwrap();
    let tls = acceptor(&identities.backend, &["two", "one"]);
    let backend = Backend::start(addr, Role::Echo, Some(tls)).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: bridging\n    default_pool: main\n    \
         tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], alpn: [one, two]}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], tls: {{ca: inner-ca.pem}}, health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let weir = Launch::new(identities.folder(), body).plane().await;
    let client = identities.client().alpn(&["two", "one"]);
    let mut stream = client.connect(edge.addr(), NAME).await.unwrap();
    stream.send(b"x").await.unwrap();
    stream.exactly(1).await.unwrap();
    let Stream::Client(tls) = &stream else { unreachable!() };
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"one".as_slice()), "weir's order decides");
    assert_eq!(backend.visits()[0].tls.clone().unwrap().alpn.as_deref(), Some(b"one".as_slice()));
    stream.finish().await;
    drop(stream);
    weir.settle().await;
}

#[tokio::test]
async fn sessions_to_a_backend_are_reused() {
    let world = World::of(Mode::Bridging).plane().await;
    for _ in 0..3 {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
        stream.finish().await;
        stream.rest().await;
    }
    world.weir.some_records(3).await;
    let visits = world.backend.visits();
    let resumed: Vec<bool> = visits.iter().map(|visit| visit.tls.as_ref().unwrap().resumed).collect();
    assert_eq!(resumed, [false, true, true]);
    world.weir.settle().await;
}

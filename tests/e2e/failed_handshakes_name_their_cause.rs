//! A failed TLS handshake is reported with its true cause: the reason, the name of the alert, and the side
//! that sent it; in the record, in the metrics and in the debug log.

use rustls::ConnectionCommon;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use weir_tests::client::{TlsClient, try_tcp};
use weir_tests::eventually::eventually;
use weir_tests::openssl::{Server, s_client};
use weir_tests::peers::{Backend, Role, acceptor};
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Identities, Mode, NAME, World};

/// The failures that the metrics count with these labels.
async fn counted(world: &World, side: &str, reason: &str, alert: &str) -> u64 {
    let labels = [("listener", "edge"), ("side", side), ("reason", reason), ("alert", alert)];
    world.weir.metrics().await.count("weir_tls_handshake_failures_total", &labels)
}

#[tokio::test]
async fn by_a_client_that_does_not_trust_weir() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).start().await;
        let stranger = TlsClient::trusting(&[&world.identities.inner]);
        stranger.connect(world.edge, NAME).await.unwrap_err();
        let record = world.weir.only_record().await;
        record.ended("tls_client_failed", "client");
        assert_eq!((record.text("reason"), record.text("alert")), ("alert", "unknown_ca"));
        assert_eq!(counted(&world, "client", "alert", "unknown_ca").await, 1);
        let log = world.weir.program.stderr.text();
        assert!(log.contains("alert unknown_ca") && log.contains("received fatal alert: UnknownCA"), "{log}");
    }
}

#[tokio::test]
async fn by_an_openssl_client_that_does_not_trust_weir() {
    let world = World::of(Mode::Offload).start().await;
    s_client(world.edge, &["-servername", NAME, "-verify_return_error", "-verify", "3"]).await;
    let record = world.weir.only_record().await;
    record.ended("tls_client_failed", "client");
    assert_eq!((record.text("reason"), record.text("alert")), ("alert", "unknown_ca"));
}

/// A backend that requires client certificates, and a weir that has none for it.
async fn wanting(version: &str, check: &str) -> (Server, World) {
    let folder = tempfile::tempdir().unwrap();
    Identities::default().backend.write(folder.path(), "backend");
    let server = Server::start(folder.path(), "backend", &["-Verify", "1", "-www", version]).await;
    let world = World::of(Mode::Bridging)
        .backends(&[server.port.addr()])
        .pool("tls: {verify: false}")
        .pool(&format!("health_check: {{type: {check}}}"))
        .start()
        .await;
    (server, world)
}

#[tokio::test]
async fn by_a_backend_that_wants_a_certificate() {
    // In TLS 1.3 weir has finished before the backend has checked.
    for (version, alert) in [("-tls1_2", "handshake_failure"), ("-tls1_3", "certificate_required")] {
        let (_server, world) = wanting(version, "none").await;
        let mut stream = world.client().connect(world.edge, NAME).await.unwrap();
        stream.ask(b"question").await;
        let record = world.weir.only_record().await;
        record.ended("tls_backend_failed", "backend");
        assert_eq!((record.text("reason"), record.text("alert")), ("alert", alert), "{version}");
        assert_eq!(counted(&world, "backend", "alert", alert).await, 1);
    }
}

#[tokio::test]
async fn by_a_check_of_a_backend_that_wants_a_certificate() {
    for version in ["-tls1_2", "-tls1_3"] {
        let (_server, world) = wanting(version, "tls, interval: 1s, fall: 1, rise: 1").await;
        eventually(Duration::from_secs(10), "the check says down", async || {
            let up = world.weir.metrics().await.sum("weir_backend_up", &[("pool", "main")]);
            if up == 0.0 { Ok(()) } else { Err(up.to_string()) }
        })
        .await;
    }
}

#[tokio::test]
async fn by_a_backend_in_plaintext() {
    let plain = Backend::plain(Role::Greeter("220 mail.example.test ESMTP\r\n")).await;
    let world = World::of(Mode::Bridging).backends(&[plain.addr]).start().await;
    let mut stream = world.client().connect(world.edge, NAME).await.unwrap();
    stream.ask(b"question").await;
    let record = world.weir.only_record().await;
    record.ended("tls_backend_failed", "backend");
    assert_eq!((record.text("reason"), record.text("alert")), ("not_tls", ""));
    assert_eq!(counted(&world, "backend", "not_tls", "").await, 1);
}

/// A TLS 1.2 hello of `openssl`'s suites without `supported_groups`.
fn without_groups() -> Vec<u8> {
    let name = NAME.as_bytes();
    let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let entry = [&[0][..], &length(name.len()), name].concat();
    let names = [&[0, 0][..], &length(entry.len() + 2), &length(entry.len()), &entry].concat();
    let schemes = [0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    let extensions = [&names[..], &schemes].concat();
    let suites = [0, 4, 0xc0, 0x2b, 0xc0, 0x2f];
    let body =
        [&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &length(extensions.len()), &extensions].concat();
    let message = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[22, 3, 1][..], &length(message.len()), &message].concat()
}

#[tokio::test]
async fn by_a_client_without_groups() {
    let world = World::of(Mode::Offload).start().await;
    let mut tcp = try_tcp(world.edge).await.unwrap();
    tcp.write_all(&without_groups()).await.unwrap();
    let (answer, _) = Stream::Plain(tcp).rest().await;
    assert_eq!(answer.first(), Some(&21), "an alert");
    let record = world.weir.only_record().await;
    record.ended("tls_client_failed", "client");
    assert_eq!(record.text("reason"), "missing_extension");
}

/// The alert with which a session answers a record that cannot be authenticated.
fn offended<D>(session: &mut ConnectionCommon<D>) -> Vec<u8> {
    let mut forged = &[&[23, 3, 3, 0, 20][..], &[0; 20]].concat()[..];
    session.read_tls(&mut forged).unwrap();
    session.process_new_packets().unwrap_err();
    let mut alert = Vec::new();
    session.write_tls(&mut alert).unwrap();
    alert
}

#[tokio::test]
async fn a_backends_alert_in_mid_session_is_its_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = acceptor(&Identities::default().backend, &[]);
    let world = World::of(Mode::Bridging)
        .backends(&[listener.local_addr().unwrap()])
        .pool("tls: {verify: false}")
        .start()
        .await;
    let backend = async {
        let mut tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        tls.read_exact(&mut [0; 8]).await.unwrap();
        tls.write_all(b"answered").await.unwrap();
        tls.flush().await.unwrap();
        let (tcp, session) = tls.get_mut();
        tcp.try_write(&offended(session)).unwrap();
        tls
    };
    let client = async {
        let mut stream = world.connect().await;
        stream.send(b"question").await.unwrap();
        stream.exactly(8).await.unwrap();
        stream
    };
    let (_backend, mut client) = tokio::join!(backend, client);
    assert_eq!(client.rest().await, (Vec::new(), End::Reset));
    let record = world.weir.only_record().await;
    record.ended("backend_reset", "backend");
    assert_eq!((record.text("reason"), record.text("alert")), ("alert", "bad_record_mac"));
}

#[tokio::test]
async fn an_alert_in_mid_session_is_a_reset_by_its_sender() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).start().await;
        let mut stream = world.connect().await;
        stream.send(b"question").await.unwrap();
        stream.exactly(8).await.unwrap();
        let Stream::Client(tls) = &mut stream else { unreachable!() };
        let alert = offended(tls.get_mut().1);
        stream.tcp().try_write(&alert).unwrap();
        let record = world.weir.only_record().await;
        record.ended("client_reset", "client");
        assert_eq!((record.text("reason"), record.text("alert")), ("alert", "bad_record_mac"), "{mode:?}");
    }
}

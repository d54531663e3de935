//! TLS sessions are resumed by ticket and by session ID, and the metrics say which.

use weir_tests::openssl::{s_client, s_client_keeping};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, Mode, NAME, World};

async fn resumed(weir: &Weir, kind: &str, version: &str) -> u64 {
    let labels = [("side", "client"), ("result", "ok"), ("resumed", kind), ("version", version)];
    weir.settle().await.count("weir_tls_handshakes_total", &labels)
}

#[tokio::test]
async fn tls12_by_ticket() {
    let world = World::of(Mode::Offload).start().await;
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-tls1_2"]).await;
    let reused = said.stdout.lines().filter(|line| line.starts_with("Reused,")).count();
    assert_eq!(reused, 5, "{}", said.both());
    assert_eq!(resumed(&world.weir, "ticket", "1.2").await, 5);
    assert_eq!(resumed(&world.weir, "no", "1.2").await, 1);
}

#[tokio::test]
async fn tls12_by_session_id() {
    let world = World::of(Mode::Offload).start().await;
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-no_ticket", "-tls1_2"]).await;
    let reused = said.stdout.lines().filter(|line| line.starts_with("Reused,")).count();
    assert_eq!(reused, 5, "{}", said.both());
    assert_eq!(resumed(&world.weir, "session_id", "1.2").await, 5);
    assert_eq!(resumed(&world.weir, "no", "1.2").await, 1);
}

#[tokio::test]
async fn tls13_by_ticket() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("session.pem");
        s_client_keeping(world.edge, &["-servername", NAME, "-tls1_3"], &file).await;
        let session = file.display().to_string();
        let again = ["-servername", NAME, "-tls1_3", "-sess_in", &session];
        let said = s_client(world.edge, &again).await;
        assert!(said.stdout.contains("Reused, TLSv1.3"), "{mode:?}: {}", said.both());
        assert_eq!(resumed(&world.weir, "ticket", "1.3").await, 1, "{mode:?}");
    }
}

#[tokio::test]
async fn across_workers() {
    // A ticket of one worker is good on the other.
    let world = World::of(Mode::Offload).runtime("workers: 2").start().await;
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-tls1_2"]).await;
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("Reused,")).count(), 5, "{}", said.both());
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-no_ticket", "-tls1_2"]).await;
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("Reused,")).count(), 5, "{}", said.both());
    world.weir.settle().await;
}

/// An offload weir with this `sessions` section.
async fn with_sessions(sessions: &str) -> (Weir, Port, Backend) {
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
         tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], sessions: {sessions}}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    (Launch::new(Identities::default().folder(), body).start().await, edge, backend)
}

#[tokio::test]
async fn not_without_tickets_and_cache() {
    let (weir, edge, _backend) = with_sessions("{tickets: false, cache: 0}").await;
    for arguments in [&["-reconnect", "-tls1_2"][..], &["-reconnect", "-tls1_2", "-no_ticket"]] {
        let said = s_client(edge.addr(), &[&["-servername", NAME], arguments].concat()).await;
        assert_eq!(
            said.stdout.lines().filter(|line| line.starts_with("Reused,")).count(),
            0,
            "{}",
            said.both()
        );
    }
    assert_eq!(resumed(&weir, "no", "1.2").await, 12);
}

#[tokio::test]
async fn not_after_the_lifetime() {
    let (weir, edge, _backend) = with_sessions("{ticket_lifetime: 1s}").await;
    for version in ["-tls1_2", "-tls1_3"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("session.pem");
        s_client_keeping(edge.addr(), &["-servername", NAME, version], &file).await;
        let session = file.display().to_string();
        tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
        let said = s_client(edge.addr(), &["-servername", NAME, version, "-sess_in", &session]).await;
        assert!(said.stdout.contains("New, "), "{version}: {}", said.both());
    }
    weir.settle().await;
}

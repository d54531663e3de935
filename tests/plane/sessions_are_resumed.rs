//! TLS sessions are resumed by ticket and by session ID, also across a reload, and the metrics say which.

use weir_tests::http;
use weir_tests::openssl::{s_client, s_client_keeping};
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, World};

async fn resumed(weir: &Plane, kind: &str, version: &str) -> u64 {
    let labels = [("side", "client"), ("result", "ok"), ("resumed", kind), ("version", version)];
    weir.settle().await.count("weir_tls_handshakes_total", &labels)
}

#[tokio::test]
async fn tls12_by_ticket() {
    let world = World::of(Mode::Offload).plane().await;
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-tls1_2"]).await;
    let reused = said.stdout.lines().filter(|line| line.starts_with("Reused,")).count();
    assert_eq!(reused, 5, "{}", said.both());
    assert_eq!(resumed(&world.weir, "ticket", "1.2").await, 5);
    assert_eq!(resumed(&world.weir, "no", "1.2").await, 1);
}

#[tokio::test]
async fn tls12_by_session_id() {
    let world = World::of(Mode::Offload).plane().await;
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-no_ticket", "-tls1_2"]).await;
    let reused = said.stdout.lines().filter(|line| line.starts_with("Reused,")).count();
    assert_eq!(reused, 5, "{}", said.both());
    assert_eq!(resumed(&world.weir, "session_id", "1.2").await, 5);
    assert_eq!(resumed(&world.weir, "no", "1.2").await, 1);
}

#[tokio::test]
async fn tls13_by_ticket() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).plane().await;
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
    // A ticket of one worker is valid on the other.
    let world = World::of(Mode::Offload).runtime("workers: 2").plane().await;
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-tls1_2"]).await;
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("Reused,")).count(), 5, "{}", said.both());
    let said = s_client(world.edge, &["-servername", NAME, "-reconnect", "-no_ticket", "-tls1_2"]).await;
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("Reused,")).count(), 5, "{}", said.both());
    world.weir.settle().await;
}

/// An offload weir with this `sessions` section.
async fn with_sessions(sessions: &str) -> (Plane, Port, Backend) {
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
         tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], sessions: {sessions}}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    (Launch::new(Identities::default().folder(), body).plane().await, edge, backend)
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

/// Makes weir reload the configuration in its folder.
async fn reload(weir: &Plane) {
    let answer = http::request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn over_a_reload_that_keeps_the_certificates() {
    let identities = Identities::default();
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: offload, default_pool: main, tls: public}}\n\
         tls_profiles:\n  - {{name: public, certificates: [{{cert: weir.pem, key: weir.key}}]}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let weir = Launch::new(identities.folder(), body).plane().await;
    let file = weir.folder().join("weir.yaml");
    let sessions = tempfile::tempdir().unwrap();
    let session = sessions.path().join("session.pem");
    let by_id = ["-servername", NAME, "-tls1_2", "-no_ticket"];
    s_client_keeping(edge.addr(), &by_id, &session).await;
    let session = session.display().to_string();
    let again = [&by_id[..], &["-sess_in", &session]].concat();

    // First a key that has nothing to do with sessions changes, then one of the profile, but not the
    // certificates.
    for (from, to) in
        [("name: main, ", "name: main, retries: 1, "), ("name: public, ", "name: public, alpn: [h2], ")]
    {
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace(from, to)).unwrap();
        reload(&weir).await;
        let said = s_client(edge.addr(), &again).await;
        assert!(said.stdout.contains("Reused, TLSv1.2"), "{to}: {}", said.both());
    }
    assert_eq!(resumed(&weir, "session_id", "1.2").await, 2);

    // A new certificate in the same files.
    identities.public.issue(&[NAME]).write(weir.folder(), "weir");
    reload(&weir).await;
    let said = s_client(edge.addr(), &again).await;
    assert!(said.stdout.contains("New, "), "{}", said.both());
    assert_eq!(resumed(&weir, "no", "1.2").await, 2);
}

/// A backend keeps the tickets of weir's connections to it, so that a reload costs it no full handshake.
#[tokio::test]
async fn with_a_backend_over_a_reload() {
    let world = World::of(Mode::Bridging).runtime("workers: 1").plane().await;
    let visit = async || {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
        stream.finish().await;
        stream.rest().await;
    };
    visit().await;
    let file = world.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("  - name: main\n", "  - name: main\n    retries: 1\n");
    assert_ne!(text, changed, "{text}");
    std::fs::write(&file, changed).unwrap();
    reload(&world.weir).await;
    visit().await;
    let labels = |kind| [("side", "backend"), ("result", "ok"), ("resumed", kind)];
    let metrics = world.weir.settle().await;
    let count = |kind| metrics.count("weir_tls_handshakes_total", &labels(kind));
    assert_eq!((count("no"), count("ticket")), (1, 1));
}

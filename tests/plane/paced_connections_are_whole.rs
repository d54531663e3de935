//! Connections at a pace (`limits.bandwidth`) are whole, and not idle while weir holds them back.

use std::time::{Duration, Instant};
use tokio::time::timeout;
use weir_tests::curl::curl;
use weir_tests::origin::{Origin, Step, answers};
use weir_tests::peers::Role;
use weir_tests::stream::End;
use weir_tests::world::{MODES, Mode, NAME, World, relayed};

/// Whoever moves little is not delayed, and the limits of others are not theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_messages_do_not_wait_under_load() {
    for mode in MODES {
        let world = World::of(mode).listener("limits: {bandwidth: {connection: 1MiB/s}}").plane().await;
        let mut stream = world.connect().await;
        let begun = Instant::now();
        for _ in 0..200 {
            stream.send(b"a small message").await.unwrap();
            stream.exactly(15).await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{mode:?}: {:?}", begun.elapsed());
        stream.finish().await;
        assert_eq!(stream.rest().await.1, End::Clean);
        let metrics = world.weir.settle().await;
        assert_eq!(metrics.count("weir_limited_total", &[("reason", "bandwidth")]), 0, "{mode:?}");
    }
}

/// All bytes arrive, then the end; a connection that weir holds back is not idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_are_whole_and_not_idle() {
    for builder in relayed() {
        let name = builder.name();
        let world = builder
            .role(Role::Bulk(80 << 10))
            .listener("limits: {bandwidth: {connection: 32KiB/s}}")
            .listener("timeouts: {idle: 500ms, half_closed: 500ms}")
            .plane()
            .await;
        let mut stream = world.connect().await;
        stream.send(&vec![1; 40 << 10]).await.unwrap();
        stream.finish().await;
        let (bytes, end) = timeout(Duration::from_secs(20), stream.rest()).await.unwrap();
        assert_eq!((bytes.len(), end), (80 << 10, End::Clean), "{name}");
        assert_eq!(world.record().await.outcome(), "ok", "{name}");
        world.weir.settle().await;
    }
}

/// A deadline of a request's body does not count while weir holds it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_not_overdue() {
    let origin = Origin::start(|asked| match &*asked.path {
        "/down" => vec![Step::Read, Step::Pour(300 << 10)],
        _ => answers("got it"),
    })
    .await;
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .listener("http: {timeouts: {body: 500ms}}")
        .listener("limits: {bandwidth: {connection: 64KiB/s}}")
        .backends(&[origin.addr])
        .plane()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let upload = folder.path().join("upload");
    std::fs::write(&upload, vec![7; 300 << 10]).unwrap();
    let url = |path: &str| format!("https://{NAME}:{}/{path}", world.edge.port());
    let (down, up) = (url("down"), url("up"));
    let resolve = format!("{NAME}:{}:{}", world.edge.port(), world.edge.ip());
    let file = upload.to_str().unwrap();
    for version in ["--http1.1", "--http2"] {
        let ask = ["--insecure", "--resolve", &resolve, version];
        let said = curl(&[&ask[..], &["-o", "/dev/null", "-w", "%{size_download}", &down]].concat()).await;
        assert_eq!((said.code, &*said.stdout), (Some(0), "307200"), "{version}: {}", said.both());
        let said = curl(&[&ask[..], &["-T", file, "-H", "Expect:", &up]].concat()).await;
        assert_eq!((said.code, &*said.stdout), (Some(0), "got it"), "{version}: {}", said.both());
    }
    world.weir.settle().await;
}

//! Each time limit of the configuration ends its connection, within a second of the configured time.

use std::time::{Duration, Instant};
use weir_tests::client::tcp;
use weir_tests::hello;
use weir_tests::peers::{Overflowing, Role};
use weir_tests::side_by_side::side_by_side;
use weir_tests::stream::End;
use weir_tests::world::{MODES, Mode, NAME, World, relayed};

/// A limit as written in the configuration, and the latest moment at which it may take effect.
const LIMIT: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(2);

fn in_time(start: Instant, what: &str) {
    let took = start.elapsed();
    assert!(took >= LIMIT - Duration::from_millis(50) && took < LATEST, "{what}: {took:?}");
}

#[tokio::test]
async fn a_silent_client() {
    side_by_side(MODES, async |mode| {
        let world = World::of(mode).listener("timeouts: {client_hello: 1s}").plane().await;
        let start = Instant::now();
        let mut stream = tcp(world.edge).await;
        assert_eq!(stream.rest().await.1, End::Clean, "{mode:?}");
        in_time(start, "hello");
        assert_eq!(world.record().await.outcome(), "hello_timeout");
        assert_eq!(world.backend.count(), 0);
        let metrics = world.weir.settle().await;
        assert_eq!(metrics.count("weir_client_hello_total", &[("outcome", "timeout")]), 1);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_drips() {
    let world = World::of(Mode::Passthrough).listener("timeouts: {client_hello: 1s}").plane().await;
    let hello = hello::large(NAME);
    let start = Instant::now();
    let mut stream = tcp(world.edge).await;
    for byte in hello.iter().take(40) {
        // One deadline for the whole hello: a byte now and then does not move it.
        if stream.send(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        if start.elapsed() > LATEST {
            break;
        }
    }
    let record = world.record().await;
    assert_eq!(record.outcome(), "hello_timeout");
    let lasted = record.number("duration_ms");
    assert!((950..2000).contains(&lasted), "{record:#?}");
    assert_eq!(world.backend.count(), 0);
    world.weir.settle().await;
}

#[tokio::test]
async fn a_handshake_that_stops() {
    side_by_side([Mode::Offload, Mode::Bridging], async |mode| {
        let world = World::of(mode).listener("timeouts: {handshake: 1s}").plane().await;
        let start = Instant::now();
        let mut stream = tcp(world.edge).await;
        stream.send(&hello::large(NAME)).await.unwrap();
        let (_, end) = stream.rest().await;
        assert!(matches!(end, End::Clean | End::Reset), "{mode:?} {end:?}");
        in_time(start, "handshake");
        world.record().await.ended("tls_client_timeout", "client");
        assert_eq!(world.backend.count(), 0);
        let metrics = world.weir.settle().await;
        let labels = [("side", "client"), ("reason", "timeout")];
        assert_eq!(metrics.count("weir_tls_handshake_failures_total", &labels), 1);
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_does_not_answer() {
    let hole = Overflowing::new();
    side_by_side(MODES, async |mode| {
        let world = World::of(mode)
            .listener("timeouts: {connect: 1s}")
            .pool("retries: 0")
            .backends(&[hole.addr])
            .plane()
            .await;
        let start = Instant::now();
        let mut stream = match mode {
            // A handshake would be with the backend; the hello alone is enough for weir to dial it.
            Mode::Passthrough => tcp(world.edge).await,
            _ => world.connect().await,
        };
        assert_eq!(stream.ask(&hello::large(NAME)).await, (Vec::new(), End::Reset), "{mode:?}");
        in_time(start, "connect");
        world.record().await.ended("connect_timeout", "backend");
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_accepts_and_hangs() {
    // The backend's TLS handshake counts as part of connecting.
    let world = World::of(Mode::Bridging)
        .role(Role::Silent)
        .listener("timeouts: {connect: 1s}")
        .pool("retries: 0")
        .plane()
        .await;
    let start = Instant::now();
    let mut stream = world.connect().await;
    assert_eq!(stream.rest().await, (Vec::new(), End::Reset));
    in_time(start, "handshake to the backend");
    world.record().await.ended("connect_timeout", "backend");
    world.weir.settle().await;
}

#[tokio::test]
async fn an_idle_connection() {
    side_by_side(relayed(), async |world| {
        let what = world.name();
        let world = world.listener("timeouts: {idle: 1s}").plane().await;
        let mut stream = world.connect().await;
        for _ in 0..3 {
            // Bytes one way keep both directions alive.
            tokio::time::sleep(Duration::from_millis(600)).await;
            stream.send(b"still here").await.unwrap();
            stream.exactly(10).await.unwrap();
        }
        let start = Instant::now();
        let (bytes, _) = stream.rest().await;
        assert_eq!(bytes, b"");
        in_time(start, "idle");
        assert_eq!(world.record().await.outcome(), "idle_timeout", "{what}");
        drop(stream);
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_idle_one_way_is_not_idle() {
    let world = World::of(Mode::Offload)
        .listener("timeouts: {idle: 1s}")
        .role(Role::AnswerAtEnd(b"done".to_vec()))
        .plane()
        .await;
    let mut stream = world.connect().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.send(b"x").await.unwrap();
    }
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"done".to_vec(), End::Clean));
    assert_eq!(world.record().await.outcome(), "ok");
    world.weir.settle().await;
}

#[tokio::test]
async fn a_half_closed_connection_without_progress() {
    side_by_side(relayed(), async |world| {
        let what = world.name();
        let world =
            world.listener("timeouts: {half_closed: 1s}").role(Role::EndFirst(b"bye".to_vec())).plane().await;
        let start = Instant::now();
        let mut stream = world.connect().await;
        assert_eq!(stream.rest().await, (b"bye".to_vec(), End::Clean), "{what}");
        // The client never ends its side.
        assert_eq!(world.record().await.outcome(), "half_closed_timeout", "{what}");
        in_time(start, "half-closed");
        drop(stream);
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_half_closed_connection_that_moves_goes_on() {
    side_by_side(relayed(), async |world| {
        let what = world.name();
        let world =
            world.listener("timeouts: {half_closed: 1s}").role(Role::EndFirst(b"bye".to_vec())).plane().await;
        let mut stream = world.connect().await;
        assert_eq!(stream.rest().await, (b"bye".to_vec(), End::Clean), "{what}");
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stream.send(b"more").await.unwrap();
        }
        stream.finish().await;
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.sum.bytes, visit.end), (20, Some(End::Clean)), "{what}");
        assert_eq!(world.record().await.outcome(), "ok", "{what}");
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_reads() {
    side_by_side(relayed(), async |world| {
        let what = world.name();
        let world = world.listener("timeouts: {idle: 1s}").role(Role::Bulk(64 << 20)).plane().await;
        let stream = world.connect().await;
        // weir cannot say goodbye to the client either, because the bytes queued for it never leave.
        let record = world.record().await;
        assert_eq!(record.outcome(), "idle_timeout", "{what}: {record:#?}");
        let lasted = record.number("duration_ms");
        assert!((1000..4000).contains(&lasted), "{what}: {record:#?}");
        // The connection of a stream has others, and goes on.
        let stream = Some(stream).filter(|_| !world.leaves_by_stream());
        world.weir.settle().await;
        drop(stream);
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_never_reads() {
    let world = World::of(Mode::Offload).listener("timeouts: {idle: 1s}").role(Role::Silent).plane().await;
    let stream = world.connect().await;
    let (_from, mut to) = tokio::io::split(stream);
    let endless = async {
        let chunk = vec![1; 64 * 1024];
        while tokio::io::AsyncWriteExt::write_all(&mut to, &chunk).await.is_ok() {}
    };
    let ended = tokio::time::timeout(Duration::from_secs(8), endless).await;
    ended.expect("weir ends it");
    assert_eq!(world.record().await.outcome(), "idle_timeout");
    world.weir.settle().await;
}

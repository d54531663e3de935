//! An unreachable backend costs a retry, not a client; when no backend can be reached, the client gets a
//! reset.

use std::time::{Duration, Instant};
use weir_tests::certificates::Authority;
use weir_tests::client::{fate, tcp};
use weir_tests::hello;
use weir_tests::peers::{Backend, Overflowing, Role, refused};
use weir_tests::plane::Plane;
use weir_tests::stream::End;
use weir_tests::world::{MODES, Mode, NAME, World};

/// Makes four connections and expects each to be served, although the other backend is tried as often.
async fn serves_four(world: &World<Plane>) {
    for _ in 0..4 {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        assert_eq!(stream.exactly(1).await.unwrap(), b"x", "{:?}", world.mode);
        stream.finish().await;
        assert_eq!(stream.rest().await.1, End::Clean, "{:?}", world.mode);
    }
    let metrics = world.weir.settle().await;
    let retries = metrics.count("weir_retries_total", &[("pool", "main")]);
    assert!((1..=4).contains(&retries), "{:?}: {retries} retries", world.mode);
    assert_eq!(metrics.count("weir_connections_closed_total", &[("outcome", "ok")]), 4);
    let tries: Vec<u64> = world.weir.records().iter().map(|record| record.number("tries")).collect();
    assert_eq!(tries.iter().sum::<u64>(), 4 + retries, "{tries:?}");
}

#[tokio::test]
async fn a_backend_that_refuses() {
    for mode in MODES {
        let dead = refused();
        serves_four(&World::of(mode).also(dead.addr()).plane().await).await;
    }
}

#[tokio::test]
async fn a_backend_that_does_not_answer() {
    let hole = Overflowing::new();
    let world = World::of(Mode::Offload).also(hole.addr).listener("timeouts: {connect: 500ms}").plane().await;
    serves_four(&world).await;
}

#[tokio::test]
async fn a_backend_that_cannot_prove_its_name() {
    let stranger = Authority::new("stranger").issue(&[NAME]);
    let stranger = Backend::tls(Role::Echo, &stranger).await;
    serves_four(&World::of(Mode::Bridging).also(stranger.addr).plane().await).await;
    assert!(stranger.visits().iter().all(|visit| visit.sum.bytes == 0));
}

#[tokio::test]
async fn all_of_them_refuse() {
    for mode in MODES {
        let (one, two) = (refused(), refused());
        let world = World::of(mode).backends(&[one.addr(), two.addr()]).plane().await;
        let mut stream = match mode {
            Mode::Passthrough => tcp(world.edge).await,
            _ => world.connect().await,
        };
        let start = Instant::now();
        let (bytes, end) = stream.ask(&hello::large(NAME)).await;
        assert_eq!((bytes.len(), end), (0, End::Reset), "{mode:?}: a clean end would be a lie");
        assert!(start.elapsed() < Duration::from_secs(1));
        let record = world.weir.only_record().await;
        record.ended("connect_failed", "backend");
        assert_eq!(record.number("tries"), 2, "{record:#?}");
        let metrics = world.weir.settle().await;
        assert_eq!(metrics.count("weir_retries_total", &[]), 1);
    }
}

#[tokio::test]
async fn retries_are_bounded() {
    let dead: Vec<_> = (0..5).map(|_| refused()).collect();
    let addrs: Vec<_> = dead.iter().map(weir_tests::ports::Port::addr).collect();
    let world = World::of(Mode::Passthrough).plain().backends(&addrs).pool("retries: 3").plane().await;
    assert_eq!(fate(world.edge).await, (Vec::new(), End::Reset));
    assert_eq!(world.weir.only_record().await.number("tries"), 4);
    world.weir.settle().await;
}

#[tokio::test]
async fn no_retry_once_a_byte_of_payload_went_out() {
    // The backend takes the bytes and resets: they may have had an effect, so no other backend gets them.
    let other = Backend::plain(Role::Echo).await;
    let world = World::of(Mode::Offload).role(Role::ResetAfter(4)).also(other.addr).plane().await;
    let mut resets = 0;
    for _ in 0..4 {
        let mut stream = world.connect().await;
        stream.send(b"once").await.unwrap();
        stream.finish().await;
        let (bytes, end) = stream.rest().await;
        resets += usize::from(end == End::Reset && bytes.is_empty());
    }
    assert_eq!((resets, world.backend.count(), other.count()), (2, 2, 2));
    world.weir.settle().await;
}

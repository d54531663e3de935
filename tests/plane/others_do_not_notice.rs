//! While strangers misbehave in every way at once, good clients are served as usual.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use weir_tests::client::try_tcp;
use weir_tests::digest::Noise;
use weir_tests::hello;
use weir_tests::stream::Stream;
use weir_tests::world::{MODES, NAME, World};

/// One stranger with one vice, chosen by `seed`. How its connection ends is up to weir.
async fn misbehave(edge: SocketAddr, seed: u64) {
    let Ok(tcp) = try_tcp(edge).await else { return };
    let mut stream = Stream::Plain(tcp);
    let mut noise = Noise::new(seed);
    let hello = hello::small(NAME);
    match seed % 8 {
        0 => {
            let _ = stream.send(b"GET / HTTP/1.1\r\n\r\n").await;
        }
        1 => {
            let _ = stream.send(&noise.bytes(3000)).await;
        }
        2 => {
            let _ = stream.send(&hello[..100]).await;
            stream.reset();
            return;
        }
        3 => {
            for byte in hello.iter().take(20) {
                let _ = stream.send(&[*byte]).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        4 => {
            let mut huge = hello.clone();
            huge[6] = 0xff;
            let _ = stream.send(&huge).await;
        }
        5 => {
            let _ = stream.send(&hello).await;
            stream.reset();
            return;
        }
        6 => {
            let _ = stream.send(&hello).await;
            let _ = stream.send(&noise.bytes(2000)).await;
        }
        _ => tokio::time::sleep(Duration::from_millis(1500)).await,
    }
    tokio::time::sleep(Duration::from_millis(noise.below(500) as u64)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_each_mode() {
    for mode in MODES {
        let world = World::of(mode).listener("timeouts: {client_hello: 3s, handshake: 3s}").plane().await;
        let mut strangers = JoinSet::new();
        for seed in 0..400 {
            strangers.spawn(misbehave(world.edge, seed));
        }
        let mut slowest = Duration::ZERO;
        for _ in 0..30 {
            let start = Instant::now();
            let mut stream = world.connect().await;
            stream.send(b"good").await.unwrap();
            assert_eq!(stream.exactly(4).await.unwrap(), b"good");
            slowest = slowest.max(start.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The machine runs other tests too; a client that had to wait for a stranger's deadline would take
        // longer.
        assert!(slowest < Duration::from_secs(2), "{mode:?}: {slowest:?}");
        strangers.join_all().await;
        world.weir.settle().await;
        world.weir.quiet();
    }
}

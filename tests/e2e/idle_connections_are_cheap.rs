//! An idle connection costs no CPU and little memory, in whatever state it waits.

use std::time::Duration;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::stream::Stream;
use weir_tests::world::{Builder, MODES, Mode, NAME, World};

/// The number of idle connections whose memory is measured.
const CROWD: usize = 1000;

/// Watches weir for two seconds without traffic.
async fn uses_no_cpu(world: &World, what: &str) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = world.weir.cpu();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = world.weir.cpu() - before;
    assert!(spent <= Duration::from_millis(100), "{:?}, {what}: {spent:?} of CPU in two seconds", world.mode);
}

fn worlds() -> Vec<Builder> {
    let mut worlds = vec![World::of(Mode::Passthrough).plain()];
    worlds.extend(MODES.map(World::of));
    worlds
}

#[tokio::test]
async fn open_ones() {
    for world in worlds() {
        let world = world.start().await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = world.connect().await;
            stream.send(b"x").await.unwrap();
            stream.exactly(1).await.unwrap();
            streams.push(stream);
        }
        uses_no_cpu(&world, "open").await;
        drop(streams);
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn half_closed_ones() {
    for world in worlds() {
        let world = world.role(Role::EndFirst(b"bye".to_vec())).start().await;
        let mut by_backend = world.connect().await;
        by_backend.exactly(3).await.unwrap();
        uses_no_cpu(&world, "half-closed by the backend").await;
        by_backend.finish().await;
        by_backend.rest().await;
        world.weir.settle().await;
    }
    // A backend that answers only after more bytes than it gets: the client has ended, and nothing moves.
    let world = World::of(Mode::Offload).role(Role::Silent).start().await;
    let mut by_client = world.connect().await;
    by_client.send(b"x").await.unwrap();
    by_client.finish().await;
    uses_no_cpu(&world, "half-closed by the client").await;
    drop(by_client);
    drop(world);
}

#[tokio::test]
async fn blocked_ones() {
    for world in worlds() {
        let world = world.role(Role::Bulk(64 << 20)).start().await;
        let stream = world.connect().await;
        uses_no_cpu(&world, "blocked by a client that does not read").await;
        stream.reset();
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn unfinished_ones() {
    for mode in MODES {
        let world = World::of(mode).start().await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = tcp(world.edge).await;
            stream.send(&hello::large(NAME)[..300]).await.unwrap();
            streams.push(stream);
        }
        uses_no_cpu(&world, "in the middle of a hello").await;
        drop(streams);
        world.weir.settle().await;
    }
}

/// Opens the crowd and gives the memory of weir's process for one of its connections, in bytes.
async fn memory_of(world: &World, open: impl AsyncFn() -> Stream) -> u64 {
    // The first connections fill pools that stay.
    drop(open().await);
    world.weir.settle().await;
    let before = world.weir.resident();
    let mut streams = Vec::new();
    for _ in 0..CROWD {
        streams.push(open().await);
    }
    eventually(Duration::from_secs(10), "all are open", async || {
        let active = world.weir.metrics().await.count("weir_connections_active", &[]);
        if active == CROWD as u64 { Ok(()) } else { Err(active.to_string()) }
    })
    .await;
    let grown = world.weir.resident().saturating_sub(before);
    drop(streams);
    world.weir.settle().await;
    grown * 1024 / CROWD as u64
}

#[tokio::test]
async fn in_memory() {
    let plain = World::of(Mode::Passthrough).plain().start().await;
    let cost = memory_of(&plain, async || {
        let mut stream = plain.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
        stream
    })
    .await;
    assert!(cost < 6 * 1024, "{cost} bytes for an idle passthrough connection");

    for (mode, ceiling) in [(Mode::Offload, 12 * 1024), (Mode::Bridging, 18 * 1024)] {
        let world = World::of(mode).start().await;
        let cost = memory_of(&world, async || {
            let mut stream = world.connect().await;
            stream.send(b"x").await.unwrap();
            stream.exactly(1).await.unwrap();
            stream
        })
        .await;
        assert!(cost < ceiling, "{cost} bytes for an idle connection, {mode:?}");
    }

    let peek = World::of(Mode::Passthrough).start().await;
    let cost = memory_of(&peek, async || {
        let mut stream = tcp(peek.edge).await;
        stream.send(&hello::large(NAME)[..1000]).await.unwrap();
        stream
    })
    .await;
    assert!(cost < 8 * 1024, "{cost} bytes for an unfinished hello of 1,000 bytes");
}

/// A hello may be as large as its ceiling allows: its content is not kept.
#[tokio::test]
async fn after_a_hello_of_thousands_of_protocols() {
    // weir peeks at the hello; the backend is no TLS server, but echoes.
    let echo = Backend::plain(Role::Echo).await;
    let world = World::of(Mode::Passthrough).backends(&[echo.addr]).start().await;
    let greedy = hello::offering(&hello::small(NAME), 7000);
    let cost = memory_of(&world, async || {
        let mut stream = tcp(world.edge).await;
        stream.send(&greedy).await.unwrap();
        stream.exactly(greedy.len()).await.unwrap();
        stream
    })
    .await;
    assert!(cost < 12 * 1024, "{cost} bytes for an idle connection after a large hello");
}

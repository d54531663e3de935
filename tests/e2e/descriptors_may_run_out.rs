//! Without free descriptors weir waits instead of spinning, says so, and goes on when some are free again.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_tests::client::{tcp, try_tcp};
use weir_tests::digest::Noise;
use weir_tests::eventually::eventually;
use weir_tests::program::run;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Mode, World};

#[tokio::test]
async fn and_come_back() {
    let world = World::of(Mode::Passthrough).plain().start().await;
    let mut before = world.connect().await;
    before.send(b"x").await.unwrap();
    before.exactly(1).await.unwrap();
    // weir stays below the limit that it found at startup, so the test lowers the limit while weir runs.
    let limit = world.weir.fds() + 4;
    let mut lower = tokio::process::Command::new("prlimit");
    lower.args(["--pid", &world.weir.pid().to_string(), &format!("--nofile={limit}:{limit}")]);
    assert_eq!(run(lower, b"", Duration::from_secs(5)).await.code, Some(0));

    let mut crowd: Vec<Stream> = Vec::new();
    for _ in 0..20 {
        if let Ok(stream) = try_tcp(world.edge).await {
            crowd.push(Stream::Plain(stream));
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (cpu, warnings) = (world.weir.cpu(), world.weir.program.stderr.count());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = world.weir.cpu() - cpu;
    assert!(spent < Duration::from_secs(1), "{spent:?} of CPU in two seconds of waiting");
    let said = world.weir.program.stderr.count() - warnings;
    assert!(said < 40, "{said} log lines in two seconds");
    // Existing connections are served as before.
    before.send(b"y").await.unwrap();
    assert_eq!(before.exactly(1).await.unwrap(), b"y");

    drop(crowd);
    // Clients accepted while no descriptor was left for a backend may still be turned away.
    eventually(Duration::from_secs(2), "newcomers are served again", async || {
        let after = try_tcp(world.edge).await.map_err(|error| error.to_string())?;
        let mut after = Stream::Plain(after);
        after.send(b"z").await.map_err(|error| error.to_string())?;
        after.exactly(1).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    drop(before);
    let metrics = eventually(Duration::from_secs(5), "errors are counted", async || {
        let metrics = world.weir.metrics().await;
        if metrics.count("weir_accept_errors_total", &[]) > 0 { Ok(metrics) } else { Err(metrics.text) }
    })
    .await;
    assert!(metrics.count("weir_accept_errors_total", &[]) < 1000, "{}", metrics.text);
    assert!(world.weir.program.stderr.text().contains("WARN"), "no warning for the operator");
    world.weir.settle().await;
}

/// Leaves weir so many descriptors, once the connection that asked whether it is ready is closed. The limit is one on numbers,
/// of which some may be free among those in use.
async fn leave(world: &World, free: usize) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let folder = std::fs::read_dir(format!("/proc/{}/fd", world.weir.pid())).unwrap();
    let used: Vec<usize> =
        folder.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).collect();
    let next = (0..).filter(|number| !used.contains(number)).nth(free).unwrap();
    limit(world, next).await;
}

/// Sets the soft limit of open files while weir runs.
async fn limit(world: &World, limit: usize) {
    let mut set = tokio::process::Command::new("prlimit");
    set.args(["--pid", &world.weir.pid().to_string(), &format!("--nofile={limit}:")]);
    assert_eq!(run(set, b"", Duration::from_secs(5)).await.code, Some(0));
}

/// Bulk that would be spliced is copied, and arrives whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_goes_on_without_a_descriptor_for_a_pipe() {
    const BULK: usize = 32 << 20;
    let world = World::of(Mode::Passthrough).plain().start().await;
    let mut stream = world.connect().await;
    stream.send(b"x").await.unwrap();
    stream.exactly(1).await.unwrap();
    leave(&world, 0).await;
    let (mut from, mut to) = tokio::io::split(stream);
    let bytes = Noise::new(1).bytes(BULK);
    let write = async {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    tokio::join!(write, async { from.read_to_end(&mut got).await.unwrap() });
    assert!(got == bytes, "{} of {BULK} bytes, or others", got.len());
    limit(&world, 1000).await;
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.sum("weir_pipes", &[]), 0.0, "no pipe could be had");
}

/// A backend that cannot be dialled for lack of a descriptor is not at fault, and the next client is served.
#[tokio::test]
async fn no_backend_is_blamed_for_it() {
    let world =
        World::of(Mode::Passthrough).plain().pool("passive_check: {failures: 1, eject: 60s}").start().await;
    // One for the client, and none for its backend.
    leave(&world, 1).await;
    for _ in 0..3 {
        let Ok(stream) = try_tcp(world.edge).await else { continue };
        let mut stream = Stream::Plain(stream);
        let _ = stream.send(b"x").await;
        assert_ne!(stream.rest().await.1, End::Clean, "it is not served");
    }
    limit(&world, 1000).await;
    let mut stream = world.connect().await;
    stream.send(b"x").await.unwrap();
    assert_eq!(stream.exactly(1).await.unwrap(), b"x", "the backend is in service");
    drop(stream);
    let metrics = world.weir.settle().await;
    assert!(metrics.count("weir_backend_connections_total", &[("result", "local")]) >= 1, "{}", metrics.text);
    assert_eq!(metrics.count("weir_backend_ejections_total", &[]), 0);
}

#[tokio::test]
async fn a_low_limit_at_the_start_is_kept() {
    let world = World::of(Mode::Passthrough).plain().nofile(100).start().await;
    let mut crowd: Vec<Stream> = Vec::new();
    for _ in 0..100 {
        let mut stream = tcp(world.edge).await;
        let _ = stream.send(b"x").await;
        crowd.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_accept_errors_total", &[]), 0, "max_connections: auto was too much");
    let active = metrics.sum("weir_connections_active", &[]);
    assert!((10.0..50.0).contains(&active), "{active} connections within 100 descriptors");
    drop(crowd);
    world.weir.settle().await;
}

//! Connections that end so that load spreads anew: old ones (`runtime.max_connection_age`), and those of backends with more than
//! their share (`rebalance`). None ends while anything is under way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use weir_tests::eventually::eventually;
use weir_tests::frames::{self, Frame, GOAWAY};
use weir_tests::origin::{Origin, Step, answer, answers, ask};
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Mode, NAME, World, relayed};

/// Longer than anything here takes, even with both cores busy.
const PATIENCE: Duration = Duration::from_secs(20);
const AGED: &str = "workers: 1, drain_timeout: 5s, max_connection_age: 2s";

async fn echoes(stream: &mut Stream) {
    stream.send(b"x").await.unwrap();
    assert_eq!(stream.exactly(1).await.unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_connections_end_once_they_are_idle() {
    // A stream of HTTP/2 that has left HTTP goes on as long as it wants.
    for builder in relayed().into_iter().filter(|builder| !builder.leaves_by_stream()) {
        let name = builder.name();
        let world = builder.runtime(AGED).plane().await;
        let (mut idle, mut busy) = (world.connect().await, world.connect().await);
        echoes(&mut idle).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            echoes(&mut busy).await;
            sleep(Duration::from_millis(100)).await;
        }
        let ended = timeout(Duration::from_millis(500), idle.rest()).await.expect("it is old and idle");
        // In passthrough TLS is not weir's, and a FIN is all that it can say.
        let end = if name == "Passthrough None" { ended.1 } else { End::Clean };
        assert!(
            matches!(end, End::Clean | End::Truncated) && ended == (Vec::new(), end),
            "{name}: {ended:?}"
        );
        // Twice as old as it may be, and still at work.
        echoes(&mut busy).await;
        let (bytes, end) = timeout(PATIENCE, busy.rest()).await.expect("it is idle now");
        assert!(bytes.is_empty() && end == ended.1, "{name}: {end:?}");
        for record in world.weir.some_records(2).await {
            record.ended("drained", "weir");
            assert_eq!(record.text("how"), "drain", "{name}");
        }
        let next = world.connect().await;
        drop(next);
        world.weir.settle().await;
    }
}

/// An answer that a client waits for, and bytes that a peer has not taken, are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_goes_on() {
    let world = World::of(Mode::Passthrough).plain().role(Role::Bulk(64 << 20)).runtime(AGED).plane().await;
    let mut slow = world.connect().await;
    // Nothing moves for longer than an idle moment, because this client reads nothing.
    sleep(Duration::from_secs(5)).await;
    slow.finish().await;
    let (sum, end) = timeout(PATIENCE, slow.sum()).await.unwrap();
    assert_eq!((sum.bytes, end), (64 << 20, End::Clean));
    world.weir.only_record().await.ended("ok", "client");
    world.weir.settle().await;
}

/// Those of HTTP end between two requests, and say so: by `Connection: close`, or by GOAWAY.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_before_their_connection_ends() {
    let origin = Origin::start(|asked| match &*asked.path {
        "/slow" => vec![Step::Read, Step::Sleep(Duration::from_secs(4)), Step::Send(answer("late"))],
        _ => answers("x"),
    })
    .await;
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[origin.addr])
        .runtime(AGED)
        .plane()
        .await;
    let connect = async |alpn| world.client().alpn(&[alpn]).connect(world.edge, NAME).await.unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let (mut parked, mut slow) = (connect("http/1.1").await, connect("http/1.1").await);
    let mut newer = connect("h2").await;
    newer.send(&frames::preface()).await.unwrap();
    assert_eq!(ask(&mut parked, &get("/")).await.unwrap().status, 200);
    let late = ask(&mut slow, &get("/slow")).await.unwrap();
    assert_eq!((late.status, &*late.body), (200, &b"late"[..]));
    assert!(late.head.contains("connection: close"), "{}", late.head);
    for stream in [&mut parked, &mut slow] {
        assert_eq!(timeout(PATIENCE, stream.rest()).await.unwrap().1, End::Clean);
    }
    loop {
        let frame =
            timeout(PATIENCE, Frame::read(&mut newer)).await.unwrap().expect("GOAWAY comes before the end");
        if frame.kind == GOAWAY {
            assert_eq!(frame.error(), 0);
            break;
        }
    }
    drop(newer);
    world.weir.settle().await;
}

/// Without the key nothing ends, and a reload that brings it ends those that are old already, a few at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_brings_the_age() {
    let world = World::of(Mode::Passthrough).plain().plane().await;
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut stream = world.connect().await;
        echoes(&mut stream).await;
        all.push(stream);
    }
    sleep(Duration::from_secs(6)).await;
    assert_eq!(active(&world).await, 20);
    change(&world, "drain_timeout: 5s", "drain_timeout: 5s, max_connection_age: 5s").await;
    let reloaded = Instant::now();
    eventually(PATIENCE, "the first end", async || {
        if active(&world).await < 20 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let left = active(&world).await;
    assert!(left > 5, "not all in one go: {left} of 20 are left after {:?}", reloaded.elapsed());
    eventually(PATIENCE, "all end", async || match active(&world).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
    world.weir.settle().await;
}

async fn active(world: &World<Plane>) -> u64 {
    world.weir.metrics().await.sum("weir_connections_active", &[]) as u64
}

/// Changes the configuration, and puts it in force.
async fn change(world: &World<Plane>, from: &str, to: &str) {
    let file = world.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    world.weir.reload().await;
}

/// Connections that each backend serves, in the order of the addresses.
async fn loads(world: &World<Plane>, backends: &[SocketAddr]) -> Vec<u64> {
    let metrics = world.weir.metrics().await;
    let of = |backend: &SocketAddr| {
        metrics.sum("weir_backend_active_connections", &[("backend", &backend.to_string())]) as u64
    };
    backends.iter().map(of).collect()
}

/// After a scale-out idle connections move to the new backend, at the pace that is set and not beyond its share; whoever is at
/// work stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_move_to_a_new_backend() {
    let (old, new) = (Backend::plain(Role::Echo).await, Backend::plain(Role::Echo).await);
    let world = World::of(Mode::Passthrough)
        .plain()
        .backends(&[old.addr])
        .pool("balance: least_connections")
        .pool("rebalance: 10%/s")
        .runtime("workers: 2, drain_timeout: 1s")
        .plane()
        .await;
    let (mut idle, mut busy) = (Vec::new(), world.connect().await);
    for _ in 0..39 {
        let mut stream = world.connect().await;
        echoes(&mut stream).await;
        idle.push(stream);
    }
    sleep(Duration::from_secs(3)).await;
    echoes(&mut busy).await;
    assert_eq!(loads(&world, &[old.addr]).await, [40], "one backend has its share");
    change(&world, &format!("[\"{}\"]", old.addr), &format!("[\"{}\", \"{}\"]", old.addr, new.addr)).await;
    let begun = Instant::now();
    let mut came_again = 0;
    loop {
        echoes(&mut busy).await;
        let mut left = Vec::new();
        for mut stream in std::mem::take(&mut idle) {
            let ended = timeout(Duration::from_millis(2), stream.exactly(1)).await.is_ok();
            if ended {
                came_again += 1;
                stream = world.connect().await;
                echoes(&mut stream).await;
            }
            left.push(stream);
        }
        idle = left;
        let loads = loads(&world, &[old.addr, new.addr]).await;
        println!("after {:?}: {loads:?}", begun.elapsed());
        if loads[0].abs_diff(loads[1]) <= 2 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE * 2, "{loads:?}");
    }
    // 20 of 40, at 4 a second.
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
    sleep(Duration::from_secs(3)).await;
    let after = loads(&world, &[old.addr, new.addr]).await;
    assert!(after[0].abs_diff(after[1]) <= 4, "never below the share: {after:?}");
    assert!((18..=22).contains(&came_again), "{came_again} came again");
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_pool_rebalanced_total", &[("pool", "main")]), came_again);
    echoes(&mut busy).await;
    drop((idle, busy));
    world.weir.settle().await;
}

//! Above `runtime.max_memory` new connections wait in the backlog; below it they are accepted again.

use std::fs;
use std::time::Duration;
use tokio::time::timeout;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::peers::Role;
use weir_tests::stream::Stream;
use weir_tests::world::{MODES, Mode, World};

/// Longer than anything here takes, even with both cores busy.
const PATIENCE: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

/// Resident memory as the limit counts it, in MiB.
async fn held(world: &World) -> u64 {
    world.weir.metrics().await.count("process_resident_memory_bytes", &[]) / MIB
}

/// Puts another limit in force.
async fn limit(world: &World, runtime: &str) {
    let file = world.weir.folder().join("weir.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&file, format!("runtime: {{workers: 1, {runtime}}}\n{rest}")).unwrap();
    let answer = weir_tests::http::request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn is_served(stream: &mut Stream) -> bool {
    let answered = timeout(Duration::from_millis(700), stream.exactly(1)).await;
    answered.is_ok_and(|got| got.is_ok_and(|got| got == b"x"))
}

async fn waits(world: &World) {
    eventually(PATIENCE, "a connection waits for memory", async || {
        let waited = world.weir.metrics().await.count("weir_limited_total", &[("reason", "max_memory")]);
        if waited > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn above_it_newcomers_wait_and_others_go_on() {
    let world = World::of(Mode::Passthrough).plain().level("info").start().await;
    let mut first = world.connect().await;
    first.send(b"x").await.unwrap();
    assert_eq!(first.exactly(1).await.unwrap(), b"x");
    limit(&world, "max_memory: 16MiB").await;
    // What is accepted between the reload and the next look is served.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut second = world.connect().await;
    second.send(b"x").await.unwrap();
    waits(&world).await;
    assert!(!is_served(&mut second).await, "it should wait");
    first.send(b"x").await.unwrap();
    assert_eq!(first.exactly(1).await.unwrap(), b"x", "what is open goes on");
    assert_eq!(world.weir.ask("/readyz").await.status, 200);
    let log = world.weir.program.stderr.text();
    assert!(log.contains("above runtime.max_memory: new connections wait"), "{log}");
    assert!(log.contains("this process holds"), "a warning at the load: {log}");
    limit(&world, "max_memory: 4GiB").await;
    assert_eq!(timeout(PATIENCE, second.exactly(1)).await.unwrap().unwrap(), b"x");
    limit(&world, "max_memory: 16MiB").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut third = world.connect().await;
    third.send(b"x").await.unwrap();
    assert!(!is_served(&mut third).await, "it should wait again");
    // A process without a connection would wait for ever.
    drop((first, second));
    assert_eq!(timeout(PATIENCE, third.exactly(1)).await.unwrap().unwrap(), b"x");
    drop(third);
    world.weir.settle().await;
}

/// The first part of a hello that is to have 16,000 bytes.
fn part_of_a_hello() -> Vec<u8> {
    let mut part = vec![22, 3, 1, 0x3e, 0x84, 1, 0, 0x3e, 0x80];
    part.resize(15 << 10, 0);
    part
}

/// A flood of clients that cost memory comes to its end at the limit, and what it took is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_stops_there_and_its_memory_comes_back() {
    const CROWD: usize = 3000;
    let world = World::of(Mode::Passthrough).level("info").start().await;
    let mut good = world.connect().await;
    let before = held(&world).await;
    limit(&world, &format!("max_memory: {}MiB", before + 16)).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = tcp(world.edge).await;
        stream.send(&part_of_a_hello()).await.unwrap();
        crowd.push(stream);
    }
    waits(&world).await;
    let accepted = world.weir.metrics().await.count("weir_connections_opened_total", &[]);
    let most = held(&world).await;
    assert!((100..CROWD as u64).contains(&accepted), "{accepted} accepted");
    assert!(most < before + 32, "{before} MiB became {most}");
    good.send(b"x").await.unwrap();
    assert_eq!(good.exactly(1).await.unwrap(), b"x");
    drop(crowd);
    let mut next = timeout(PATIENCE, world.connect()).await.unwrap();
    next.send(b"x").await.unwrap();
    assert_eq!(next.exactly(1).await.unwrap(), b"x", "accepted again");
    println!(
        "{before} MiB, with {accepted} of {CROWD} unfinished hellos {most}, after them {}",
        held(&world).await
    );
    drop((good, next));
    world.weir.settle().await;
}

/// A limit that is not reached changes nothing.
#[tokio::test]
async fn below_it_nothing_waits() {
    for mode in MODES {
        let world = World::of(mode).role(Role::Echo).runtime("workers: 1, max_memory: 1GiB").start().await;
        for _ in 0..20 {
            let mut stream = world.connect().await;
            stream.send(b"x").await.unwrap();
            assert_eq!(stream.exactly(1).await.unwrap(), b"x");
        }
        let metrics = world.weir.settle().await;
        assert_eq!(metrics.count("weir_limited_total", &[("reason", "max_memory")]), 0, "{mode:?}");
    }
}

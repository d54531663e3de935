//! Each worker has its own listening socket, and the kernel spreads connections over them.

use weir_tests::world::{Mode, World};

#[tokio::test]
async fn two_workers_share_the_connections() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 2").plane().await;
    for _ in 0..64 {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
    }
    let metrics = world.weir.settle().await;
    let name = "weir_worker_connections_total";
    let mut workers = metrics.values_of(name, "worker");
    workers.sort();
    assert_eq!(workers.len(), 2, "{}", metrics.text);
    let counts: Vec<u64> = workers.iter().map(|worker| metrics.count(name, &[("worker", worker)])).collect();
    assert_eq!(counts.iter().sum::<u64>(), 64);
    // With fair coins, fewer than 8 of 64 happens once in 10^10 runs.
    assert!(counts.iter().all(|&count| count >= 8), "{counts:?}");
}

//! Thousands of connections opened and closed leave no descriptor and no memory behind.

use tokio::task::JoinSet;
use weir_tests::client::{TlsClient, try_tcp};
use weir_tests::stream::{End, Stream};
use weir_tests::world::{MODES, Mode, NAME, World};

/// Connections in each mode: 2,000, or what `make soak` asks for.
fn amount() -> usize {
    std::env::var("WEIR_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

async fn one(edge: std::net::SocketAddr, client: Option<TlsClient>) {
    let tcp = try_tcp(edge).await.unwrap();
    let mut stream = match client {
        Some(client) => client.over(tcp, NAME).await.unwrap(),
        None => Stream::Plain(tcp),
    };
    stream.send(b"in and out").await.unwrap();
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"in and out".to_vec(), End::Clean));
}

async fn many(world: &World, count: usize, tls: bool) {
    let mut running = JoinSet::new();
    for _ in 0..count {
        if running.len() == 32 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(one(world.edge, tls.then(|| world.client())));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

async fn churn(world: World, tls: bool) {
    // The first hundreds fill allocator pools, session caches and the like, which are bounded and stay.
    many(&world, amount() / 4, tls).await;
    world.weir.settle().await;
    let before = world.weir.resident();
    many(&world, amount(), tls).await;
    let metrics = world.weir.settle().await;
    let grown = world.weir.resident().saturating_sub(before);
    assert!(grown < 8 * 1024, "{:?}: {grown} KiB more after {} connections", world.mode, amount());
    let served = (amount() + amount() / 4) as u64;
    assert_eq!(metrics.count("weir_connections_closed_total", &[("outcome", "ok")]), served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain() {
    churn(World::of(Mode::Passthrough).plain().runtime("workers: 2").start().await, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_each_mode() {
    for mode in MODES {
        churn(World::of(mode).runtime("workers: 2").start().await, true).await;
    }
}

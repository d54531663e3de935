//! Strangers who drip their hellos from many addresses, and one who connects without end, cost others hardly any time, and weir
//! little memory. When they are gone, nothing of them is left.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use weir_tests::client::{try_tcp, try_tcp_from};
use weir_tests::hello;
use weir_tests::stream::Stream;
use weir_tests::world::{MODES, Mode, NAME, World};

/// How many drip: 2,000, or as many as the environment says.
fn crowd() -> u32 {
    std::env::var("WEIR_STRANGERS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

/// The stranger who connects so often in a second.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 66, 6, 6);
const FLOOD: u32 = 1000;
/// What others may wait beside them, whatever it is without them: weir is a debug build here, and shares its CPUs with the
/// strangers.
const P99: Duration = Duration::from_millis(100);
const WATCHED: Duration = Duration::from_secs(4);

/// How long it took.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn p99(&mut self) -> Duration {
        self.0.sort_unstable();
        self.0.get(self.0.len() * 99 / 100).or(self.0.last()).copied().unwrap_or_default()
    }
}

/// What others see for a while: the time of a message and its echo on a connection that was there before, and the time from
/// connect(2) to the first echo of new ones.
async fn watch(world: &World, old: &mut Stream) -> [Duration; 2] {
    let echo = async |stream: &mut Stream| {
        stream.send(b"x").await.unwrap();
        assert_eq!(stream.exactly(1).await.unwrap(), b"x");
    };
    let (mut messages, mut connects) = (Times::default(), Times::default());
    let watching = Instant::now();
    while watching.elapsed() < WATCHED {
        let begun = Instant::now();
        echo(old).await;
        messages.0.push(begun.elapsed());
        let begun = Instant::now();
        let mut new = world.connect().await;
        echo(&mut new).await;
        connects.0.push(begun.elapsed());
        drop(new);
        sleep(Duration::from_millis(20)).await;
    }
    [messages.p99(), connects.p99()]
}

/// One of many, each with an address of its own: sends a hello a few bytes at a time, and never all of it.
async fn drip(edge: std::net::SocketAddr, number: u32, hello: Arc<Vec<u8>>, stop: Arc<AtomicBool>) {
    let [.., high, low] = number.to_be_bytes();
    let Ok(socket) = try_tcp_from(Ipv4Addr::new(127, 1, high, low), edge).await else { return };
    let mut stream = Stream::Plain(socket);
    for piece in hello.chunks(16) {
        if stop.load(Ordering::Relaxed) || stream.send(piece).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(1000)).await;
    }
}

/// Connects without end, from one address.
async fn flood(edge: std::net::SocketAddr, refused: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut tick = interval(Duration::from_secs(1) / FLOOD);
    let mut all = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let refused = Arc::clone(&refused);
        all.spawn(async move {
            let Ok(socket) = try_tcp_from(FLOODER, edge).await else { return };
            Stream::Plain(socket).rest().await;
            refused.fetch_add(1, Ordering::Relaxed);
        });
        while all.try_join_next().is_some() {}
    }
    all.shutdown().await;
}

/// Watches others without strangers and beside them; gives what was seen.
async fn in_one_mode(mode: Mode) -> String {
    let world = World::of(mode)
        .listener("limits: {per_client: {connections: 200, rate: 500/s, burst: 500}}")
        .listener("timeouts: {client_hello: 60s}")
        .runtime("workers: 2, drain_timeout: 1s")
        .level("info")
        .start()
        .await;
    let edge = world.edge;
    // Others are the clients of the harness, who are within the limits: some 40 connections a second.
    let mut old = world.connect().await;
    let quiet = watch(&world, &mut old).await;
    let before = world.weir.resident();
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let hello = Arc::new(hello::large(NAME));
    let mut strangers = JoinSet::new();
    for number in 0..crowd() {
        strangers.spawn(drip(edge, number, Arc::clone(&hello), Arc::clone(&stop)));
        if number % 100 == 99 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    strangers.spawn(flood(edge, Arc::clone(&refused), Arc::clone(&stop)));
    sleep(Duration::from_millis(500)).await;
    let mut beside = watch(&world, &mut old).await;
    for _ in 0..2 {
        if !is_quick(quiet, beside) {
            // Something else may have been in their way.
            beside = watch(&world, &mut old).await;
        }
    }
    let metrics = world.weir.metrics().await;
    let (pending, held) =
        (metrics.sum("weir_connections_active", &[]) as u64, world.weir.resident().saturating_sub(before));
    let limited = metrics.count("weir_limited_total", &[("reason", "client_rate")])
        + metrics.count("weir_limited_total", &[("reason", "client_connections")]);
    let seen = format!(
        "{mode:?}: p99 of a message and of a connect {quiet:?}, beside {pending} that drip and {} of a flood {beside:?}; {held} KiB",
        refused.load(Ordering::Relaxed)
    );
    assert!(is_quick(quiet, beside), "{mode:?}: {beside:?}, without strangers {quiet:?}");
    assert!(pending >= u64::from(crowd()) * 9 / 10, "{mode:?}: only {pending} drip");
    assert!(limited > 500, "{mode:?}: the flood was limited {limited} times");
    // A connection's body and task, its part of a hello, and what the allocator keeps.
    assert!(held < u64::from(crowd()) * 12 + (24 << 10), "{mode:?}: {held} KiB for {pending}");
    stop.store(true, Ordering::Relaxed);
    strangers.shutdown().await;
    drop(old);
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.sum("weir_clients", &[]) as u64, 0, "{mode:?}: clients are forgotten");
    assert!(try_tcp(edge).await.is_ok());
    world.weir.quiet();
    seen
}

/// Whether others wait no longer than twice as long as without strangers, or so little that nobody minds.
fn is_quick(quiet: [Duration; 2], beside: [Duration; 2]) -> bool {
    quiet.iter().zip(&beside).all(|(quiet, beside)| *beside <= *quiet * 2 || *beside < P99)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_keep_their_pace_under_load() {
    for mode in MODES {
        println!("{}", in_one_mode(mode).await);
    }
}

//! `limits.bandwidth`: connections, and all connections of a listener together, move their bytes as fast as they may, in each
//! direction, and no faster.

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::sleep;
use weir_tests::curl::curl;
use weir_tests::origin::{Origin, Step, answers};
use weir_tests::peers::Role;
use weir_tests::stream::Stream;
use weir_tests::world::{MODES, Mode, NAME, World, relayed};

const MIB: f64 = (1 << 20) as f64;
/// How long each rate is measured, once the buffers of the sockets are full.
const MEASURED: Duration = Duration::from_secs(3);
const FILLING: Duration = Duration::from_millis(700);

/// Reads for a time; gives MiB a second.
async fn reads(mut stream: ReadHalf<Stream>) -> f64 {
    let mut buffer = vec![0; 64 << 10];
    let (begun, mut from, mut sum) = (Instant::now(), Instant::now(), 0);
    while begun.elapsed() < FILLING + MEASURED {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "it has ended");
        if begun.elapsed() < FILLING {
            (from, sum) = (Instant::now(), 0);
        } else {
            sum += n;
        }
    }
    sum as f64 / MIB / from.elapsed().as_secs_f64()
}

/// Reads without end.
async fn drains(mut stream: ReadHalf<Stream>) {
    let mut buffer = vec![0; 64 << 10];
    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

/// Writes without end.
async fn writes(mut stream: WriteHalf<Stream>) {
    let chunk = vec![7; 64 << 10];
    while stream.write_all(&chunk).await.is_ok() {}
}

fn is_near(rate: f64, wanted: f64, what: &str) {
    assert!((rate - wanted).abs() < wanted / 10.0, "{what}: {rate} MiB/s in place of {wanted}");
}

/// Bytes up, by the counters of weir.
async fn sends(world: &World) -> f64 {
    let moved = async || world.weir.metrics().await.sum("weir_bytes_total", &[("direction", "up")]);
    sleep(FILLING).await;
    let (before, from) = (moved().await, Instant::now());
    sleep(MEASURED - Duration::from_millis(500)).await;
    (moved().await - before) / MIB / from.elapsed().as_secs_f64()
}

/// Both directions at the same time; but those of a stream of HTTP/2 one after the other, because what allows the one to send on
/// waits behind the bytes of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_keeps_its_own_under_load() {
    const LIMIT: &str = "limits: {bandwidth: {connection: 10MiB/s}}";
    for builder in relayed() {
        let name = builder.name();
        let alone = builder.leaves_by_stream();
        let world = builder.clone().role(Role::Torrent(1 << 30)).listener(LIMIT).start().await;
        let (from, to) = tokio::io::split(world.connect().await);
        let (down, up) = if alone {
            let down = reads(from).await;
            drop(to);
            let world = builder.role(Role::Torrent(0)).listener(LIMIT).start().await;
            let (from, to) = tokio::io::split(world.connect().await);
            let working = tokio::spawn(async { tokio::join!(writes(to), drains(from)) });
            let up = sends(&world).await;
            working.abort();
            (down, up)
        } else {
            let writing = tokio::spawn(writes(to));
            let both = tokio::join!(reads(from), sends(&world));
            writing.abort();
            both
        };
        is_near(down, 10.0, &format!("{name}, down"));
        is_near(up, 10.0, &format!("{name}, up"));
        let metrics = world.weir.settle().await;
        assert_eq!(metrics.count("weir_limited_total", &[("reason", "bandwidth")]), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_a_listener_share_under_load() {
    for mode in MODES {
        let world = World::of(mode)
            .role(Role::Torrent(1 << 30))
            .runtime("workers: 2, drain_timeout: 1s")
            .listener("limits: {bandwidth: {listener: 16MiB/s}}")
            .start()
            .await;
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let (from, _to) = tokio::io::split(world.connect().await);
            all.spawn(async move {
                let rate = reads(from).await;
                drop(_to);
                rate
            });
        }
        let rates = all.join_all().await;
        is_near(rates.iter().sum(), 16.0, &format!("{mode:?}, eight together"));
        // A busy machine gives the eight readers of this test unequal time too.
        for rate in &rates {
            assert!((1.0..3.0).contains(rate), "{mode:?}: unfair: {rates:?}");
        }
    }
}

/// A reload changes the speed of connections that are open, if they began with one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_connections_follow_a_reload_under_load() {
    let world = World::of(Mode::Passthrough)
        .plain()
        .role(Role::Torrent(1 << 30))
        .listener("limits: {bandwidth: {connection: 4MiB/s}}")
        .start()
        .await;
    let (from, _to) = tokio::io::split(world.connect().await);
    let file = world.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("4MiB/s", "8MiB/s")).unwrap();
    world.weir.signal(rustix::process::Signal::HUP);
    is_near(reads(from).await, 8.0, "after the reload");
}

/// Bodies of requests and answers by real clients, in either version, and past hyper.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_requests_keep_it_under_load() {
    const BODY: u64 = 30 << 20;
    let origin = Origin::start(|asked| match &*asked.path {
        "/down" => vec![Step::Read, Step::Pour(BODY)],
        _ => answers("got it"),
    })
    .await;
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .listener("limits: {bandwidth: {connection: 10MiB/s}}")
        .backends(&[origin.addr])
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let upload = folder.path().join("upload");
    std::fs::write(&upload, vec![7; BODY as usize]).unwrap();
    let port = world.edge.port();
    let resolve = format!("{NAME}:{port}:{}", world.edge.ip());
    for version in ["--http1.1", "--http2"] {
        for (path, more, speed) in [
            ("down", vec![], "%{speed_download}"),
            ("up", vec!["-T", upload.to_str().unwrap(), "-H", "Expect:"], "%{speed_upload}"),
        ] {
            let url = format!("https://{NAME}:{port}/{path}");
            let mut arguments =
                vec!["--insecure", "--resolve", &resolve, version, "-o", "/dev/null", "-w", speed];
            arguments.extend(more);
            arguments.push(&url);
            let said = curl(&arguments).await;
            assert_eq!(said.code, Some(0), "{}", said.both());
            let rate = said.stdout.trim().parse::<f64>().unwrap() / MIB;
            is_near(rate, 10.0, &format!("{version} {path}"));
        }
    }
    world.weir.settle().await;
}

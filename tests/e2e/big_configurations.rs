//! Thousands of routes, backends and certificates: they load, each leads where it should, and reloading them
//! all disturbs no client and leaves no memory behind.
//!
//! `make soak` runs them at full size, and prints what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_tests::big::{Big, Size, hello_for, name_of_certificate};
use weir_tests::client::{TlsClient, shown_certificate, tcp};
use weir_tests::http::request;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Launch, Weir, check};

/// The size: a tenth of the one in `make soak`.
fn size() -> Size {
    let of = |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    Size {
        routes: of("WEIR_ROUTES", 1000),
        pools: 100,
        backends: 10,
        certificates: of("WEIR_CERTIFICATES", 500),
    }
}

async fn start(size: Size) -> (Big, Weir) {
    let (big, folder) = Big::new(size).await;
    let launch = Launch::new(folder, big.yaml(0)).runtime("workers: 2, drain_timeout: 5s").level("info");
    (big, launch.start().await)
}

/// Routes from both ends of the table and from its middle, of each kind.
fn some_routes(size: Size) -> impl Iterator<Item = usize> {
    let middle = size.routes / 2 / 10 * 10;
    (0..10).chain(middle..middle + 10).chain(size.routes - 10..size.routes)
}

/// A connection in passthrough; the backend echoes.
async fn pass(big: &Big, hello: &[u8]) -> Stream {
    let mut stream = tcp(big.pass.addr()).await;
    stream.send(hello).await.unwrap();
    assert_eq!(stream.exactly(hello.len()).await.unwrap(), hello);
    stream
}

async fn leave(mut stream: Stream) {
    stream.finish().await;
    assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
}

/// Puts in force the configuration whose first route leads to this pool; gives the changes.
async fn reload(big: &Big, weir: &Weir, first: usize) -> serde_json::Value {
    let file = weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (head, _) = text.split_once("tls_profiles:").unwrap();
    std::fs::write(&file, format!("{head}{}", big.yaml(first))).unwrap();
    let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_and_certificate_is_found() {
    let (big, weir) = start(size()).await;
    let began = Instant::now();
    let checked = check(&weir.folder().join("weir.yaml"), &[]).await;
    println!("check {:?}", began.elapsed());
    assert_eq!(checked.code, Some(0), "{}", checked.both());
    println!("ready {:?}", ready_after(&weir));

    for route in some_routes(big.size) {
        let known = weir.records().len();
        leave(pass(&big, &hello_for(route)).await).await;
        let record = weir.some_records(known + 1).await.remove(known);
        assert_eq!(record.text("pool"), big.pool_of(route), "route {route}: {record:?}");
    }
    // A name beyond the last matches no route.
    let mut beyond = tcp(big.pass.addr()).await;
    beyond.send(&hello_for(big.size.routes)).await.unwrap();
    beyond.rest().await;

    let client = TlsClient::trusting(&[&big.authority]);
    for number in [0, 1, big.size.certificates / 2, big.size.certificates - 1] {
        let stream = client.connect(big.offload.addr(), &name_of_certificate(number)).await.unwrap();
        assert_eq!(shown_certificate(&stream), big.prints[number], "certificate {number}");
        leave(stream).await;
    }
    let unknown = name_of_certificate(big.size.certificates);
    assert!(client.connect(big.offload.addr(), &unknown).await.is_err());

    let metrics = weir.settle().await;
    let (began, before) = (Instant::now(), cpu(&weir));
    let bytes = weir.ask("/metrics").await.body.len();
    println!("metrics {:?}, {bytes} bytes, CPU {:?}", began.elapsed(), cpu(&weir) - before);
    let backends = metrics.values_of("weir_backend_up", "backend").len();
    assert_eq!(backends, big.size.pools * big.size.backends);
    let ends = metrics.values_of("weir_certificate_not_after_timestamp_seconds", "certificate").len();
    assert_eq!(ends, big.size.certificates);
}

/// The time from the start of the process to its last line before it served.
fn ready_after(weir: &Weir) -> Duration {
    let line = weir.program.stderr.all().into_iter().find(|line| line.contains("weir runs")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    let at = weir_tests::weir::moment(entry["timestamp"].as_str().unwrap());
    let born = std::fs::metadata(format!("/proc/{}", weir.pid())).unwrap().modified().unwrap();
    at.duration_since(born).unwrap_or_default()
}

/// The peak of resident memory since the previous call, in KiB.
fn peak(weir: &Weir) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", weir.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    std::fs::write(format!("/proc/{}/clear_refs", weir.pid()), "5").unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Makes new connections, one after the other, until told to stop: gives how many, and the longest one.
async fn keep_coming(big: Arc<Big>, over: Arc<AtomicBool>) -> (usize, Duration) {
    let (hello, mut count, mut longest) = (hello_for(1), 0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        leave(pass(&big, &hello).await).await;
        longest = longest.max(began.elapsed());
        count += 1;
    }
    (count, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_of_one_route_disturbs_no_client_and_leaves_nothing() {
    let (big, weir) = start(size()).await;
    let big = Arc::new(big);
    let held_in_pass = pass(&big, &hello_for(0)).await;
    let client = TlsClient::trusting(&[&big.authority]);
    let held_in_offload = client.connect(big.offload.addr(), &name_of_certificate(0)).await.unwrap();
    println!("start: {} KiB, peak {} KiB", weir.resident(), peak(&weir));

    let over = Arc::new(AtomicBool::new(false));
    let comers = tokio::spawn(keep_coming(Arc::clone(&big), Arc::clone(&over)));
    let mut resident = Vec::new();
    for round in 1..=10 {
        let began = Instant::now();
        let said = reload(&big, &weir, round).await;
        let took = began.elapsed();
        // Only that route has changed.
        let changes = said["changes"].as_array().unwrap();
        assert_eq!((changes.len(), &changes[0]["name"]), (1, &"pass/sni=r0.exact.test".into()), "{said}");
        resident.push(weir.resident());
        println!("reload {took:?}: {} KiB, peak {} KiB", resident[round - 1], peak(&weir));
    }
    over.store(true, Ordering::Relaxed);
    let (count, longest) = comers.await.unwrap();
    println!("{count} connections meanwhile, the longest {longest:?}");
    assert!(count > 0);

    // No client that was there has noticed, and a newcomer goes where the last plan says.
    let known = weir.some_records(count).await.len();
    for mut stream in [held_in_pass, held_in_offload] {
        stream.send(b"still here").await.unwrap();
        assert_eq!(stream.exactly(10).await.unwrap(), b"still here");
        leave(stream).await;
    }
    leave(pass(&big, &hello_for(0)).await).await;
    let records = weir.some_records(known + 3).await;
    let pools: Vec<&str> = records[known..].iter().map(|record| record.text("pool")).collect();
    assert_eq!(pools, ["pool-0", "pool-0", "pool-10"]);

    // Later reloads use the memory of the first ones again, in whichever order the allocator gives it back.
    let early = resident[2..5].iter().max().unwrap();
    let late = resident[7..].iter().min().unwrap();
    assert!(*late < early + early / 10, "memory grows with every reload: {resident:?} KiB");
    weir.settle().await;
}

/// CPU time of the process so far.
fn cpu(weir: &Weir) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{}/task", weir.pid())).unwrap();
    let spent = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(spent.sum())
}

/// Not a test of time, which differs on every machine: it prints times for `make soak`, and asserts only that
/// all connections of both are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_costs_as_much_as_in_a_small_configuration() {
    const BLOCK: u32 = 50;
    let small = Size { routes: 10, pools: 1, backends: 2, certificates: 1 };
    let worlds = [start(small).await, start(size()).await];
    let mut costs = [[Duration::ZERO; 2]; 2];
    let rounds = if std::env::var_os("WEIR_ROUTES").is_some() { 9 } else { 1 };
    for round in 0..=rounds {
        for ((big, weir), costs) in worlds.iter().zip(&mut costs) {
            let (hello, before) = (hello_for(big.size.routes - 4), cpu(weir));
            for _ in 0..BLOCK {
                leave(pass(big, &hello).await).await;
            }
            let between = cpu(weir);
            let client = TlsClient::trusting(&[&big.authority]).forgetful();
            for _ in 0..BLOCK {
                let name = name_of_certificate(big.size.certificates - 1);
                leave(client.connect(big.offload.addr(), &name).await.unwrap()).await;
            }
            // The first round warms up.
            if round > 0 {
                costs[0] += between - before;
                costs[1] += cpu(weir) - between;
            }
        }
    }
    let each = costs.map(|modes| modes.map(|spent| spent / (BLOCK * rounds)));
    println!("CPU of a connection, passthrough and offload: small {:?}, big {:?}", each[0], each[1]);
    for (_, weir) in &worlds {
        let metrics = weir.settle().await;
        let served = metrics.count("weir_connections_closed_total", &[("outcome", "ok")]);
        assert_eq!(served, u64::from(2 * BLOCK * (rounds + 1)));
    }
}

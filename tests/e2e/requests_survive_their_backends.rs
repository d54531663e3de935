//! Clients that keep their connections ask on while the processes of their backends end and start anew. No request fails
//! that may be sent twice, as long as there is a backend; no POST arrives twice; each failure has a record that names a
//! backend which fell at that time.
//!
//! `WEIR_RESTARTS_SECONDS` (for each of the six runs), `WEIR_RESTARTS_PAUSE` (seconds between restarts) and
//! `WEIR_RESTARTS_REQUESTS` (of all runs together) make it longer.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use weir_tests::client::TlsClient;
use weir_tests::origin::{Got, ask};
use weir_tests::ports::Port;
use weir_tests::restarting::{Fall, Restarting, Version, posts};
use weir_tests::weir::Record;
use weir_tests::world::{Mode, NAME, World};

/// How long a form lasts: at least so long, and so many requests.
#[derive(Debug, Clone, Copy)]
struct Length {
    time: Duration,
    pause: Duration,
    requests: u64,
}

fn length() -> Length {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    Length {
        time: number("WEIR_RESTARTS_SECONDS").map_or(Duration::from_secs(5), Duration::from_secs),
        pause: number("WEIR_RESTARTS_PAUSE").map_or(Duration::from_millis(900), Duration::from_secs),
        requests: number("WEIR_RESTARTS_REQUESTS").unwrap_or(0).div_ceil(RUNS),
    }
}

/// Runs that share the requests.
const RUNS: u64 = 6;
/// Clients at once.
const CLIENTS: u64 = 12;
/// Failures and restarts are compared this finely: a busy machine notices ends late.
const GRAIN: Duration = Duration::from_millis(300);

/// A request without the answer that it should have had.
#[derive(Debug, Clone)]
struct Failure {
    method: &'static str,
    path: String,
    at: SystemTime,
}

/// What a client has seen.
#[derive(Debug, Default)]
struct Tally {
    idempotent: u64,
    posts: Vec<String>,
    failures: Vec<Failure>,
    /// Connections that weir ended although it had answered.
    lost: u64,
}

struct Crowd {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: JoinSet<Tally>,
}

impl Crowd {
    fn start(world: &World) -> Self {
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            clients.spawn(client(world.client(), world.edge, number, over, asked));
        }
        Self { over, asked, clients }
    }

    async fn stop(mut self) -> Tally {
        self.over.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        while let Some(one) = self.clients.join_next().await {
            let one = one.unwrap();
            all.idempotent += one.idempotent;
            all.posts.extend(one.posts);
            all.failures.extend(one.failures);
            all.lost += one.lost;
        }
        all
    }
}

async fn client(
    tls: TlsClient,
    edge: std::net::SocketAddr,
    number: u64,
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
) -> Tally {
    let mut tally = Tally::default();
    let mut stream = tls.connect(edge, NAME).await.unwrap();
    for turn in 0_u64.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let method = ["GET", "POST", "GET", "HEAD", "PUT", "DELETE"][(turn % 6) as usize];
        let kind = if turn % 40 == 0 { "large" } else { "small" };
        let path = format!("/{kind}/{number}/{turn}");
        let body =
            if method == "POST" { "Content-Length: 5\r\n\r\nabcde" } else { "Content-Length: 0\r\n\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {NAME}\r\n{body}");
        match method {
            "POST" => tally.posts.push(path.clone()),
            _ => tally.idempotent += 1,
        }
        let at = SystemTime::now();
        let got = ask(&mut stream, &request).await;
        asked.fetch_add(1, Ordering::Relaxed);
        let goes_on = got.as_ref().is_ok_and(|got| !got.head.contains("connection: close"));
        if !got.as_ref().is_ok_and(|got| is_right(got, method, &path)) {
            tally.failures.push(Failure { method, path, at });
        }
        if !goes_on {
            tally.lost += 1;
            stream = tls.connect(edge, NAME).await.unwrap();
        }
    }
    tally
}

fn is_right(got: &Got, method: &str, path: &str) -> bool {
    let extra = if path.starts_with("/large") { 100 * 1024 } else { 0 };
    let whole =
        method == "HEAD" || got.body.len() == path.len() + extra && got.body.starts_with(path.as_bytes());
    got.status == 200 && whole
}

/// The figures of a run, for whoever looks at them with --nocapture.
struct Figures<'a>(&'a Tally, &'a [Restarting]);

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(tally, backends) = self;
        let falls: usize = backends.iter().map(|backend| backend.falls.len()).sum();
        let posts = tally.failures.iter().filter(|failure| failure.method == "POST").count();
        write!(
            f,
            "{} requests that may be repeated, {} failed; {} POSTs, {posts} failed; {falls} restarts, {} connections lost",
            tally.idempotent,
            tally.failures.len() - posts,
            tally.posts.len(),
            tally.lost,
        )
    }
}

/// Each failure has a record that says why, and a fall explains it.
fn account(tally: &Tally, records: &[Record], backends: &[Restarting]) {
    for failure in &tally.failures {
        let record = records.iter().find(|record| record.text("path") == failure.path);
        let record = record.unwrap_or_else(|| panic!("no record for {failure:?}"));
        assert!(matches!(record.outcome(), "backend_reset" | "connect_failed"), "{record:#?}");
        let fallen = backends.iter().filter(|backend| backend.addr.to_string() == record.text("backend"));
        let explained = fallen
            .flat_map(|backend| &backend.falls)
            .any(|(_, began, back)| failure.at + GRAIN > *began && failure.at < *back + GRAIN);
        let falls: Vec<_> = backends.iter().map(|backend| (backend.addr, &backend.falls)).collect();
        assert!(explained, "{failure:#?}\n{falls:#?}\n{record:#?}");
    }
}

fn no_post_came_twice(tally: &Tally, book: &Path) {
    let seen = posts(book);
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let failed = |path: &str| tally.failures.iter().any(|failure| failure.path == path);
    let missing = tally.posts.iter().find(|path| !seen.contains_key(*path) && !failed(path));
    assert!(missing.is_none(), "answered, and never arrived: {missing:?}");
}

/// Runs clients while backends are restarted in turn, each time in the next of these ways.
#[allow(clippy::print_stderr, reason = "the figures are for whoever runs it with --nocapture")]
async fn run(
    version: Version,
    count: usize,
    falls: &[Fall],
) -> (Tally, Vec<Restarting>, Vec<Record>, Length) {
    let length = length();
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("posts");
    let ports: Vec<Port> = (0..count).map(|_| Port::free()).collect();
    let mut backends = Vec::new();
    for port in &ports {
        backends.push(Restarting::start(version, port.addr(), &book, count == 1).await);
    }
    let pool = if version == Version::H1 { "http: {version: \"1\"}" } else { "http: {version: \"2\"}" };
    let addrs: Vec<_> = ports.iter().map(Port::addr).collect();
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .pool(pool)
        .backends(&addrs)
        .level("info")
        .start()
        .await;
    let (crowd, begun) = (Crowd::start(&world), Instant::now());
    let mut fall = falls.iter().cycle();
    let mut next = 0;
    while begun.elapsed() < length.time || crowd.asked.load(Ordering::Relaxed) < length.requests {
        tokio::time::sleep(length.pause).await;
        backends[next % count].restart(*fall.next().unwrap()).await;
        next += 1;
        // A million records of requests that went well are not kept.
        world.weir.program.stdout.retain(|line| !line.contains("\"outcome\":\"ok\""));
    }
    tokio::time::sleep(length.pause).await;
    let tally = crowd.stop().await;
    eprintln!("{version:?}, {count} backends, {falls:?}: {}", Figures(&tally, &backends));
    no_post_came_twice(&tally, &book);
    let records = world.weir.requests();
    account(&tally, &records, &backends);
    (tally, backends, records, length)
}

/// What failed although it may be repeated.
fn not_repeated<'a>(tally: &'a Tally, records: &'a [Record]) -> Vec<(&'a Failure, &'a Record)> {
    let repeatable = tally.failures.iter().filter(|failure| failure.method != "POST");
    repeatable
        .map(|failure| (failure, records.iter().find(|record| record.text("path") == failure.path).unwrap()))
        .collect()
}

/// A client has one request on the way when a backend falls, however fast the machine is.
fn one_a_client_and_fall(tally: &Tally, backends: &[Restarting]) {
    let falls: usize = backends.iter().map(|backend| backend.falls.len()).sum();
    assert!(tally.failures.len() <= CLIENTS as usize * falls, "{falls} falls: {:#?}", tally.failures);
}

/// A request that is lost with a new connection may be what killed the backend: it is repeated once if that connection was
/// reset, and not at all otherwise. An answer that has begun cannot be repeated.
fn is_excused(record: &Record) -> bool {
    record.outcome() == "backend_reset"
        && (!record.field("connect_ms").is_null() || record.number("status") == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backends_that_end_in_turn_cost_no_request() {
    for version in [Version::H1, Version::H2] {
        let (tally, backends, records, length) = run(version, 2, &[Fall::Ended]).await;
        let lost = not_repeated(&tally, &records);
        assert!(lost.is_empty(), "{lost:#?}");
        assert!(tally.idempotent > 100 && tally.idempotent + tally.posts.len() as u64 >= length.requests);
        one_a_client_and_fall(&tally, &backends);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backends_that_are_killed_in_turn_cost_what_they_had_begun() {
    for version in [Version::H1, Version::H2] {
        let (tally, backends, records, _) = run(version, 2, &[Fall::Killed]).await;
        for (failure, record) in not_repeated(&tally, &records) {
            assert!(is_excused(record), "{failure:?}: {record:#?}");
        }
        one_a_client_and_fall(&tally, &backends);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_backend_is_asked_again_on_a_new_connection() {
    for version in [Version::H1, Version::H2] {
        let (tally, backends, records, _) = run(version, 1, &[Fall::Ended, Fall::Killed]).await;
        for (failure, record) in not_repeated(&tally, &records) {
            assert!(is_excused(record), "{failure:?}: {record:#?}");
        }
        one_a_client_and_fall(&tally, &backends);
    }
}

/// Node ends a connection on which its client has reset a thousand streams in a short time.
#[tokio::test]
async fn whole_answers_reset_no_stream_of_the_backend() {
    let folder = tempfile::tempdir().unwrap();
    let (book, port) = (folder.path().join("posts"), Port::free());
    let _backend = Restarting::start(Version::H2, port.addr(), &book, false).await;
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .pool("http: {version: \"2\"}")
        .backends(&[port.addr()])
        .level("info")
        .start()
        .await;
    let mut stream = world.connect().await;
    for turn in 0..2500 {
        let path = format!("/small/{turn}");
        let request = format!("POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\n\r\nabcde");
        let got = ask(&mut stream, &request).await.unwrap();
        assert!(is_right(&got, "POST", &path), "{turn}: {got:?}");
    }
    let made = world.weir.metrics().await.count("weir_backend_connections_total", &[("result", "ok")]);
    assert_eq!(made, 1, "one connection was enough");
    let records = world.weir.requests();
    let other = records.iter().find(|record| record.outcome() != "ok");
    assert!(other.is_none(), "{other:#?}");
}

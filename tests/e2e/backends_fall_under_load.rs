//! Backends fall under load: every client error has to do with the backend that fell, and nothing else is
//! lost.
//!
//! Five real nginx serve three modes of one weir, 500 clients in each. Each nginx is killed and started
//! again, then each is frozen and thawed. Every failure of a client is compared with weir's access record of
//! the same connection.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use weir_tests::certificates::{Authority, Leaf};
use weir_tests::client::TlsClient;
use weir_tests::digest::Noise;
use weir_tests::eventually::eventually;
use weir_tests::load::{Failure, Load, Running, Stage, Tally};
use weir_tests::nginx::Nginx;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::{Launch, Metrics, Record, Weir, moment};
use weir_tests::world::{Identities, MODES, Mode, NAME, PROFILE};

/// Clients in each mode.
const CLIENTS: usize = 500;
/// Backends behind each mode.
const BACKENDS: usize = 5;
/// So many requests are served in each mode before the next backend falls.
const BETWEEN: u64 = 600;
/// A body of several TLS records.
const BODY: usize = 20_000;
/// Timestamps are in milliseconds, and a record's opening is computed from two of them.
const GRAIN: Duration = Duration::from_millis(5);
/// How long weir may take to notice something, on a machine that runs other tests too.
const NOTICE: Duration = Duration::from_secs(30);

/// How a backend falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fall {
    /// Its process is killed, and a new one is started.
    Killed,
    /// Its process is stopped, and continues later: the kernel accepts for it all the while.
    Frozen,
}

/// Each backend is killed, then each is frozen: once, or as often as `WEIR_FALLS` says; `make soak` has more.
fn falls() -> Vec<(Fall, usize)> {
    let rounds: usize = std::env::var("WEIR_FALLS").map_or(1, |text| text.parse().unwrap());
    let kinds = [Fall::Killed, Fall::Frozen];
    let round = kinds.into_iter().flat_map(|fall| (0..BACKENDS).map(move |number| (fall, number)));
    std::iter::repeat_n(round, rounds).flatten().collect()
}

/// Requests served so far, by mode.
fn served(loads: &[(Mode, [Running; 2])]) -> Vec<u64> {
    loads.iter().map(|(_, halves)| halves.iter().map(Running::served).sum()).collect()
}

/// One fall of one backend.
#[derive(Debug)]
struct Outage {
    backend: String,
    fall: Fall,
    /// Just before the fall.
    began: SystemTime,
    /// For each mode, the time from which the backend must get no new connection: for a killed one, when its
    /// last socket was closed; for a frozen one, when weir has taken it out of service.
    out: BTreeMap<&'static str, SystemTime>,
    /// Just before the backend was started again, or thawed.
    mended: SystemTime,
}

/// Three modes, five backends.
struct Site {
    weir: Weir,
    nginx: Vec<Nginx>,
    identities: Identities,
    edges: Vec<(Mode, Port)>,
}

impl Site {
    async fn start() -> Self {
        let identities = Identities::default();
        let folder = identities.folder();
        identities.backend.write(folder.path(), "backend");
        let mut nginx = Vec::new();
        for _ in 0..BACKENDS {
            nginx.push(Nginx::start(folder.path(), "backend").await);
        }
        let edges: Vec<_> = MODES.map(|mode| (mode, Port::free())).into();
        let (listeners, pools): (Vec<_>, Vec<_>) =
            edges.iter().map(|(mode, edge)| (listener(*mode, edge.addr()), pool(*mode, &nginx))).unzip();
        let body = format!("{PROFILE}listeners:\n{}pools:\n{}", listeners.concat(), pools.concat());
        let weir = Launch::new(folder, body).level("info").start().await;
        let site = Self { weir, nginx, identities, edges };
        for number in 0..BACKENDS {
            site.until_up(number, true).await;
        }
        site
    }

    /// Half of a mode's clients open a connection for each request, and their answers take a while; half keep theirs
    /// for twenty.
    fn load(&self, edge: SocketAddr, body: &[u8]) -> [Running; 2] {
        let client = self.identities.client();
        let load =
            |path: &str| Load::new(edge, NAME, path, body).tls(&client).patience(Duration::from_secs(60));
        let (once, kept) = (load("/slow/body"), load("/files/body").keep_alive(20));
        [
            once.pause(Duration::from_millis(4000)).start(CLIENTS / 2),
            kept.pause(Duration::from_millis(600)).start(CLIENTS / 2),
        ]
    }

    /// Waits until every mode's `weir_backend_up` of a backend has this value.
    async fn until_up(&self, number: usize, up: bool) {
        eventually(NOTICE, "every pool has noticed", async || {
            let metrics = self.weir.metrics().await;
            let noticed = MODES.iter().all(|mode| is_up(&metrics, *mode, number) == up);
            if noticed { Ok(()) } else { Err(format!("b{number} should be up: {up}")) }
        })
        .await;
    }

    /// When the checks of `mode` took a backend out of service since `began`, by weir's own log.
    async fn until_down(&self, mode: Mode, number: usize, began: SystemTime) -> SystemTime {
        let name = format!("b{number}");
        eventually(NOTICE, "the checks notice the silence", async || {
            let lines = self.weir.program.stderr.all();
            let entries = lines.iter().rev().map(|line| serde_json::from_str(line).unwrap_or_default());
            let found = entries.into_iter().find_map(|entry: serde_json::Value| {
                let at = moment(entry["timestamp"].as_str()?);
                let it = entry["pool"] == mode.name() && entry["backend"] == *name && entry["up"] == false;
                (it && at + GRAIN >= began).then_some(at)
            });
            found.ok_or_else(|| lines.join("\n"))
        })
        .await
    }

    /// Waits until no mode has a connection to a backend any more.
    async fn until_left(&self, number: usize) {
        eventually(NOTICE, "its connections are closed", async || {
            let labels = [("backend", &*format!("b{number}"))];
            match self.weir.metrics().await.count("weir_backend_active_connections", &labels) {
                0 => Ok(()),
                left => Err(format!("b{number} has {left}")),
            }
        })
        .await;
    }

    async fn kill(&mut self, number: usize) -> Outage {
        let began = SystemTime::now();
        self.nginx[number].kill().await;
        let gone = SystemTime::now();
        self.until_up(number, false).await;
        let mended = SystemTime::now();
        self.nginx[number].restart().await;
        self.until_up(number, true).await;
        let out = MODES.map(|mode| (mode.name(), gone)).into();
        Outage { backend: format!("b{number}"), fall: Fall::Killed, began, out, mended }
    }

    async fn freeze(&mut self, number: usize) -> Outage {
        let began = SystemTime::now();
        self.nginx[number].freeze();
        let mut out = BTreeMap::new();
        for mode in MODES {
            out.insert(mode.name(), self.until_down(mode, number, began).await);
        }
        self.until_left(number).await;
        let mended = SystemTime::now();
        self.nginx[number].thaw();
        self.until_up(number, true).await;
        Outage { backend: format!("b{number}"), fall: Fall::Frozen, began, out, mended }
    }

    /// Waits until every backend of every mode has got new connections.
    async fn until_all_serve(&self) {
        let before = self.weir.metrics().await;
        eventually(NOTICE, "all backends serve again", async || {
            let now = self.weir.metrics().await;
            for mode in MODES {
                for number in 0..BACKENDS {
                    if reached(&now, mode, number) == reached(&before, mode, number) {
                        return Err(format!("{mode:?}: nothing for b{number}"));
                    }
                }
            }
            Ok(())
        })
        .await;
    }
}

fn listener(mode: Mode, edge: SocketAddr) -> String {
    let (name, tls) = (mode.name(), if mode == Mode::Passthrough { "" } else { "tls: public, " });
    format!(
        "  - {{name: {name}, address: \"{edge}\", mode: {name}, {tls}default_pool: {name}, timeouts: {{connect: 1s, handshake: 60s}}}}\n"
    )
}

/// A pool as configured by a user who wants a fall to be noticed soon.
fn pool(mode: Mode, nginx: &[Nginx]) -> String {
    let backends: Vec<_> = (0..)
        .zip(nginx)
        .map(|(number, nginx)| {
            let port = if mode == Mode::Offload { &nginx.plain } else { &nginx.tls };
            format!("{{name: b{number}, address: \"{}\"}}", port.addr())
        })
        .collect();
    let (check, tls) = match mode {
        Mode::Passthrough => (format!("type: tls, server_name: {NAME}"), ""),
        Mode::Offload => ("type: http, path: /healthz".to_owned(), ""),
        Mode::Bridging => {
            (format!("type: http, path: /healthz, server_name: {NAME}"), "    tls: {ca: inner-ca.pem}\n")
        }
    };
    format!(
        "  - name: {}\n    backends: [{}]\n{tls}\
         \x20   health_check: {{{check}, interval: 250ms, timeout: 500ms, rise: 1, fall: 2}}\n\
         \x20   passive_check: {{failures: 2, window: 1s, eject: 250ms}}\n\
         \x20   on_unhealthy: close\n    retries: 2\n    hello_replay: true\n",
        mode.name(),
        backends.join(", ")
    )
}

fn is_up(metrics: &Metrics, mode: Mode, number: usize) -> bool {
    metrics.count("weir_backend_up", &[("pool", mode.name()), ("backend", &format!("b{number}"))]) == 1
}

fn reached(metrics: &Metrics, mode: Mode, number: usize) -> u64 {
    let labels = [("pool", mode.name()), ("backend", &*format!("b{number}")), ("result", "ok")];
    metrics.count("weir_backend_connections_total", &labels)
}

/// The explanation of a failure: its connection was with a backend that fell.
#[derive(Debug, Clone, Copy)]
struct Explained {
    fall: Fall,
    stage: Stage,
    sent: Sent,
}

/// What the fallen backend had been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The request. In passthrough, where weir counts encrypted bytes, any bytes at all.
    Request,
    /// Earlier requests: the connection ended while this request was on its way.
    Earlier,
    /// Not a byte of payload: the connection had just been made.
    Nothing,
}

fn explain(failure: &Failure, records: &[&Record], outages: &[Outage]) -> Result<Explained, String> {
    // A port may be reused once the connection has ended, which a starved client notices late: the first
    // record is its own.
    let record = records
        .iter()
        .filter(|record| record.opened_at() + GRAIN >= failure.opened)
        .filter(|record| record.opened_at() <= failure.failed + GRAIN)
        .min_by_key(|record| record.opened_at())
        .ok_or("no record in its time")?;
    if record.field("connect_ms").is_null() {
        return Err(format!("no backend was reached: {record:#?}"));
    }
    let explains = |outage: &&Outage| {
        let out = outage.out[record.text("pool")];
        let by_it = match outage.fall {
            Fall::Killed => record.closed_at() + GRAIN >= outage.began && record.side() == "backend",
            // weir ended the connection after it had noticed the silence.
            Fall::Frozen => record.closed_at() + GRAIN >= out && record.outcome() == "drained",
        };
        outage.backend == record.text("backend") && record.opened_at() <= out + GRAIN && by_it
    };
    let outage = outages.iter().find(explains).ok_or_else(|| format!("no fall explains it: {record:#?}"))?;
    let sent = match record.up() {
        0 => Sent::Nothing,
        up if record.text("mode") != "passthrough" && up < failure.sent => Sent::Earlier,
        _ => Sent::Request,
    };
    Ok(Explained { fall: outage.fall, stage: failure.stage, sent })
}

/// Compares the failures of a mode's clients with the records: each failure must have an explanation.
#[allow(clippy::print_stderr, reason = "the figures are for whoever runs it with --nocapture")]
fn account(mode: Mode, tally: &Tally, records: &[Record], outages: &[Outage]) {
    let mut by_client: HashMap<&str, Vec<&Record>> = HashMap::new();
    for record in records.iter().filter(|record| record.text("listener") == mode.name()) {
        by_client.entry(record.text("client")).or_default().push(record);
    }
    let (mut found, mut unexplained) = (Vec::new(), Vec::new());
    for failure in &tally.failures {
        let client = failure.client.map(|client| client.to_string()).unwrap_or_default();
        match explain(failure, by_client.get(&*client).map_or(&[], Vec::as_slice), outages) {
            Ok(explained) => found.push(explained),
            Err(why) => unexplained.push(format!("{failure:?}: {why}")),
        }
    }
    let (served, failed) = (tally.served, tally.failed());
    eprintln!(
        "{}: {} requests over {} connections, {failed} failed, {} unexplained",
        mode.name(),
        served + failed,
        tally.connections,
        unexplained.len(),
    );
    for fall in [Fall::Killed, Fall::Frozen] {
        let (idle, lost): (Vec<&Explained>, Vec<&Explained>) =
            found.iter().filter(|it| it.fall == fall).partition(|it| it.stage == Stage::Idle);
        let count = |stage| lost.iter().filter(|it| it.stage == stage).count();
        let sent = |sent| lost.iter().filter(|it| it.sent == sent).count();
        eprintln!(
            "  {fall:?}: {} failed, {} in the handshake, {} before the answer, {} in it; what had gone there: {} the \
             request, {} earlier ones, {} nothing; {} more connections ended between requests",
            lost.len(),
            count(Stage::Handshake),
            count(Stage::Unanswered),
            count(Stage::Answer),
            sent(Sent::Request),
            sent(Sent::Earlier),
            sent(Sent::Nothing),
            idle.len(),
        );
        assert!(
            !lost.is_empty() || !idle.is_empty(),
            "{mode:?}: no client was with a backend that was {fall:?}"
        );
    }
    assert!(unexplained.is_empty(), "{mode:?}: {} failures\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(served >= failed * 4, "{mode:?}: {served} served, {failed} failed");
}

/// A backend known to be down must get no connection.
fn fallen_backends_get_no_connection(records: &[Record], outages: &[Outage]) {
    for outage in outages {
        for record in records.iter().filter(|record| record.text("backend") == outage.backend) {
            let opened = record.opened_at();
            let during = opened > outage.out[record.text("pool")] + GRAIN && opened + GRAIN < outage.mended;
            assert!(!during || record.closed_at() >= outage.mended, "{outage:?}: {record:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_was_with_the_fallen_backend() {
    let mut site = Site::start().await;
    let body = Noise::new(7).bytes(BODY);
    site.nginx.iter().for_each(|nginx| nginx.put("body", &body));
    let loads: Vec<_> =
        site.edges.iter().map(|(mode, edge)| (*mode, site.load(edge.addr(), &body))).collect();
    site.until_all_serve().await;
    let mut outages = Vec::new();
    for (fall, number) in falls() {
        let before = served(&loads);
        outages.push(match fall {
            Fall::Killed => site.kill(number).await,
            Fall::Frozen => site.freeze(number).await,
        });
        eventually(NOTICE, "the others serve on", async || {
            let now = served(&loads);
            let enough = now.iter().zip(&before).all(|(now, before)| now - before >= BETWEEN);
            if enough { Ok(()) } else { Err(format!("{before:?} requests before, {now:?} now")) }
        })
        .await;
    }
    site.until_all_serve().await;
    let mut tallies = Vec::new();
    for (mode, running) in loads {
        let mut tally = Tally::default();
        for half in running {
            tally.add(half.stop().await);
        }
        tallies.push((mode, tally));
    }
    let metrics = site.weir.settle().await;
    let records = site.weir.records();
    for (mode, tally) in &tallies {
        account(*mode, tally, &records, &outages);
        let pool = [("pool", mode.name())];
        eprintln!(
            "  {} retries, {} hello replays",
            metrics.count("weir_retries_total", &pool),
            metrics.count("weir_hello_replays_total", &pool)
        );
    }
    fallen_backends_get_no_connection(&records, &outages);
}

/// How many clients ask for a name that no backend's certificate has.
const STRANGERS: usize = 1000;
/// Weir's own certificate covers the name, but the backends' certificates do not.
const WRONG: &str = "wrong.example.test";

/// A bridging weir with two backends that show `leaf`, and a pool with these `tls` settings.
async fn bridge(identities: &Identities, leaf: &Leaf, tls: &str) -> (Weir, Port, [Backend; 2]) {
    let backends = [Backend::tls(Role::Echo, leaf).await, Backend::tls(Role::Echo, leaf).await];
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, tls: public, default_pool: main}}\n\
         pools:\n  - name: main\n    backends: [\"{}\", \"{}\"]\n    tls: {{ca: inner-ca.pem{tls}}}\n\
         \x20   health_check: {{type: none}}\n    retries: 1\n\
         \x20   passive_check: {{failures: 2, window: 60s, eject: 60s, max_ejected: 100%}}\n",
        edge.addr(),
        backends[0].addr,
        backends[1].addr,
    );
    (Launch::new(identities.folder(), body).level("info").start().await, edge, backends)
}

/// Asks for `name` and gives whether an echo came. A client that no backend can serve gets a reset after
/// weir's handshake.
async fn is_served(client: &TlsClient, edge: SocketAddr, name: &str) -> bool {
    let mut stream = client.connect(edge, name).await.unwrap();
    if stream.send(b"x").await.is_err() || stream.exactly(1).await.is_err() {
        return false;
    }
    stream.finish().await;
    assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
    true
}

/// Ejections so far, and how many backends are up.
async fn standing(weir: &Weir) -> (u64, u64) {
    let metrics = weir.metrics().await;
    (metrics.count("weir_backend_ejections_total", &[]), metrics.count("weir_backend_up", &[]))
}

#[tokio::test]
async fn a_wrong_name_a_thousand_times_ejects_no_backend() {
    let identities = Identities::default();
    let leaf = identities.inner.issue(&[NAME]);
    let (weir, edge, backends) = bridge(&identities, &leaf, "").await;
    let (client, edge) = (identities.client(), edge.addr());
    let strangers: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..STRANGERS / 10 {
                    assert!(!is_served(&client, edge, WRONG).await);
                }
            })
        })
        .collect();
    for stranger in strangers {
        stranger.await.unwrap();
    }
    for record in weir.some_records(STRANGERS).await {
        record.ended("tls_backend_failed", "backend");
        assert_eq!((record.text("reason"), record.number("tries")), ("name_mismatch", 2), "{record:#?}");
    }
    assert_eq!(standing(&weir).await, (0, 2));
    for _ in 0..2 {
        assert!(is_served(&client, edge, NAME).await);
    }
    let served = backends.map(|backend| backend.visits().iter().filter(|visit| visit.sum.bytes == 1).count());
    assert_eq!(served, [1, 1], "both serve on");
    weir.settle().await;
}

#[tokio::test]
async fn a_hopeless_certificate_ejects_its_backend() {
    let identities = Identities::default();
    let stranger = Authority::new("stranger").issue(&[NAME]);
    // Whatever the client asks for, these fail: a name fixed by the pool, and a chain that leads nowhere.
    for (leaf, tls, name) in [
        (&identities.inner.issue(&[NAME]), ", server_name: other.example.org", NAME),
        (&stranger, "", NAME),
        (&stranger, "", WRONG),
    ] {
        let (weir, edge, _backends) = bridge(&identities, leaf, tls).await;
        let client = identities.client();
        assert!(!is_served(&client, edge.addr(), name).await);
        assert_eq!(standing(&weir).await, (0, 2), "{tls} {name}: one failure each is not enough");
        assert!(!is_served(&client, edge.addr(), name).await);
        assert_eq!(standing(&weir).await, (2, 0), "{tls} {name}: two are");
        // They are tried all the same, because there is no other.
        assert!(!is_served(&client, edge.addr(), name).await);
        let records = weir.some_records(3).await;
        let outcomes: Vec<_> =
            records.iter().map(|record| (record.outcome(), record.number("tries"))).collect();
        assert_eq!(outcomes, [("tls_backend_failed", 2); 3], "{tls} {name}");
        weir.settle().await;
    }
}

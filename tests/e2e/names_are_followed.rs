//! Backends that are DNS names: weir follows the answers, and only clients of a vanished address notice.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use weir_tests::client::{TlsClient, fate};
use weir_tests::dnsmasq::Dnsmasq;
use weir_tests::eventually::eventually;
use weir_tests::http::request;
use weir_tests::peers::{Backend, Role, acceptor};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Metrics, command};
use weir_tests::world::{Builder, Identities, Mode, NAME, World};

/// Longer than weir takes to see a changed answer, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(20);
/// weir must follow a changed answer within this: the TTL of a second, and two more.
const FOLLOWED: Duration = Duration::from_secs(3);

/// A world that speaks plaintext to `entries`, whose names `dns` knows.
fn plain(dns: SocketAddr, entries: &str) -> Builder {
    asking(World::of(Mode::Passthrough).plain(), dns).entries(entries)
}

fn asking(builder: Builder, dns: SocketAddr) -> Builder {
    builder.runtime(&format!("workers: 1, drain_timeout: 5s, resolvers: [\"{dns}\"]"))
}

/// Backends with names of one letter, on one port of 127.0.0.1, 127.0.0.2 and so on.
async fn named(port: &Port, names: &[&str]) -> Vec<Backend> {
    let mut backends = Vec::new();
    for (name, number) in names.iter().zip(1..) {
        backends.push(Backend::start(at(number, port), Role::Named((*name).to_owned()), None).await);
    }
    backends
}

fn at(number: u8, port: &Port) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], port.number()))
}

/// A new connection, and the name of the backend that serves it.
async fn hold(world: &World) -> (Stream, String) {
    let mut stream = world.connect().await;
    let name = stream.exactly(2).await.unwrap();
    (stream, String::from_utf8(name).unwrap().trim().to_owned())
}

async fn asks(world: &World) -> String {
    let (stream, name) = hold(world).await;
    let (_, end) = leave(stream).await;
    assert_eq!(end, End::Clean);
    name
}

async fn leave(mut stream: Stream) -> (Vec<u8>, End) {
    stream.finish().await;
    stream.rest().await
}

async fn echoes(stream: &mut Stream) -> io::Result<()> {
    stream.send(b"still here").await?;
    let echo = stream.exactly(10).await?;
    if echo == b"still here" { Ok(()) } else { Err(io::Error::other(format!("{echo:?}"))) }
}

async fn served_by(world: &World, name: &str) {
    eventually(SOON, &format!("new connections go to {name}"), async || {
        let now = asks(world).await;
        if now == name { Ok(()) } else { Err(now) }
    })
    .await;
}

/// The world's only pool in the status API.
async fn pool(world: &World) -> Value {
    let status: Value = serde_json::from_str(&world.weir.ask("/api/v1/status").await.body).unwrap();
    status["pools"][0].clone()
}

/// Each backend of the pool in the status API, by address.
async fn backends(world: &World) -> BTreeMap<String, Value> {
    let pool = pool(world).await;
    let address = |backend: &Value| backend["address"].as_str().unwrap().to_owned();
    pool["backends"].as_array().unwrap().iter().map(|b| (address(b), b.clone())).collect()
}

async fn has_backends(world: &World, addresses: &[SocketAddr]) {
    let wanted: BTreeSet<String> = addresses.iter().map(ToString::to_string).collect();
    eventually(SOON, "the pool has the addresses of the answer", async || {
        let now: BTreeSet<String> = backends(world).await.into_keys().collect();
        if now == wanted { Ok(()) } else { Err(format!("{now:?} instead of {wanted:?}")) }
    })
    .await;
}

/// Waits until the pool's only name cannot be resolved, because of `why`.
async fn fails(world: &World, why: &str) {
    eventually(SOON, why, async || {
        let name = pool(world).await["names"][0].clone();
        if name["failure"].as_str().is_some_and(|said| said.contains(why)) {
            Ok(())
        } else {
            Err(name.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn a_dns_answer_that_changes_is_followed() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["1", "2"]).await;
    let world = plain(dns.addr, &format!("\"api.test:{port}\"")).start().await;
    let (mut held, first) = hold(&world).await;
    assert_eq!(first, "1");
    dns.change("127.0.0.2 api.test\n").await;
    let changed = Instant::now();
    while asks(&world).await != "2" {
        assert!(changed.elapsed() < FOLLOWED, "the TTL is 1 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    echoes(&mut held).await.expect("old connections go on");
    dns.fall_silent();
    fails(&world, "no answer from DNS in time").await;
    assert_eq!(asks(&world).await, "2", "the last good answer is kept");
    dns.resume();
    dns.change("127.0.0.9 other.test\n").await;
    fails(&world, "NXDOMAIN").await;
    assert_eq!(asks(&world).await, "2", "also over an answer that there is no such name");
    echoes(&mut held).await.expect("old connections go on");
    leave(held).await;
    world.weir.settle().await;
}

// ---- under load

/// Clients at once.
const CLIENTS: usize = 50;
/// Between two connections of a client: two cores must suffice for weir, its peers and other tests.
const PAUSE: Duration = Duration::from_millis(100);

/// What clients have seen: when each connection began, and which backend served it or why it failed.
#[derive(Debug, Default)]
struct Seen {
    visits: Mutex<Vec<(Instant, String)>>,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Seen {
    fn begun_after(&self, when: Instant) -> Vec<String> {
        let visits = self.visits.lock().unwrap();
        visits.iter().filter(|(began, _)| *began > when).map(|(_, name)| name.clone()).collect()
    }

    async fn visit_on_and_on(self: Arc<Self>, client: TlsClient, edge: SocketAddr) {
        while !self.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            match visit(&client, edge).await {
                Ok(name) => self.visits.lock().unwrap().push((began, name)),
                Err(error) => self.failures.lock().unwrap().push(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One request over TLS: gives the backend that answered, or the error.
async fn visit(client: &TlsClient, edge: SocketAddr) -> io::Result<String> {
    let mut stream = client.connect(edge, NAME).await?;
    let name = stream.exactly(2).await?;
    echoes(&mut stream).await?;
    stream.shutdown().await?;
    match stream.rest().await {
        (rest, End::Clean) if rest.is_empty() => Ok(String::from_utf8_lossy(&name).trim().to_owned()),
        (rest, end) => Err(io::Error::other(format!("{rest:?}, then {end:?}"))),
    }
}

/// Backends of a world in this mode, called a and b, on 127.0.0.1 and 127.0.0.2.
async fn two_backends(mode: Mode, port: &Port, identities: &Identities) -> [Backend; 2] {
    let start = |number, name: &'static str| {
        let tls = (mode != Mode::Offload).then(|| acceptor(&identities.backend, &[]));
        Backend::start(at(number, port), Role::Named(name.to_owned()), tls)
    };
    [start(1, "a").await, start(2, "b").await]
}

async fn clients_notice_nothing(mode: Mode) {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let port = Port::free();
    let builder = asking(World::of(mode), dns.addr).entries(&format!("\"api.test:{port}\""));
    let world = builder.start().await;
    let peers = two_backends(mode, &port, &world.identities).await;

    let mut held = Vec::new();
    for _ in 0..5 {
        let (stream, name) = hold(&world).await;
        assert_eq!(name, "a");
        held.push(stream);
    }
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(Arc::clone(&seen).visit_on_and_on(world.client(), world.edge));
    }
    for (number, name) in [(2, "b"), (1, "a"), (2, "b"), (1, "a")] {
        dns.change(&format!("127.0.0.{number} api.test\n")).await;
        let late = Instant::now() + FOLLOWED;
        let late = eventually(SOON, "clients begin after the change has to be known", async || {
            let visits = seen.begun_after(late);
            if visits.len() >= CLIENTS { Ok(visits) } else { Err(visits.len().to_string()) }
        })
        .await;
        let wrong = late.iter().filter(|served_by| *served_by != name).count();
        assert_eq!(wrong, 0, "{mode:?}: of {} connections begun in time for {name}", late.len());
        for stream in &mut held {
            echoes(stream).await.expect("old connections go on");
        }
    }
    seen.over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    for stream in held {
        assert_eq!(leave(stream).await, (Vec::new(), End::Clean), "{mode:?}");
    }
    let failures = seen.failures.lock().unwrap().clone();
    assert!(failures.is_empty(), "{mode:?}: {} failed: {:?}", failures.len(), failures.first());
    let metrics = world.weir.settle().await;
    let opened = metrics.count("weir_connections_opened_total", &[]);
    assert_eq!(metrics.count("weir_connections_closed_total", &[("outcome", "ok")]), opened, "{mode:?}");
    assert_eq!(
        metrics.count("weir_retries_total", &[]),
        0,
        "{mode:?}: no connection went to an address without a backend"
    );
    assert_eq!(peers.iter().map(Backend::count).sum::<usize>() as u64, opened, "{mode:?}");
}

#[tokio::test]
async fn an_answer_changes_under_load_in_passthrough() {
    clients_notice_nothing(Mode::Passthrough).await;
}

#[tokio::test]
async fn an_answer_changes_under_load_in_offload() {
    clients_notice_nothing(Mode::Offload).await;
}

#[tokio::test]
async fn an_answer_changes_under_load_in_bridging() {
    clients_notice_nothing(Mode::Bridging).await;
}

// ---- a thousand changed answers

/// Names in one pool. The TTL allows a change a second: a thousand changes take ten rounds.
const NAMES: usize = 100;

/// Every name at a new address, different from those of all other rounds.
fn round_of_hosts(round: usize) -> String {
    (0..NAMES).map(|n| format!("127.{}.{n}.1 n{n}.test\n", round + 1)).collect()
}

/// The number of series in each family. For resolutions names are counted: a slow answer may add a result to
/// one.
fn series(metrics: &Metrics) -> BTreeMap<String, usize> {
    let mut families = BTreeMap::new();
    for sample in &metrics.samples {
        *families.entry(sample.name.clone()).or_insert(0) += 1;
    }
    let resolutions = "weir_dns_resolutions_total";
    let names: BTreeSet<String> = metrics.values_of(resolutions, "name").into_iter().collect();
    families.insert(resolutions.to_owned(), names.len());
    families
}

/// The number of new addresses by this log line: several changes within seconds may share one.
fn added(line: &str) -> Option<usize> {
    let behind = line.split_once("added")?.1.trim_start_matches(['"', ':', '=', ' ']);
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Waits until each name has its address of this round, and every backend has been checked and visited.
async fn take_round(world: &World, client: &TlsClient, round: usize, port: &Port) {
    let prefix = format!("127.{}.", round + 1);
    eventually(SOON, "every changed answer is taken", async || {
        let now = backends(world).await;
        let new = now.keys().filter(|address| address.starts_with(&prefix)).count();
        if new == NAMES && now.len() == NAMES { Ok(()) } else { Err(format!("{new} of {}", now.len())) }
    })
    .await;
    for _ in 0..NAMES {
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        echoes(&mut stream).await.unwrap();
        leave(stream).await;
    }
    let last = format!("{prefix}99.1:{port}");
    eventually(SOON, "the series are those of this round", async || {
        let metrics = world.weir.metrics().await;
        for (family, label) in [
            ("weir_backend_up", "backend"),
            ("weir_backend_connections_total", "backend"),
            ("weir_backend_health_checks_total", "backend"),
            ("weir_certificate_not_after_timestamp_seconds", "certificate"),
        ] {
            let values = metrics.values_of(family, label);
            if values.len() != NAMES || !values.iter().any(|value| value.ends_with(&last)) {
                return Err(format!("{family} has {} series", values.len()));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_thousand_changed_answers_leave_nothing_behind() {
    let dns = Dnsmasq::start(&round_of_hosts(0), &[]).await;
    let port = Port::free();
    let identities = Identities::default();
    let client = identities.client();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], port.number()));
    let peer = Backend::start(everywhere, Role::Echo, Some(acceptor(&identities.backend, &[]))).await;
    let entries: Vec<String> = (0..NAMES).map(|n| format!("\"n{n}.test:{port}\"")).collect();
    let world = asking(World::of(Mode::Passthrough), dns.addr)
        .entries(&entries.join(", "))
        .pool("health_check: {type: tls, interval: 10s, timeout: 10s}")
        .start()
        .await;
    take_round(&world, &client, 0, &port).await;
    let mut first = None;
    for round in 1..=10 {
        dns.change(&round_of_hosts(round)).await;
        take_round(&world, &client, round, &port).await;
        let now = (series(&world.weir.settle().await), world.weir.resident());
        let (then, resident) = first.get_or_insert_with(|| now.clone());
        assert_eq!(now.0, *then, "after {round}00 changed answers");
        assert!(now.1 < *resident + 4 * 1024, "{} KiB after {round}00 changes, {resident} after 100", now.1);
    }
    eventually(SOON, "each answer of each round was seen as a change", async || {
        let told = world.weir.program.stderr.text();
        let lines = told.lines().filter(|line| line.contains("the addresses of a name have changed"));
        let added: usize = lines.map(|line| added(line).unwrap_or_else(|| panic!("{line}"))).sum();
        if added == 11 * NAMES { Ok(()) } else { Err(format!("{added} new addresses were told")) }
    })
    .await;
    assert!(peer.count() >= 11 * NAMES);
}

// ---- names without an answer

#[tokio::test]
async fn a_name_that_does_not_exist_yet_is_no_backend() {
    let dns = Dnsmasq::start("127.0.0.1 other.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a"]).await;
    let world = plain(dns.addr, &format!("\"api.test:{port}\"")).start().await;
    let why = "there is no such name (NXDOMAIN)";
    fails(&world, why).await;
    let seen = pool(&world).await;
    assert_eq!((&seen["backends"], &seen["usable"]), (&Value::Array(vec![]), &Value::from(0)), "{seen}");
    let mut status = command(&["status", "--admin"]);
    status.arg(format!("http://{}", world.weir.admin()));
    let shown = run(status, b"", SOON).await;
    // The status breaks notes into lines.
    let words = shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("cannot resolve api.test:{port}: {why}")), "{}", shown.both());
    let ready = world.weir.ask("/readyz").await;
    assert_eq!((ready.status, ready.body.trim()), (503, "no healthy backend in: main"));
    assert_eq!(fate(world.edge).await, (Vec::new(), End::Reset));
    world.weir.only_record().await.ended("no_backend", "backend");

    let failures = async || {
        let metrics = world.weir.metrics().await;
        metrics.count("weir_dns_resolutions_total", &[("result", "nxdomain")])
    };
    dns.change("127.0.0.1 api.test\n").await;
    let before = failures().await;
    has_backends(&world, &[at(1, &port)]).await;
    assert!(failures().await <= before + 1, "it is found when it is asked for the next time");
    assert_eq!(asks(&world).await, "a");
    assert_eq!(world.weir.ask("/readyz").await.status, 200);
    assert_eq!(pool(&world).await["names"][0]["failure"], Value::Null);
    world.weir.settle().await;
}

#[tokio::test]
async fn a_missing_dns_server_delays_no_start_for_long() {
    let (server, port) = (Port::free(), Port::free());
    let _peers = named(&port, &["a"]).await;
    let begin = Instant::now();
    let world = plain(server.addr(), &format!("\"api.test:{port}\"")).start().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "the start took {:?}", begin.elapsed());
    fails(&world, "DNS").await;
    assert_eq!(world.weir.ask("/readyz").await.status, 503);
    assert_eq!(fate(world.edge).await.1, End::Reset);
    let _dns = Dnsmasq::at(server, "127.0.0.1 api.test\n", &[]).await;
    has_backends(&world, &[at(1, &port)]).await;
    assert_eq!(asks(&world).await, "a");
}

#[tokio::test]
async fn a_silent_dns_server_delays_no_start_for_long() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a"]).await;
    dns.fall_silent();
    let begin = Instant::now();
    let world = plain(dns.addr, &format!("\"api.test:{port}\"")).start().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "the start took {:?}", begin.elapsed());
    fails(&world, "no answer from DNS in time").await;
    assert_eq!(world.weir.ask("/readyz").await.status, 503);
    dns.resume();
    has_backends(&world, &[at(1, &port)]).await;
    assert_eq!(asks(&world).await, "a");
}

// ---- SRV records, and more than one address

#[tokio::test]
async fn an_srv_record_gives_ports_weights_and_backups() {
    let mut peers = Vec::new();
    for name in ["a", "b", "c"] {
        peers.push(Backend::plain(Role::Named(name.to_owned())).await);
    }
    let record = |host: &str, peer: usize, priority: u16, weight: u16| {
        let port = peers[peer].addr.port();
        format!("--srv-host=_app._tcp.api.test,{host}.test,{port},{priority},{weight}")
    };
    let records = [record("one", 0, 10, 100), record("two", 1, 10, 300), record("three", 2, 20, 1)];
    let hosts = "127.0.0.1 one.test\n127.0.0.1 two.test\n127.0.0.1 three.test\n";
    let dns = Dnsmasq::start(hosts, &records.each_ref().map(String::as_str)).await;
    let world = plain(dns.addr, "\"srv:_app._tcp.api.test\"")
        .pool("health_check: {type: tcp, interval: 200ms, fall: 1}")
        .start()
        .await;
    let known = backends(&world).await;
    let facts: Vec<_> = peers
        .iter()
        .map(|peer| {
            let backend = &known[&peer.addr.to_string()];
            (backend["weight"].as_u64().unwrap(), backend["backup"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(facts, [(100, false), (300, false), (1, true)]);
    let mut shares = BTreeMap::new();
    for _ in 0..400 {
        *shares.entry(asks(&world).await).or_insert(0u32) += 1;
    }
    let of = |name: &str| shares.get(name).copied().unwrap_or_default();
    assert!(of("a").abs_diff(100) <= 10 && of("b").abs_diff(300) <= 30, "{shares:?}");
    assert_eq!(of("c"), 0, "a later priority serves only when the first cannot");
    peers.drain(..2);
    eventually(SOON, "those of the first priority are down", async || {
        let states: Vec<_> = backends(&world).await.values().map(|b| b["state"].clone()).collect();
        if states.iter().filter(|state| *state == "down").count() == 2 {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    })
    .await;
    for _ in 0..3 {
        assert_eq!(asks(&world).await, "c");
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_a_backend() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n127.0.0.2 api.test\n::1 api.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a", "b"]).await;
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port.number()));
    let _peer = Backend::start(six, Role::Named("c".to_owned()), None).await;
    let world = plain(dns.addr, &format!("\"api.test:{port}\"")).start().await;
    has_backends(&world, &[at(1, &port), at(2, &port), six]).await;
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(asks(&world).await);
    }
    served.sort();
    assert_eq!(served, ["a", "a", "b", "b", "c", "c"]);
}

// ---- which connections and series go, and which stay

/// The backends that have series.
async fn in_metrics(world: &World) -> Vec<String> {
    let mut names = world.weir.metrics().await.values_of("weir_backend_up", "backend");
    names.sort();
    names
}

#[tokio::test]
async fn an_address_that_vanishes_drains() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a", "b"]).await;
    let entry = format!("\"api.test:{port}\"");
    let world = plain(dns.addr, &entry).pool("drain_timeout: 3s").start().await;
    let (mut held, name) = hold(&world).await;
    assert_eq!(name, "a");
    let begin = Instant::now();
    dns.change("127.0.0.2 api.test\n").await;
    has_backends(&world, &[at(2, &port)]).await;
    echoes(&mut held).await.expect("it has time to finish");
    let (a, b) = (at(1, &port).to_string(), at(2, &port).to_string());
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_backend_active_connections", &[("backend", &a)]), 1, "still counted");
    assert_eq!(held.rest().await, (Vec::new(), End::Clean));
    // The remaining connections are closed over the last tenth of the time.
    assert!(begin.elapsed() >= Duration::from_millis(2700), "drained after {:?}", begin.elapsed());
    world.weir.only_record().await.ended("drained", "weir");
    drop(held);
    eventually(SOON, "its series go when its last connection has gone", async || {
        let now = in_metrics(&world).await;
        if now == [b.as_str()] { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(asks(&world).await, "b");
    world.weir.settle().await;
}

#[tokio::test]
async fn series_go_with_the_last_connection_and_not_with_the_drain_timeout() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a", "b"]).await;
    let entry = format!("\"api.test:{port}\"");
    let world = plain(dns.addr, &entry).pool("drain_timeout: 1h").start().await;
    let (held, _) = hold(&world).await;
    dns.change("127.0.0.2 api.test\n").await;
    has_backends(&world, &[at(2, &port)]).await;
    let (a, b) = (at(1, &port).to_string(), at(2, &port).to_string());
    assert_eq!(in_metrics(&world).await, [a.as_str(), &b]);
    leave(held).await;
    eventually(SOON, "its series go when its last connection has gone", async || {
        let now = in_metrics(&world).await;
        if now == [b.as_str()] { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_returns_in_time_keeps_its_connections() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a", "b"]).await;
    let entry = format!("\"api.test:{port}\"");
    let world = plain(dns.addr, &entry).pool("drain_timeout: 8s").start().await;
    let (mut a, _) = hold(&world).await;
    dns.change("127.0.0.2 api.test\n").await;
    served_by(&world, "b").await;
    let (mut b, name) = hold(&world).await;
    assert_eq!(name, "b");
    dns.change("127.0.0.1 api.test\n").await;
    served_by(&world, "a").await;
    // This drain began later than the other one, and so ends later than the other one would have.
    assert_eq!(b.rest().await, (Vec::new(), End::Clean));
    echoes(&mut a).await.expect("a drain that was called off ends nothing");
    leave(a).await;
    drop(b);
    world.weir.settle().await;
    let records = world.weir.records();
    let drained: Vec<_> = records.iter().filter(|record| record.outcome() == "drained").collect();
    assert_eq!(drained.len(), 1, "{drained:#?}");
    assert_eq!(drained[0].text("backend"), at(2, &port).to_string());
}

#[tokio::test]
async fn the_state_of_an_address_outlives_the_change_of_others() {
    let hosts =
        |numbers: &[u8]| numbers.iter().map(|n| format!("127.0.0.{n} api.test\n")).collect::<String>();
    let dns = Dnsmasq::start(&hosts(&[1, 2, 3, 5]), &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a", "b", "c", "d"]).await;
    let world = plain(dns.addr, &format!("\"api.test:{port}\""))
        .pool("passive_check: {failures: 2, window: 60s, eject: 10m, max_ejected: 50%}")
        .start()
        .await;
    let [a, b, d, dead] = [1, 2, 4, 5].map(|number| at(number, &port));
    // 127.0.0.5 refuses, and is ejected.
    eventually(SOON, "it is ejected", async || {
        asks(&world).await;
        let state = backends(&world).await[&dead.to_string()]["state"].clone();
        if state == "ejected" { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
    let drain = format!("/api/v1/pools/main/backends/{b}/drain");
    assert_eq!(request(world.weir.admin(), "POST", &drain).await.unwrap().status, 200);
    let mut weight = command(&["backend", "weight", "main", &a.to_string(), "7", "--admin"]);
    weight.arg(format!("http://{}", world.weir.admin()));
    let said = run(weight, b"", SOON).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    let (mut held, name) = hold(&world).await;
    assert!(["a", "c"].contains(&name.as_str()), "{name}");
    let before = backends(&world).await;

    dns.change(&hosts(&[1, 2, 4, 5])).await;
    has_backends(&world, &[a, b, d, dead]).await;
    let after = backends(&world).await;
    let retries = world.weir.metrics().await.count("weir_retries_total", &[]);
    for address in [a, b, dead].map(|address| address.to_string()) {
        // Except for how long ago it failed.
        let [mut after, mut before] = [&after, &before].map(|all| all[&address].clone());
        for backend in [&mut after, &mut before] {
            if let Value::Object(failures) = &mut backend["dial_failures"] {
                failures.retain(|key, _| !key.ends_with("_ago"));
            }
        }
        assert_eq!(after, before);
    }
    let states = [a, b, d, dead].map(|address| after[&address.to_string()]["state"].clone());
    assert_eq!(states, ["up", "drained", "up", "ejected"]);
    assert_eq!(after[&a.to_string()]["hand_weight"], 7);
    let mut served = BTreeMap::new();
    for _ in 0..16 {
        *served.entry(asks(&world).await).or_insert(0) += 1;
    }
    assert_eq!(served, BTreeMap::from([("a".to_owned(), 14), ("d".to_owned(), 2)]), "7 to 1, and no other");
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_retries_total", &[]), retries, "the ejected one was not tried");
    echoes(&mut held).await.unwrap();
    leave(held).await;
}

#[tokio::test]
async fn a_drain_by_hand_goes_on_over_an_answer_without_the_address() {
    let both = "127.0.0.1 api.test\n127.0.0.2 api.test\n";
    let dns = Dnsmasq::start(both, &[]).await;
    let port = Port::free();
    let _peers = named(&port, &["a", "b"]).await;
    let entry = format!("\"api.test:{port}\"");
    let world = plain(dns.addr, &entry).pool("drain_timeout: 6s").start().await;
    let mut held = [hold(&world).await, hold(&world).await];
    held.sort_by(|(_, one), (_, other)| one.cmp(other));
    let [(mut a, _), (mut b, _)] = held;
    let drain = format!("/api/v1/pools/main/backends/{}/drain", at(1, &port));
    assert_eq!(request(world.weir.admin(), "POST", &drain).await.unwrap().status, 200);
    dns.change("127.0.0.2 api.test\n").await;
    has_backends(&world, &[at(2, &port)]).await;
    dns.change(both).await;
    has_backends(&world, &[at(1, &port), at(2, &port)]).await;
    assert_eq!(backends(&world).await[&at(1, &port).to_string()]["state"], "drained");
    assert_eq!(a.rest().await, (Vec::new(), End::Clean));
    world.weir.only_record().await.ended("drained", "weir");
    echoes(&mut b).await.expect("the other one is not drained");
}

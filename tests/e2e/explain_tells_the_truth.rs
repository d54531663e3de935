//! `weir explain` says of a hello what then happens to a connection with that hello.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use weir_tests::client::TlsClient;
use weir_tests::digest::Noise;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::stream::Stream;
use weir_tests::weir::{Launch, Record, Weir, command};
use weir_tests::world::{Identities, PROFILE};

const LISTENERS: [&str; 3] = ["edge", "front", "raw"];
const ROUTES: usize = 1_000;
const HELLOS: usize = 1_000;
const PROTOCOLS: [&str; 4] = ["h2", "http/1.1", "acme-tls/1", "x"];
const NETWORKS: [&str; 5] = ["127.0.0.0/8", "127.0.0.0/16", "127.0.1.0/24", "127.0.1.7", "10.0.0.0/8"];
/// Each client is a run of `weir explain`.
const SOURCES: [&str; 4] = ["127.0.0.1", "127.0.1.1", "127.0.1.7", "127.1.0.1"];

#[derive(Debug)]
struct Route {
    listener: usize,
    names: Vec<String>,
    alpn: Vec<&'static str>,
    source: Vec<&'static str>,
}

#[derive(Debug)]
struct Client {
    listener: usize,
    source: &'static str,
    hello: Vec<u8>,
}

fn one<T: Copy>(noise: &mut Noise, of: &[T]) -> T {
    of[noise.below(of.len())]
}

/// Up to `most` of them, in any order.
fn some<T: Copy + PartialEq>(noise: &mut Noise, of: &[T], most: usize) -> Vec<T> {
    let mut chosen = Vec::new();
    for _ in 0..noise.below(most + 1) {
        let next = one(noise, of);
        if !chosen.contains(&next) {
            chosen.push(next);
        }
    }
    chosen
}

/// A name of few labels, so that many names are below others. For some of them weir has a certificate.
fn name(noise: &mut Noise) -> String {
    let labels = (0..=noise.below(4)).map(|_| one(noise, &["a", "b", "c", "d"])).collect::<Vec<_>>();
    format!("{}.example.test", labels.join("."))
}

/// Routes such that no two match the same connections equally well.
fn routes(noise: &mut Noise) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut taken = HashSet::new();
    for source in ["127.0.0.1", "127.0.1.0/24", "10.0.0.0/8"] {
        routes.push(Route { listener: 2, names: Vec::new(), alpn: Vec::new(), source: vec![source] });
    }
    while routes.len() < ROUTES {
        let listener = noise.below(2);
        let names: Vec<String> = match noise.below(40) {
            0 => vec!["*".to_owned()],
            1 => Vec::new(),
            2..20 => vec![format!("*.{}", name(noise))],
            20..24 => vec![name(noise), format!("*.{}", name(noise))],
            _ => vec![name(noise)],
        };
        let alpn = some(noise, &PROTOCOLS, 2);
        let source = some(noise, &NETWORKS, 2);
        let mut keys = Vec::new();
        for name in names.iter().map(String::as_str).chain(names.is_empty().then_some("")) {
            for protocol in alpn.iter().chain(alpn.is_empty().then_some(&"")) {
                for network in source.iter().chain(source.is_empty().then_some(&"")) {
                    keys.push((listener, name.to_owned(), *protocol, *network));
                }
            }
        }
        // A route without a name, or for any name, must be limited by ALPN and source: some clients must find
        // no route.
        let wide = matches!(names.first().map(String::as_str), None | Some("*"));
        if (wide && (alpn.is_empty() || source.is_empty())) || keys.iter().any(|key| taken.contains(key)) {
            continue;
        }
        taken.extend(keys);
        routes.push(Route { listener, names, alpn, source });
    }
    routes
}

/// Every route has a pool of its own, so that a record tells the route; some pools are keyed.
fn configuration(routes: &[Route], edges: &[Port], backend: SocketAddr) -> String {
    let (mut listeners, mut pools) = ([const { String::new() }; 3], String::new());
    for (number, route) in routes.iter().enumerate() {
        let mut conditions = Vec::new();
        if !route.names.is_empty() {
            conditions.push(format!("sni: ['{}']", route.names.join("', '")));
        }
        for (key, values) in [("alpn", &route.alpn), ("source", &route.source)] {
            if !values.is_empty() {
                conditions.push(format!("{key}: ['{}']", values.join("', '")));
            }
        }
        // Now and then another mode than the listener's.
        let mode = match (route.listener, number % 4) {
            (0, 0) => ", mode: offload, tls: public",
            (1, 0) => ", mode: passthrough",
            _ => "",
        };
        let conditions = conditions.join(", ");
        writeln!(listeners[route.listener], "      - {{match: {{{conditions}}}, pool: p{number}{mode}}}")
            .unwrap();
        writeln!(pools, "  - {}", pool(&format!("p{number}"), number, backend.port())).unwrap();
    }
    writeln!(pools, "  - {}", pool("default", KEYED, backend.port())).unwrap();
    let [edge, front, raw] = listeners;
    let [a, b, c] = [&edges[0], &edges[1], &edges[2]].map(Port::addr);
    format!(
        "{PROFILE}listeners:\n  - name: edge\n    address: \"{a}\"\n    mode: passthrough\n    routes:\n{edge}  \
         - name: front\n    address: \"{b}\"\n    mode: offload\n    tls: public\n    default_pool: default\n    routes:\n{front}  \
         - name: raw\n    address: \"{c}\"\n    mode: passthrough\n    peek: false\n    routes:\n{raw}pools:\n{pools}"
    )
}

/// One in so many pools is keyed by the client's address, and one by the name.
const KEYED: usize = 80;

fn is_keyed(number: usize) -> bool {
    number.is_multiple_of(KEYED / 2)
}

/// A pool whose backends are all one program that listens on every address.
fn pool(name: &str, number: usize, port: u16) -> String {
    let balance = match number % KEYED {
        0 => "source_ip",
        n if is_keyed(n) => "sni",
        _ => "round_robin",
    };
    let count = if is_keyed(number) { 5 } else { 1 };
    let backends: Vec<String> = (1..=count)
        .map(|n| format!("{{name: {name}-{n}, address: \"127.9.0.{n}:{port}\", weight: {n}}}"))
        .collect();
    let backends = backends.join(", ");
    format!("{{name: {name}, balance: {balance}, backends: [{backends}], health_check: {{type: none}}}}")
}

/// Clients, each close to matching some route.
fn clients(noise: &mut Noise, routes: &[Route]) -> Vec<Client> {
    let mut clients = Vec::new();
    while clients.len() < HELLOS {
        let number = noise.below(ROUTES);
        let number = if noise.below(3) == 0 { number / (KEYED / 2) * (KEYED / 2) } else { number };
        let route = &routes[number];
        let asked = match route.names.first() {
            _ if noise.below(10) == 0 => name(noise),
            _ if noise.below(6) == 0 => format!("{}.test", one(noise, &["example", "a", "b.q"])),
            None => String::new(),
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(suffix) => format!("{}{}", one(noise, &["a", "d", "q", "r.s", "a.b"]), suffix),
                None => pattern.clone(),
            },
        };
        let mut protocols = some(noise, &PROTOCOLS, 3);
        if let Some(protocol) = route.alpn.first().filter(|p| !protocols.contains(p) && noise.below(4) > 0) {
            protocols.insert(noise.below(protocols.len() + 1), protocol);
        }
        if protocols.contains(&"acme-tls/1") && noise.below(2) == 0 {
            // Alone it is a challenge, which goes before names.
            protocols = vec!["acme-tls/1"];
        }
        let client = TlsClient::trusting(&[]).small().alpn(&protocols);
        let real = match asked.trim_start_matches('.') {
            "" => hello::real(&client.nameless(), "nobody.test"),
            asked => hello::real(&client, asked),
        };
        let hello = if noise.below(3) == 0 { hello::in_records(&real, 1 + noise.below(100)) } else { real };
        clients.push(Client { listener: route.listener, source: one(noise, &SOURCES), hello });
    }
    // The third listener has nearly no routes.
    for client in clients.iter_mut().step_by(20) {
        client.listener = 2;
    }
    clients
}

/// A socket of that address, with a port that no earlier client had: the port tells its record from the
/// others.
fn bound(source: &str, taken: &mut HashSet<SocketAddr>) -> (TcpSocket, SocketAddr) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        let from = socket.local_addr().unwrap();
        if taken.insert(from) {
            return (socket, from);
        }
    }
}

/// Sends a hello and reads to the end.
async fn visit(socket: TcpSocket, edge: SocketAddr, hello: Vec<u8>) {
    let mut stream = Stream::Plain(socket.connect(edge).await.unwrap());
    // weir may have refused and closed the connection already.
    if stream.send(&hello).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    stream.rest().await;
}

/// The fate of every client, in order.
async fn records(clients: &[Client], edges: &[Port], weir: &Weir) -> Vec<Record> {
    let (mut froms, mut taken) = (Vec::new(), HashSet::new());
    for some in clients.chunks(50) {
        let mut visits = JoinSet::new();
        for client in some {
            let (socket, from) = bound(client.source, &mut taken);
            froms.push(from.to_string());
            visits.spawn(visit(socket, edges[client.listener].addr(), client.hello.clone()));
        }
        while let Some(visited) = visits.join_next().await {
            visited.unwrap();
        }
    }
    weir.settle().await;
    let mut by_client: HashMap<String, Record> =
        weir.records().into_iter().map(|record| (record.text("client").to_owned(), record)).collect();
    froms.iter().map(|from| by_client.remove(from).unwrap()).collect()
}

/// The answer of `weir explain` for every client at its listener, in order.
async fn explained(clients: &[Client], weir: &Weir) -> Vec<serde_json::Value> {
    let mut answers = vec![serde_json::Value::Null; clients.len()];
    for source in SOURCES {
        let (mut numbers, mut file) = (Vec::new(), String::new());
        for (number, client) in clients.iter().enumerate().filter(|(_, client)| client.source == source) {
            numbers.push(number);
            client.hello.iter().for_each(|byte| write!(file, "{byte:02x}").unwrap());
            file.push('\n');
        }
        let path = weir.folder().join("hellos");
        std::fs::write(&path, file).unwrap();
        let mut explain = command(&["explain", "--format", "json", "--source", source, "-c"]);
        explain.arg(weir.folder().join("weir.yaml")).arg("--hello").arg(format!("@{}", path.display()));
        let said = run(explain, b"", Duration::from_secs(60)).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
        assert_eq!(said.stdout.lines().count(), numbers.len(), "an answer a hello");
        for (number, line) in numbers.into_iter().zip(said.stdout.lines()) {
            let mut answer: serde_json::Value = serde_json::from_str(line).unwrap();
            answers[number] = answer["listeners"][clients[number].listener].take();
        }
    }
    answers
}

#[tokio::test]
async fn of_a_thousand_hellos_at_a_thousand_routes() {
    let given = std::env::var("WEIR_EXPLAIN_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(now.as_nanos() as u64);
    let mut noise = Noise::new(seed);
    let routes = routes(&mut noise);
    let clients = clients(&mut noise, &routes);
    let backend = Backend::start("0.0.0.0:0".parse().unwrap(), Role::Echo, None).await;
    let edges = LISTENERS.map(|_| Port::free());
    let launch = Launch::new(Identities::default().folder(), configuration(&routes, &edges, backend.addr));
    let weir = launch.runtime("workers: 2, drain_timeout: 5s").level("warn").start().await;
    let records = records(&clients, &edges, &weir).await;
    let answers = explained(&clients, &weir).await;

    // Counts the cases, so that the test cannot pass without testing anything.
    let (mut pools, mut seen) = (HashSet::new(), HashMap::<&str, usize>::new());
    for ((client, record), answer) in clients.iter().zip(&records).zip(&answers) {
        let why = format!("WEIR_EXPLAIN_SEED={seed}\n{client:?}\n{record:#?}\n{answer:#}");
        let refused = &answer["refused"];
        assert_eq!(answer["listener"], record.text("listener"), "{why}");
        assert_eq!(answer["mode"], record.text("mode"), "{why}");
        assert_eq!(answer["pool"]["name"], *record.field("pool"), "{why}");
        if let Some(number) = answer["route"]["number"].as_u64() {
            // Routes are numbered within a listener, pools over all listeners.
            let of_listener = (0..ROUTES).filter(|route| routes[*route].listener == client.listener);
            let route = of_listener.clone().nth(number as usize - 1).unwrap();
            assert_eq!(record.text("pool"), format!("p{route}"), "{why}");
            *seen.entry("routed").or_default() += 1;
            pools.insert(route);
        } else {
            assert!(matches!(record.text("pool"), "" | "default"), "{why}");
            *seen.entry("unrouted").or_default() += 1;
        }
        if refused.is_null() {
            assert_ne!(record.text("reason"), "no_certificate", "{why}");
        } else {
            assert_eq!(refused["outcome"], record.outcome(), "{why}");
            *seen.entry("refused").or_default() += 1;
        }
        if record.text("mode") == "passthrough" && refused.is_null() {
            assert_eq!(record.outcome(), "ok", "{why}");
            // Each pool that is not keyed has one backend.
            assert_eq!(answer["pool"]["backends"][0]["name"], record.text("backend"), "{why}");
            *seen.entry(answer["pool"]["order"].as_str().unwrap()).or_default() += 1;
        }
    }
    assert!(pools.len() > 200, "{} routes of {ROUTES}, WEIR_EXPLAIN_SEED={seed}", pools.len());
    for what in ["routed", "unrouted", "refused", "exact", "rotation"] {
        assert!(
            seen.get(what).is_some_and(|&count| count > 10),
            "{what}: {seen:?}, WEIR_EXPLAIN_SEED={seed}"
        );
    }
}

//! `weir explain` says of a request what then happens to it.

use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpSocket;
use weir_tests::client::TlsClient;
use weir_tests::digest::Noise;
use weir_tests::origin::{Got, Origin, answers, ask};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::weir::{Launch, Record, command};
use weir_tests::world::{Identities, PROFILE};

const ROUTES: usize = 120;
const REQUESTS: usize = 150;
const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/b", "/b/a", "/a/b/a"];
const TAILS: [&str; 12] = ["", "", "", "/", "/b", "/x?q=/a", "//", ";p=1", "%2fb", "/../a", "/%62", "/./b"];
const METHODS: [&str; 3] = ["GET", "PUT", "DELETE"];
const VALUES: [&str; 3] = ["1", "2", "*"];
const NETWORKS: [&str; 4] = ["127.0.0.0/8", "127.0.1.0/24", "127.0.1.7", "10.0.0.0/8"];
const SOURCES: [&str; 3] = ["127.0.0.1", "127.0.1.1", "127.0.1.7"];
/// Names whose connections have another policy than all others.
const STRICT: [&str; 2] = ["strict.example.test", "a.strict.example.test"];

/// A route, as the file has it.
#[derive(Debug)]
struct Route {
    conditions: Vec<String>,
    host: Option<String>,
    path: Option<&'static str>,
    field: Option<&'static str>,
}

#[derive(Debug)]
struct Request {
    sni: Option<String>,
    host: String,
    target: String,
    method: &'static str,
    fields: Vec<String>,
    offers: Vec<&'static str>,
    source: &'static str,
}

fn one<T: Copy>(noise: &mut Noise, of: &[T]) -> T {
    of[noise.below(of.len())]
}

/// With this probability, in percent.
fn perhaps<T>(noise: &mut Noise, percent: usize, make: impl FnOnce(&mut Noise) -> T) -> Option<T> {
    (noise.below(100) < percent).then(|| make(noise))
}

fn name(noise: &mut Noise) -> String {
    let labels: Vec<_> = (0..=noise.below(2)).map(|_| one(noise, &["a", "b"])).collect();
    format!("{}.example.test", labels.join("."))
}

/// Routes of which no two match the same requests equally well.
fn routes(noise: &mut Noise) -> Vec<Route> {
    let (mut routes, mut taken) = (Vec::new(), HashSet::new());
    while routes.len() < ROUTES {
        let host = perhaps(noise, 70, |noise| match noise.below(3) {
            0 => format!("*.{}", name(noise)),
            _ => name(noise),
        });
        let path = perhaps(noise, 80, |noise| one(noise, &PATHS));
        let method = perhaps(noise, 30, |noise| one(noise, &METHODS));
        let field = perhaps(noise, 30, |noise| one(noise, &VALUES));
        let alpn = perhaps(noise, 15, |noise| one(noise, &["http/1.1", "x"]));
        let source = perhaps(noise, 30, |noise| one(noise, &NETWORKS));
        // By these, one of two routes is the more specific one.
        let rank = (host.clone(), path, method.is_some(), field.is_some(), alpn.is_some(), source);
        // A route by protocol or source alone is one of connections too, and one for every path leaves no request for 404.
        let any_path = path.is_none_or(|path| host.is_none() && path == "/");
        if any_path && method.is_none() && field.is_none() || !taken.insert(rank) {
            continue;
        }
        let mut conditions = Vec::new();
        conditions.extend(host.as_ref().map(|host| format!("host: \"{host}\"")));
        conditions.extend(path.map(|path| format!("path_prefix: {path}")));
        conditions.extend(method.map(|method| format!("method: {method}")));
        conditions.extend(field.map(|value| format!("header: {{X-V: \"{value}\"}}")));
        conditions.extend(alpn.map(|protocol| format!("alpn: {protocol}")));
        conditions.extend(source.map(|network| format!("source: {network}")));
        routes.push(Route { conditions, host, path, field });
    }
    routes
}

/// Every route has a pool of its own, or an answer.
fn configuration(routes: &[Route], edges: [&Port; 2], backends: &[SocketAddr], noise: &mut Noise) -> String {
    let (mut listed, mut pools) = (String::new(), String::new());
    for (number, Route { conditions, .. }) in routes.iter().enumerate() {
        let action = match noise.below(10) {
            0 => format!("respond: {{status: {}}}", 410 + number % 5),
            1 => format!("redirect: {{host: r{number}.example.test, status: 302}}"),
            2 => format!("pool: p{number}, require_client_cert: true"),
            _ => format!("pool: p{number}"),
        };
        if action.starts_with("pool") {
            pools.push_str(&pool(&format!("p{number}"), number, backends));
        }
        writeln!(listed, "      - {{match: {{{}}}, {action}}}", conditions.join(", ")).unwrap();
    }
    pools.push_str(&pool("strict", 0, backends));
    pools.push_str(&pool("default", 1, backends));
    let listener = |name: &str, edge: &Port, default: &str| {
        format!(
            "  - name: {name}\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    tls: public\n    \
             trusted_proxies: [127.0.1.7]\n    http: {{max_body: 1KiB}}\n{default}    routes:\n      \
             - {{match: {{sni: [strict.example.test, \"*.strict.example.test\"]}}, pool: strict, tls: strict}}\n{listed}",
            edge.addr()
        )
    };
    format!(
        "{PROFILE}    client_auth: {{ca: weir.pem, mode: optional}}\n  - name: strict\n    unknown_sni: first\n    \
         certificates: [{{cert: weir.pem, key: weir.key}}]\nlisteners:\n{}{}pools:\n{pools}",
        listener("www", edges[0], "    default_pool: default\n"),
        listener("strict", edges[1], "")
    )
    .replace("name: public\n", "name: public\n    unknown_sni: first\n")
}

/// A pool of all backends; some go by the client's address or by a field.
fn pool(name: &str, number: usize, backends: &[SocketAddr]) -> String {
    // Few, because each has a table of its own, which takes time to make.
    let balance = match number % 24 {
        0 => "balance: source_ip",
        1 => "sticky: {header: X-V}",
        2 => "balance: sni",
        _ => "balance: round_robin",
    };
    let named =
        (1..).zip(backends).map(|(n, addr): (usize, _)| format!("{{name: {name}-{n}, address: \"{addr}\"}}"));
    let named = named.collect::<Vec<_>>().join(", ");
    // Kept connections would be descriptors at the end.
    let http = "http: {idle_timeout: 1s}";
    format!("  - {{name: {name}, {balance}, backends: [{named}], {http}, health_check: {{type: none}}}}\n")
}

/// A request that nearly matches some route.
fn request(noise: &mut Noise, routes: &[Route]) -> Request {
    let route = &routes[noise.below(routes.len())];
    let host = match &route.host {
        _ if noise.below(8) == 0 => one(noise, &STRICT).to_owned(),
        _ if noise.below(8) == 0 => {
            one(noise, &["127.0.0.1", "[::1]", "A.Example.Test.", "b.example.test:8443"]).to_owned()
        }
        Some(pattern) => pattern.replace('*', one(noise, &["a", "b", "q", "b.a"])),
        None => name(noise),
    };
    let plain = host.trim_end_matches(":8443").trim_end_matches('.').to_ascii_lowercase();
    let sni = match noise.below(10) {
        0 => None,
        1 => Some(one(noise, &STRICT).to_owned()),
        2 => Some(name(noise)),
        _ if plain.starts_with(['1', '[']) => None,
        _ => Some(plain),
    };
    let path = route.path.unwrap_or(one(noise, &PATHS)).trim_end_matches('/');
    let target = format!("{path}{}", one(noise, &TAILS));
    let target = if target.starts_with('/') { target } else { format!("/{target}") };
    let mut fields: Vec<String> = route
        .field
        .map(|value| value.replace('*', "3"))
        .filter(|_| noise.below(4) > 0)
        .or_else(|| perhaps(noise, 30, |noise| one(noise, &["1", "2"]).to_owned()))
        .map(|value| format!("X-V: {value}"))
        .into_iter()
        .collect();
    if noise.below(5) == 0 {
        fields.push("X-Forwarded-For: 10.1.2.3".to_owned());
    }
    let method = one(noise, &METHODS);
    if noise.below(15) == 0 {
        fields.push(one(noise, &["Content-Length: 2000", "Content-Length: 1, 2", "Expect: more"]).to_owned());
    }
    let offers = one(noise, &[&["http/1.1"][..], &["x", "http/1.1"], &["http/1.1", "x"], &[]]).to_vec();
    Request { sni, host, target, method, fields, offers, source: one(noise, &SOURCES) }
}

/// What the running weir does with a request.
async fn sent(request: &Request, client: &TlsClient, edge: SocketAddr) -> Got {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{}:0", request.source).parse().unwrap()).unwrap();
    let tcp = socket.connect(edge).await.unwrap();
    let client = client.clone().alpn(&request.offers);
    let mut stream = match &request.sni {
        Some(sni) => client.over(tcp, sni).await.unwrap(),
        None => client.nameless().over(tcp, "a.example.test").await.unwrap(),
    };
    let Request { method, target, host, fields, .. } = request;
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n");
    ask(&mut stream, &head).await.unwrap_or_else(|error| panic!("{request:?}: {error}"))
}

/// What `weir explain` says of it.
async fn explained(request: &Request, listener: &str, file: &str) -> Value {
    let mut explain = command(&["explain", "--format", "json", "-c", file, "--listener", listener]);
    let Request { sni, host, target, method, fields, offers, source } = request;
    explain.args(["--host", host, "--path", target, "--method", method, "--source", source]);
    // Without a name, as to an address.
    explain.args(["--sni", sni.as_deref().unwrap_or("192.0.2.1")]);
    for field in fields {
        explain.args(["--header", field]);
    }
    if !offers.is_empty() {
        explain.args(["--alpn", &offers.join(",")]);
    }
    let said = run(explain, b"", Duration::from_secs(30)).await;
    assert_eq!(said.code, Some(0), "{request:?}: {}", said.both());
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["listeners"].as_array().unwrap().len(), 1);
    answer["listeners"][0]["request"].clone()
}

/// A certificate for every name that is asked for.
fn identities() -> Identities {
    let mut names = vec!["*.example.test".to_owned(), "*.strict.example.test".to_owned()];
    for one in ["a", "b"] {
        names.extend([format!("*.{one}.example.test"), format!("*.a.{one}.example.test")]);
        for other in ["a", "b"] {
            names.extend(["", "a.", "b."].map(|more| format!("*.{more}{one}.{other}.example.test")));
        }
    }
    names.sort();
    names.dedup();
    let mut identities = Identities::default();
    identities.weir = identities.public.issue(&names.iter().map(String::as_str).collect::<Vec<_>>());
    identities
}

/// Compares both; a word for what it was.
fn compare(told: &Value, got: &Got, record: Option<&Record>) -> String {
    let location = got.exact.lines().find_map(|line| line.strip_prefix("location: "));
    let (status, pool) = (got.status, record.map_or("", |record| record.text("pool")));
    if told["requires_certificate"] == true && (told["answer"].is_null() || told["answer"]["status"] == 413) {
        assert_eq!((status, pool), (403, ""));
        return "403".to_owned();
    }
    if let Some(own) = told["answer"].as_object() {
        assert_eq!((own["status"].as_u64(), pool), (Some(status.into()), ""));
        assert_eq!(own.get("location").and_then(Value::as_str), location);
        if let Some(record) = record {
            assert_eq!(own["outcome"], record.outcome());
        }
        return status.to_string();
    }
    let record = record.unwrap();
    assert_eq!((status, told["pool"]["name"].as_str().unwrap()), (200, pool));
    if told["pool"]["order"] == "exact" {
        assert_eq!(told["pool"]["backends"][0]["name"], record.text("backend"));
        return "exact".to_owned();
    }
    "pool".to_owned()
}

#[tokio::test]
async fn the_running_weir_does_what_explain_says() {
    let given = std::env::var("WEIR_EXPLAIN_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(now.as_nanos() as u64);
    eprintln!("WEIR_EXPLAIN_SEED={seed}");
    let noise = &mut Noise::new(seed);
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(Origin::start(|_| answers("ok")).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.addr).collect();
    let (www, strict, routes) = (Port::free(), Port::free(), routes(noise));
    let identities = identities();
    let body = configuration(&routes, [&www, &strict], &addresses, noise);
    let weir = Launch::new(identities.folder(), body).level("info").start().await;
    let file = weir.folder().join("weir.yaml").display().to_string();
    let client = identities.client();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..REQUESTS {
        let request = request(noise, &routes);
        let (edge, listener) = if noise.below(3) == 0 { (&strict, "strict") } else { (&www, "www") };
        let before = weir.requests().len();
        let got = sent(&request, &client, edge.addr()).await;
        let told = explained(&request, listener, &file).await;
        // The record of its connection comes last.
        weir.some_records(number + 1).await;
        let records = weir.requests().split_off(before);
        // What the library refuses has no record of a request.
        assert!(records.len() == 1 || records.is_empty() && got.status == 400, "{request:?}: {records:?}");
        let compared = std::panic::catch_unwind(|| compare(&told, &got, records.first()));
        let what =
            compared.unwrap_or_else(|_| panic!("{listener} {request:?}\n{told:#}\n{got:?}\n{records:?}"));
        *seen.entry(what).or_default() += 1;
        // All routes but the winner are accounted for.
        if told["lost"].as_array().is_some_and(|lost| !lost.is_empty()) {
            let listed =
                told["lost"].as_array().unwrap().len() + told["name_differs"].as_u64().unwrap() as usize;
            assert_eq!(listed + usize::from(!told["route"].is_null()), routes.len() + 1, "{told:#}");
        }
    }
    for what in ["pool", "exact", "400", "421"] {
        assert!(seen.contains_key(what), "no request was one of {what}: {seen:?}");
    }
    assert!(seen.len() >= 8, "{seen:?}");
    weir.settle().await;
}

//! A client stays with its backend: by weir's cookie for its duration and no longer, by a cookie of the application, by a
//! header field; on every node of a fleet. What it makes up itself counts as absent.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use weir_tests::client::TlsClient;
use weir_tests::curl::curl;
use weir_tests::eventually::eventually;
use weir_tests::origin::{Origin, Step, answer, next_answer};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::stream::Stream;
use weir_tests::weir::{Launch, Weir, command};
use weir_tests::world::{Identities, NAME, PROFILE};

const BACKENDS: [&str; 4] = ["a", "b", "c", "d"];

/// A backend that answers with its name, and begins a session of the application at `/login`.
async fn backend(name: &'static str) -> Origin {
    Origin::start(move |asked| {
        let mut head = answer(name);
        if asked.path == "/login" {
            let line = b"HTTP/1.1 200 OK\r\n";
            head.splice(
                ..line.len(),
                [&line[..], b"Set-Cookie: JSESSIONID=s1; Path=/; HttpOnly\r\n"].concat(),
            );
        }
        vec![Step::Read, Step::Send(head)]
    })
    .await
}

async fn backends() -> Vec<Origin> {
    let mut all = Vec::new();
    for name in BACKENDS {
        all.push(backend(name).await);
    }
    all
}

/// A running weir.
struct Node {
    weir: Weir,
    edge: Port,
    client: TlsClient,
}

impl Node {
    /// A weir whose two pools, `main` and `other` (below `/other`), have these backends and this `sticky`; with this
    /// file as its fleet's secret.
    async fn start(backends: &[SocketAddr], sticky: &str, secret: Option<&Path>) -> Self {
        let (identities, edge) = (Identities::default(), Port::free());
        let (folder, client) = (identities.folder(), identities.client());
        let mut body = String::from(PROFILE);
        if let Some(secret) = secret {
            std::fs::copy(secret, folder.path().join("fleet.key")).unwrap();
            body.push_str("fleet: {secret_files: [fleet.key]}\n");
        }
        write!(
            body,
            "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    tls: public\n    \
             default_pool: main\n    routes: [{{match: {{path_prefix: /other}}, pool: other}}]\npools:\n",
            edge.addr()
        )
        .unwrap();
        let list: Vec<_> = backends.iter().map(|addr| format!("\"{addr}\"")).collect();
        for pool in ["main", "other"] {
            writeln!(
                body,
                "  - {{name: {pool}, backends: [{}], sticky: {sticky}, retries: 3, health_check: {{type: none}}}}",
                list.join(", ")
            )
            .unwrap();
        }
        Self { weir: Launch::new(folder, body).level("info").start().await, edge, client }
    }

    /// What curl gets for a path: the name of the backend, and the cookies that the answer sets.
    async fn visit(&self, path: &str, arguments: &[&str]) -> Visit {
        let port = self.edge.number();
        let (url, resolve) = (format!("https://{NAME}:{port}{path}"), format!("{NAME}:{port}:127.0.0.1"));
        let got =
            curl(&[&["--insecure", "--include", "--resolve", &resolve], arguments, &[&url]].concat()).await;
        assert_eq!(got.code, Some(0), "{path}: {}", got.both());
        let (head, body) = got.stdout.rsplit_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200"), "{head}");
        let set = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
        Visit {
            backend: body.to_owned(),
            set: set.map(|line| line["set-cookie: ".len()..].to_owned()).collect(),
        }
    }

    /// With this `Cookie` field.
    async fn with_cookie(&self, path: &str, cookie: &str) -> Visit {
        self.visit(path, &["-H", &format!("Cookie: {cookie}")]).await
    }

    /// The backend that a cookie names, as `weir explain` says; empty if none.
    async fn explained(&self, cookie: &str) -> String {
        let mut explain = command(&["explain", "--format", "json", "--host", NAME]);
        explain
            .args(["--header", &format!("Cookie: {cookie}"), "-c"])
            .arg(self.weir.folder().join("weir.yaml"));
        let said = run(explain, b"", Duration::from_secs(20)).await;
        assert_eq!(said.code, Some(0), "{}", said.both());
        let answer: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        let told = &answer["listeners"][0]["request"];
        let named = told["sticky"]["backend"].as_str().unwrap_or_default().to_owned();
        assert!(named.is_empty() || told["pool"]["backends"][0]["name"] == *named, "{told:#}");
        named
    }

    async fn counted(&self, result: &str) -> u64 {
        self.weir.metrics().await.count("weir_http_sticky_total", &[("result", result)])
    }
}

#[derive(Debug)]
struct Visit {
    backend: String,
    set: Vec<String>,
}

impl Visit {
    /// The cookie of this name that the answer sets, as the client sends it.
    fn cookie(&self, name: &str) -> Option<String> {
        let of_name = |line: &&String| line.split('=').next() == Some(name);
        let line = self.set.iter().find(of_name)?;
        line.split(';').next().map(str::to_owned)
    }

    /// The cookie that the answer must set.
    fn new_cookie(&self) -> String {
        self.cookie("WEIRLB").unwrap_or_else(|| panic!("no new cookie: {self:?}"))
    }
}

async fn secret(folder: &Path, name: &str) {
    let mut new = command(&["secret", "new"]);
    new.arg(folder.join(name));
    let said = run(new, b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
}

fn addresses(backends: &[Origin]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.addr).collect()
}

#[tokio::test]
async fn for_the_duration_and_until_its_backend_dies() {
    let mut backends = backends().await;
    let node = Node::start(&addresses(&backends), "{cookie: {duration: 1h}}", None).await;
    let folder = tempfile::tempdir().unwrap();
    let jar = folder.path().join("jar").display().to_string();
    let with_jar = ["--cookie", &jar, "--cookie-jar", &jar];
    let first = node.visit("/", &with_jar).await;
    let [line] = &first.set[..] else { panic!("{first:?}") };
    let (_, attributes) = line.split_once(';').unwrap();
    assert_eq!(attributes, " Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Lax");
    for version in ["--http1.1", "--http2"].into_iter().cycle().take(8) {
        let again = node.visit("/x", &[&with_jar[..], &[version]].concat()).await;
        assert_eq!((&again.backend, &again.set[..]), (&first.backend, &[][..]), "{version}");
    }
    let strangers: BTreeSet<String> =
        [node.visit("/", &[]).await, node.visit("/", &[]).await].map(|visit| visit.backend).into();
    assert_eq!(strangers.len(), 2, "others go round");
    // The backend never saw it.
    let at = BACKENDS.iter().position(|name| *name == first.backend).unwrap();
    assert!(backends[at].seen().iter().all(|asked| !asked.head.contains("weirlb")));

    // Its death: another one serves, and is the client's from then on.
    drop(backends.remove(at));
    let moved = node.visit("/", &with_jar).await;
    assert_ne!(moved.backend, first.backend);
    assert!(moved.cookie("WEIRLB").is_some(), "{moved:?}");
    for _ in 0..8 {
        let again = node.visit("/x", &with_jar).await;
        assert_eq!((&again.backend, &again.set[..]), (&moved.backend, &[][..]));
    }
    assert_eq!([node.counted("hit").await, node.counted("moved").await], [16, 1]);
    assert_eq!(node.counted("new").await, 3);
    node.weir.settle().await;
    let stuck =
        node.weir.requests().iter().map(|record| record.text("sticky").to_owned()).collect::<Vec<_>>();
    assert_eq!((stuck[0].as_str(), stuck[1].as_str(), stuck[11].as_str()), ("new", "hit", "moved"));
}

#[tokio::test]
async fn a_client_cannot_stretch_its_time() {
    let backends = backends().await;
    let node = Node::start(&addresses(&backends), "{cookie: {duration: 2s}}", None).await;
    let begun = Instant::now();
    let first = node.visit("/", &[]).await;
    let cookie = first.new_cookie();
    // Used all the time, and kept for longer than the browser was told.
    let over = eventually(Duration::from_secs(20), "the cookie is over", async || {
        let visit = node.with_cookie("/", &cookie).await;
        match visit.set.is_empty() {
            true if visit.backend != first.backend => panic!("{visit:?}, and not {first:?}"),
            true => Err(format!("{visit:?}")),
            false => Ok(visit),
        }
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let new = over.new_cookie();
    assert_ne!(new, cookie);
    assert_eq!(node.with_cookie("/", &new).await.backend, over.backend, "the new one counts");
    assert!(node.counted("hit").await > 1);
    assert_eq!(node.counted("invalid").await, 1);
}

#[tokio::test]
async fn what_it_made_up_is_as_absent() {
    let backends = backends().await;
    let node = Node::start(&addresses(&backends), "{cookie: {}}", None).await;
    let first = node.visit("/", &[]).await;
    let cookie = first.new_cookie();
    let (_, value) = cookie.split_once('=').unwrap();
    let mut bad: Vec<String> = vec![
        String::new(),
        "\"\"".into(),
        format!("{value}A"),
        format!("{value}="),
        format!("{value}{value}"),
        value.to_ascii_lowercase(),
        "A".repeat(4000),
        first.backend.clone(),
        backends[0].addr.to_string(),
    ];
    // Every length, and a change at every place.
    bad.extend((0..value.len()).map(|end| value[..end].to_owned()));
    bad.extend((0..value.len()).map(|at| {
        let other = if value.as_bytes()[at] == b'A' { 'Q' } else { 'A' };
        format!("{}{other}{}", &value[..at], &value[at + 1..])
    }));
    let mut reached = BTreeSet::new();
    let mut stream = tls(&node).await;
    for value in &bad {
        let visit = ask(&mut stream, "/", &format!("WEIRLB={value}")).await;
        assert_ne!(visit.new_cookie(), cookie, "{value}");
        reached.insert(visit.backend);
    }
    assert_eq!(reached.len(), BACKENDS.len(), "they go round, as those without a cookie");
    assert_eq!(node.counted("invalid").await, bad.len() as u64);
    assert_eq!(node.counted("hit").await, 0);

    // A good one among bad ones counts, and all of them stay here.
    let many = format!("WEIRLB=x; a=1; {cookie}; WEIRLB=; b=2");
    let visit = ask(&mut stream, "/", &many).await;
    assert_eq!((&visit.backend, visit.set.is_empty()), (&first.backend, true));
    let seen = backends.iter().flat_map(Origin::seen).collect::<Vec<_>>();
    assert!(seen.iter().all(|asked| !asked.head.contains("weirlb")));
    assert_eq!(seen.iter().filter(|asked| asked.head.contains("\r\ncookie: a=1; b=2\r\n")).count(), 1);

    // It counts in its own pool alone, even if the backends are the same.
    let visit = ask(&mut stream, "/other", &cookie).await;
    assert_ne!(visit.new_cookie(), cookie);
    let invalid = node.counted("invalid").await;
    assert_eq!(invalid, bad.len() as u64 + 1);
    // And under its own name alone.
    let visit = ask(&mut stream, "/", &format!("OTHER={value}")).await;
    assert!(visit.cookie("WEIRLB").is_some());
}

/// A connection of an HTTP/1.1 client to the node.
async fn tls(node: &Node) -> Stream {
    node.client.clone().alpn(&["http/1.1"]).connect(node.edge.addr(), NAME).await.unwrap()
}

async fn ask(stream: &mut Stream, path: &str, cookie: &str) -> Visit {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nCookie: {cookie}\r\n\r\n");
    stream.send(request.as_bytes()).await.unwrap();
    let got = next_answer(stream, false).await.unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    let set = got.exact.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
    Visit { backend: got.text(), set: set.collect() }
}

#[tokio::test]
async fn nodes_with_one_secret_agree() {
    let backends = backends().await;
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "one").await;
    secret(folder.path(), "two").await;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let addresses = addresses(&backends);
    let turned: Vec<_> = addresses.iter().rev().copied().collect();
    let first = Node::start(&addresses, "{cookie: {}}", Some(&one)).await;
    // The order of the file is another one.
    let second = Node::start(&turned, "{cookie: {}}", Some(&one)).await;
    let stranger = Node::start(&addresses, "{cookie: {}}", Some(&two)).await;
    let alone = Node::start(&addresses, "{cookie: {}}", None).await;
    let (mut nodes, mut reached) = ([&first, &second], BTreeSet::new());
    for _ in 0..8 {
        nodes.reverse();
        let [issuer, other] = nodes;
        let issued = issuer.visit("/", &[]).await;
        let cookie = issued.new_cookie();
        for node in [other, issuer, other] {
            let visit = node.with_cookie("/x", &cookie).await;
            assert_eq!((&visit.backend, visit.set.is_empty()), (&issued.backend, true), "{visit:?}");
        }
        for node in [&stranger, &alone] {
            assert_ne!(node.with_cookie("/x", &cookie).await.new_cookie(), cookie, "another secret");
        }
        // `weir explain` has the secret too.
        let at = BACKENDS.iter().position(|name| *name == issued.backend).unwrap();
        assert_eq!(second.explained(&cookie).await, backends[at].addr.to_string());
        assert_eq!(stranger.explained(&cookie).await, "");
        reached.insert(issued.backend);
    }
    assert!(reached.len() > 1, "{reached:?}");
    assert_eq!([stranger.counted("invalid").await, alone.counted("invalid").await], [8, 8]);
    assert_eq!([first.counted("hit").await, second.counted("hit").await], [12, 12]);
}

#[tokio::test]
async fn by_a_cookie_of_the_application() {
    let backends = backends().await;
    let node = Node::start(&addresses(&backends), "{app_cookie: JSESSIONID, duration: 1h}", None).await;
    let folder = tempfile::tempdir().unwrap();
    let jar = folder.path().join("jar").display().to_string();
    let with_jar = ["--cookie", &jar, "--cookie-jar", &jar];
    // Without a session of the application nothing is set, and requests go round.
    let mut reached = BTreeSet::new();
    for _ in 0..BACKENDS.len() {
        let visit = node.visit("/", &with_jar).await;
        assert_eq!(visit.set, [""; 0], "{visit:?}");
        reached.insert(visit.backend);
    }
    assert_eq!(reached.len(), BACKENDS.len());
    let login = node.visit("/login", &with_jar).await;
    assert_eq!(login.cookie("JSESSIONID").as_deref(), Some("JSESSIONID=s1"));
    let own = login.cookie("WEIRLB-JSESSIONID").unwrap();
    for _ in 0..8 {
        let again = node.visit("/x", &with_jar).await;
        assert_eq!((&again.backend, &again.set[..]), (&login.backend, &[][..]));
    }
    // The backend gets its own cookie, and not weir's.
    let at = BACKENDS.iter().position(|name| *name == login.backend).unwrap();
    let last = backends[at].seen().pop().unwrap();
    assert!(last.head.contains("\r\ncookie: jsessionid=s1\r\n"), "{}", last.head);
    // Weir's cookie without the application's: the session is over.
    let mut reached = BTreeSet::new();
    for _ in 0..BACKENDS.len() {
        let visit = node.with_cookie("/x", &own).await;
        assert_eq!(visit.set, [""; 0]);
        reached.insert(visit.backend);
    }
    assert_eq!(reached.len(), BACKENDS.len());
    node.weir.settle().await;
}

#[tokio::test]
async fn by_a_header_field() {
    let backends = backends().await;
    let addresses = addresses(&backends);
    let turned: Vec<_> = addresses.iter().rev().copied().collect();
    // No secret is needed.
    let first = Node::start(&addresses, "{header: X-Tenant}", None).await;
    let second = Node::start(&turned, "{header: X-Tenant}", None).await;
    let mut reached = BTreeSet::new();
    for tenant in 0..24 {
        let field = format!("x-tenant: tenant-{tenant}");
        let visit = first.visit("/", &["-H", &field]).await;
        for node in [&first, &second] {
            let again = node.visit("/x", &["-H", &field, "--interface", "127.0.0.2"]).await;
            assert_eq!((&again.backend, &again.set[..]), (&visit.backend, &[][..]), "{tenant}");
        }
        reached.insert(visit.backend);
    }
    assert!(reached.len() > 2, "tenants are spread: {reached:?}");
    let mut without = BTreeSet::new();
    for _ in 0..BACKENDS.len() {
        without.insert(first.visit("/", &[]).await.backend);
    }
    assert_eq!(without.len(), BACKENDS.len(), "those without the field go by `balance`");
    first.weir.settle().await;
}

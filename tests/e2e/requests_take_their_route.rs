//! A request takes the most specific route that matches it, over HTTP/1.1 and HTTP/2, and no second reading of its path
//! or its host walks around a route.

use rcgen::ExtendedKeyUsagePurpose;
use std::fmt::Write as _;
use weir_tests::certificates::Authority;
use weir_tests::curl::curl;
use weir_tests::origin::{Origin, answers, ask};
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

const OTHER: &str = "other.example.test";
const STRICT: &str = "strict.example.test";

const ROUTES: &str = "      - {match: {host: other.example.test}, pool: other}
      - {match: {sni: strict.example.test}, pool: strict, tls: strict}
      - {match: {path_prefix: /static/}, pool: static}
      - {match: {path_prefix: /static/, method: [POST, PUT]}, pool: writes}
      - {match: {path_prefix: /static/deep}, pool: deep}
      - {match: {header: {X-Beta: \"1\"}}, pool: beta}
      - {match: {path_prefix: /admin}, pool: admin, require_client_cert: true}
      - {match: {path_prefix: /old/}, redirect: {path_prefix: /new/}}
      - {match: {path_prefix: /moved}, redirect: {host: other.example.test, status: 302}}
      - {match: {path_prefix: /gone}, respond: {status: 410, body: \"gone for good\"}}
";
const POOLS: [&str; 8] = ["main", "other", "strict", "static", "writes", "deep", "beta", "admin"];

/// A weir with these routes, and a backend for each pool that answers with the pool's name.
struct Setting {
    weir: Weir,
    edge: Port,
    identities: Identities,
    backends: Vec<Origin>,
    certificate: [String; 4],
}

impl Setting {
    async fn start() -> Self {
        let (identities, clients) = (Identities::default(), Authority::new("clients"));
        let folder = identities.folder();
        clients.write(folder.path(), "clients");
        let alice = clients.issue_for(&["alice.example.test"], ExtendedKeyUsagePurpose::ClientAuth);
        alice.write(folder.path(), "alice");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let certificate = ["--cert".into(), file("alice.pem"), "--key".into(), file("alice.key")];
        let (mut backends, mut pools, edge) = (Vec::new(), String::new(), Port::free());
        for name in POOLS {
            let backend = Origin::start(move |_| answers(name)).await;
            let addr = backend.addr;
            writeln!(pools, "  - {{name: {name}, backends: [\"{addr}\"], health_check: {{type: none}}}}")
                .unwrap();
            backends.push(backend);
        }
        let body = format!(
            "{PROFILE}    client_auth: {{ca: clients.pem, mode: optional}}\n  - name: strict\n    \
             certificates: [{{cert: weir.pem, key: weir.key}}]\n    client_auth: {{ca: clients.pem, mode: required}}\n\
             listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    tls: public\n    \
             default_pool: main\n    routes:\n{ROUTES}pools:\n{pools}",
            edge.addr()
        );
        let weir = Launch::new(folder, body).level("info").start().await;
        Self { weir, edge, identities, backends, certificate }
    }

    /// Requests that the backend of a pool has got.
    fn seen(&self, pool: &str) -> usize {
        let at = POOLS.iter().position(|name| *name == pool).unwrap();
        self.backends[at].seen().len()
    }

    /// What curl gets for a path under a name: the status, the address that it is sent to, and the body.
    async fn get(&self, name: &str, path: &str, arguments: &[&str]) -> (u16, String, String) {
        let port = self.edge.number();
        let (url, resolve) = (format!("https://{name}:{port}{path}"), format!("*:{port}:127.0.0.1"));
        let common = [
            "--insecure",
            "--path-as-is",
            "--resolve",
            &resolve,
            "--write-out",
            "\n%{http_code} %{redirect_url}",
        ];
        let got = curl(&[&common, arguments, &[&url]].concat()).await;
        assert_eq!(got.code, Some(0), "{path} {arguments:?}: {}", got.both());
        let (body, end) = got.stdout.rsplit_once('\n').unwrap();
        let (status, location) = end.split_once(' ').unwrap();
        (status.parse().unwrap(), location.replace(&format!(":{port}"), ""), body.to_owned())
    }

    fn with_certificate<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        self.certificate.iter().map(String::as_str).chain(arguments.iter().copied()).collect()
    }
}

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

#[tokio::test]
async fn the_most_specific_route_serves() {
    let setting = Setting::start().await;
    let to = |path: &str| format!("https://{NAME}{path}");
    for version in VERSIONS {
        for (name, path, arguments, status, location, body) in [
            (NAME, "/", &[][..], 200, "", "main"),
            (OTHER, "/static/x", &[], 200, "", "other"),
            (NAME, "/static", &[], 200, "", "static"),
            (NAME, "/static/x?/admin", &[], 200, "", "static"),
            (NAME, "/%73tatic/x", &[], 200, "", "static"),
            (NAME, "/statics", &[], 200, "", "main"),
            (NAME, "/static/x", &["--request", "PUT"], 200, "", "writes"),
            (NAME, "/static/x", &["--data", "x"], 200, "", "writes"),
            (NAME, "/static/x", &["--request", "DELETE"], 200, "", "static"),
            (NAME, "/static/deep/x", &["--request", "PUT"], 200, "", "deep"),
            (NAME, "/", &["-H", "X-Beta: 1"], 200, "", "beta"),
            (NAME, "/", &["-H", "x-beta: 1", "-H", "x-beta: 1"], 200, "", "main"),
            (NAME, "/", &["-H", "X-Beta: 2"], 200, "", "main"),
            (NAME, "/static/x", &["-H", "X-Beta: 1"], 200, "", "static"),
            (NAME, "/old/a/b?c=d", &[], 308, &to("/new/a/b?c=d"), "308 Permanent Redirect\n"),
            (NAME, "/moved/x", &[], 302, &format!("https://{OTHER}/moved/x"), "302 Found\n"),
            (NAME, "/gone/x", &[], 410, "", "gone for good"),
            (NAME, "/gone", &["--head"], 410, "", ""),
            (&NAME.to_uppercase(), "/gone", &[], 410, "", "gone for good"),
        ] {
            let got = setting.get(name, path, &[&[version][..], arguments].concat()).await;
            let case = format!("{version} {name} {path} {arguments:?}");
            assert_eq!((got.0, &*got.1), (status, location), "{case}: {got:?}");
            // With --head, curl shows the head.
            assert!(arguments.contains(&"--head") || got.2 == body, "{case}: {got:?}");
        }
    }
    setting.weir.settle().await;
    let routed =
        |pool: &str| setting.weir.requests().iter().filter(|record| record.text("pool") == pool).count();
    assert_eq!((routed("writes"), routed("static"), routed("beta")), (4, 10, 2));
}

/// Paths that some backend reads as one below `/admin`, with what a client without a certificate gets.
const AROUND: [(&str, u16); 22] = [
    ("/admin", 403),
    ("/admin/", 403),
    ("/admin?x", 403),
    ("/%61dmin", 403),
    ("/%61%64%6D%69n/x", 403),
    ("//admin", 400),
    ("//admin//x", 400),
    ("/./admin", 400),
    ("/x/../admin", 400),
    ("/%2e/admin", 400),
    ("/x/%2E%2e/admin", 400),
    ("/x/..%2fadmin", 400),
    ("/x%2f..%2fadmin", 400),
    ("/admin;x", 400),
    ("/admin;x=1/users", 400),
    ("/;/admin", 400),
    ("/..;/admin", 400),
    ("/admin%2fx", 400),
    ("/%2fadmin", 400),
    ("/%5cadmin", 400),
    ("/%2561dmin", 400),
    ("/admin%00", 400),
];

#[tokio::test]
async fn no_reading_of_a_path_walks_around_a_route() {
    let setting = Setting::start().await;
    for version in VERSIONS {
        for (path, wanted) in AROUND {
            let (status, _, body) = setting.get(NAME, path, &[version]).await;
            assert_eq!(status, wanted, "{version} {path}: {body}");
        }
    }
    // As curl cannot send them.
    let client = setting.identities.client().alpn(&["http/1.1"]);
    for target in
        ["/\\admin", "/x\\..\\admin", &format!("https://{NAME}//admin"), "https:////admin", "/admin#/x"]
    {
        let mut stream = client.connect(setting.edge.addr(), NAME).await.unwrap();
        let got = ask(&mut stream, &format!("GET {target} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await.unwrap();
        assert!(matches!(got.status, 400 | 403), "{target}: {got:?}");
    }
    assert_eq!(POOLS.map(|pool| setting.seen(pool)), [0; POOLS.len()]);
    setting.weir.settle().await;
    let outcomes: Vec<_> = setting.weir.requests().iter().map(|record| record.outcome().to_owned()).collect();
    assert!(outcomes.iter().all(|outcome| ["denied", "bad_request"].contains(&&**outcome)), "{outcomes:?}");

    // What leads to one route whatever the reading goes there.
    for (path, pool) in
        [("//x//y", "main"), ("/x;y=1/z", "main"), ("/a%2fb", "main"), ("/static//x", "static")]
    {
        let (status, _, body) = setting.get(NAME, path, &[]).await;
        assert_eq!((status, &*body), (200, pool), "{path}");
    }
    setting.weir.settle().await;
}

#[tokio::test]
async fn a_route_that_wants_a_certificate_is_for_those_who_have_one() {
    let setting = Setting::start().await;
    for version in VERSIONS {
        let (status, _, body) = setting.get(NAME, "/admin/users", &[version]).await;
        assert_eq!(status, 403, "{version}: {body}");
        let forged = ["-H", "X-Client-Cert-Subject: CN=alice", version];
        assert_eq!(setting.get(NAME, "/admin/users", &forged).await.0, 403, "{version}");
        for path in ["/admin/users", "/%61dmin", "/x"] {
            let (status, _, body) = setting.get(NAME, path, &setting.with_certificate(&[version])).await;
            let pool = if path == "/x" { "main" } else { "admin" };
            assert_eq!((status, &*body), (200, pool), "{version} {path}");
        }
    }
    // Two connections of one client, which sends its certificate in the first handshake alone.
    let port = setting.edge.number();
    let (url, resolve) = (format!("https://{NAME}:{port}/admin/again"), format!("{NAME}:{port}:127.0.0.1"));
    for version in VERSIONS {
        let common = ["--silent", "--insecure", "--resolve", &resolve, &url];
        let first = setting.with_certificate(&["--http1.1", "-H", "Connection: close"]);
        let second = setting.with_certificate(&[version]);
        setting.weir.settle().await;
        let before = setting.weir.requests().len();
        let got = curl(&[&first[..], &common, &["--next"], &second, &common].concat()).await;
        assert_eq!((got.code, &*got.stdout), (Some(0), "adminadmin"), "{}", got.both());
        setting.weir.settle().await;
        let records = setting.weir.requests().split_off(before);
        let resumed: Vec<_> = records.iter().map(|record| record.field("tls")["resumed"].clone()).collect();
        assert_eq!(resumed, ["no", "ticket"], "{version}: {records:?}");
        let spoken = if version == "--http2" { "h2" } else { "http/1.1" };
        assert_eq!(records[1].text("alpn"), spoken, "{records:?}");
        assert!(
            records.iter().all(|record| record.text("client_cert_cn") == "alice.example.test"),
            "{records:?}"
        );
    }
    setting.weir.settle().await;
}

#[tokio::test]
async fn a_connection_carries_no_requests_for_a_name_with_another_policy() {
    let setting = Setting::start().await;
    for version in VERSIONS {
        let host = |name: &str| format!("Host: {name}");
        // curl takes the name of the hello from the address, and the authority from `Host`.
        let (status, _, body) = setting.get(NAME, "/x", &[version, "-H", &host(STRICT)]).await;
        assert_eq!(status, 421, "{version}: {body}");
        let (status, _, body) =
            setting.get(NAME, "/x", &[version, "-H", &host(&STRICT.to_uppercase())]).await;
        assert_eq!(status, 421, "{version}: {body}");
        let (status, _, body) = setting.get(NAME, "/x", &[version, "-H", &host(OTHER)]).await;
        assert_eq!((status, &*body), (200, "other"), "{version}: one policy for both names");
        let strict = setting.with_certificate(&[version]);
        let (status, _, body) = setting.get(STRICT, "/x", &strict).await;
        assert_eq!((status, &*body), (200, "strict"), "{version}");
        let elsewhere = [&strict[..], &["-H", "Host: app.example.test"]].concat();
        assert_eq!(setting.get(STRICT, "/admin", &elsewhere).await.0, 421, "{version}: nor the other way");
    }
    let seen = ["main", "admin", "strict", "other"].map(|pool| setting.seen(pool));
    assert_eq!(seen, [0, 0, 2, 2], "a misdirected request reaches no backend");
    setting.weir.settle().await;
    let misdirected = setting.weir.requests();
    let misdirected = misdirected.iter().filter(|record| record.outcome() == "misdirected");
    assert!(
        misdirected.clone().all(|record| record.text("pool").is_empty() && record.number("status") == 421)
    );
    assert_eq!(misdirected.count(), 6);
}

#[tokio::test]
async fn connections_have_no_pool_and_their_requests_have() {
    for (default, status) in [("", 404), ("    default_pool: main\n", 200)] {
        let (backend, edge) = (Origin::start(|_| answers("a")).await, Port::free());
        let addr = backend.addr;
        let pool =
            |name| format!("  - {{name: {name}, backends: [\"{addr}\"], health_check: {{type: none}}}}\n");
        let body = format!(
            "{PROFILE}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    \
             tls: public\n{default}    routes:\n      - {{match: {{path_prefix: /first}}, pool: first}}\n      \
             - {{match: {{path_prefix: /second}}, pool: second}}\npools:\n{}{}{}",
            edge.addr(),
            pool("first"),
            pool("second"),
            if default.is_empty() { String::new() } else { pool("main") },
        );
        let identities = Identities::default();
        let weir = Launch::new(identities.folder(), body).level("info").start().await;
        let client = identities.client().alpn(&["http/1.1"]);
        let mut stream = client.connect(edge.addr(), NAME).await.unwrap();
        for (path, wanted) in [("/second", 200), ("/first", 200), ("/", status)] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
            assert_eq!(ask(&mut stream, &request).await.unwrap().status, wanted, "{path}");
        }
        stream.finish().await;
        stream.rest().await;
        let record = weir.only_record().await;
        assert!(record.field("pool").is_null() && record.number("requests") == 3, "{record:?}");
        let pools: Vec<_> = weir.requests().iter().map(|record| record.text("pool").to_owned()).collect();
        assert_eq!(pools, ["second", "first", if default.is_empty() { "" } else { "main" }]);
        weir.settle().await;
    }
}

//! A client that asks too often gets 429, also after a reload; a body that is too large gets 413.

use weir_tests::client::TlsClient;
use weir_tests::curl::curl;
use weir_tests::frames::{DATA, END_HEADERS, Fate, Frame, HEADERS, block, fate, preface};
use weir_tests::http;
use weir_tests::origin::{Origin, answers};
use weir_tests::ports::Port;
use weir_tests::program::Finished;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

struct Setting {
    weir: Weir,
    edge: Port,
    backend: Origin,
    client: TlsClient,
}

impl Setting {
    /// A listener with these keys and routes.
    async fn start(listener: &str, routes: &str) -> Self {
        let backend = Origin::start(|_| answers("ok")).await;
        let edge = Port::free();
        let body = format!(
            "{PROFILE}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    \
             tls: public\n    default_pool: main\n{listener}    routes:\n{routes}pools:\n  \
             - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            backend.addr
        );
        let identities = Identities::default();
        let weir = Launch::new(identities.folder(), body).level("info").start().await;
        Self { weir, edge, backend, client: identities.client() }
    }

    async fn curl(&self, path: &str, arguments: &[&str]) -> Finished {
        let port = self.edge.number();
        let (url, resolve) = (format!("https://{NAME}:{port}{path}"), format!("{NAME}:{port}:127.0.0.1"));
        let got =
            curl(&[&["--insecure", "--include", "--resolve", &resolve], arguments, &[&url]].concat()).await;
        assert_eq!(got.code, Some(0), "{path}: {}", got.both());
        got
    }

    /// The status of the last answer, and its Retry-After, -1 without one.
    async fn get(&self, path: &str, arguments: &[&str]) -> (u16, i64) {
        let head = self.curl(path, arguments).await.stdout.to_ascii_lowercase();
        let last = head.rfind("http/").unwrap();
        let status = head[last..].split(' ').nth(1).unwrap().trim().parse().unwrap();
        let retry = head[last..].lines().find_map(|line| line.strip_prefix("retry-after: "));
        (status, retry.map_or(-1, |seconds| seconds.trim().parse().unwrap()))
    }

    /// Changes the configuration's text, and reloads it.
    async fn reload(&self, from: &str, to: &str) {
        let file = self.weir.folder().join("weir.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let answer = http::request(self.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

const ELSEWHERE: [&str; 2] = ["--interface", "127.0.0.2"];

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_when_to_come_back() {
    let routes = "      - {match: {path_prefix: /slow}, pool: main, limits: {requests: 2/m}}\n      \
                  - {match: {path_prefix: /answer}, respond: {}, limits: {requests: 1/m, burst: 1}}\n";
    let setting = Setting::start("", routes).await;
    for version in ["--http1.1", "--http2"] {
        assert_eq!(setting.get("/answer", &[version]).await.0, if version == "--http2" { 429 } else { 200 });
    }
    assert_eq!(setting.get("/slow", &["--http1.1"]).await, (200, -1));
    assert_eq!(setting.get("/slow/x", &["--http2"]).await, (200, -1));
    for version in ["--http1.1", "--http2"] {
        let (status, retry) = setting.get("/slow", &[version]).await;
        assert_eq!(status, 429, "{version}");
        assert!((1..=30).contains(&retry), "{version}: {retry}");
    }
    assert_eq!(setting.get("/slow", &ELSEWHERE).await, (200, -1), "another client");
    assert_eq!(setting.get("/fast", &[]).await, (200, -1), "another route");
    assert_eq!(setting.backend.seen().len(), 4, "no refused request reaches the backend");

    let metrics = setting.weir.settle().await;
    let labels = [("listener", "edge"), ("reason", "request_rate")];
    assert_eq!(metrics.count("weir_limited_total", &labels), 3);
    assert_eq!(metrics.count("weir_rate_limit_clients", &[]), 3);
    let limited = setting.weir.requests();
    let limited: Vec<_> = limited.iter().filter(|record| record.outcome() == "limited").collect();
    assert_eq!(limited.len(), 3);
    assert!(limited.iter().all(|record| record.text("reason") == "request_rate"), "{limited:?}");
}

#[tokio::test]
async fn a_reload_gives_no_client_a_new_burst() {
    let routes = "      - {match: {path_prefix: /slow, host: app.example.test}, pool: main, limits: {requests: 2/m}}\n";
    let setting = Setting::start("", routes).await;
    assert_eq!([setting.get("/slow", &[]).await.0, setting.get("/slow", &[]).await.0], [200, 200]);
    assert_eq!(setting.get("/slow", &[]).await.0, 429);

    // The route is another object, in another place, with its conditions in another order.
    let (before, behind) = (
        "      - {match: {path_prefix: /new}, respond: {}, limits: {requests: 1/s}}\n",
        "{match: {host: [APP.example.test.], path_prefix: /slow/}, pool: main, limits: {requests: 2/m}}",
    );
    setting.reload(routes, &format!("{before}      - {behind}\n")).await;
    assert_eq!(setting.get("/slow", &[]).await.0, 429, "the burst is used up");
    assert_eq!(setting.get("/slow", &ELSEWHERE).await.0, 200, "as others do not notice");
    assert_eq!(setting.get("/new", &[]).await.0, 200);

    // A higher rate: what was taken counts, and the wait is that of the new rate.
    setting.reload("requests: 2/m", "requests: 100/s, burst: 1").await;
    let mut served = 0;
    for _ in 0..5 {
        served += u32::from(setting.get("/slow", &[]).await.0 == 200);
    }
    assert!(served > 0, "nobody waits for the minutes of the old rate");

    // Other conditions are another route.
    setting.reload("requests: 100/s, burst: 1", "requests: 1/m, burst: 1").await;
    assert_eq!([setting.get("/slow", &[]).await.0, setting.get("/slow", &[]).await.0][1], 429);
    setting.reload("path_prefix: /slow/", "path_prefix: [/slow, /snail]").await;
    assert_eq!(setting.get("/slow", &[]).await.0, 200);
    setting.weir.settle().await;
}

#[tokio::test]
async fn a_body_beyond_its_ceiling_is_refused() {
    let setting = Setting::start("    http: {max_body: 1KiB}\n", "").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |size: usize| {
        let path = folder.path().join(size.to_string());
        std::fs::write(&path, vec![b'x'; size]).unwrap();
        format!("@{}", path.display())
    };
    let (fits, over) = (file(1024), file(1025));
    for version in ["--http1.1", "--http2"] {
        // What is refused over HTTP/2 comes below: curl 7.88 may lose an answer that comes before its body has gone.
        let refused = if version == "--http1.1" { &[false, true][..] } else { &[] };
        let refused = refused.iter().map(|chunked| (&over, *chunked, 413));
        for (body, chunked, wanted) in [(&fits, false, 200), (&fits, true, 200)].into_iter().chain(refused) {
            let mut arguments = vec![version, "--data-binary", body, "-H", "Expect:"];
            if chunked {
                arguments.extend(["-H", "Transfer-Encoding: chunked"]);
            }
            let (status, _) = setting.get("/body", &arguments).await;
            assert_eq!(status, wanted, "{version} {body} {chunked}");
        }
    }
    let path: &[(&[u8], &[u8])] = &[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", NAME.as_bytes()),
        (b":path", b"/body"),
    ];
    let announced = [path, &[(b"content-length", b"1025")]].concat();
    for (head, body) in [(&announced[..], 0), (path, 1025)] {
        let mut stream =
            setting.client.clone().alpn(&["h2"]).connect(setting.edge.addr(), NAME).await.unwrap();
        let mut bytes = preface();
        bytes.extend(Frame::new(HEADERS, END_HEADERS, 1, &block(head)).bytes());
        bytes.extend(Frame::new(DATA, 0, 1, &vec![b'x'; body]).bytes());
        stream.send(&bytes).await.unwrap();
        assert_eq!(fate(&mut stream, 1).await, Fate::Answer(413), "{body}");
    }
    // A body of unknown length may be too long after its request went to the backend, which never gets more than the
    // ceiling.
    let seen = setting.backend.seen();
    assert!(seen.iter().all(|asked| asked.body.len() <= 1024), "{seen:?}");
    assert_eq!(seen.iter().filter(|asked| asked.body.len() == 1024).count(), 4);
    let metrics = setting.weir.settle().await;
    let labels = [("listener", "edge"), ("reason", "body_too_large")];
    assert_eq!(metrics.count("weir_limited_total", &labels), 4);
    let records = setting.weir.requests();
    assert_eq!(records.iter().filter(|record| record.outcome() == "too_large").count(), 4, "{records:?}");
}

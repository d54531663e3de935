//! A backend that fails its checks leaves the rotation within `fall` × `interval`, and comes back after `rise`.

use std::time::{Duration, Instant};
use weir_tests::eventually::eventually;
use weir_tests::http;
use weir_tests::peers::{Backend, Role, acceptor};
use weir_tests::ports::Port;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

/// A plain-relay weir over these backends with this health check.
async fn over(backends: &[std::net::SocketAddr], check: &str) -> (Weir, Port) {
    let edge = Port::free();
    let list: Vec<String> = backends.iter().map(|addr| format!("\"{addr}\"")).collect();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [{}], health_check: {check}}}\n",
        edge.addr(),
        list.join(", ")
    );
    (Launch::new(Identities::default().folder(), body).start().await, edge)
}

async fn usable(weir: &Weir, count: u64, within: Duration) -> Duration {
    let start = Instant::now();
    eventually(within, &format!("{count} usable backends"), async || {
        let now = weir.metrics().await.count("weir_pool_usable_backends", &[("pool", "main")]);
        if now == count { Ok(()) } else { Err(format!("{now} usable")) }
    })
    .await;
    start.elapsed()
}

/// The backends that the next connections reach.
async fn reached(edge: &Port, connections: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..connections {
        let mut stream: Stream = weir_tests::client::tcp(edge.addr()).await;
        stream.finish().await;
        let (bytes, end) = stream.rest().await;
        assert_eq!(end, End::Clean);
        names.push(String::from_utf8(bytes).unwrap().trim().to_owned());
    }
    names
}

#[tokio::test]
async fn a_killed_backend_leaves_and_returns() {
    let one = Backend::plain(Role::Named("one".to_owned())).await;
    let port = Port::free();
    let two = Backend::start(port.addr(), Role::Named("two".to_owned()), None).await;
    let check = "{type: tcp, interval: 500ms, timeout: 400ms, rise: 2, fall: 2}";
    let (weir, edge) = over(&[one.addr, port.addr()], check).await;
    usable(&weir, 2, Duration::from_secs(3)).await;
    assert!(reached(&edge, 4).await.contains(&"two".to_owned()));

    drop(two);
    // fall × interval, plus the jitter of 10 % and the time of one poll.
    usable(&weir, 1, Duration::from_millis(2 * 500 + 500)).await;
    assert_eq!(reached(&edge, 4).await, ["one"; 4]);
    assert!(
        weir.records().iter().all(|record| record.number("tries") <= 1),
        "traffic found out, not the check"
    );
    let metrics = weir.metrics().await;
    assert_eq!(metrics.count("weir_backend_up", &[]), 1, "{}", metrics.text);

    let _two = Backend::start(port.addr(), Role::Named("two".to_owned()), None).await;
    usable(&weir, 2, Duration::from_millis(2 * 500 + 500)).await;
    assert!(reached(&edge, 4).await.contains(&"two".to_owned()));
    weir.settle().await;
}

#[tokio::test]
async fn without_a_usable_backend_clients_are_reset_and_readiness_fails() {
    let dead = weir_tests::peers::refused();
    let (weir, edge) = over(&[dead.addr()], "{type: tcp, interval: 200ms, timeout: 100ms, fall: 1}").await;
    usable(&weir, 0, Duration::from_secs(3)).await;
    assert_eq!(weir_tests::client::fate(edge.addr()).await, (Vec::new(), End::Reset));
    assert_eq!(weir.only_record().await.outcome(), "no_backend");
    let answer = weir.ask("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("main"), "the reason names the pool: {}", answer.body);
    assert_eq!(weir.ask("/readyz?pools=ignore").await.status, 200);
    assert_eq!(weir.ask("/healthz").await.status, 200);
    // Found within a second, whatever the traffic.
    let lines = async |what: &str| {
        eventually(Duration::from_secs(5), what, async || {
            let text = weir.program.stderr.text();
            let line = text.lines().find(|line| line.contains(what)).map(str::to_owned);
            line.ok_or(text)
        })
        .await
    };
    let told = lines("the pool has no usable backend").await;
    assert!(told.contains("WARN") && told.contains("main") && told.contains("refused"), "{told}");
    let addr = dead.addr();
    drop(dead);
    let _back = Backend::start(addr, Role::Echo, None).await;
    let told = lines("the pool has a usable backend again").await;
    assert!(told.contains("WARN") && told.contains("main"), "{told}");
    weir.settle().await;
}

/// Without a free descriptor no check can be made, and that says nothing about the backends.
#[tokio::test]
async fn checks_that_cannot_be_made_change_nothing() {
    let good = Backend::plain(Role::Echo).await;
    let (weir, edge) =
        over(&[good.addr], "{type: tcp, interval: 100ms, timeout: 90ms, fall: 1, rise: 1}").await;
    usable(&weir, 1, Duration::from_secs(3)).await;
    let limit = async |most: usize| {
        let mut set = tokio::process::Command::new("prlimit");
        // Only the soft limit, because it is raised again below.
        set.args(["--pid", &weir.pid().to_string(), &format!("--nofile={most}:")]);
        let set = weir_tests::program::run(set, b"", Duration::from_secs(5)).await;
        assert_eq!(set.code, Some(0), "{}", set.both());
    };
    // Below the number of open descriptors: those stay open, but no more can be opened.
    limit(8).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    limit(1024).await;
    let metrics = weir.metrics().await;
    let result = |result| metrics.count("weir_backend_health_checks_total", &[("result", result)]);
    assert!(result("not_made") >= 5, "{}", metrics.text);
    assert_eq!(result("connect_failed"), 0, "{}", metrics.text);
    assert_eq!(metrics.count("weir_backend_up", &[]), 1, "{}", metrics.text);
    let text = weir.program.stderr.text();
    let warned = text.matches("health checks could not be made").count();
    assert!((1..=4).contains(&warned), "{warned} lines in two seconds: {text}");
    assert!(!text.contains("health of a backend changed"), "{text}");
    let mut stream: Stream = weir_tests::client::tcp(edge.addr()).await;
    stream.send(b"x").await.unwrap();
    assert_eq!(stream.exactly(1).await.unwrap(), b"x");
    drop(stream);
    weir.settle().await;
}

#[tokio::test]
async fn http_checks_compare_the_status() {
    let good = Backend::plain(Role::Http("fine")).await;
    let (weir, _edge) =
        over(&[good.addr], "{type: http, path: /up, host: check.test, status: 200-299, interval: 200ms}")
            .await;
    eventually(Duration::from_secs(5), "three checks", async || {
        if good.count() >= 3 { Ok(()) } else { Err(good.count().to_string()) }
    })
    .await;
    let head = String::from_utf8(good.visits()[0].head.clone()).unwrap();
    assert!(head.starts_with("GET /up HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("host: check.test\r\n"), "{head}");
    assert_eq!(weir.metrics().await.count("weir_backend_up", &[]), 1);

    let (weir, _edge) = over(&[good.addr], "{type: http, status: 500-599, interval: 200ms, fall: 1}").await;
    usable(&weir, 0, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn tls_checks_finish_a_handshake() {
    let identities = Identities::default();
    let good = Backend::tls(Role::Echo, &identities.backend).await;
    let plain = Backend::plain(Role::Echo).await;
    let check = format!("{{type: tls, server_name: {NAME}, interval: 300ms, timeout: 200ms, fall: 1}}");
    let (weir, _edge) = over(&[good.addr, plain.addr], &check).await;
    usable(&weir, 1, Duration::from_secs(3)).await;
    let seen = eventually(Duration::from_secs(5), "a finished check", async || {
        good.visits()
            .first()
            .and_then(|visit| visit.tls.clone())
            .ok_or_else(|| format!("{:?}", good.visits()))
    })
    .await;
    assert_eq!(seen.sni.as_deref(), Some(NAME));
    eventually(Duration::from_secs(5), "it ends with close_notify", async || {
        let end = good.visits()[0].end;
        if end == Some(End::Clean) { Ok(()) } else { Err(format!("{end:?}")) }
    })
    .await;
    eventually(Duration::from_secs(5), "the certificate's end is a metric", async || {
        let metrics = weir.metrics().await;
        let end = metrics.sum("weir_certificate_not_after_timestamp_seconds", &[("source", "backend")]);
        if end > 1.7e9 { Ok(()) } else { Err(metrics.text) }
    })
    .await;
}

#[tokio::test]
async fn bridging_pools_verify_in_their_checks() {
    let identities = Identities::default();
    let addr = "127.0.0.1:0".parse().unwrap();
    let good = Backend::start(addr, Role::Echo, Some(acceptor(&identities.backend, &[]))).await;
    let stranger = weir_tests::certificates::Authority::new("stranger").issue(&[NAME]);
    let bad = Backend::tls(Role::Echo, &stranger).await;
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\", \"{}\"], tls: {{ca: inner-ca.pem}},\n     \
         health_check: {{type: tls, server_name: {NAME}, interval: 300ms, fall: 1}}}}\n",
        edge.addr(),
        good.addr,
        bad.addr
    );
    let weir = Launch::new(identities.folder(), body).start().await;
    usable(&weir, 1, Duration::from_secs(3)).await;
    let status = http::get(weir.admin(), "/api/v1/status").await.unwrap();
    assert!(status.body.contains(&bad.addr.to_string()), "{}", status.body);
}

#[tokio::test]
async fn a_check_may_use_another_port() {
    let serving = Backend::plain(Role::Named("one".to_owned())).await;
    let checked = Backend::plain(Role::Http("fine")).await;
    let check = format!("{{type: http, port: {}, interval: 200ms}}", checked.addr.port());
    let (weir, edge) = over(&[serving.addr], &check).await;
    eventually(Duration::from_secs(5), "checks come", async || {
        if checked.count() > 1 { Ok(()) } else { Err(String::new()) }
    })
    .await;
    assert_eq!(serving.count(), 0);
    assert_eq!(reached(&edge, 1).await, ["one"]);
    weir.settle().await;
}

/// Interim answers without end: each check gives up after a few, and costs next to nothing.
#[tokio::test]
async fn an_endless_interim_answer_costs_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let endless = tokio::spawn(async move {
        let mut answers = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            answers.spawn(async move {
                let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
                while tokio::io::AsyncWriteExt::write_all(&mut stream, &many).await.is_ok() {}
            });
        }
    });
    let check = "{type: http, interval: 2s, timeout: 1s, fall: 1}";
    let (weir, _edge) = over(&[addr; 1], check).await;
    usable(&weir, 0, Duration::from_secs(5)).await;
    let before = weir.cpu();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(weir.ask("/healthz").await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let spent = weir.cpu() - before;
    assert!(spent < Duration::from_secs(1), "{spent:?} of CPU in four seconds");
    let metrics = weir.metrics().await;
    let result = |result| metrics.count("weir_backend_health_checks_total", &[("result", result)]);
    assert!(result("http_failed") >= 2 && result("timeout") == 0, "{}", metrics.text);
    endless.abort();
}

/// A server may answer and end before it gets the request, and may send odd header fields.
#[tokio::test]
async fn an_answer_before_the_request_counts() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let hasty = tokio::spawn(async move {
        let mut answers = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            answers.spawn(async move {
                let answer = b"HTTP/1.1 200 OK\r\nx-folded: one\r\n two\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
                // The end of the stream does not matter here.
                let _end = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    let check = "{type: http, interval: 20ms, timeout: 5s, fall: 1, rise: 1}";
    let (weir, _edge) = over(&[addr; 1], check).await;
    let metrics = eventually(Duration::from_secs(30), "a hundred checks", async || {
        let metrics = weir.metrics().await;
        let count = metrics.count("weir_backend_health_checks_total", &[]);
        if count >= 100 { Ok(metrics) } else { Err(count.to_string()) }
    })
    .await;
    let failed = metrics.count("weir_backend_health_checks_total", &[("result", "http_failed")]);
    assert_eq!(failed, 0, "{}", metrics.text);
    hasty.abort();
}

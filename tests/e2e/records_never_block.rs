//! A reader of access records that stops reading costs records, which are counted, and nothing else.

use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::http;
use weir_tests::ports::Port;
use weir_tests::weir::{Metrics, command};

const YAML: &str = "log: {level: warn, format: json}\nlisteners:\n  - {name: edge, address: \"EDGE\", \
                    mode: passthrough, default_pool: main}\npools:\n  - {name: main, backends: [\"127.0.0.1:9\"], \
                    health_check: {type: none}}\n";
/// More than any of weir's queues and pipes hold.
const CONNECTIONS: u64 = 12_000;

/// A ready weir whose stdout is a pipe, its edge, its admin server, and its folder.
async fn running() -> (tokio::process::Child, Port, Port, tempfile::TempDir) {
    running_with("").await
}

/// As [`running`], with more configuration.
async fn running_with(more: &str) -> (tokio::process::Child, Port, Port, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (edge, admin) = (Port::free(), Port::free());
    let yaml = format!(
        "admin: {{address: \"{}\"}}\n{more}{}",
        admin.addr(),
        YAML.replace("EDGE", &edge.addr().to_string())
    );
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut weir = command(&["run", "-c"]);
    weir.arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let weir = weir.spawn().unwrap();
    eventually(Duration::from_secs(20), "it is ready", async || {
        http::get(admin.addr(), "/readyz").await.map_err(|error| error.to_string())
    })
    .await;
    (weir, edge, admin, folder)
}

async fn a_hundred_connections(edge: &Port) {
    let mut some = Vec::new();
    for _ in 0..100 {
        let mut stream = tcp(edge.addr()).await;
        stream.send(b"no TLS\r\n").await.unwrap();
        some.push(stream);
    }
    for mut stream in some {
        stream.rest().await;
    }
}

fn signal(weir: &tokio::process::Child, signal: Signal) {
    let pid = Pid::from_raw(weir.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn of_a_reader_that_stopped() {
    let (mut weir, edge, admin, _folder) = running().await;
    let _unread = weir.stdout.take();

    for _ in 0..CONNECTIONS / 100 {
        a_hundred_connections(&edge).await;
    }
    eventually(Duration::from_secs(10), "all are closed, some records dropped", async || {
        let answer = http::get(admin.addr(), "/metrics").await.map_err(|error| error.to_string())?;
        let metrics = Metrics::parse(&answer.body);
        let closed = metrics.count("weir_connections_closed_total", &[]);
        let dropped = metrics.count("weir_access_records_dropped_total", &[]);
        if closed == CONNECTIONS && dropped > 0 {
            Ok(())
        } else {
            Err(format!("{closed} closed, {dropped} dropped"))
        }
    })
    .await;
    // Nor does the reader hold up the shutdown.
    signal(&weir, Signal::TERM);
    let ended = tokio::time::timeout(Duration::from_secs(10), weir.wait()).await;
    assert_eq!(ended.expect("it ends although its records are not read").unwrap().code(), Some(0));
}

#[tokio::test]
async fn of_a_reader_that_is_gone() {
    let (mut weir, edge, admin, _folder) = running().await;
    drop(weir.stdout.take());
    for _ in 0..20 {
        let mut stream = tcp(edge.addr()).await;
        stream.send(b"no TLS\r\n").await.unwrap();
        stream.rest().await;
    }
    assert!(weir.try_wait().unwrap().is_none(), "a closed pipe ended weir");
    eventually(Duration::from_secs(10), "each lost record is counted", async || {
        let answer = http::get(admin.addr(), "/metrics").await.map_err(|error| error.to_string())?;
        let lost = Metrics::parse(&answer.body)
            .count("weir_access_records_dropped_total", &[("reason", "write_failed")]);
        if lost == 20 { Ok(()) } else { Err(format!("{lost}")) }
    })
    .await;
}

#[tokio::test]
async fn of_a_reader_that_is_behind_at_a_second_signal() {
    // More than the pipe holds, and less than the queue.
    const SOME: usize = 1_000;
    let (mut weir, edge, admin, _folder) = running_with("runtime: {shutdown_delay: 60s}\n").await;
    let mut stdout = weir.stdout.take().unwrap();
    for _ in 0..SOME / 100 {
        a_hundred_connections(&edge).await;
    }
    eventually(Duration::from_secs(10), "all are closed", async || {
        let answer = http::get(admin.addr(), "/metrics").await.map_err(|error| error.to_string())?;
        let closed = Metrics::parse(&answer.body).count("weir_connections_closed_total", &[]);
        if closed == SOME as u64 { Ok(()) } else { Err(format!("{closed} closed")) }
    })
    .await;
    signal(&weir, Signal::TERM);
    eventually(Duration::from_secs(5), "it drains", async || {
        let answer = http::get(admin.addr(), "/readyz").await.map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    signal(&weir, Signal::TERM);
    let mut records = String::new();
    let read = stdout.read_to_string(&mut records);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("it ends at once").unwrap();
    assert_eq!(records.lines().count(), SOME, "records that were queued are written");
    assert_eq!(weir.wait().await.unwrap().code(), Some(1));
}

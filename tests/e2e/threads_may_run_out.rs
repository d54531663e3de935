//! When no more threads can be started, weir serves, reloads and drains as usual.

use rustix::process::Signal;
use std::time::Duration;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::http;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::unprivileged::{Unprivileged, open_to_all};
use weir_tests::weir::{Launch, Weir};

/// Longer than the runtime keeps an idle thread by default.
const IDLE: Duration = Duration::from_secs(11);

fn body(edge: &Port, backend: &Backend) -> String {
    format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    )
}

/// From now on no thread can be started: the limit counts all threads of the user.
async fn no_more_threads(user: &Unprivileged, weir: &Weir) {
    let mut lower = user.command("prlimit");
    lower.args(["--pid", &weir.pid().to_string(), "--nproc=1:1"]);
    let lowered = run(lower, b"", Duration::from_secs(5)).await;
    assert_eq!(lowered.code, Some(0), "{}", lowered.both());
}

#[tokio::test]
async fn once_it_runs() {
    let user = Unprivileged::default();
    let (edge, backend) = (Port::free(), Backend::plain(Role::Echo).await);
    let words: Vec<&str> = user.words().iter().map(String::as_str).collect();
    let folder = open_to_all(tempfile::tempdir().unwrap());
    let launch = Launch::new(folder, body(&edge, &backend)).runtime("workers: 2, drain_timeout: 20s");
    let mut weir = launch.under(&words).start().await;
    tokio::time::sleep(IDLE).await;
    no_more_threads(&user, &weir).await;

    let mut open = tcp(edge.addr()).await;
    open.send(b"before").await.unwrap();
    open.exactly(6).await.unwrap();
    for expected in [2, 3] {
        weir.signal(Signal::HUP);
        eventually(Duration::from_secs(10), "it reloads", async || {
            let metrics = weir.metrics().await;
            assert_eq!(metrics.sum("weir_config_last_reload_successful", &[]), 1.0);
            let generation = metrics.count("weir_config_generation", &[]);
            if generation == expected { Ok(()) } else { Err(format!("generation {generation}")) }
        })
        .await;
    }
    let answer = http::request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);

    // A drain waits for open connections, and ends with the last.
    weir.signal(Signal::TERM);
    eventually(Duration::from_secs(10), "it does not listen any more", async || {
        match tokio::net::TcpStream::connect(edge.addr()).await {
            Ok(_) => Err("it does".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    open.send(b"after").await.unwrap();
    assert_eq!(open.exactly(5).await.unwrap(), b"after");
    assert!(weir.program.ended().is_none(), "{}", weir.program.stderr.text());
    drop(open);
    let status = weir.program.wait(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", weir.program.stderr.text());
    assert!(!weir.program.stderr.text().contains("panicked"), "{}", weir.program.stderr.text());
}

#[tokio::test]
async fn from_the_start_weir_says_so_and_ends() {
    let user = Unprivileged::default();
    let (edge, backend) = (Port::free(), Backend::plain(Role::Echo).await);
    let mut words: Vec<&str> = user.words().iter().map(String::as_str).collect();
    // As the user to whom the limit applies.
    match words.iter().position(|word| word.starts_with("shift;")) {
        Some(at) => words[at] = "shift; exec prlimit --nproc=1:1 \"$0\" \"$@\"",
        None => words.extend(["prlimit", "--nproc=1:1"]),
    }
    let folder = open_to_all(tempfile::tempdir().unwrap());
    let failed = Launch::new(folder, body(&edge, &backend)).under(&words).fail().await;
    assert_eq!(failed.code, Some(1), "{}", failed.both());
    assert!(failed.stderr.contains("no thread can be started"), "{}", failed.stderr);
}

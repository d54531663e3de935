//! A signal during startup does what it does later: SIGHUP reloads, SIGTERM and SIGINT end weir cleanly.

use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write;
use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Child;
use weir_tests::eventually::eventually;
use weir_tests::http;
use weir_tests::ports::Port;
use weir_tests::weir::{Metrics, command};

struct Starting {
    child: Child,
    admin: Port,
    _edge: Port,
    folder: TempDir,
}

/// A configuration that takes a while to read: so many routes.
fn configuration(edge: &Port, admin: &Port, routes: usize) -> String {
    let mut yaml = format!(
        "runtime: {{workers: 1, drain_timeout: 1s}}\nlog: {{format: json}}\nadmin: {{address: \"{}\"}}\n\
         listeners:\n  - name: edge\n    address: \"{}\"\n    mode: passthrough\n    default_pool: main\n    routes:\n",
        admin.addr(),
        edge.addr()
    );
    for number in 0..routes.max(1) {
        writeln!(yaml, "      - {{match: {{sni: [\"h{number}.example.test\"]}}, pool: main}}").unwrap();
    }
    yaml + "pools:\n  - {name: main, backends: [\"127.0.0.1:9\"], health_check: {type: none}}\n"
}

impl Starting {
    /// Starts weir with the file `weir.yaml` of its folder, created by `make`.
    fn new(make: impl FnOnce(&std::path::Path, String), routes: usize) -> Self {
        let (edge, admin, folder) = (Port::free(), Port::free(), tempfile::tempdir().unwrap());
        let file = folder.path().join("weir.yaml");
        make(&file, configuration(&edge, &admin, routes));
        let log = File::create(folder.path().join("log")).unwrap();
        let mut weir = command(&["run", "-c"]);
        weir.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Self { child: weir.spawn().unwrap(), admin, _edge: edge, folder }
    }

    /// Starts weir with a file.
    fn with_file(routes: usize) -> Self {
        Self::new(|file, yaml| std::fs::write(file, yaml).unwrap(), routes)
    }

    /// Starts weir with a pipe, waits until weir reads from it, and gives the end to write to.
    async fn with_pipe() -> (Self, File, String) {
        let mut text = String::new();
        let mut named = None;
        let starting = Self::new(
            |file, yaml| {
                let made = std::process::Command::new("mkfifo").arg(file).status().unwrap();
                assert!(made.success());
                (text, named) = (yaml, Some(file.to_owned()));
            },
            1,
        );
        let named = named.unwrap();
        // Opens once weir has opened the other end.
        let opened = tokio::task::spawn_blocking(move || File::options().write(true).open(named).unwrap());
        (starting, tokio::time::timeout(Duration::from_secs(20), opened).await.unwrap().unwrap(), text)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits until weir catches SIGHUP: from then on the signal never kills it.
    async fn catches(&self) {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            let text = std::fs::read_to_string(&status).unwrap();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            let all = [Signal::HUP, Signal::INT, Signal::TERM].map(|signal| 1_u64 << (signal.as_raw() - 1));
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            if all.iter().all(|one| caught & one != 0) {
                return;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        panic!("it never catches its signals");
    }

    async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it still runs\n{}", self.log())).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    async fn metrics(&mut self) -> Result<Metrics, String> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("weir ended with {status}\n{}", self.log());
        }
        let answer = http::get(self.admin.addr(), "/metrics").await;
        answer.map(|answer| Metrics::parse(&answer.body)).map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn while_the_configuration_is_read() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut starting, _pipe, _) = Starting::with_pipe().await;
        starting.signal(signal);
        assert_eq!(starting.ended().await.code(), Some(0), "{signal:?}");
    }
    let (mut starting, mut pipe, text) = Starting::with_pipe().await;
    for _ in 0..3 {
        starting.signal(Signal::HUP);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
    drop(pipe);
    // A pipe cannot be read again: the attempt shows that the signal was kept.
    eventually(Duration::from_secs(20), "it runs, and has tried to reload", async || {
        let metrics = starting.metrics().await?;
        if metrics.sum("weir_config_last_reload_successful", &[]) == 0.0 { Ok(()) } else { Err(metrics.text) }
    })
    .await;
    starting.signal(Signal::TERM);
    assert_eq!(starting.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_hangup_at_any_time_reloads() {
    for delay in [0, 1, 2, 5, 10, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300] {
        let mut starting = Starting::with_file(1000);
        starting.catches().await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        starting.signal(Signal::HUP);
        eventually(Duration::from_secs(20), "it reloads", async || {
            let metrics = starting.metrics().await?;
            let generation = metrics.count("weir_config_generation", &[]);
            if generation == 2 { Ok(()) } else { Err(format!("after {delay} ms: generation {generation}")) }
        })
        .await;
        starting.signal(Signal::TERM);
        assert_eq!(starting.ended().await.code(), Some(0), "after {delay} ms");
    }
}

#[tokio::test]
async fn a_request_to_end_at_any_time_is_a_clean_end() {
    for (number, delay) in
        [0, 1, 2, 5, 10, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300].into_iter().enumerate()
    {
        let mut starting = Starting::with_file(1000);
        starting.catches().await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        starting.signal(if number % 2 == 0 { Signal::TERM } else { Signal::INT });
        let status = starting.ended().await;
        assert_eq!(status.code(), Some(0), "after {delay} ms: {status}\n{}", starting.log());
    }
}

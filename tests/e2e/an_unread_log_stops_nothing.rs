//! An unread log stops nothing: clients, checks, the admin server, reloads and shutdown go on, and lost lines
//! are counted.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use weir_tests::client::{TlsClient, tcp};
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::http;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::{Metrics, command};
use weir_tests::world::{Identities, NAME, PROFILE};

/// Lines that a listener logs in this test: more than the queue and the pipe hold.
const REFUSED: usize = 12_000;

struct Weir {
    child: Child,
    edge: Port,
    admin: Port,
    backend: Port,
    identities: Identities,
    folder: TempDir,
}

impl Weir {
    /// An offloading weir with this log level and a health check every 100 ms, ready.
    async fn start(level: &str, out: impl Into<Stdio>, err: impl Into<Stdio>) -> Self {
        let identities = Identities::default();
        let (edge, admin, backend) = (Port::free(), Port::free(), Port::free());
        let folder = identities.folder();
        let yaml = format!(
            "runtime: {{workers: 1}}\nlog: {{level: {level}, format: json}}\nadmin: {{address: \"{}\"}}\n{PROFILE}\
             listeners:\n  - {{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: main}}\n\
             pools:\n  - {{name: main, backends: [\"{}\"], \
             health_check: {{type: tcp, interval: 100ms, rise: 1, fall: 1}}}}\n",
            admin.addr(),
            edge.addr(),
            backend.addr()
        );
        std::fs::write(folder.path().join("weir.yaml"), yaml).unwrap();
        let mut weir = command(&["run", "-c"]);
        weir.arg(folder.path().join("weir.yaml")).stdin(Stdio::null());
        let child = weir.stdout(out).stderr(err).kill_on_drop(true).spawn().unwrap();
        let weir = Self { child, edge, admin, backend, identities, folder };
        eventually(Duration::from_secs(20), "it is ready", async || {
            let answer = http::get(weir.admin.addr(), "/readyz?pools=ignore").await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await;
        weir
    }

    async fn metrics(&self) -> Metrics {
        Metrics::parse(&http::get(self.admin.addr(), "/metrics").await.unwrap().body)
    }

    /// Makes connections that each cost a debug line and a record.
    async fn refused(&self, count: usize) {
        for _ in 0..count.div_ceil(100) {
            let mut some = Vec::new();
            for _ in 0..100.min(count) {
                let mut stream = tcp(self.edge.addr()).await;
                stream.send(b"no TLS\r\n").await.unwrap();
                some.push(stream);
            }
            for mut stream in some {
                stream.rest().await;
            }
        }
    }

    async fn serves(&self) {
        let client = TlsClient::trusting(&[&self.identities.public]);
        let connected = client.connect(self.edge.addr(), NAME);
        let mut stream = tokio::time::timeout(Duration::from_secs(10), connected).await.unwrap().unwrap();
        stream.send(b"served?").await.unwrap();
        assert_eq!(stream.exactly(7).await.unwrap(), b"served?");
    }

    /// Asserts that health checks, reloads and shutdown work.
    async fn goes_on(mut self) {
        for up in [true, false] {
            let peer =
                if up { Some(Backend::start(self.backend.addr(), Role::Echo, None).await) } else { None };
            eventually(Duration::from_secs(10), "a health check sees it", async || {
                let is = self.metrics().await.sum("weir_backend_up", &[]) == 1.0;
                if is == up { Ok(()) } else { Err(format!("up: {is}")) }
            })
            .await;
            if up {
                self.serves().await;
            }
            drop(peer);
        }
        self.signal(Signal::HUP);
        eventually(Duration::from_secs(10), "it reloads", async || {
            let generation = self.metrics().await.count("weir_config_generation", &[]);
            if generation == 2 { Ok(()) } else { Err(format!("generation {generation}")) }
        })
        .await;
        let answer = http::request(self.admin.addr(), "POST", "/api/v1/reload").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        assert_eq!(ended.expect("SIGTERM ends it").unwrap().code(), Some(0));
        drop(self.folder);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    }
}

/// A full pipe, which takes nothing until it is read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[tokio::test]
async fn with_both_pipes_full_from_the_start() {
    for level in ["debug", "info"] {
        let ((_out, out), (_err, err)) = (full_pipe(), full_pipe());
        let weir = Weir::start(level, out, err).await;
        let count = if level == "debug" { REFUSED } else { 300 };
        weir.refused(count).await;
        eventually(Duration::from_secs(10), "all are served, and what is lost is counted", async || {
            let metrics = weir.metrics().await;
            let closed = metrics.count("weir_connections_closed_total", &[]);
            let lost = ["weir_log_dropped_total", "weir_access_records_dropped_total"]
                .map(|name| metrics.count(name, &[("reason", "queue_full")]));
            let counted = level == "info" || lost.iter().all(|lost| *lost > 1000);
            if closed == count as u64 && counted {
                Ok(())
            } else {
                Err(format!("{closed} closed, {lost:?} lost"))
            }
        })
        .await;
        weir.goes_on().await;
    }
}

#[tokio::test]
async fn a_log_read_again_says_how_many_lines_are_missing() {
    let ((_out, out), (mut err, writer)) = (full_pipe(), full_pipe());
    let weir = Weir::start("debug", out, writer).await;
    weir.refused(REFUSED).await;
    let text: Arc<Mutex<Vec<u8>>> = Arc::default();
    let read = std::thread::spawn({
        let text = Arc::clone(&text);
        move || {
            let mut part = [0; 64 * 1024];
            while let Ok(count @ 1..) = err.read(&mut part) {
                text.lock().unwrap().extend_from_slice(&part[..count]);
            }
        }
    });
    // weir looks every five seconds. If it did while the pipe was full, this warning was lost too: the next
    // one comes a minute later.
    eventually(Duration::from_secs(90), "it says so", async || {
        match String::from_utf8_lossy(&text.lock().unwrap()).contains("were lost") {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
    weir.goes_on().await;
    read.join().unwrap();
    let text = String::from_utf8_lossy(&text.lock().unwrap()).into_owned();
    let lines: Vec<serde_json::Value> =
        text.trim_start_matches('x').lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let says = |line: &&serde_json::Value| line["message"].as_str().unwrap_or_default().contains("were lost");
    let told: Vec<_> = lines.iter().filter(says).collect();
    assert!((1..=2).contains(&told.len()), "{told:#?}");
    assert!(told[0]["total"].as_u64().unwrap() > 1000, "{told:#?}");
}

#[tokio::test]
async fn closed_gone_or_on_a_full_disk() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let gone = || pipe().unwrap().1;
    for (case, reason) in [("full", "write_failed"), ("gone", "write_failed"), ("null", "")] {
        let weir = match case {
            "full" => Weir::start("debug", full(), full()).await,
            "gone" => Weir::start("debug", gone(), gone()).await,
            _ => Weir::start("debug", Stdio::null(), Stdio::null()).await,
        };
        weir.refused(100).await;
        eventually(Duration::from_secs(10), "what is lost is counted", async || {
            let metrics = weir.metrics().await;
            let lost = |name, reason: &str| metrics.count(name, &[("reason", reason)]);
            let records = lost("weir_access_records_dropped_total", "write_failed");
            let lines = lost("weir_log_dropped_total", "write_failed");
            match reason {
                "" if (records, lines) == (0, 0) => Ok(()),
                "write_failed" if records == 100 && lines >= 100 => Ok(()),
                _ => Err(format!("{case}: {records} records, {lines} lines lost")),
            }
        })
        .await;
        weir.goes_on().await;
    }
}

#[tokio::test]
async fn in_one_pipe_with_the_records_no_line_is_torn() {
    let (mut reader, writer) = pipe().unwrap();
    let weir = Weir::start("debug", writer.try_clone().unwrap(), writer).await;
    let read = std::thread::spawn(move || {
        // Slowly, so that the pipe is full from time to time.
        let (mut text, mut some) = (Vec::new(), vec![0; 32 * 1024]);
        loop {
            match reader.read(&mut some).unwrap() {
                0 => return String::from_utf8(text).unwrap(),
                count => text.extend_from_slice(&some[..count]),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    weir.refused(5000).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    weir.goes_on().await;
    let text = read.join().unwrap();
    let mut records = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("torn: {line}"));
        records += usize::from(line["event"] == "close");
    }
    assert!(records >= 1000, "{records}");
}

#[tokio::test]
async fn closed_descriptors_are_not_mistaken_for_others() {
    let weir = Weir::start("debug", Stdio::null(), Stdio::null()).await;
    // The same configuration, started by a shell that closes both.
    let file = weir.folder.path().join("weir.yaml").display().to_string();
    weir.signal(Signal::KILL);
    let mut weir = weir;
    weir.child.wait().await.unwrap();
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" run -c \"$1\" >&- 2>&-"]);
    closed.arg(weir_tests::weir::binary()).arg(file).kill_on_drop(true);
    weir.child = closed.spawn().unwrap();
    eventually(Duration::from_secs(20), "it is ready", async || {
        http::get(weir.admin.addr(), "/readyz?pools=ignore")
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await;
    weir.refused(50).await;
    weir.goes_on().await;
}

#[tokio::test]
async fn a_failed_start_ends_although_its_reason_is_not_read() {
    let (_reader, writer) = full_pipe();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, "listeners: [{name: edge, address: nowhere, mode: passthrough}]\n").unwrap();
    let mut weir = command(&["run", "-c"]);
    let mut weir = weir.arg(file).stderr(writer).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), weir.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(1));
}

#[tokio::test]
async fn strangers_write_nothing_into_it() {
    let (mut reader, writer) = pipe().unwrap();
    let weir = Weir::start("info", Stdio::null(), writer).await;
    // rustls warns about a name that is an IP address.
    let named = hello::real(&TlsClient::trusting(&[]), "aaa.bbb.c");
    let at = named.windows(9).position(|bytes| bytes == b"aaa.bbb.c").unwrap();
    let mut literal = named.clone();
    literal[at..at + 9].copy_from_slice(b"127.0.0.1");
    let mut hyphen = named;
    hyphen[at..at + 9].copy_from_slice(b"-aa.bbb-c");
    // An alert, as a warning, in the middle of the handshake.
    let warning = [21, 3, 3, 0, 2, 1, 90];
    for hello in [literal, hyphen] {
        for _ in 0..50 {
            let mut stream = tcp(weir.edge.addr()).await;
            stream.send(&[&hello[..], &warning].concat()).await.unwrap();
            let _ = stream.send(&warning).await;
            tokio::time::timeout(Duration::from_millis(20), stream.rest()).await.ok();
        }
    }
    weir.goes_on().await;
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["target"].as_str().unwrap().starts_with("weir"), "{line}");
    }
    assert!(text.lines().count() < 40, "{text}");
}

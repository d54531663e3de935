//! weir as a service of systemd: the units in packaging/ are sound and tight, sockets are taken from systemd, and systemd
//! is told when weir is ready, who its main process is, that it lives, and that it ends.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use weir_tests::client::{tcp, try_tcp};
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::{Program, run};
use weir_tests::stream::Stream;
use weir_tests::weir::{Launch, binary};

const PATIENCE: Duration = Duration::from_secs(20);

fn packaged(unit: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd").join(unit)
}

/// The units, with the built weir in place of the installed one.
fn units() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for unit in ["weir.service", "weir.socket"] {
        let text = std::fs::read_to_string(packaged(unit)).unwrap();
        let text = text.replace("/usr/bin/weir", &binary().display().to_string());
        std::fs::write(folder.path().join(unit), text).unwrap();
    }
    folder
}

async fn analyze(arguments: &[&str], folder: &TempDir) -> String {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).current_dir(folder.path());
    let said = run(command, b"", PATIENCE).await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.both());
    said.both()
}

#[tokio::test]
async fn the_units_are_sound_and_tight() {
    let folder = units();
    let said = analyze(&["verify", "./weir.service", "./weir.socket"], &folder).await;
    assert!(!said.contains("weir."), "nothing is wrong with them: {said}");
    // In tenths: an exposure of 2.0 at most.
    let said = analyze(&["security", "--offline=true", "--threshold=20", "./weir.service"], &folder).await;
    eprintln!("{}", said.lines().find(|line| line.contains("exposure")).unwrap_or_default());
}

/// A service that is stopped has the time that its connections have.
#[test]
fn a_stop_is_longer_than_a_drain() {
    let text = std::fs::read_to_string(packaged("weir.service")).unwrap();
    let seconds = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_else(|| panic!("{key} is missing"));
        line.parse::<u64>().unwrap()
    };
    // `runtime.drain_timeout` is 300 s unless it is set.
    assert!(seconds("TimeoutStopSec=") > 300);
    assert!(seconds("TimeoutStartSec=") > 30);
    assert_eq!(seconds("LogRateLimitIntervalSec="), 0, "no record is dropped");
}

fn configuration(edges: &[&str], backend: &Backend) -> String {
    let edges: String = edges
        .iter()
        .enumerate()
        .map(|(n, edge)| format!("  - {{name: edge{n}, address: \"{edge}\", mode: passthrough, peek: false, default_pool: main}}\n"))
        .collect();
    format!(
        "listeners:\n{edges}pools: [{{name: main, backends: [\"{}\"], health_check: {{type: none}}}}]\n",
        backend.addr
    )
}

async fn echoes(mut stream: Stream) {
    stream.send(b"x").await.unwrap();
    assert_eq!(stream.exactly(1).await.unwrap(), b"x");
}

/// systemd's own program gives the socket. It is not shared with others, so that the three workers accept on the one.
#[tokio::test]
async fn sockets_come_from_systemd() {
    let backend = Backend::plain(Role::Echo).await;
    let (given, own, folder) = (Port::free(), Port::free(), tempfile::tempdir().unwrap());
    let file = folder.path().join("weir.yaml");
    let edges = [given.addr().to_string(), own.addr().to_string()];
    let text = configuration(&edges.each_ref().map(String::as_str), &backend);
    std::fs::write(&file, format!("runtime: {{workers: 3}}\n{text}")).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &edges[0]]).arg(binary()).args(["run", "-c"]).arg(&file);
    let program = Program::start(command);
    // The first connection starts weir, and waits for it in the backlog.
    let first = eventually(PATIENCE, "the socket is there", async || {
        try_tcp(given.addr()).await.map_err(|error| format!("{error}\n{}", program.stderr.text()))
    })
    .await;
    echoes(Stream::Plain(first)).await;
    for _ in 0..20 {
        echoes(tcp(given.addr()).await).await;
    }
    echoes(tcp(own.addr()).await).await;
    assert!(!program.stderr.text().contains("not used"), "{}", program.stderr.text());
}

#[tokio::test]
async fn a_socket_of_no_listener_is_told() {
    let backend = Backend::plain(Role::Echo).await;
    let (given, own, folder) = (Port::free(), Port::free(), tempfile::tempdir().unwrap());
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, configuration(&[&own.addr().to_string()], &backend)).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &given.addr().to_string()]).arg(binary()).args(["run", "-c"]).arg(&file);
    let program = Program::start(command);
    let _first = eventually(PATIENCE, "the socket is there", async || {
        try_tcp(given.addr()).await.map_err(|error| format!("{error}\n{}", program.stderr.text()))
    })
    .await;
    eventually(PATIENCE, "weir listens", async || {
        try_tcp(own.addr()).await.map_err(|error| error.to_string())
    })
    .await;
    let said = program.stderr.text();
    assert!(said.contains("not used") && said.contains(&given.addr().to_string()), "{said}");
    assert!(try_tcp(given.addr()).await.is_err(), "it is closed");
}

/// What a service says to systemd.
struct Manager {
    path: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Manager {
    fn listen() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        // Ends with the test's process.
        std::thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok(length) = socket.recv(&mut text) {
                let lines = String::from_utf8_lossy(&text[..length]).into_owned();
                heard.lock().unwrap().extend(lines.lines().map(str::to_owned));
            }
        });
        Self { path, said, _folder: folder }
    }

    fn count(&self, line: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|said| *said == line).count()
    }
}

#[tokio::test]
async fn systemd_is_told_of_the_service() {
    let backend = Backend::plain(Role::Echo).await;
    let (manager, edge) = (Manager::listen(), Port::free());
    let variable = format!("NOTIFY_SOCKET={}", manager.path.display());
    let body = configuration(&[&edge.addr().to_string()], &backend);
    let launch = Launch::new(tempfile::tempdir().unwrap(), body).runtime("workers: 2, drain_timeout: 5s");
    let mut weir = launch.under(&["env", &variable, "WATCHDOG_USEC=2000000"]).start().await;
    eventually_true(PATIENCE, "it is ready", || manager.count("READY=1") == 1).await;
    eventually_true(PATIENCE, "it lives", || manager.count("WATCHDOG=1") >= 3).await;
    let answer = weir.upgrade().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let main = format!("MAINPID={}", weir.pid());
    eventually_true(PATIENCE, "another process is the service", || manager.count(&main) == 1).await;
    eventually_true(PATIENCE, "the process before ends", || weir.program.ended().is_some()).await;
    assert_eq!(manager.count("STOPPING=1"), 0, "the service goes on");
    let before = manager.count("WATCHDOG=1");
    eventually_true(PATIENCE, "the other process lives", || manager.count("WATCHDOG=1") >= before + 2).await;
    assert_eq!(manager.count("READY=1"), 1);
    weir.signal(rustix::process::Signal::TERM);
    eventually_true(PATIENCE, "it ends", || manager.count("STOPPING=1") == 1 && !weir.is_there()).await;
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_never_ready() {
    let manager = Manager::listen();
    let variable = format!("NOTIFY_SOCKET={}", manager.path.display());
    let launch = Launch::new(tempfile::tempdir().unwrap(), "listeners: []\npools: []\n");
    let ended = launch.under(&["env", &variable]).fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    assert_eq!(manager.count("READY=1"), 0);
}

//! WebSockets of real programs (RFC 6455): node's `ws` behind weir, a browser and Python's `websockets` before it.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::program::Program;
use weir_tests::world::{Builder, Identities, Mode, NAME, World};

const PATIENCE: Duration = Duration::from_secs(60);

fn of_tests(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)
}

fn tool(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/tools").join(folder)
}

/// The echo, in node; with TLS in bridging.
async fn echo(mode: Mode, identities: &Identities, folder: &TempDir) -> (Program, Port) {
    let port = Port::free();
    let mut command = Command::new("node");
    command.arg(of_tests("websocket.js")).arg(port.number().to_string());
    command.env("NODE_PATH", tool("ws/node_modules"));
    if mode == Mode::Bridging {
        identities.backend.write(folder.path(), "node");
        command.args(["node.pem", "node.key"]).current_dir(folder.path());
    }
    let program = Program::start(command);
    eventually(Duration::from_secs(20), "node listens", async || {
        let connected = TcpStream::connect(port.addr()).await;
        connected.map(drop).map_err(|error| format!("{error} {}", program.stderr.text()))
    })
    .await;
    (program, port)
}

struct Scene {
    world: World,
    node: Program,
    folder: TempDir,
    _port: Port,
}

async fn scene(mode: Mode, also: impl FnOnce(Builder) -> Builder) -> Scene {
    let (identities, folder) = (Identities::default(), tempfile::tempdir().unwrap());
    identities.public.write(folder.path(), "public");
    let (node, port) = echo(mode, &identities, &folder).await;
    let builder = World::of(mode).identities(identities).listener("protocol: http").backends(&[port.addr()]);
    let world = also(builder).level("info").start().await;
    Scene { world, node, folder, _port: port }
}

impl Scene {
    /// The node program's line that begins so, without that beginning.
    async fn line(&self, begin: &str) -> String {
        let mut found = None;
        eventually(PATIENCE, begin, async || {
            let lines = self.node.stdout.all();
            found = lines.iter().find_map(|line| line.strip_prefix(begin)).map(str::to_owned);
            found.as_ref().map(|_| ()).ok_or_else(|| format!("{lines:?} {}", self.node.stderr.text()))
        })
        .await;
        found.unwrap()
    }

    /// The record of the WebSocket.
    async fn record(&self) -> weir_tests::weir::Record {
        let mut found = None;
        eventually(PATIENCE, "a record of the WebSocket", async || {
            found = self.world.weir.requests().into_iter().find(|record| record.text("path") == "/echo");
            found.as_ref().map(|_| ()).ok_or_else(|| "none".to_owned())
        })
        .await;
        found.unwrap()
    }
}

#[tokio::test]
async fn of_python() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let scene = scene(mode, |builder| builder).await;
        let mut command = Command::new("python3");
        let edge = scene.world.edge;
        command.arg(of_tests("websocket.py")).arg(edge.ip().to_string()).arg(edge.port().to_string());
        command.arg(NAME).arg(scene.folder.path().join("public.pem"));
        command.env("PYTHONPATH", tool("websockets"));
        let mut client = Program::start(command);
        let status = client.wait(PATIENCE).await;
        assert!(status.success(), "{mode:?} {}", client.stderr.text());
        assert_eq!(client.stdout.text(), "closed 4001 as you wish", "{mode:?}");
        assert_eq!(scene.line("client ").await, "127.0.0.1 https /echo?a=b", "{mode:?}");
        let record = scene.record().await;
        assert_eq!((record.number("status"), record.outcome()), (101, "ok"), "{record:#?}");
        assert!(record.up() > 50_000, "{record:#?}");
    }
}

/// The browser, which looks at the page and tries the echo by itself.
fn chromium(scene: &Scene, profile: &TempDir) -> Program {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        // The authority of the test is in no store.
        "--ignore-certificate-errors",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("--host-resolver-rules=MAP {NAME} {}", scene.world.edge.ip()));
    command.arg(format!("https://{NAME}:{}/", scene.world.edge.port()));
    Program::start(command)
}

#[tokio::test]
async fn of_a_browser() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let scene = scene(mode, |builder| builder).await;
        let profile = tempfile::tempdir().unwrap();
        let browser = chromium(&scene, &profile);
        let seen: serde_json::Value = serde_json::from_str(&scene.line("seen ").await).unwrap();
        let wanted = serde_json::json!({
            "protocol": "chat", "text": "grüße", "bytes": true,
            "code": 4001, "reason": "as you wish", "wasClean": true,
        });
        assert_eq!(seen, wanted, "{mode:?}");
        assert_eq!(scene.line("client ").await, "127.0.0.1 https /echo", "{mode:?}");
        let record = scene.record().await;
        // The page's own connection carries it, by RFC 8441.
        assert_eq!((record.text("method"), record.text("alpn")), ("CONNECT", "h2"), "{record:#?}");
        // Browsers end TLS without close_notify, sometimes before the backend's end has come.
        let ended = (record.outcome(), record.side());
        assert!(record.outcome() == "ok" || ended == ("truncated", "client"), "{record:#?}");
        assert!(record.up() > 100 && record.down() > 100, "{record:#?}");
        drop(browser);
    }
}

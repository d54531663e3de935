//! A server and a client of gRPC: the `grpcio` of PyPI, which `packaging/test-peers.sh` installs.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::{Program, run};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

/// Longer than its start takes.
const START: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", root().join("target/tools/grpcio")).env("PYTHONUNBUFFERED", "1");
    command.arg(root().join("tests/src/grpc_peer.py")).args(arguments);
    command
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub port: Port,
    /// The process.
    pub program: Program,
    input: ChildStdin,
}

impl Server {
    /// Starts it: without TLS, or with the certificate and key `NAME.pem` and `NAME.key` of a folder.
    ///
    /// # Panics
    /// When it does not listen; `packaging/test-peers.sh` may not have run.
    pub async fn start(tls: Option<(&Path, &str)>) -> Self {
        let port = Port::free();
        let addr = port.addr().to_string();
        let files = tls.map(|(folder, name)| {
            ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")).display().to_string())
        });
        let mut arguments = vec!["serve", &addr];
        arguments.extend(files.iter().flatten().map(String::as_str));
        let (mut program, input) = Program::with_input(python(&arguments));
        eventually(START, "the gRPC server listens (packaging/test-peers.sh installs it)", async || {
            assert!(program.ended().is_none(), "{}", program.stderr.text());
            if program.stdout.text().contains("ready") { Ok(()) } else { Err(program.stderr.text()) }
        })
        .await;
        Self { port, program, input }
    }

    /// Has its health service answer `SERVING`, or `NOT_SERVING`.
    pub async fn serves(&mut self, serves: bool) {
        let word: &[u8] = if serves { b"serving\n" } else { b"not_serving\n" };
        self.input.write_all(word).await.unwrap();
        self.input.flush().await.unwrap();
    }

    /// What it has told of this method's calls: `begin` or `end`.
    pub fn told(&self, event: &str, method: &str) -> Vec<Value> {
        let lines = self.program.stdout.all().into_iter();
        lines
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .filter(|line| line["event"] == event && line["method"] == method)
            .collect()
    }
}

async fn client(verb: &str, addr: SocketAddr, name: &str, ca: &Path) -> Value {
    let command = python(&[verb, &addr.to_string(), name, ca.to_str().unwrap()]);
    let finished = run(command, b"", Duration::from_secs(120)).await;
    assert_eq!(finished.code, Some(0), "{}", finished.both());
    serde_json::from_str(finished.stdout.trim()).unwrap_or_else(|_| panic!("{}", finished.both()))
}

/// Makes every kind of call through `addr`, trusting the authority in `ca`, and gives what came back.
///
/// # Panics
/// When the client fails otherwise than by the status of a call.
pub async fn call(addr: SocketAddr, name: &str, ca: &Path) -> Value {
    client("call", addr, name, ca).await
}

/// Makes one call, and gives the name of its status.
pub async fn status(addr: SocketAddr, name: &str, ca: &Path) -> String {
    client("one", addr, name, ca).await["code"].as_str().unwrap().to_owned()
}

/// Begins a call that never ends, and waits for its first message.
pub async fn hold(addr: SocketAddr, name: &str, ca: &Path) -> Program {
    let program = Program::start(python(&["hold", &addr.to_string(), name, ca.to_str().unwrap()]));
    eventually(START, "a call is under way", async || {
        if program.stdout.text().contains("held") {
            Ok(())
        } else {
            Err(format!("{}\n{}", program.stdout.text(), program.stderr.text()))
        }
    })
    .await;
    program
}

//! The `openssl` command: a TLS client and server from another project.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::{Finished, Program, run};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs `openssl s_client` with an empty input: it prints the handshake and ends.
pub async fn s_client(addr: SocketAddr, arguments: &[&str]) -> Finished {
    s_client_saying(addr, arguments, b"").await
}

/// Runs `openssl s_client` with `input` typed at it.
pub async fn s_client_saying(addr: SocketAddr, arguments: &[&str], input: &[u8]) -> Finished {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &addr.to_string()]).args(arguments);
    run(command, input, Duration::from_secs(30)).await
}

/// Runs `openssl s_client` until it has written a session to `file`; a TLS 1.3 ticket comes behind the handshake.
///
/// # Panics
/// When no session comes.
pub async fn s_client_keeping(addr: SocketAddr, arguments: &[&str], file: &Path) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &addr.to_string(), "-sess_out"]).arg(file).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    eventually(Duration::from_secs(10), "a session is written", async || {
        match std::fs::read_to_string(file) {
            Ok(text) if text.contains("END SSL SESSION") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    drop(child.stdin.take());
    child.wait().await.unwrap();
}

/// Runs `openssl s_client`, says `word` to the server, and gives all that it has printed once the server has echoed
/// that.
///
/// # Panics
/// When no echo comes.
pub async fn s_client_until(addr: SocketAddr, arguments: &[&str], word: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &addr.to_string()]).args(arguments);
    let (mut program, mut input) = Program::with_input(command);
    input.write_all(format!("{word}\n").as_bytes()).await.unwrap();
    eventually(Duration::from_secs(20), "an echo", async || {
        let printed = program.stdout.all();
        if printed.iter().any(|line| line == word) { Ok(()) } else { Err(printed.join("\n")) }
    })
    .await;
    drop(input);
    program.wait(Duration::from_secs(20)).await;
    program.stdout.text()
}

/// Runs any `openssl` command to its end.
pub async fn openssl(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(folder);
    run(command, b"", Duration::from_secs(30)).await
}

/// A running `openssl s_server`.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub port: Port,
    /// The process; its output says what it saw.
    pub program: Program,
}

impl Server {
    /// Starts it with `NAME.pem` and `NAME.key` of a folder; `arguments` as for the command.
    pub async fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let port = Port::free();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", &port.addr().to_string()]);
        command.args(["-cert", &format!("{name}.pem"), "-key", &format!("{name}.key")]);
        command.args(arguments).current_dir(folder);
        let program = Program::start(command);
        eventually(Duration::from_secs(10), "openssl s_server accepts", async || {
            if program.stdout.text().contains("ACCEPT") { Ok(()) } else { Err(program.stderr.text()) }
        })
        .await;
        Self { port, program }
    }
}

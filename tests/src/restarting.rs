//! A backend of requests whose process ends and starts anew while clients ask: node's HTTP server.

use crate::eventually::eventually;
use crate::program::Program;
use rustix::process::Signal;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// Longer than its start and its end take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The version of HTTP that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 by prior knowledge.
    H2,
}

/// How its process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fall {
    /// By SIGTERM: it finishes its requests.
    Ended,
    /// By SIGKILL.
    Killed,
}

/// A backend that can be restarted.
#[derive(Debug)]
pub struct Restarting {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Held open across restarts, so that connections wait meanwhile; `None` = they are refused.
    kept: Option<TcpListener>,
    version: Version,
    book: PathBuf,
    process: Program,
    /// When each process was told to end, and when the next one listened.
    pub falls: Vec<(Fall, SystemTime, SystemTime)>,
}

/// Starts the process, on the kept socket or else on the port, and waits until it listens.
async fn launch(kept: Option<&TcpListener>, addr: SocketAddr, version: Version, book: &Path) -> Program {
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/restarting.js"));
    command.arg(if version == Version::H1 { "1" } else { "2" }).arg(book);
    let program = match kept {
        Some(kept) => {
            command.stdin(Stdio::from(OwnedFd::from(kept.try_clone().unwrap())));
            Program::start_with_input(command)
        }
        None => {
            command.arg(addr.port().to_string());
            Program::start(command)
        }
    };
    eventually(PATIENCE, "node listens", async || {
        if program.stdout.text().contains("ready") { Ok(()) } else { Err(program.stderr.text()) }
    })
    .await;
    program
}

impl Restarting {
    /// Starts it. Its POSTs are written to `book`, which others may share. `waits` says that connections wait while it is
    /// away, as under a service manager that holds its socket.
    pub async fn start(version: Version, addr: SocketAddr, book: &Path, waits: bool) -> Self {
        let kept = waits.then(|| TcpListener::bind(addr).unwrap());
        let process = launch(kept.as_ref(), addr, version, book).await;
        Self { addr, kept, version, book: book.to_owned(), process, falls: Vec::new() }
    }

    /// Ends its process and starts another one.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn restart(&mut self, fall: Fall) {
        let began = SystemTime::now();
        self.process.signal(if fall == Fall::Ended { Signal::TERM } else { Signal::KILL });
        self.process.wait(PATIENCE).await;
        self.process = launch(self.kept.as_ref(), self.addr, self.version, &self.book).await;
        self.falls.push((fall, began, SystemTime::now()));
    }
}

/// The paths in a book of POSTs, and how often each came.
pub fn posts(book: &Path) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for line in std::fs::read_to_string(book).unwrap().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

//! weir under strace: the number of its system calls is the same on a busy machine.

use crate::client::tcp;
use crate::eventually::eventually;
use crate::peers::{Backend, Role};
use crate::ports::Port;
use crate::stream::Stream;
use crate::weir::{Launch, Weir};
use crate::world::{Identities, Mode, NAME, PROFILE};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// The calls of a program that strace has noted.
#[derive(Debug)]
pub struct Notes(TempDir);

impl Default for Notes {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Notes {
    /// The command line that runs a program under strace and notes these calls, as `-e trace=` takes them.
    pub fn strace(&self, calls: &str) -> Vec<String> {
        // With a filter in the kernel, calls that are not noted cost nothing.
        let fixed = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-o"];
        let mut words = fixed.map(str::to_owned).to_vec();
        words.extend([self.file().display().to_string(), "-e".to_owned(), format!("trace={calls}")]);
        words
    }

    /// The number of calls noted so far.
    pub fn counted(&self) -> usize {
        self.counted_of("")
    }

    /// How many calls of this name have been noted; every name begins with an empty one.
    pub fn counted_of(&self, name: &str) -> usize {
        let text = std::fs::read_to_string(self.file()).unwrap();
        // A call interrupted by another thread's call has two lines. Each begins with the thread's number.
        let calls = text.lines().filter(|line| !line.contains("resumed>"));
        calls
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, call)| call.trim_start().starts_with(name))
            .count()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("strace")
    }
}

/// How long connections may take to end in a process that strace slows down.
const PATIENCE: Duration = Duration::from_secs(20);

/// A weir with one worker, one listener and one backend, under strace.
#[derive(Debug)]
pub struct Traced {
    /// The weir.
    pub weir: Weir,
    /// The backend.
    pub backend: Backend,
    mode: Mode,
    plain: bool,
    edge: Port,
    identities: Identities,
    notes: Notes,
}

impl Traced {
    /// Starts weir and its backend, and notes these calls, as `-e trace=` of strace takes them.
    pub async fn start(mode: Mode, role: Role, calls: &str) -> Self {
        Self::begin(mode, false, role, calls).await
    }

    /// The same in passthrough without a hello: client and backend speak plaintext.
    pub async fn plain(role: Role, calls: &str) -> Self {
        Self::begin(Mode::Passthrough, true, role, calls).await
    }

    async fn begin(mode: Mode, plain: bool, role: Role, calls: &str) -> Self {
        let (identities, edge) = (Identities::default(), Port::free());
        let backend = match mode {
            Mode::Passthrough | Mode::Bridging if !plain => Backend::tls(role, &identities.backend).await,
            _ => Backend::plain(role).await,
        };
        let (profile, tls) = match mode {
            Mode::Passthrough if plain => ("", "    peek: false\n"),
            Mode::Passthrough => ("", ""),
            _ => (PROFILE, "    tls: public\n"),
        };
        let pool_tls = if mode == Mode::Bridging { ", tls: {ca: inner-ca.pem}" } else { "" };
        let body = format!(
            "{profile}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n    \
             default_pool: main\n{tls}pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}{pool_tls}}}\n",
            edge.addr(),
            mode.name(),
            backend.addr
        );
        let (notes, folder) = (Notes::default(), identities.folder());
        let strace = notes.strace(calls);
        // The log writes too.
        let launch = Launch::new(folder, body).runtime("workers: 1").level("warn");
        let strace: Vec<&str> = strace.iter().map(String::as_str).collect();
        let weir = launch.under(&strace).start().await;
        Self { weir, backend, mode, plain, edge, identities, notes }
    }

    /// What weir does with TLS.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Connects: bytes written to the stream reach the backend's role decrypted.
    pub async fn connect(&self) -> Stream {
        if self.plain {
            return tcp(self.edge.addr()).await;
        }
        self.identities.client().connect(self.edge.addr(), NAME).await.unwrap()
    }

    /// The number of calls noted so far.
    pub fn counted(&self) -> usize {
        self.notes.counted()
    }

    /// Waits until so many connections have ended.
    ///
    /// # Panics
    /// When they do not.
    pub async fn ended(&self, count: usize) {
        eventually(PATIENCE, "all have ended", async || {
            let metrics = self.weir.metrics().await;
            let closed = metrics.count("weir_connections_closed_total", &[]);
            if closed == count as u64 { Ok(()) } else { Err(closed.to_string()) }
        })
        .await;
    }
}

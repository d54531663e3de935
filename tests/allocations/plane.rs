//! The data plane in this process: one worker, one listener, one backend, as a configuration asks for them.

use crate::counting::{self, Count};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use weir_config::compile::{CompileInput, compile};
use weir_control::access::{self, Format, Writer};
use weir_core::plan::{Listener, Plan};
use weir_metrics::{ListenerMetrics, Metrics};
use weir_pool::Lives;
use weir_router::bind;
use weir_router::data_plane::DataPlane;
use weir_router::node::Node;
use weir_tests::eventually::eventually;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::Stream;
use weir_tests::world::{Identities, Mode, NAME, PROFILE};
use weir_tls::{ServerProfile, Sessions};

/// A running data plane whose worker is watched. There is one at a time: one thread is counted.
pub(crate) struct Plane {
    plane: Option<DataPlane>,
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    listener: Arc<ListenerMetrics>,
    identities: Identities,
    edge: Port,
    _writer: Writer,
    _backend: Backend,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// The data plane's turn to be counted.
static TURN: Mutex<()> = Mutex::const_new(());

/// Longer than anything here takes, also with both cores busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What a thread of a worker is called by the kernel.
const WORKER: &str = "weir-worker-0";

impl Drop for Plane {
    fn drop(&mut self) {
        counting::watch(0);
        if let Some(plane) = self.plane.take() {
            let drained = plane.drain(Duration::ZERO);
            assert!(drained.is_ok() || std::thread::panicking(), "the worker panicked");
        }
    }
}

impl Plane {
    /// Starts one in this mode, whose backend plays this role. Its records are written, but nowhere to.
    pub(crate) async fn start(mode: Mode, role: Role) -> Self {
        Self::start_with(mode, role, true).await
    }

    /// The same, with records or without.
    pub(crate) async fn start_with(mode: Mode, role: Role, records: bool) -> Self {
        let turn = TURN.lock().await;
        let (identities, edge) = (Identities::default(), Port::free());
        let backend = match mode {
            Mode::Offload => Backend::plain(role).await,
            _ => Backend::tls(role, &identities.backend).await,
        };
        let folder = identities.folder();
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, yaml(mode, records, &edge, &backend)).unwrap();
        let metrics = Metrics::new("0", "", "").unwrap();
        let plan = Arc::new(plan(&file, &metrics, 1));
        let listener = Arc::clone(&plan.listeners[0].settings.metrics);
        let lanes = bind::sockets(&plan, 1, &[]).unwrap();
        let (log, writer, _format) = access::start(Format::Json, io::sink(), &metrics).unwrap();
        let node = Node::new(plan, Arc::clone(&metrics), 10_000);
        let plane = DataPlane::start(Arc::clone(&node), lanes, Some(&log)).unwrap();
        counting::watch(thread());
        Self {
            plane: Some(plane),
            node,
            metrics,
            listener,
            identities,
            edge,
            _writer: writer,
            _backend: backend,
            folder,
            _turn: turn,
        }
    }

    /// Connects: what is written arrives at the backend's role, decrypted.
    pub(crate) async fn connect(&self) -> Stream {
        self.identities.client().connect(self.edge.addr(), NAME).await.unwrap()
    }

    /// Puts the same configuration in force once more, and gives what the past plan had: its listener, and its TLS profile
    /// where it has one.
    pub(crate) fn replace_plan(&self) -> (Weak<Listener>, Option<Weak<ServerProfile>>) {
        let past = self.node.plan();
        let file = self.folder.path().join("weir.yaml");
        self.node.install(Arc::new(plan(&file, &self.metrics, past.generation + 1)));
        let listener = &past.listeners[0];
        (Arc::downgrade(listener), listener.profiles().first().map(|profile| Arc::downgrade(profile)))
    }

    /// Payload that has gone to the backend.
    pub(crate) fn up(&self) -> u64 {
        self.listener.up.get()
    }

    /// What the worker has done once so many connections have been opened, so many are open, and it has come to rest.
    pub(crate) async fn at_rest(&self, opened: u64, open: u64) -> Count {
        let mut before = counting::now();
        eventually(PATIENCE, "the worker is at rest", async || {
            let count = counting::now();
            let still = count == std::mem::replace(&mut before, count);
            let connections = self.listener.connections();
            if still && connections == (opened, open) { Ok(count) } else { Err(format!("{connections:?}")) }
        })
        .await
    }
}

fn yaml(mode: Mode, records: bool, edge: &Port, backend: &Backend) -> String {
    let (profile, tls) = if mode == Mode::Passthrough { ("", "") } else { (PROFILE, "    tls: public\n") };
    let pool_tls = if mode == Mode::Bridging { ", tls: {ca: inner-ca.pem}" } else { "" };
    format!(
        "{profile}runtime: {{workers: 1}}\nlog: {{access: {records}}}\nlisteners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n    \
         default_pool: main\n{tls}pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}{pool_tls}}}\n",
        edge.addr(),
        mode.name(),
        backend.addr
    )
}

fn plan(file: &Path, metrics: &Arc<Metrics>, generation: u64) -> Plan {
    let lives = Lives::new(Arc::clone(metrics));
    let sessions = Sessions::random().unwrap();
    let (answers, loaded) = (|_: &_| Vec::new(), weir_config::load(file).unwrap());
    let input =
        CompileInput { metrics, lives: &lives, answers: &answers, sessions: &sessions, generation, cpus: 1 };
    compile(&loaded, &input).unwrap().0
}

/// The kernel's number of the worker's thread.
fn thread() -> u32 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let called = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let workers: Vec<_> = threads.filter(|path| called(path).trim_end() == WORKER).collect();
    let [worker] = workers.as_slice() else { panic!("{} workers", workers.len()) };
    worker.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

//! Which weir of this process a thread belongs to: its log lines and its panics go to that one.

use super::output::Output;
use rustix::thread::gettid;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

/// The beginning of every worker thread's name.
const WORKER: &str = "weir-worker-";

/// The log that a thread writes to.
#[derive(Debug)]
struct Owner {
    log: Output,
    is_worker: bool,
}

static OWNERS: Mutex<BTreeMap<u32, Owner>> = Mutex::new(BTreeMap::new());
/// Held while the threads of one weir are started, so that the new ones are its own.
static STARTING: Mutex<()> = Mutex::new(());

/// The threads of one weir. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Watched {
    workers: Vec<u32>,
    owned: Vec<u32>,
}

impl Watched {
    /// The kernel's numbers of its workers' threads.
    pub(super) fn workers(&self) -> &[u32] {
        &self.workers
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut owners = owners();
        for thread in &self.owned {
            owners.remove(thread);
        }
    }
}

/// Runs `start`, and takes the workers started by it for those of one weir. A log, if there is one, gets the
/// lines of these workers and of the calling thread from here on, and the workers' panics.
pub(super) fn watch<T>(log: Option<&Output>, start: impl FnOnce() -> T) -> (T, Watched) {
    static INSTALLED: Once = Once::new();
    if log.is_some() {
        INSTALLED.call_once(install);
    }
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = workers();
    let started = start();
    let mut workers = workers();
    workers.retain(|thread| !before.contains(thread));
    let mut owned = Vec::new();
    if let Some(log) = log {
        let mut owners = owners();
        let own = gettid().as_raw_nonzero().get().unsigned_abs();
        for &thread in workers.iter().chain([&own]) {
            owners.insert(thread, Owner { log: log.clone(), is_worker: thread != own });
            owned.push(thread);
        }
    }
    (started, Watched { workers, owned })
}

/// The kernel's numbers of all workers' threads of this process.
fn workers() -> Vec<u32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let workers = threads.filter(|path| named(path).starts_with(WORKER));
    workers.map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

fn owners() -> MutexGuard<'static, BTreeMap<u32, Owner>> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log of the weir that the calling thread belongs to.
fn own_log(of_workers_only: bool) -> Option<Output> {
    let own = gettid().as_raw_nonzero().get().unsigned_abs();
    let owners = owners();
    let owner = owners.get(&own).filter(|owner| owner.is_worker || !of_workers_only);
    owner.map(|owner| owner.log.clone())
}

fn install() {
    let lines = tracing_subscriber::fmt().json().with_max_level(tracing::Level::DEBUG).with_writer(ByThread);
    lines.init();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(mut log) = own_log(true) {
            // Writing to memory does not fail.
            let _ =
                writeln!(log, "{}", serde_json::json!({ "level": "ERROR", "panicked": panic.to_string() }));
        }
        before(panic);
    }));
}

/// Gives each log line to the weir whose thread wrote it.
struct ByThread;

impl MakeWriter<'_> for ByThread {
    type Writer = Box<dyn Write>;

    fn make_writer(&self) -> Self::Writer {
        own_log(false).map_or_else(|| Box::new(io::sink()) as Self::Writer, |log| Box::new(log))
    }
}

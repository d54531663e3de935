//! weir in this process: its workers on threads of their own, its control plane and its admin server on the runtime of
//! the scenario. It starts in a few milliseconds, needs no binary, and its books are checked as those of a process are.
//!
//! Signals, the command line, descriptors, memory and the log file belong to a process: scenarios that look at them
//! start the binary ([`crate::weir::Launch::start`]).

mod output;
mod threads;
mod wiring;

use crate::books::{self, Books};
use crate::http;
use crate::ports::Port;
use crate::weir::{Metrics, Record};
use output::Output;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::DropGuard;
use weir_control::Control;
use weir_control::access::Writer;
use weir_router::data_plane::DataPlane;
use weir_router::node::Node;

/// A weir of this process, listening. Dropping it closes its connections and waits for its workers.
pub struct Plane {
    data_plane: Option<DataPlane>,
    control: Arc<Control>,
    admin: Port,
    folder: TempDir,
    records: Output,
    log: Output,
    threads: threads::Watched,
    _writer: Arc<Writer>,
    _tasks: DropGuard,
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(data_plane) = self.data_plane.take() {
            let drained = data_plane.drain(Duration::ZERO);
            assert!(drained.is_ok() || std::thread::panicking(), "a worker panicked");
        }
    }
}

impl Plane {
    /// Starts the configuration `file`, which is in `folder` and has `admin` as the address of its admin server.
    pub(crate) async fn start(folder: TempDir, file: PathBuf, admin: Port, logs: bool) -> Self {
        let (records, log) = (Output::default(), Output::default());
        let wired = wiring::start(&file, &records, logs.then_some(&log)).await;
        let wiring::Wired { data_plane, control, writer, tasks, threads } = wired;
        let data_plane = Some(data_plane);
        Self { data_plane, control, admin, folder, records, log, threads, _writer: writer, _tasks: tasks }
    }

    /// The admin server's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// The folder of its configuration, which is `weir.yaml` there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// State that its workers and its control plane share.
    pub fn node(&self) -> &Arc<Node> {
        &self.control.node
    }

    /// The kernel's numbers of its workers' threads.
    pub fn workers(&self) -> &[u32] {
        self.threads.workers()
    }

    /// Puts its configuration in force as the file is now.
    ///
    /// # Panics
    /// When the configuration is refused.
    pub async fn reload(&self) {
        let reloaded = self.control.reload().await;
        assert!(reloaded.is_ok(), "{:?}", reloaded.map(|reloaded| reloaded.generation));
    }

    /// Tries to put its configuration in force. True if it is.
    pub async fn try_reload(&self) -> bool {
        self.control.reload().await.is_ok()
    }

    /// Reloads a configuration that cannot be put in force: the old one stays.
    ///
    /// # Panics
    /// When it is put in force.
    pub async fn reload_in_vain(&self) {
        let reloaded = self.control.reload().await;
        assert!(reloaded.is_err(), "{:?}", reloaded.map(|reloaded| reloaded.generation));
    }

    /// Asks the admin server.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ask(&self, path: &str) -> http::Answer {
        let answer = http::get(self.admin(), path).await;
        answer.unwrap_or_else(|error| panic!("the admin server does not answer {path}: {error}"))
    }

    /// The log so far, in lines of JSON: of its workers, and of what the scenario's own thread does for it. Empty
    /// unless the level is `debug`.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// The metrics now.
    ///
    /// # Panics
    /// When the admin server does not answer.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.ask("/metrics").await.body)
    }

    /// The records of connections that have ended, so far.
    pub fn records(&self) -> Vec<Record> {
        self.all_records().filter(|record| record.is_of_a_connection("close")).collect()
    }

    /// The records of connections when they began (`open`), or while they lived (`alive`), so far.
    pub fn events(&self, event: &str) -> Vec<Record> {
        self.all_records().filter(|record| record.is_of_a_connection(event)).collect()
    }

    /// All access records of requests so far.
    pub fn requests(&self) -> Vec<Record> {
        self.all_records().filter(|record| !record.field("method").is_null()).collect()
    }

    fn all_records(&self) -> impl Iterator<Item = Record> {
        self.records.lines().into_iter().map(|line| Record::parse(&line))
    }

    /// Waits for exactly `count` records.
    ///
    /// # Panics
    /// When they do not come, or more come.
    pub async fn some_records(&self, count: usize) -> Vec<Record> {
        books::some_records(self, count).await
    }

    /// Waits for the only record.
    pub async fn only_record(&self) -> Record {
        self.some_records(1).await.remove(0)
    }

    /// Waits until the scenario has left nothing behind, and checks the books: all that
    /// [`crate::weir::Weir::settle`] checks except the descriptors, which all scenarios of a process share.
    ///
    /// # Panics
    /// When one of these does not come true.
    pub async fn settle(&self) -> Metrics {
        books::settle(self).await
    }

    /// Checks that nothing was logged above `debug`.
    ///
    /// # Panics
    /// When there is such a line, or no line at all: then the log was not kept.
    pub fn quiet(&self) {
        assert!(!self.log().is_empty(), "the log was not kept");
        books::quiet(self);
    }
}

impl Books for Plane {
    async fn metrics(&self) -> Metrics {
        Self::metrics(self).await
    }

    fn records(&self) -> Vec<Record> {
        Self::records(self)
    }

    fn log(&self) -> Vec<String> {
        Self::log(self)
    }

    fn own_resources(&self, _metrics: &Metrics) -> Result<(), String> {
        Ok(())
    }
}

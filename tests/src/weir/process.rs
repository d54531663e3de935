//! A running weir.

use super::metrics::Metrics;
use super::record::Record;
use crate::books;
use crate::eventually::eventually;
use crate::http;
use crate::ports::Port;
use crate::program::Program;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How long weir may take to start, on a machine that runs other tests too.
const START: Duration = Duration::from_secs(30);

/// How long an upgrade may take: longer than weir waits for a program that says nothing.
const UPGRADE: Duration = Duration::from_secs(45);

/// A weir that listens. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Weir {
    /// The process.
    pub program: Program,
    pub(super) admin: Port,
    /// Open descriptors once it was ready.
    pub(super) fds_at_start: usize,
    folder: TempDir,
    /// Of the latest process, if others have taken over.
    pid: AtomicU32,
}

impl Drop for Weir {
    fn drop(&mut self) {
        // A program that watches weir is killed with its handle, but weir would outlive it; so would a successor.
        let is_direct = self.program.ended().is_none() && self.program.pid() == self.pid();
        if !is_direct
            && self.is_there()
            && let Some(pid) = rustix::process::Pid::from_raw(self.pid().cast_signed())
        {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Weir {
    pub(super) async fn ready(mut program: Program, admin: Port, folder: TempDir, direct: bool) -> Self {
        let pid = program.pid();
        eventually(START, "weir is ready", async || {
            if let Some(status) = program.ended() {
                panic!("weir ended with {status}\n{}", program.stderr.text());
            }
            match http::get(admin.addr(), "/readyz?pools=ignore").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(format!("{error}; {}", program.stderr.text())),
            }
        })
        .await;
        let pid = if direct { pid } else { only_child_or_self(pid) };
        let mut weir = Self { program, admin, fds_at_start: 0, folder, pid: pid.into() };
        weir.fds_at_start = weir.fds();
        weir
    }

    /// The process id of weir itself, also when another program watches it; of the latest process after an upgrade.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Whether that process runs and is a weir.
    pub fn is_there(&self) -> bool {
        std::fs::read_link(format!("/proc/{}/exe", self.pid()))
            .is_ok_and(|exe| exe.to_string_lossy().contains("weir"))
    }

    /// Asks it to have the program on disk take over; [`Weir::pid`] is the successor's then.
    pub async fn upgrade(&self) -> http::Answer {
        let answer = http::request_within(self.admin(), "POST", "/api/v1/upgrade", UPGRADE).await.unwrap();
        if answer.status == 200 {
            let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            self.pid.store(said["pid"].as_u64().unwrap() as u32, Ordering::Relaxed);
        }
        answer
    }

    /// The admin server's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// The folder of its configuration.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Asks the admin server.
    pub async fn ask(&self, path: &str) -> http::Answer {
        http::get(self.admin(), path).await.unwrap_or_else(|error| {
            panic!("the admin server does not answer {path}: {error}\n{}", self.program.stderr.text())
        })
    }

    /// The metrics now.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.ask("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
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

    /// The JSON lines of its standard output.
    fn all_records(&self) -> impl Iterator<Item = Record> {
        self.program.stdout.all().into_iter().map(|line| Record::parse(&line))
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

    /// Open descriptors of the process.
    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Resident memory in KiB, without pages of files.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The user it runs as.
    pub fn user(&self) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// User and system time that the process has used.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Sends a signal to weir.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.program.wait(Duration::from_secs(30)).await
    }
}

/// A wrapper such as strace keeps weir as its child; prlimit becomes weir itself.
fn only_child_or_self(pid: u32) -> u32 {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .ok()
        .and_then(|children| children.split_whitespace().next()?.parse().ok())
        .unwrap_or(pid)
}

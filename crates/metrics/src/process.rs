//! The standard `process_*` metrics, read from /proc/self at each scrape (proc(5)).

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};
use std::fs;

/// Reads /proc at each scrape; a value that cannot be read keeps its last reading.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    cpu: Counter,
    gauges: [Gauge; 6],
}

impl Process {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            cpu: Counter::new("process_cpu_seconds_total", "CPU time of the process, user and system.")?,
            gauges: [
                Gauge::new("process_open_fds", "Descriptors open now.")?,
                Gauge::new("process_max_fds", "Descriptors allowed.")?,
                Gauge::new("process_resident_memory_bytes", "Resident memory.")?,
                Gauge::new("process_virtual_memory_bytes", "Virtual memory.")?,
                Gauge::new("process_start_time_seconds", "When the process started, in seconds since 1970.")?,
                Gauge::new("process_threads", "Threads of the process.")?,
            ],
        })
    }

    fn refresh(&self) {
        let [fds, max_fds, resident, virtual_, start, threads] = &self.gauges;
        if let Ok(dir) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory being read.
            fds.set(float(dir.count().saturating_sub(1) as u64));
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        max_fds.set(limit.map_or(f64::INFINITY, float));
        let Some(stat) = Stat::read() else { return };
        #[allow(clippy::cast_precision_loss, reason = "a tick rate is about 100")]
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let spent = float(stat.cpu_ticks) / ticks;
        self.cpu.inc_by((spent - self.cpu.get()).max(0.0));
        resident.set(float(stat.resident_pages) * float(rustix::param::page_size() as u64));
        virtual_.set(float(stat.virtual_bytes));
        threads.set(float(stat.threads));
        if let Some(boot) = boot_time() {
            start.set(boot + float(stat.start_ticks) / ticks);
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.cpu.desc();
        all.extend(self.gauges.iter().flat_map(Collector::desc));
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let mut all = self.cpu.collect();
        all.extend(self.gauges.iter().flat_map(Collector::collect));
        all
    }
}

/// The resident memory of the process in bytes (proc_pid_statm(5)); `None` if it cannot be read.
pub fn resident_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// The fields of /proc/self/stat that are reported (proc_pid_stat(5)).
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name is in brackets and may hold spaces: fields are counted behind it, from field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<u64>().ok());
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the kernel booted, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|l| l.strip_prefix("btime ")).and_then(|v| v.trim().parse().ok())
}

#[allow(clippy::cast_precision_loss, reason = "a metric is a double")]
fn float(n: u64) -> f64 {
    n as f64
}

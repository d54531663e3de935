//! Reads weir's records as they come, and scrapes its metrics every second, as in production.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Records and scrapes of a weir, if it was set up for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Records that were read.
    pub records: u64,
    /// Scrapes of the metrics that worked.
    pub scrapes: u64,
}

/// Reads records and scrapes metrics.
#[derive(Debug)]
pub(super) struct Watch {
    reading: JoinSet<u64>,
    scraping: JoinSet<()>,
    scrapes: Arc<AtomicU64>,
    admin: u16,
}

impl Watch {
    /// Begins to read `records`.
    pub(super) fn start(records: ChildStdout, admin: u16) -> Self {
        let mut reading = JoinSet::new();
        reading.spawn(count(records));
        Self { reading, scraping: JoinSet::new(), scrapes: Arc::default(), admin }
    }

    /// Begins to scrape.
    pub(super) fn scrape(&mut self) {
        let (scrapes, admin) = (Arc::clone(&self.scrapes), self.admin);
        self.scraping.spawn(async move {
            let mut pace = interval(Duration::from_secs(1));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                if scrape(admin).await.is_some() {
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }

    /// Stops scraping.
    pub(super) fn rest(&mut self) {
        self.scraping.abort_all();
    }

    /// The counts, once weir has ended.
    pub(super) async fn finish(self) -> Observed {
        let records = self.reading.join_all().await.into_iter().sum();
        Observed { records, scrapes: self.scrapes.load(Ordering::Relaxed) }
    }
}

/// Counts records until weir ends: lines that are JSON objects of the end of a connection or request.
async fn count(mut records: ChildStdout) -> u64 {
    let mut buffer = vec![0; 64 * 1024];
    let mut line = Vec::new();
    let mut count = 0;
    while let Ok(n @ 1..) = records.read(&mut buffer).await {
        for &byte in buffer.get(..n).unwrap_or_default() {
            if byte == b'\n' {
                count += u64::from(is_record(&line));
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    count
}

fn is_record(line: &[u8]) -> bool {
    line.starts_with(b"{") && line.ends_with(b"}") && line.windows(CLOSE.len()).any(|part| part == CLOSE)
}

async fn scrape(admin: u16) -> Option<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8_lossy(&answer);
    (text.starts_with("HTTP/1.1 200") && text.contains("\nweir_connections_opened_total{")).then_some(())
}

/// Only the records of an end have this key with this value.
const CLOSE: &[u8] = b"\"event\":\"close\"";

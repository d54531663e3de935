//! The thread that writes records to stdout.

use super::line::{Format, write_line};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weir_core::account::queue::{Entry, Records};
use weir_log::lines::{self, Lines};
use weir_metrics::Metrics;

/// The thread that writes them.
#[derive(Debug)]
pub struct Writer(lines::Writer<Entry>);

impl Writer {
    /// Waits until everything queued is written, but at most a second: the reader of the records may have stopped.
    pub fn finish(&self) {
        if !self.0.flush(LAST_WORDS) {
            tracing::warn!("the access records are not read; the queued ones are lost");
        }
    }

    /// Why the last batch of records could not be written; `None` if all were.
    pub fn failure(&self) -> Option<String> {
        self.0.failure()
    }
}

/// Starts a writer of `format` to `out`: gives the queue's sender, the thread, and a handle that changes the format.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(
    format: Format,
    out: impl Write + Send + 'static,
    metrics: &Metrics,
) -> io::Result<(Records, Writer, FormatSwitch)> {
    let json = Arc::new(AtomicBool::new(format == Format::Json));
    let now = Arc::clone(&json);
    let render = move |entry: Entry, text: &mut Vec<u8>| {
        let format = if now.load(Ordering::Relaxed) { Format::Json } else { Format::Text };
        // Writing to a Vec does not fail, and every field of a record has a form in JSON.
        drop(write_line(format, text, &entry));
    };
    let (lines, writer) = Lines::start("weir-access", QUEUE, metrics.access_dropped(), out, render)?;
    Ok((Records::new(lines), Writer(writer), FormatSwitch(json)))
}

/// Changes the format of records while they are written.
#[derive(Clone, Debug)]
pub struct FormatSwitch(Arc<AtomicBool>);

impl FormatSwitch {
    /// Writes further records in this format.
    pub fn set(&self, format: Format) {
        self.0.store(format == Format::Json, Ordering::Relaxed);
    }
}

/// Records that may wait for the writer: some milliseconds of a busy node, a few MiB at most.
const QUEUE: usize = 8192;
/// How long the end of the process waits for the last records.
const LAST_WORDS: Duration = Duration::from_secs(1);

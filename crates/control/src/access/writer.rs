//! The thread that writes records to stdout.

use super::line::write_line;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weir_core::account::queue::{RecordEntry, Records};
use weir_log::lines::{self, Lines};
use weir_metrics::Metrics;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// `key=value` pairs, for people.
    Text,
}

/// The thread that writes them.
#[derive(Debug)]
pub struct Writer(lines::Writer<Box<RecordEntry>>);

impl Writer {
    /// Waits until all that was queued is written, but at most a second: the reader of the records may have stopped.
    pub fn finish(&self) {
        if !self.0.flush(LAST_WORDS) {
            tracing::warn!("nobody reads the access records; those that were queued are lost");
        }
    }

    /// Why records could not be written the last time that there were any; `None` if all could.
    pub fn failure(&self) -> Option<String> {
        self.0.failure()
    }
}

/// Starts a writer of `format` to `out`: the queue's entrance, the thread, and what changes the format later.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    format: Format,
    out: impl Write + Send + 'static,
    metrics: &Metrics,
) -> io::Result<(Records, Writer, FormatSwitch)> {
    let json = Arc::new(AtomicBool::new(format == Format::Json));
    let now = Arc::clone(&json);
    let render = move |entry: Box<RecordEntry>, text: &mut Vec<u8>| {
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
    /// Records look like this from now on.
    pub fn set(&self, format: Format) {
        self.0.store(format == Format::Json, Ordering::Relaxed);
    }
}

/// Records that may wait for the writer: some milliseconds of a busy node, a few MiB at most.
const QUEUE: usize = 8192;
/// How long the end of the process waits for the last records.
const LAST_WORDS: Duration = Duration::from_secs(1);

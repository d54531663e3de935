//! The thread that writes records, and what it is told while it does.

use super::line::{Format, write_line};
use super::output::{Output, RecordFile, Told};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;
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

/// Starts a writer of `format` to `out`: gives the queue's sender, the thread, and a handle that changes how and where it
/// writes.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(
    format: Format,
    out: impl Write + Send + 'static,
    metrics: &Metrics,
) -> io::Result<(Records, Writer, Switch)> {
    let json = Arc::new(AtomicBool::new(format == Format::Json));
    let (now, told) = (Arc::clone(&json), Arc::<Told>::default());
    let render = move |entry: Entry, text: &mut Vec<u8>| {
        let format = if now.load(Ordering::Relaxed) { Format::Json } else { Format::Text };
        // Writing to a Vec does not fail, and every field of a record has a form in JSON.
        drop(write_line(format, text, &entry));
    };
    let out = Output::new(out, Arc::clone(&told));
    let (lines, writer) = Lines::start("weir-access", QUEUE, metrics.access_dropped(), out, render)?;
    let switch = Switch { json, told, to_file: Arc::default(), lines: lines.clone() };
    Ok((Records::new(lines), Writer(writer), switch))
}

/// Changes how and where records are written, while they are. Clones change the same.
#[derive(Clone, Debug)]
pub struct Switch {
    json: Arc<AtomicBool>,
    told: Arc<Told>,
    to_file: Arc<AtomicBool>,
    lines: Lines<Entry>,
}

impl Switch {
    /// Writes further records in this format.
    pub fn set(&self, format: Format) {
        self.json.store(format == Format::Json, Ordering::Relaxed);
    }

    /// Writes further records to this file; `None`: to standard output.
    pub fn write_to(&self, file: Option<RecordFile>) {
        self.to_file.store(file.is_some(), Ordering::Relaxed);
        self.told.write_to(file);
        self.lines.nudge();
    }

    /// Opens the file anew, before the next record is written.
    pub fn reopen(&self) {
        self.told.anew();
        self.lines.nudge();
    }

    /// Has the writer look every second whether its file was rotated, so that a new one is there even while no record
    /// comes. Never returns.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn follow_rotations(&self) {
        loop {
            sleep(ROTATION_POLL).await;
            if self.to_file.load(Ordering::Relaxed) {
                self.lines.nudge();
            }
        }
    }
}

/// Opens the file of a plan's records, if it has one.
///
/// # Errors
/// What a person should read: the key, the file, and why it cannot be opened.
pub fn open(path: Option<&Path>) -> Result<Option<RecordFile>, FileError> {
    let open = |path: &Path| {
        RecordFile::open(path).map_err(|source| FileError { path: path.display().to_string(), source })
    };
    path.map(open).transpose()
}

/// The file for records cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("log.access.file: {path} cannot be opened: {source}")]
pub struct FileError {
    path: String,
    source: io::Error,
}

/// Records that may wait for the writer: some milliseconds of a busy node, a few MiB at most.
const QUEUE: usize = 8192;
/// How long the end of the process waits for the last records.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often an idle writer looks at its file.
const ROTATION_POLL: Duration = Duration::from_secs(1);

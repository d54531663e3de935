//! Logs to stderr, records to stdout: text for people, JSON for machines. A reload may change both.
//!
//! - [`filter`] selects lines: weir's own by level, those of libraries only if `log.level` names them.
//! - [`queue`] takes them to stderr, so that no thread waits for it.
//! - [`panics`] logs panics like everything else.
//! - [`losses`] warns of lost lines and records.

mod filter;
pub(crate) mod losses;
mod panics;
mod queue;

use anyhow::{Context, Result, anyhow};
use queue::Queue;
use rustix::fs::fstat;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry, reload};
use weir_control::access;
use weir_core::account::queue::Records;
use weir_core::plan::{Log, LogFormat};
use weir_log::lines::Unlocked;
use weir_metrics::Metrics;

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// The running log, for changes.
#[derive(Clone)]
pub(crate) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
    queue: Queue,
}

/// The log's writer: one per process, as the log is.
static WRITER: OnceLock<queue::Writer> = OnceLock::new();

/// Starts the log. From here on a panic is a line of it too.
///
/// # Errors
/// When `log.level` is no level and no filter, or the writer's thread cannot be started.
pub(crate) fn start(log: &Log, metrics: &Metrics) -> Result<Logging> {
    let (filter, filter_handle) = reload::Layer::new(filter::of(log)?);
    let (queue, writer) = Queue::start(metrics).context("cannot start the log")?;
    let (lines, lines_handle) = reload::Layer::new(lines(log, &queue));
    let started = registry().with(filter).with(lines).try_init();
    started.map_err(|error| anyhow!("cannot start the log: {error}"))?;
    // Never set before: the log starts once.
    WRITER.get_or_init(|| writer);
    panics::log_them();
    Ok(Logging { filter: filter_handle, lines: lines_handle, queue })
}

/// Waits until the log is written, but not for long: its reader may have stopped reading.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        // If that was not long enough, no one reads the log, and nothing is left to do.
        let _whole = writer.flush(LAST_WORDS);
    }
}

/// How long the end of the process waits for the last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logging").finish_non_exhaustive()
    }
}

impl Logging {
    /// Takes the settings of another plan.
    pub(crate) fn change(&self, log: &Log) {
        // `compile` has refused text that is no filter.
        let changed = filter::of(log).and_then(|filter| {
            self.filter.reload(filter)?;
            self.lines.reload(lines(log, &self.queue))?;
            Ok(())
        });
        if let Err(error) = changed {
            tracing::error!(%error, "cannot change the log");
        }
    }
}

fn lines(log: &Log, queue: &Queue) -> Lines {
    let colours = !is_json(log.format, &io::stderr()) && io::stderr().is_terminal();
    // The subscriber's own errors would go straight to stderr.
    let lines = fmt::layer().with_writer(queue.entrance(colours)).log_internal_errors(false);
    if is_json(log.format, &io::stderr()) {
        Box::new(lines.json().flatten_event(true).with_current_span(true).with_span_list(false))
    } else {
        Box::new(lines.with_ansi(colours))
    }
}

/// Starts the access log: a reload may turn records on, so its writer is always there.
///
/// # Errors
/// When its thread cannot be started, or its file cannot be opened.
pub(crate) fn start_access(
    log: &Log,
    metrics: &Metrics,
) -> Result<(Records, access::Writer, access::Switch)> {
    let file = access::open(log.access_file.as_deref()).map_err(|error| anyhow!("error: {error}"))?;
    let out = Unlocked::in_turn(io::stdout(), turn());
    let started = access::start(access_format(log), out, metrics);
    let (records, writer, switch) = started.context("cannot start the access log")?;
    switch.write_to(file);
    Ok((records, writer, switch))
}

/// The lock by which the writers of the log and of the records take turns, if both write to one file: the journal's socket
/// under systemd, one pipe after `2>&1`. Neither's lines must be cut by the other's.
fn turn() -> Option<&'static Mutex<()>> {
    static TURN: Mutex<()> = Mutex::new(());
    let (out, err) = (fstat(io::stdout()), fstat(io::stderr()));
    matches!((out, err), (Ok(out), Ok(err)) if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino))
        .then_some(&TURN)
}

/// The format of the records. A file is no terminal.
pub(crate) fn access_format(log: &Log) -> access::Format {
    if log.access_file.is_some() && log.format == LogFormat::Auto || is_json(log.format, &io::stdout()) {
        access::Format::Json
    } else {
        access::Format::Text
    }
}

fn is_json(format: LogFormat, out: &impl IsTerminal) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !out.is_terminal(),
    }
}

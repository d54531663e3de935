//! Logs to stderr, records to stdout: text for people, JSON for machines. A reload may change both.

use anyhow::{Context, Result, anyhow};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry, reload};
use weir_core::access;
use weir_metrics::Metrics;
use weir_router::plan::{Log, LogFormat};

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// The running log, for changes.
#[derive(Clone)]
pub(crate) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

/// Starts the log.
///
/// # Errors
/// When `log.level` is no level and no filter.
pub(crate) fn start(log: &Log) -> Result<Logging> {
    let (filter, filter_handle) = reload::Layer::new(filter(log)?);
    let (lines, lines_handle) = reload::Layer::new(lines(log));
    let started = registry().with(filter).with(lines).try_init();
    started.map_err(|error| anyhow!("cannot start the log: {error}"))?;
    Ok(Logging { filter: filter_handle, lines: lines_handle })
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logging").finish_non_exhaustive()
    }
}

impl Logging {
    /// Goes by another plan's settings.
    pub(crate) fn change(&self, log: &Log) {
        // `compile` has refused what is no filter.
        let changed = filter(log).and_then(|filter| {
            self.filter.reload(filter)?;
            self.lines.reload(lines(log))?;
            Ok(())
        });
        if let Err(error) = changed {
            tracing::error!(%error, "cannot change the log");
        }
    }
}

fn filter(log: &Log) -> Result<EnvFilter> {
    // Forged answers make the DNS library warn: what a stranger can cause does not fill the log. Written last, a filter
    // of the configuration's own wins.
    let level = format!("hickory_net=error,hickory_resolver=error,{}", log.level);
    EnvFilter::try_new(level).with_context(|| format!("log.level: {:?}", log.level))
}

fn lines(log: &Log) -> Lines {
    let lines = fmt::layer().with_writer(io::stderr);
    if is_json(log.format, &io::stderr()) {
        Box::new(lines.json().flatten_event(true).with_current_span(true).with_span_list(false))
    } else {
        Box::new(lines.with_ansi(io::stderr().is_terminal()))
    }
}

/// Starts the access log: a reload may turn records on, so its writer is always there.
///
/// # Errors
/// When its thread cannot be started.
pub(crate) fn start_access(log: &Log, metrics: &Arc<Metrics>) -> Result<(access::Log, access::Writer)> {
    let started = access::Log::start(access_format(log), io::stdout(), Arc::clone(metrics));
    started.context("cannot start the access log")
}

/// How records are to look.
pub(crate) fn access_format(log: &Log) -> access::Format {
    if is_json(log.format, &io::stdout()) { access::Format::Json } else { access::Format::Text }
}

fn is_json(format: LogFormat, out: &impl IsTerminal) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !out.is_terminal(),
    }
}

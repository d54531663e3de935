//! Logs to stderr, records to stdout: text for people, JSON for machines.

use anyhow::{Context, Result};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use weir_core::access;
use weir_metrics::Metrics;
use weir_router::plan::{Log, LogFormat};

/// Starts the log.
///
/// # Errors
/// When `log.level` is no level and no filter.
pub(crate) fn start(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log.level: {:?}", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if is_json(log.format, &io::stderr()) {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Starts the access log, if there is to be one.
///
/// # Errors
/// When its thread cannot be started.
pub(crate) fn start_access(
    log: &Log,
    metrics: &Arc<Metrics>,
) -> Result<Option<(access::Log, access::Writer)>> {
    if !log.access {
        return Ok(None);
    }
    let format = if is_json(log.format, &io::stdout()) { access::Format::Json } else { access::Format::Text };
    let started = access::Log::start(format, io::stdout(), Arc::clone(metrics));
    Ok(Some(started.context("cannot start the access log")?))
}

fn is_json(format: LogFormat, out: &impl IsTerminal) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !out.is_terminal(),
    }
}

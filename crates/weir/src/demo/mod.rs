//! `weir demo`: the three modes on this machine, with made-up certificates and backends.
//!
//! - [`setup`] certificates, backends, and a configuration for them, in a folder of their own.
//! - [`backends`] two small HTTP servers that say what they see: one in the clear, one behind TLS.
//! - [`mod@once`] a request through each mode, and what each side must have seen.
//!
//! The configuration goes the same way as any: load → compile → bind → workers, over real loopback sockets.

mod backends;
mod once;
mod setup;

use crate::run::{self, Running};
use crate::signals::{Signals, Told};
use crate::terminal::{say, takes, unless_gone};
use crate::upgrade::Program;
use anyhow::{Context, Result, anyhow};
use setup::DemoSetup;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use terminal_size::{Width, terminal_size_of};
use tokio::runtime::Builder;
use tokio::time::interval;

/// Prints a configuration that `weir check` accepts. Its certificates stay in the folder that it names.
///
/// # Errors
/// When the folder cannot be made.
pub(crate) fn print_config() -> Result<ExitCode> {
    let setup = DemoSetup::new()?;
    say(setup.config.trim_end())?;
    setup.keep();
    Ok(ExitCode::SUCCESS)
}

/// Makes a request through each mode and says what each side saw.
///
/// # Errors
/// When the demo cannot be set up; a mode that does not do its work is a failure, not an error.
pub(crate) fn once() -> Result<ExitCode> {
    play(async |setup, running, mut signals| {
        let sound = tokio::select! {
            sound = once::requests(setup) => sound,
            signal = signals.end_or_hangup() => Err(anyhow!("ended by {signal}")),
        };
        running.drain(run::Leaving::Told).await?;
        Ok(if sound? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Shows the table, then a live line of counters, until told to stop.
///
/// # Errors
/// When the demo cannot be set up.
pub(crate) fn stay() -> Result<ExitCode> {
    play(async |setup, running, signals| {
        let shown = watch(setup, &running, signals).await;
        let drained = running.drain(run::Leaving::Told).await?;
        shown.map(|()| drained)
    })
}

/// Shows the table and the live line until told to stop, or until the terminal is gone.
///
/// # Errors
/// When it cannot be written.
async fn watch(setup: &DemoSetup, running: &Running, mut signals: Signals) -> Result<()> {
    // A stdout that is not read must not keep the demo from ending.
    let shown = |text: &str| if takes(&io::stdout(), READER_TIMEOUT) { say(text) } else { Ok(()) };
    shown(&setup.table())?;
    let mut tick = interval(if io::stdout().is_terminal() { LIVE } else { LOGGED });
    loop {
        tokio::select! {
            signal = signals.end_or_hangup() => {
                // After a hangup there is no terminal to write to.
                return if signal == "SIGHUP" { Ok(()) } else { shown("\nending, and leaving nothing behind") };
            }
            _ = tick.tick() => if takes(&io::stdout(), Duration::ZERO) {
                live_line(running)?;
            },
        }
    }
}

/// How long a reader may take for output that is shown once.
const READER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the live line is written: on a terminal, and into a file.
const LIVE: Duration = Duration::from_secs(1);
const LOGGED: Duration = Duration::from_secs(10);

/// Makes the setup, starts weir in it, and removes everything afterwards.
fn play(act: impl AsyncFnOnce(&DemoSetup, Running, Signals) -> Result<ExitCode>) -> Result<ExitCode> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start the control plane")?;
    let ended = runtime.block_on(async {
        // Before the setup: a signal that ended the process by its default would leave the folder behind.
        let signals = Signals::listen().context("cannot listen to signals")?;
        let mut setup = DemoSetup::new()?;
        setup.start_backends()?;
        let prepared = run::prepare(&setup.path())?.map_err(|rejected| anyhow!("{rejected}"))?;
        let log = crate::logging::start(&prepared.compiled.plan.log, prepared.metrics())?;
        let running = Running::start(prepared, log, Program::this(), Told::default(), None).await?;
        act(&setup, running, signals).await
    });
    runtime.shutdown_timeout(run::LAST_READS);
    crate::logging::flush();
    ended
}

/// Writes the counters: into a file a line each time, on a terminal one line over the last one.
///
/// # Errors
/// When it cannot be written.
fn live_line(running: &Running) -> Result<()> {
    let plan = running.node.plan();
    let parts: Vec<String> = plan
        .listeners
        .iter()
        .map(|l| {
            let (opened, active) = l.metrics.connections();
            let bytes = l.metrics.up.get() + l.metrics.down.get();
            format!("{} {opened} ({active} open, {bytes} B)", l.name)
        })
        .collect();
    let line = format!("connections: {}", parts.join(" | "));
    let mut out = io::stdout().lock();
    let written = if out.is_terminal() {
        // Only one line of the screen can be written over: a longer one would push the commands out of sight, by a
        // line a second. The last column stays free, since some terminals go on to the next line behind it.
        let columns = terminal_size_of(&out).map_or(80, |(Width(columns), _)| usize::from(columns));
        let cut: String = line.chars().take(columns.saturating_sub(1)).collect();
        write!(out, "\r\x1b[2K{cut}")
    } else {
        writeln!(out, "{line}")
    };
    unless_gone(written.and_then(|()| out.flush()))
}

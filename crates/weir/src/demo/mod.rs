//! `weir demo`: the three modes on this machine, with made-up certificates and backends.
//!
//! - [`scene`] certificates, backends, and a configuration for them, in a folder that goes with it.
//! - [`backends`] two small HTTP servers that say what they see: one in the clear, one behind TLS.
//! - [`mod@once`] a request through each mode, and what each side must have seen.
//!
//! The configuration goes the same way as any: load → compile → bind → workers, over real loopback sockets.

mod backends;
mod once;
mod scene;

use crate::run::{self, Running};
use crate::signals::Signals;
use crate::terminal::say;
use anyhow::{Context, Result, anyhow};
use scene::Scene;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::interval;

/// Prints a configuration that `weir check` accepts. Its certificates stay in the folder that it names.
///
/// # Errors
/// When the folder cannot be made.
pub(crate) fn print_config() -> Result<ExitCode> {
    let scene = Scene::set()?;
    say(scene.config.trim_end());
    scene.keep();
    Ok(ExitCode::SUCCESS)
}

/// Makes a request through each mode and says what each side saw.
///
/// # Errors
/// When the demo cannot be set up; a mode that does not do its work is a failure, not an error.
pub(crate) fn once() -> Result<ExitCode> {
    play(async |scene, running| {
        let sound = once::requests(scene).await;
        running.drain().await?;
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Shows the table, then a live line of counters, until told to stop.
///
/// # Errors
/// When the demo cannot be set up.
pub(crate) fn stay() -> Result<ExitCode> {
    play(async |scene, running| {
        say(&scene.table());
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let mut tick = interval(if io::stdout().is_terminal() { LIVE } else { LOGGED });
        loop {
            tokio::select! {
                _ = signals.end(&running.reload) => break,
                _ = tick.tick() => live_line(&running),
            }
        }
        say("\nending, and leaving nothing behind");
        running.drain().await
    })
}

/// How often the live line is written: on a terminal, and into a file.
const LIVE: Duration = Duration::from_secs(1);
const LOGGED: Duration = Duration::from_secs(10);

/// Sets the scene, starts weir in it, and clears everything away afterwards.
fn play(act: impl AsyncFnOnce(&Scene, Running) -> Result<ExitCode>) -> Result<ExitCode> {
    let mut scene = Scene::set()?;
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start the control plane")?;
    let ended = runtime.block_on(async {
        scene.raise()?;
        let prepared = run::prepare(&scene.path())?.map_err(|rejected| anyhow!("{rejected}"))?;
        let log = crate::logging::start(&prepared.compiled.plan.log)?;
        let running = Running::start(prepared, log).await?;
        act(&scene, running).await
    });
    Runtime::shutdown_background(runtime);
    ended
}

fn live_line(running: &Running) {
    let plan = running.node.plan();
    let parts: Vec<String> = plan
        .listeners
        .iter()
        .map(|l| {
            let (opened, active) = l.metrics.connections();
            let (up, down) = (l.metrics.up.get(), l.metrics.down.get());
            format!("{}: {opened} connections ({active} open), {up} B up, {down} B down", l.name)
        })
        .collect();
    let mut out = io::stdout().lock();
    // On a terminal the line is written over the last one.
    let (before, after) = if out.is_terminal() { ("\r\x1b[2K", "") } else { ("", "\n") };
    let written = write!(out, "{before}{}{after}", parts.join(" | ")).and_then(|()| out.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "nobody reads the live line");
    }
}

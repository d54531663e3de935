//! SIGTERM and SIGINT: the first drains, the second ends at once. SIGHUP reloads, SIGUSR2 upgrades. SIGUSR1 opens the file for
//! access records anew.
//!
//! They are taken from their defaults by the first instructions of `main` ([`Taken`]), before a line of the
//! configuration is read: a SIGHUP that comes while weir starts is kept and reloads once it runs, SIGTERM and SIGINT
//! end it cleanly.

use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use weir_control::access::Switch;

/// The signals that weir listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

/// What signals tell the process to do while it goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// SIGHUP: read the configuration anew.
    pub(crate) reload: Arc<Notify>,
    /// SIGUSR2: hand over to the program on disk.
    pub(crate) upgrade: Arc<Notify>,
}

/// The signals, and the control plane's runtime, which they need.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) runtime: Runtime,
    pub(crate) signals: Signals,
}

impl Taken {
    /// Takes them over if the verb runs until told to stop; other verbs end by the signals' defaults.
    pub(crate) fn for_verb(verb: Option<&OsStr>) -> Option<Result<Self>> {
        (verb == Some(OsStr::new("run"))).then(Self::now)
    }

    /// Takes them over.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn now() -> Result<Self> {
        // Threads that read files are kept for good: later the system may start none.
        let runtime = Builder::new_current_thread().enable_all().thread_keep_alive(FOR_GOOD).build();
        let runtime = runtime.context("cannot start the control plane")?;
        let entered = runtime.enter();
        let signals = Signals::listen().context("cannot listen to signals")?;
        drop(entered);
        Ok(Self { runtime, signals })
    }
}

/// A wait without end: a hundred years.
const FOR_GOOD: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);

impl Signals {
    /// Takes the signals over from their defaults.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        // Who waits for it comes later, and until then nothing is to be done: but it must not end the process.
        drop(signal(SignalKind::user_defined1())?);
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal to end, and gives its name. `told` is told of the others before it.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn end(&mut self, told: &Told) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => told.reload.notify_one(),
                _ = self.user2.recv() => told.upgrade.notify_one(),
            }
        }
    }

    /// Waits for a signal to end, and gives its name; a hangup is one too: the terminal is gone.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn end_or_hangup(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// Opens the file for access records anew whenever SIGUSR1 tells of its rotation, or it is seen. Never returns.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn reopens(records: &Switch) {
    let mut told = signal(SignalKind::user_defined1()).ok();
    let reopen = async {
        while let Some(told) = &mut told
            && told.recv().await.is_some()
        {
            records.reopen();
            tracing::info!("SIGUSR1: the file for access records is opened anew");
        }
    };
    tokio::join!(reopen, records.follow_rotations());
}

//! SIGTERM and SIGINT: the first drains, the second ends at once.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that weir listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from their defaults.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to end, and gives its name.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // Its default would end the process, and others use it to reload.
                _ = self.hangup.recv() => tracing::warn!("SIGHUP: reload is not supported yet; restart to change the configuration"),
            }
        }
    }
}

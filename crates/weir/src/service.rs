//! What systemd is told of this process, and the sockets that it gives (sd_notify(3), sd_listen_fds(3)). Without systemd,
//! all of this does nothing.

use anyhow::{Context, Result};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use weir_router::inherited::Inherited;
use weir_router::node::{Node, Phase};

/// The listening sockets that systemd gives to this process. Must be called before the first thread starts.
///
/// # Errors
/// One of them is no stream socket that listens.
pub(crate) fn given_sockets() -> Result<Inherited> {
    let (mut given, mut inherited) = (ListenFd::from_env(), Inherited::default());
    for number in 0..given.len() {
        let socket = match given.take_tcp_listener(number) {
            Ok(Some(socket)) => Some(socket.into()),
            _ => given.take_unix_listener(number).with_context(|| of_systemd(number))?.map(Into::into),
        };
        if let Some(socket) = socket {
            inherited.add(socket).with_context(|| of_systemd(number))?;
        }
    }
    Ok(inherited)
}

fn of_systemd(number: usize) -> String {
    format!("socket {number} of those that systemd gives (LISTEN_FDS)")
}

/// Every address is bound, and connections are accepted.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The process drains, and ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on. Its watchdog has the whole time for its own first word.
pub(crate) fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot tell systemd");
    }
}

/// Tells systemd's watchdog that the process works, for as long as every worker does. Ends at once if there is no
/// watchdog.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn watchdog(node: Arc<Node>) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut tick = interval((within / 2).max(SHORTEST));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Vec::new();
    loop {
        tick.tick().await;
        let now = node.worker_ticks();
        match hanging(&before, &now) {
            // Workers end in a drain, one after the other.
            Some(worker) if node.phase() == Phase::Serving => {
                tracing::error!(
                    worker,
                    "a worker hangs: systemd's watchdog is not told that this process works"
                );
            }
            _ => tell(&[NotifyState::Watchdog]),
        }
        before = now;
    }
}

/// The first worker that has not moved on.
fn hanging(before: &[u64], now: &[u64]) -> Option<usize> {
    before.iter().zip(now).position(|(before, now)| before == now)
}

/// Workers move on every 400 ms.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_move_on_hangs() {
        assert_eq!(hanging(&[], &[1, 2]), None);
        assert_eq!(hanging(&[1, 2], &[2, 3]), None);
        assert_eq!(hanging(&[1, 2, 3], &[2, 2, 4]), Some(1));
    }
}

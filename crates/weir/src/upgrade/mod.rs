//! A new binary takes over under traffic: SIGUSR2, or `weir upgrade`.
//!
//! The running process, the predecessor, starts the program on disk anew, with its own arguments, and talks to it over
//! a pair of Unix sockets, of which the new process, the successor, finds one as its stdin. Every listening socket is
//! handed over, so none closes and no backlog is lost; so are the secret of tickets and cookies, and what an operator
//! has set by hand. The successor reads its configuration by itself. Until it says that it accepts connections, the
//! predecessor goes on as if nothing were; whatever goes wrong before that ends the successor alone.
//!
//! ```text
//!  predecessor                                    successor
//!       ── starts it ────────────────────────────▶
//!       ◀──────────────────────────── Begun ──────  within BEGUN_WITHIN
//!       ── Secret, Sockets…, Whole ──────────────▶
//!                                                   loads, compiles, takes sockets over, binds others
//!       ◀──────────────────────── Prepared ───────  within PREPARED_WITHIN of Begun
//!       ── ByHand…, Go ──────────────────────────▶
//!                                                   accepts
//!       ◀──────────────────────────── Ready ──────  within READY_WITHIN
//!     drains
//! ```
//!
//! - [`message`] what they say, a packet each, with descriptors.
//! - [`predecessor`] starts a successor, and hands over.
//! - [`successor`] takes over.

mod message;
pub(crate) mod predecessor;
pub(crate) mod successor;

pub(crate) use predecessor::{Predecessor, Program};
pub(crate) use successor::Successor;

use anyhow::{Context, Result};
use std::future::pending;
use std::pin::pin;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;
use weir_admin::{Bound, NotUpgraded, UpgradeRequest, Upgraded};
use weir_control::aside::aside;
use weir_control::operator;
use weir_core::plan::Plan;
use weir_router::node::Node;
use weir_router::unix::SocketFile;

/// Hands over whenever that is wished, by SIGUSR2 (`told`) or through the admin server (`requests`), until a successor
/// accepts connections. Gives that process.
///
/// # Cancel safety
/// A successor that is about to take over when this is dropped is ended, once the node has left [`Phase::Serving`].
///
/// [`Phase::Serving`]: weir_router::node::Phase::Serving
pub(crate) async fn succeeded(
    predecessor: &Arc<Predecessor>,
    told: &Notify,
    requests: &mut Receiver<UpgradeRequest>,
) -> Child {
    loop {
        let answer = tokio::select! {
            () = told.notified() => None,
            Some(answer) = requests.recv() => Some(answer),
        };
        let mut upgrade = pin!(upgrade(predecessor));
        let upgraded = loop {
            tokio::select! {
                upgraded = &mut upgrade => break upgraded,
                Some(other) = requests.recv() => drop(other.send(Err(busy("another upgrade is under way")))),
            }
        };
        let (answered, process) = match upgraded {
            Ok((upgraded, process)) => {
                let Upgraded { pid, version } = &upgraded;
                tracing::info!(pid, version, "another process has taken over");
                (Ok(upgraded), Some(process))
            }
            Err(error) => {
                tracing::error!(error = %error.why, "the upgrade failed, this process goes on");
                (Err(error), None)
            }
        };
        if let Some(answer) = answer {
            // The caller may have hung up.
            drop(answer.send(answered));
        }
        if let Some(process) = process {
            requests.close();
            while let Ok(late) = requests.try_recv() {
                drop(late.send(Err(busy("another process has taken over just now"))));
            }
            return process;
        }
    }
}

async fn upgrade(predecessor: &Arc<Predecessor>) -> Result<(Upgraded, Child), NotUpgraded> {
    // It would open and close sockets.
    let Some(_no_reload) = predecessor.control.hold_reloads() else {
        return Err(busy("a reload is under way; try again when it has ended"));
    };
    tracing::info!("starting another process to take over");
    let handing_over = Arc::clone(predecessor);
    let handed_over = async {
        aside(move || handing_over.hand_over())?.await.context("the upgrade panicked: see the log")?
    };
    handed_over.await.map_err(|error| NotUpgraded { busy: false, why: format!("{error:#}") })
}

fn busy(why: &str) -> NotUpgraded {
    NotUpgraded { busy: true, why: why.to_owned() }
}

/// Waits for the end of the process that has taken over; without one it never returns.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn ends(process: &mut Option<Child>) -> ExitStatus {
    let Some(process) = process else { return pending().await };
    loop {
        sleep(LOOK).await;
        if let Ok(Some(status)) = process.try_wait() {
            return status;
        }
    }
}

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Says that this process accepts connections, and takes over the files of Unix sockets.
///
/// # Errors
/// The predecessor has gone without a drain.
pub(crate) fn ready(successor: &Successor, node: &Node, admin: Option<&Bound>) -> Result<()> {
    successor.ready()?;
    for file in files(node, admin) {
        file.own(!successor.is_foreign(file.path()));
    }
    Ok(())
}

/// The files of all Unix sockets of this process.
fn files(node: &Node, admin: Option<&Bound>) -> Vec<Arc<SocketFile>> {
    let listeners = node.sockets.all().into_iter().filter_map(|socket| socket.file.clone());
    listeners.chain(admin.and_then(Bound::file)).collect()
}

/// Takes up what an operator has set by hand at the predecessor, on backends of a plan that nothing uses yet.
///
/// # Errors
/// The predecessor has gone.
pub(crate) async fn set_by_hand(successor: &Arc<Successor>, plan: &Plan) -> Result<()> {
    let prepared = Arc::clone(successor);
    let set = aside(move || prepared.prepared())?.await.context("cannot take over")??;
    let missing = operator::set_by_hand(plan, &set);
    if missing > 0 {
        tracing::warn!(
            missing,
            "backends that were changed by hand are not in the configuration any more, or their names are not resolved yet: they are as configured"
        );
    }
    Ok(())
}

/// Set for a successor: it finds a socket of its predecessor as its stdin.
const VARIABLE: &str = "WEIR_UPGRADE";

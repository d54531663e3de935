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

use crate::service;
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;
use weir_admin::{UpgradeRequest, Upgraded};
use weir_control::aside::aside;
use weir_control::operator;
use weir_core::plan::Plan;

/// Hands over whenever that is wished, by SIGUSR2 (`told`) or through the admin server (`requests`), until a successor
/// accepts connections.
///
/// # Cancel safety
/// A successor that is about to take over when this is dropped finds its predecessor gone, and ends.
pub(crate) async fn succeeded(
    predecessor: &Arc<Predecessor>,
    told: &Notify,
    requests: &mut Receiver<UpgradeRequest>,
) {
    loop {
        let answer = tokio::select! {
            () = told.notified() => None,
            Some(answer) = requests.recv() => Some(answer),
        };
        let upgraded = upgrade(predecessor).await;
        match &upgraded {
            Ok(Upgraded { pid, version }) => tracing::info!(pid, version, "another process has taken over"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the upgrade failed, this process goes on")
            }
        }
        let done = upgraded.is_ok();
        if let Some(answer) = answer {
            // The caller may have hung up.
            drop(answer.send(upgraded.map_err(|error| format!("{error:#}"))));
        }
        if done {
            return;
        }
    }
}

async fn upgrade(predecessor: &Arc<Predecessor>) -> Result<Upgraded> {
    // It would open and close sockets.
    let Some(_no_reload) = predecessor.control.hold_reloads() else {
        bail!("a reload is under way; try again when it has ended")
    };
    tracing::info!("starting another process to take over");
    let handing_over = Arc::clone(predecessor);
    let upgraded =
        aside(move || handing_over.hand_over())?.await.context("the upgrade panicked: see the log")??;
    for file in predecessor.control.node.sockets.all().iter().filter_map(|socket| socket.file.as_ref()) {
        file.hand_over();
    }
    if let Some(admin) = &predecessor.admin {
        admin.hand_over();
    }
    service::main_process(upgraded.pid);
    Ok(upgraded)
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
        tracing::warn!(missing, "backends that were changed by hand are not in the configuration any more");
    }
    Ok(())
}

/// Set for a successor: it finds a socket of its predecessor as its stdin.
const VARIABLE: &str = "WEIR_UPGRADE";

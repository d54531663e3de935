//! Work that reads files, on a thread beside the control plane's.
//!
//! The runtime's blocking pool does it. weir starts three of its threads at the beginning and keeps them, so that a limit
//! on threads (`TasksMax`, `ulimit -u`) reached later does no harm: work then waits for one of the three.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::task::{JoinHandle, spawn_blocking};

/// The blocking pool has no thread, and the system starts none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no thread can be started: a limit on processes or threads is reached")]
pub struct NoThread;

/// Does `work` on another thread.
///
/// # Errors
/// If the pool has no thread yet and the system starts none. The work stays queued: the next thread that starts does it.
pub fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    // tokio reports this by a panic alone. It panics with its locks released, so its state stays whole.
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))).map_err(|_panic| NoThread)
}

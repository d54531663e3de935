//! Work that reads files, on a thread beside the control plane's.
//!
//! The runtime's blocking pool does it. weir has two of its threads from the start on and keeps them: a limit on
//! threads (`TasksMax`, `ulimit -u`) that is reached later takes nothing from it, because work then waits for one of
//! these two.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::task::{JoinHandle, spawn_blocking};

/// There is no thread, and none can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no thread can be started: a limit on processes or threads is reached")]
pub struct NoThread;

/// Does `work` on another thread.
///
/// # Errors
/// When there is no such thread yet and none can be started; the work is then done by the next one that can be, or never.
pub fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    // A panic is all that tokio says of it. Nothing of its state is left halfway: it panics with its locks released.
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))).map_err(|_panic| NoThread)
}

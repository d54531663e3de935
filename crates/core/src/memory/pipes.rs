//! A worker's pool of pipes for splice(2).
//!
//! A flow holds a pipe only while it fills it or bytes are inside, so a few pipes serve many connections. The
//! kernel gives an unprivileged user about 64 MiB of pipes (`pipe-user-pages-soft`) and then shrinks new ones
//! to 8 KiB. So the budget stays below that, an undersized pipe is not used, and a flow without a pipe
//! copies.

use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Once;
use weir_metrics::WorkerMetrics;

/// How many pipes a worker may hold.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// At most this many, in use or pooled.
    pub pipes: usize,
}

/// Both ends of a pipe, empty whenever it is in the pool. A dropped pipe counts as closed.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    pub(crate) capacity: usize,
    held: Rc<Held>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.held.add(-1);
    }
}

/// Counts the pipes that exist, pooled or in use.
#[derive(Debug)]
struct Held {
    pipes: Cell<usize>,
    buffer: usize,
    metrics: WorkerMetrics,
}

impl Held {
    fn add(&self, n: isize) {
        let pipes = self.pipes.get().saturating_add_signed(n);
        self.pipes.set(pipes);
        self.metrics.pipes.set(i64::try_from(pipes).unwrap_or(i64::MAX));
        let bytes = self.buffer + pipes * WANTED;
        self.metrics.relay_buffer.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[derive(Debug)]
pub(crate) struct Pipes {
    free: RefCell<Vec<Pipe>>,
    /// The fewest pipes free at any time since the last trim: so many were not needed.
    unneeded: Cell<usize>,
    held: Rc<Held>,
    budget: Budget,
    /// Whether splice(2) works here, as far as is known.
    usable: Cell<bool>,
}

/// Each worker finds out by itself, but only the first one logs it.
static SAID: Once = Once::new();

/// Wanted capacities: ten times fewer calls with 1 MiB than with the default of 64 KiB.
const WANTED: usize = 1 << 20;
const CAPACITIES: [usize; 2] = [WANTED, 1 << 18];
/// A smaller pipe shows that the user's budget is spent: copying is then cheaper.
const SMALLEST: usize = 1 << 16;

impl Pipes {
    pub(crate) fn new(budget: Budget, buffer: usize, metrics: WorkerMetrics) -> Self {
        let held = Rc::new(Held { pipes: Cell::new(0), buffer, metrics });
        held.add(0);
        Self { free: RefCell::default(), unneeded: Cell::new(0), held, budget, usable: Cell::new(true) }
    }

    /// An empty pipe, or `None` if the budget or the kernel has none, or splice(2) does not work.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if !self.usable.get() {
            return None;
        }
        let pooled = self.free.borrow_mut().pop();
        self.unneeded.set(self.unneeded.get().min(self.free.borrow().len()));
        pooled.or_else(|| self.make())
    }

    /// Returns an empty pipe.
    pub(crate) fn give(&self, pipe: Pipe) {
        if self.usable.get() {
            self.free.borrow_mut().push(pipe);
        }
    }

    /// Stops using pipes on this worker, because this machine lacks splice(2) or forbids it.
    pub(crate) fn give_up(&self, error: &io::Error) {
        if self.usable.replace(false) {
            SAID.call_once(|| tracing::warn!(%error, "splice(2) does not work here: bulk is copied instead"));
        }
        self.free.borrow_mut().clear();
    }

    /// Closes the pipes that were not needed since the last call.
    pub(crate) fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let keep = free.len() - self.unneeded.get().min(free.len());
        free.truncate(keep);
        self.unneeded.set(keep);
    }

    fn make(&self) -> Option<Pipe> {
        if self.held.pipes.get() >= self.budget.pipes {
            return None;
        }
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        for capacity in CAPACITIES {
            if fcntl_setpipe_size(&write, capacity).is_ok() {
                break;
            }
        }
        let capacity = fcntl_getpipe_size(&write).ok().filter(|c| *c >= SMALLEST)?;
        self.held.add(1);
        Some(Pipe { read, write, capacity, held: Rc::clone(&self.held) })
    }
}

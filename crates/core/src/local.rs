//! What a connection may touch of its worker: nothing of it is shared with another thread.

use crate::account::queue::Records;
use crate::memory::Memory;
use std::cell::RefCell;
use weir_pool::selector::Cursors;

/// A worker, as its connections see it.
#[derive(Debug)]
pub struct Local {
    /// The read buffer and the pipes.
    pub memory: Memory,
    /// Its place in the rotation of each pool.
    pub cursors: RefCell<Cursors>,
    /// Where its records go.
    pub records: Option<Records>,
}

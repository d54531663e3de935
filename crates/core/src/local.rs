//! The parts of a worker that its connections may touch: only the tables of clients are shared with other threads.

use crate::account::sinks::Sinks;
use crate::clients::Clients;
use crate::handshakes::Handshakes;
use crate::memory::Memory;
use crate::rates::Rates;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use weir_pool::selector::Selector;

/// A worker, as its connections see it.
#[derive(Debug)]
pub struct Local {
    /// The read buffer and the pipes.
    pub memory: Memory,
    /// The turns of its TLS handshakes.
    pub handshakes: Handshakes,
    /// Its place in the rotation of each pool.
    pub selector: RefCell<Selector>,
    /// The open connections of clients, of the whole process.
    pub clients: Arc<Clients>,
    /// The rates of clients, of the whole process.
    pub rates: Arc<Rates>,
    /// Where the accounts of its connections go.
    pub sinks: Rc<Sinks>,
}

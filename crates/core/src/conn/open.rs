//! The beginning of a connection: what the accept loop hands over.

use super::{Client, Conn};
use crate::account::queue::Opening;
use crate::account::record::Record;
use crate::account::sinks::Sinks;
use crate::limits::{Permit, Unfinished};
use crate::plan::{Listener, Recording};
use crate::socket::Socket;
use crate::stop::ConnHandle;
use std::rc::Rc;
use std::sync::Arc;

/// A connection as the accept loop hands it over.
#[derive(Debug)]
pub struct Accepted {
    /// The client's socket.
    pub stream: Socket,
    /// Its number, its addresses, the plan at its accept.
    pub opening: Opening,
    /// Ends the connection from outside.
    pub handle: Rc<ConnHandle>,
    /// Its place among the connections without a complete hello or handshake.
    pub pending: Unfinished,
    /// Its permits within the limits of process and listener.
    pub permits: [Permit; 2],
}

impl Conn {
    /// Opens the connection's account, which goes to the sinks: its failure, and the records that are to be written.
    pub fn open(accepted: Accepted, listener: &Listener, sinks: (Rc<Sinks>, Recording)) -> Box<Self> {
        let Accepted { stream, opening, handle, pending, permits } = accepted;
        let metrics = Arc::clone(&listener.metrics);
        Box::new(Self {
            client: Client::Bare(stream),
            prefix: Vec::new(),
            handle,
            pending: Some(pending),
            _permits: permits,
            place: None,
            record: Record::open(opening, listener.mode, metrics, sinks),
        })
    }
}

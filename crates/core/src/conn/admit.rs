//! The beginning of a connection: what it is given at accept.

use super::{Client, Conn};
use crate::account::error::Stage;
use crate::account::queue::{Opening, Records};
use crate::account::record::Record;
use crate::limits::{Permit, Unfinished};
use crate::plan::Listener;
use crate::stop::ConnHandle;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A connection as the accept loop has it.
#[derive(Debug)]
pub struct Admitted {
    /// The client's socket.
    pub stream: TcpStream,
    /// Its number, its addresses, the plan that it begins with.
    pub opening: Opening,
    /// Ends the connection from outside.
    pub handle: Rc<ConnHandle>,
    /// Its place among those without a complete hello or handshake.
    pub pending: Unfinished,
    /// Its room in the limits of process and listener.
    pub permits: [Permit; 2],
}

impl Conn {
    /// Opens the connection's account. `records`: where its record goes, if connections are recorded.
    pub fn admit(admitted: Admitted, listener: &Listener, records: Option<Records>) -> Box<Self> {
        let Admitted { stream, opening, handle, pending, permits } = admitted;
        let metrics = Arc::clone(&listener.settings.metrics);
        Box::new(Self {
            client: Client::Bare(stream),
            ahead: Vec::new(),
            handle,
            pending: Some(pending),
            _permits: permits,
            stage: Stage::Peek,
            record: Record::open(opening, listener.mode, metrics, records),
        })
    }
}

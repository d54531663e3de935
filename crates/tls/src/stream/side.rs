//! The differences between the two ends of a TLS connection.

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::UnbufferedStatus;
use std::fmt;

/// One end of a TLS connection: [`AsServer`] towards clients, [`AsClient`] towards backends.
pub trait Role: Unpin {
    /// rustls' data for this end.
    type Data;
    /// Whether the last flight that this end sends in a TLS 1.3 handshake consists of tickets.
    const ENDS_WITH_TICKETS: bool;
    /// Processes `incoming`, which begins where the last call's `discard` ended.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// The state that both ends share, such as the negotiated version.
    fn common(&self) -> &CommonState;
}

/// weir's end towards clients.
pub struct AsServer(pub(crate) UnbufferedServerConnection);

/// weir's end towards backends.
pub struct AsClient(pub(crate) UnbufferedClientConnection);

impl Role for AsServer {
    type Data = ServerConnectionData;
    const ENDS_WITH_TICKETS: bool = true;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.0.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        &self.0
    }
}

impl Role for AsClient {
    type Data = ClientConnectionData;
    const ENDS_WITH_TICKETS: bool = false;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.0.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        &self.0
    }
}

impl fmt::Debug for AsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsServer")
    }
}

impl fmt::Debug for AsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsClient")
    }
}

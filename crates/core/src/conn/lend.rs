//! A connection that is served request by request: what its server takes out of the body.

use super::{Client, Conn};
use crate::relay::Tls;
use crate::socket::Socket;
use crate::stop::ConnHandle;
use std::rc::Rc;
use weir_tls::AsServer;

impl Conn {
    /// Takes the TLS session with the client, for a server that owns it to its end. The end of the connection then tells
    /// the client nothing more.
    pub fn take_session(&mut self) -> Tls<AsServer> {
        self.update_live();
        match self.client.take() {
            Client::Tls(session) => *session,
            Client::Bare(_) | Client::Taken => unreachable!("requests come after the handshake"),
        }
    }

    /// Takes the socket of a client that speaks plain HTTP, for a server that owns it to its end.
    pub fn take_socket(&mut self) -> Socket {
        match self.client.take() {
            Client::Bare(socket) => socket,
            Client::Tls(_) | Client::Taken => unreachable!("plain HTTP has no handshake"),
        }
    }

    /// What ends the connection from outside.
    pub fn handle(&self) -> Rc<ConnHandle> {
        Rc::clone(&self.handle)
    }
}

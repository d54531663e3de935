//! One connection's body: what it holds and what is known of it, lent to each stage in turn.
//!
//! - [`admit`] its beginning: what it is given at accept.
//! - [`Conn::peek`], [`Conn::choose_route`]: what the client asks for, and where that leads.
//! - [`handshake`] TLS with the client.
//! - [`reach`] a backend for it, and the terms of the relay.
//! - [`farewell`] what the client hears of an early end, and the closing of the record.

pub mod admit;
pub mod farewell;
pub mod handshake;
pub mod reach;

pub use admit::Admitted;
pub use reach::Asked;

use crate::account::error::{ConnError, Stage};
use crate::account::record::Record;
use crate::hello::HelloError;
use crate::limits::{Permit, Unfinished};
use crate::local::Local;
use crate::peek::{self, Peeked};
use crate::plan::{Destination, Listener, Mode};
use crate::relay::Tls;
use crate::stop::ConnHandle;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;
use weir_tls::AsServer;

/// One connection, from accept to account. It is boxed once; its stages borrow it.
#[derive(Debug)]
pub struct Conn {
    client: Client,
    /// What was read of the client before its route was known.
    ahead: Vec<u8>,
    /// Ends the connection from outside.
    handle: Rc<ConnHandle>,
    /// Its place among the connections without a complete hello or handshake.
    pending: Option<Unfinished>,
    /// Its room in the limits of process and listener.
    _permits: [Permit; 2],
    /// Where it is on its way.
    stage: Stage,
    /// What is known of it.
    pub record: Record,
}

/// The client's side.
#[derive(Debug)]
enum Client {
    /// Its socket.
    Bare(TcpStream),
    /// A TLS session with it. Boxed, because a connection of passthrough must not carry its size.
    Tls(Box<Tls<AsServer>>),
    /// A stage has it, or it is closed.
    Taken,
}

impl Client {
    fn take(&mut self) -> Self {
        mem::replace(self, Self::Taken)
    }

    /// The bare socket: of a stage before the handshake, or of passthrough.
    fn bare(&mut self) -> &mut TcpStream {
        match self {
            Self::Bare(stream) => stream,
            Self::Tls(_) | Self::Taken => unreachable!("the client is bare until its handshake"),
        }
    }

    /// The TLS session: of a stage behind the handshake.
    fn tls(&mut self) -> &mut Tls<AsServer> {
        match self {
            Self::Tls(stream) => stream,
            Self::Bare(_) | Self::Taken => unreachable!("the handshake is done"),
        }
    }
}

impl Conn {
    /// Reads the client's first bytes and finds its hello in them, where the listener wants that.
    ///
    /// # Errors
    /// The bytes are no hello that weir takes, or none came in time.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future loses the bytes that were read.
    pub async fn peek(&mut self, listener: &Listener, local: &Local) -> Result<(), ConnError> {
        let Some(rules) = &listener.peek else { return Ok(()) };
        let settings = &listener.settings;
        let deadline = self.record.opened() + settings.timeouts.client_hello;
        let client = self.client.bare();
        let reading =
            pin!(peek::client_hello(client, rules.ceiling, deadline, &local.memory, &settings.metrics));
        match self.handle.run_until_cancelled(reading).await? {
            Ok(Peeked { hello, bytes }) => (self.record.hello, self.ahead) = (Some(hello), bytes),
            Err(other) if rules.non_tls && matches!(other.error, ConnError::Hello(HelloError::NotTls)) => {
                self.ahead = other.bytes;
            }
            Err(refused) => return Err(refused.error),
        }
        Ok(())
    }

    /// Chooses the route for what is known of the client. It is not kept whole: a connection may outlive many plans, and
    /// a route's certificates need not.
    ///
    /// # Errors
    /// [`ConnError::NoRoute`].
    pub fn choose_route(&mut self, listener: &Listener) -> Result<(Mode, Arc<Destination>), ConnError> {
        self.stage = Stage::Route;
        let source = self.record.opening().client.ip();
        let route = listener.choose(self.record.hello.as_deref(), source).ok_or(ConnError::NoRoute)?;
        self.record.routed(route.mode.label(), &route.destination.pool.name);
        Ok((route.mode.clone(), Arc::clone(&route.destination)))
    }

    /// The client has shown that it is one: the connection does not count as pending any more.
    pub fn release_pending(&mut self) {
        self.pending = None;
    }
}

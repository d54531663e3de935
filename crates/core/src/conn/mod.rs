//! One connection's body: its resources and its facts, lent to each stage in turn.
//!
//! - [`open`] its beginning, at accept.
//! - [`admit`] who the client is, and whether it may come in.
//! - [`Conn::peek`], [`Conn::choose_route`]: the client's wishes, and the route for them.
//! - `words` the plain words in front of TLS.
//! - [`handshake`] TLS with the client.
//! - [`reach`] a backend for it, and the terms of the relay.
//! - [`lend`] what a server of requests takes.
//! - [`farewell`] the farewell to the client after an early end, and the closing of the record.

pub mod admit;
pub mod farewell;
pub mod handshake;
pub mod lend;
pub mod open;
pub mod reach;
mod words;

pub use crate::account::record::Asked;
pub use open::Accepted;

use crate::account::error::ConnError;
use crate::account::outcome::Stage;
use crate::account::record::Record;
use crate::clients::Place;
use crate::hello::HelloError;
use crate::limits::{Permit, Unfinished};
use crate::local::Local;
use crate::peek::{self, Peeked};
use crate::plan::{Destination, Kind, Listener, Mode, ModeName};
use crate::relay::Tls;
use crate::socket::Socket;
use crate::stop::ConnHandle;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use weir_tls::AsServer;

/// One connection, from accept to account. It is boxed once; its stages borrow it.
#[derive(Debug)]
pub struct Conn {
    client: Client,
    /// Bytes read from the client before its route was known.
    prefix: Vec<u8>,
    /// Ends the connection from outside.
    handle: Rc<ConnHandle>,
    /// Its place among the connections without a complete hello or handshake.
    pending: Option<Unfinished>,
    /// Its permits within the limits of process and listener.
    _permits: [Permit; 2],
    /// Its place among its client's connections; `None` for a trusted proxy, and on a Unix socket.
    place: Option<Place>,
    /// All facts about it.
    pub record: Record,
}

/// The client's side.
#[derive(Debug)]
enum Client {
    /// Its socket.
    Bare(Socket),
    /// A TLS session with it. Boxed, so that a passthrough connection does not carry its size.
    Tls(Box<Tls<AsServer>>),
    /// A stage has taken it, or it is closed.
    Taken,
}

impl Client {
    fn take(&mut self) -> Self {
        mem::replace(self, Self::Taken)
    }

    /// The bare socket, for stages before the handshake and for passthrough.
    fn bare(&mut self) -> &mut Socket {
        match self {
            Self::Bare(stream) => stream,
            Self::Tls(_) | Self::Taken => unreachable!("the client is bare until its handshake"),
        }
    }

    /// The TLS session, for stages after the handshake.
    fn tls(&mut self) -> &mut Tls<AsServer> {
        match self {
            Self::Tls(stream) => stream,
            Self::Bare(_) | Self::Taken => unreachable!("the handshake is done"),
        }
    }
}

impl Conn {
    /// Reads the client's first bytes and parses its hello, if the listener peeks.
    ///
    /// # Errors
    /// The bytes are no hello that weir accepts, or no hello arrived in time.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future loses the bytes that were read.
    pub async fn peek(&mut self, listener: &Listener, local: &Local) -> Result<(), ConnError> {
        let Some(rules) = &listener.peek else { return Ok(()) };
        if let Some(protocol) = rules.starttls {
            // Boxed: it is over soon, and an idle connection must not carry its size.
            Box::pin(self.plain_words(protocol, listener)).await?;
        }
        let Kind::Stream(stream) = &listener.kind;
        let deadline = self.record.opened() + stream.settings.timeouts.client_hello;
        let ja4 = self.record.recording().on;
        let terms = peek::Terms { ceiling: rules.ceiling, deadline, ja4 };
        let client = self.client.bare();
        let reading = pin!(peek::client_hello(client, terms, &local.memory, &listener.metrics));
        match self.handle.run_until_cancelled(reading).await? {
            Ok(Peeked { hello, bytes }) => (self.record.hello, self.prefix) = (Some(hello), bytes),
            Err(other) => {
                if !other.bytes.is_empty() {
                    self.record.hears();
                }
                match other.error {
                    ConnError::Hello(HelloError::NotTls) if rules.non_tls => self.prefix = other.bytes,
                    refused => return Err(refused),
                }
                return Ok(());
            }
        }
        self.record.hears();
        Ok(())
    }

    /// Chooses the route for the client's hello and address. Returns only parts of the route, because a
    /// connection may outlive many plans and must not keep a route's certificates alive.
    ///
    /// # Errors
    /// [`ConnError::NoRoute`].
    pub fn choose_route(&mut self, listener: &Listener) -> Result<(Mode, Arc<Destination>), ConnError> {
        self.record.stage = Stage::Route;
        let source = self.record.opening().client.ip();
        let route = listener.choose(self.record.hello.as_deref(), source).ok_or(ConnError::NoRoute)?;
        let mode = route.mode.name();
        // Its requests have a pool each.
        let carries_requests = listener.http().is_some() && mode != ModeName::Passthrough;
        self.record.routed(mode, (!carries_requests).then_some(&route.destination.pool.name));
        if let Some(live) = self.record.begins() {
            self.handle.lives(live);
        }
        Ok((route.mode.clone(), Arc::clone(&route.destination)))
    }

    /// Updates the data of the open connection's next record, if it has any.
    fn update_live(&self) {
        if let Some(live) = self.handle.live() {
            self.record.update(live);
        }
    }

    /// The client has completed its hello or handshake, so the connection no longer counts as pending.
    pub fn release_pending(&mut self) {
        self.pending = None;
    }
}

//! A backend for the connection, and the terms of the relay with it.

use super::{Client, Conn};
use crate::account::error::{ConnError, ConnectError, Stage};
use crate::account::outcome::Finished;
use crate::account::record::Traffic;
use crate::connect::{Dialling, Reached};
use crate::local::Local;
use crate::plan::Destination;
use crate::relay::{NoReply, OnTruncation, Prefix, Rules, Terms, Tls};
use crate::stop::ConnHandle;
use std::mem;
use tokio::net::TcpStream;
use weir_pool::selector::Asker;
use weir_pool::{Backend, HelloReplay};
use weir_tls::AsServer;

/// What the client asked for, of which a session with the backend may depend.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name in its hello.
    pub sni: Option<&'a str>,
    /// What ALPN agreed on with it.
    pub alpn: Option<&'a [u8]>,
}

impl Conn {
    /// Reaches a backend that the connection has not tried yet, by whatever `secure` makes of the bare connection.
    ///
    /// # Errors
    /// No backend may take the connection, none could be reached, or the connection was told to end.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was dialled and gives its place back.
    pub async fn reach<S>(
        &mut self,
        destination: &Destination,
        local: &Local,
        secure: impl AsyncFn(TcpStream, &Backend, Asked<'_>) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        self.stage = Stage::Connect;
        let source = self.record.opening().client.ip();
        let (asked, tries) = self.record.asked();
        let Destination { pool, settings } = destination;
        let mut dialling = Dialling {
            pool,
            asker: Asker { source, sni: asked.sni },
            deadline: settings.timeouts.connect,
            options: &settings.options,
            cursors: &local.cursors,
            tries,
        };
        let dialled = dialling.reach(async |stream, backend| secure(stream, backend, asked).await);
        // Boxed: an idle connection must not carry the size of a handshake.
        let reached = self.handle.run_until_cancelled(Box::pin(dialled)).await??;
        self.handle.served_by(&reached.reserved.backend().live);
        self.stage = Stage::Relay;
        Ok(reached)
    }

    /// What was read ahead, to go first to the backend, and to another one where the pool's rule and the hello allow that.
    pub fn take_ahead(&mut self, replay: HelloReplay) -> Prefix {
        let bytes = mem::take(&mut self.ahead);
        let replay = match &self.record.hello {
            Some(hello) if hello.may_be_replayed(bytes.len()) => replay,
            _ => HelloReplay::Never,
        };
        Prefix::new(bytes, replay)
    }

    /// What a relay of the bare client takes: its socket, the terms, the account.
    pub fn to_relay_bare<'a>(
        &'a mut self,
        destination: &'a Destination,
        local: &'a Local,
    ) -> (&'a mut TcpStream, Terms<'a>, &'a mut Traffic) {
        // Not asked: TLS is not weir's here.
        let terms = terms(destination, local, &self.handle, OnTruncation::PassOn);
        (self.client.bare(), terms, &mut self.record.traffic)
    }

    /// What a relay of the client's TLS session takes: the session, the terms, the account.
    pub fn to_relay_tls<'a>(
        &'a mut self,
        destination: &'a Destination,
        local: &'a Local,
        truncation: OnTruncation,
    ) -> (&'a mut Tls<AsServer>, Terms<'a>, &'a mut Traffic) {
        let terms = terms(destination, local, &self.handle, truncation);
        (self.client.tls(), terms, &mut self.record.traffic)
    }

    /// The TLS session with the client, behind the relay.
    pub fn client_tls(&mut self) -> &mut Tls<AsServer> {
        self.client.tls()
    }

    /// Ends the client as the last backend ended without a word, where no other backend is left.
    ///
    /// # Errors
    /// A backend that broke, for the record.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub async fn pass_on(&mut self, silence: NoReply, local: &Local) -> Result<Finished, ConnError> {
        self.stage = Stage::Relay;
        let Client::Bare(client) = self.client.take() else {
            unreachable!("a hello is replayed by passthrough")
        };
        // Boxed: a connection must not carry the size of its end.
        Box::pin(silence.pass_on(client, &local.memory, &self.handle)).await
    }
}

/// How the relay behaves.
fn terms<'a>(
    destination: &'a Destination,
    local: &'a Local,
    handle: &'a ConnHandle,
    client_truncation: OnTruncation,
) -> Terms<'a> {
    let settings = &destination.settings;
    let rules = Rules {
        idle: settings.timeouts.idle,
        half_closed: settings.timeouts.half_closed,
        client_truncation,
        // Only bridging has TLS there, and passes it on as it is.
        backend_truncation: OnTruncation::PassOn,
    };
    Terms { rules, options: &settings.options, memory: &local.memory, handle }
}

//! A backend for the connection, and the terms of the relay with it.

use super::{Client, Conn};
use crate::account::error::{ConnError, ConnectError};
use crate::account::outcome::{Finished, Stage};
use crate::account::record::{Asked, Traffic};
use crate::connect::{Dialling, Reached};
use crate::local::Local;
use crate::plan::Destination;
use crate::relay::{NoReply, OnTruncation, Prefix, Rules, Terms, Tls};
use crate::socket::Socket;
use crate::stop::ConnHandle;
use std::mem;
use weir_metrics::labels::HandshakeSide;
use weir_pool::selector::ClientKey;
use weir_pool::{Backend, HelloReplay};
use weir_tls::{AsServer, HandshakeFailure};

impl Conn {
    /// Reaches a backend that the connection has not tried yet; `secure` turns the bare connection into the
    /// mode's stream.
    ///
    /// # Errors
    /// No backend may take the connection, none could be reached, or the connection was cancelled.
    ///
    /// # Cancel safety
    /// Dropping the future closes the dialled socket and gives its place back.
    pub async fn reach<S>(
        &mut self,
        destination: &Destination,
        local: &Local,
        secure: impl AsyncFn(Socket, &Backend, Asked<'_>) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        self.record.stage = Stage::Connect;
        let source = self.record.opening().client.ip();
        let preamble = self.record.preamble(destination.pool.settings.send_proxy_protocol);
        let words = self.words_for(destination.settings.starttls);
        let (asked, tries, witness) = self.record.asked();
        let Destination { pool, settings, .. } = destination;
        let dialled = async {
            let mut dialling = Dialling {
                pool,
                client: ClientKey { source, sni: asked.sni, field: None },
                from: source,
                deadline: settings.timeouts.connect,
                options: &settings.options,
                preamble,
                selector: &local.selector,
                failed: &|backend, error| {
                    witness.failed(backend, error);
                    if matches!(error, ConnectError::TlsTimedOut) {
                        let reason = HandshakeFailure::Timeout;
                        settings.metrics.handshake_failed(HandshakeSide::Backend, reason, None);
                    }
                },
                tries,
                preferred: None,
            };
            let ready = async |mut stream: Socket, backend: &Backend| {
                if let Some(words) = &words {
                    // Boxed: other connections must not carry its size.
                    Box::pin(words.say(&mut stream)).await?;
                }
                secure(stream, backend, asked).await
            };
            dialling.reach(ready).await
        };
        // Boxed, so that an idle connection does not carry the size of a handshake.
        let reached = self.handle.run_until_cancelled(Box::pin(dialled)).await??;
        self.handle.served_by(&reached.reserved.backend().state);
        self.record.stage = Stage::Relay;
        self.update_live();
        Ok(reached)
    }

    /// The bytes read ahead, which go first to the backend, and to further ones if the pool's rule and the
    /// hello allow that.
    pub fn take_ahead(&mut self, replay: HelloReplay) -> Prefix {
        let bytes = mem::take(&mut self.prefix);
        let replay = match &self.record.hello {
            Some(hello) if hello.may_be_replayed(bytes.len()) => replay,
            _ => HelloReplay::Never,
        };
        Prefix::new(bytes, replay)
    }

    /// The arguments for relaying the bare client: its socket, the terms, the account.
    pub fn to_relay_bare<'a>(
        &'a mut self,
        destination: &'a Destination,
        local: &'a Local,
    ) -> (&'a mut Socket, Terms<'a>, &'a mut Traffic) {
        // Irrelevant here: in passthrough TLS is not weir's.
        let terms = terms(destination, local, &self.handle, OnTruncation::PassOn);
        (self.client.bare(), terms, &mut self.record.traffic)
    }

    /// The arguments for relaying the client's TLS session: the session, the terms, the account.
    pub fn to_relay_tls<'a>(
        &'a mut self,
        destination: &'a Destination,
        local: &'a Local,
        truncation: OnTruncation,
    ) -> (&'a mut Tls<AsServer>, Terms<'a>, &'a mut Traffic) {
        let terms = terms(destination, local, &self.handle, truncation);
        (self.client.tls(), terms, &mut self.record.traffic)
    }

    /// The TLS session with the client, after the relay.
    pub fn client_tls(&mut self) -> &mut Tls<AsServer> {
        self.client.tls()
    }

    /// Ends the client in the way the last backend ended without an answer, when no other backend is left.
    ///
    /// # Errors
    /// The backend's error, for the record.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub async fn pass_on(&mut self, no_reply: NoReply, local: &Local) -> Result<Finished, ConnError> {
        self.record.stage = Stage::Relay;
        let Client::Bare(client) = self.client.take() else {
            unreachable!("a hello is replayed by passthrough")
        };
        // Boxed, so that a connection does not carry the size of its end.
        Box::pin(no_reply.pass_on(client, &local.memory, &self.handle)).await
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
        // Only bridging has TLS there, and passes a truncation on unchanged.
        backend_truncation: OnTruncation::PassOn,
    };
    Terms { rules, options: &settings.options, memory: &local.memory, handle }
}

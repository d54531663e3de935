//! What every mode knows of its connection; reaching a backend, and the terms of the relay.

use crate::worker::Worker;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::Side;
use weir_core::account::record::Record;
use weir_core::connect::{Dialling, Reached};
use weir_core::hello::Hello;
use weir_core::limits::Unfinished;
use weir_core::plan::Destination;
use weir_core::relay::{OnTruncation, Rules, Terms, Tls};
use weir_core::socket;
use weir_core::stop::Switch;
use weir_pool::Backend;
use weir_pool::selector::Asker;
use weir_tls::Side as TlsSide;

/// What every mode needs to know of a connection that has found its route.
#[derive(Debug)]
pub struct Road<'a> {
    /// The pool, deadlines, socket options, counters.
    pub destination: &'a Destination,
    /// Where the client is.
    pub client: SocketAddr,
    /// Ends the connection from outside.
    pub switch: &'a Switch,
    /// Its worker's memory and cursors.
    pub worker: &'a Worker,
    /// What the client asked for; none where nothing was peeked at, or it is not TLS.
    pub hello: Option<Box<Hello>>,
    /// Its place among the pending ones, until its hello or handshake is complete.
    pub unfinished: Option<Unfinished>,
}

impl Road<'_> {
    /// How backends of the route are reached.
    pub(super) fn dialling(&self) -> Dialling<'_> {
        let asker =
            Asker { source: self.client.ip(), sni: self.hello.as_ref().and_then(|h| h.sni.as_deref()) };
        let Destination { pool, settings } = self.destination;
        Dialling::new(pool, asker, settings.timeouts.connect, &settings.options, &self.worker.cursors)
    }

    /// Reaches a backend, by whatever `secure` makes of the bare connection. Where that fails the client gets a
    /// reset, because to a TLS client anything else could look like a clean end.
    pub(super) async fn reach<S>(
        &self,
        dialling: &mut Dialling<'_>,
        client: &TcpStream,
        record: &mut Record,
        secure: impl AsyncFn(TcpStream, &Backend) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        let reached = self.another(dialling, record, secure).await;
        if reached.is_err() {
            socket::reset(client);
        }
        reached
    }

    /// Reaches a backend that `dialling` has not tried yet; the client hears nothing of it.
    pub(super) async fn another<S>(
        &self,
        dialling: &mut Dialling<'_>,
        record: &mut Record,
        secure: impl AsyncFn(TcpStream, &Backend) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        // Boxed: an idle connection must not carry the size of a handshake.
        let reached = self.switch.race(Box::pin(dialling.reach(record, secure))).await??;
        self.switch.served_by(&reached.reserved.backend().live);
        Ok(reached)
    }

    /// The client has shown that it is one: it does not count as pending any more.
    pub(super) fn finished(&mut self) {
        self.unfinished = None;
    }

    /// How the relay behaves.
    pub(super) fn terms(&self, client_truncation: OnTruncation) -> Terms<'_> {
        let settings = &self.destination.settings;
        let rules = Rules {
            idle: settings.timeouts.idle,
            half_closed: settings.timeouts.half_closed,
            client_truncation,
            // Only bridging has TLS there, and passes it on as it is.
            backend_truncation: OnTruncation::PassOn,
        };
        Terms { rules, options: &settings.options, memory: &self.worker.memory, switch: self.switch }
    }
}

/// Turns `error` into [`ConnError::Alerted`] if `side` ended its TLS session with a fatal alert.
pub(super) fn told_by_alert<S: TlsSide>(error: ConnError, side: Side, tls: &Tls<S>) -> ConnError {
    match (error, tls.0.alert_received()) {
        (ConnError::Broken(whose, _), Some(alert)) if whose == side => ConnError::Alerted(side, alert),
        (error, _) => error,
    }
}

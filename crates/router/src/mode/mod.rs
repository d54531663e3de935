//! What differs between the three modes, and the steps that two of them share.

mod bridging;
mod client_handshake;
mod offload;
mod passthrough;

pub use bridging::bridging;
pub use offload::offload;
pub use passthrough::passthrough;

use crate::conn::Road;
use crate::plan::{Tcp, Truncation};
use tokio::net::TcpStream;
use weir_core::account::Record;
use weir_core::connect::{Dialling, Reached};
use weir_core::error::{ConnError, ConnectError};
use weir_core::pool::Backend;
use weir_core::relay::{OnTruncation, Rules, Terms};
use weir_core::socket::{self, Options};

impl Road<'_> {
    /// How backends of the route are reached.
    fn dialling(&self) -> Dialling<'_> {
        Dialling {
            pool: &self.route.pool,
            deadline: self.listener.timeouts.connect,
            options: Options::from(self.listener.tcp),
            cursors: &self.worker.cursors,
        }
    }

    /// Reaches a backend, by whatever `secure` makes of the bare connection. Where that fails the client gets a
    /// reset, because to a TLS client anything else could look like a clean end.
    async fn reach<S>(
        &self,
        client: &TcpStream,
        record: &mut Record,
        secure: impl AsyncFn(TcpStream, &Backend) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        let dialling = self.dialling();
        // Boxed: an idle connection must not carry the size of a handshake.
        let reached = match self.switch.race(Box::pin(dialling.reach(record, secure))).await {
            Ok(reached) => reached,
            Err(stop) => Err(stop.into()),
        };
        if reached.is_err() {
            socket::reset(client);
        }
        reached
    }

    /// The client has shown that it is one: it does not count as pending any more.
    fn finished(&mut self) {
        self.unfinished = None;
    }

    /// How the relay behaves.
    fn terms(&self, client_truncation: OnTruncation) -> Terms<'_> {
        let rules = Rules {
            idle: self.listener.timeouts.idle,
            half_closed: self.listener.timeouts.half_closed,
            client_truncation,
            // Only bridging has TLS there, and passes it on as it is.
            backend_truncation: OnTruncation::PassOn,
        };
        Terms { rules, memory: &self.worker.memory, switch: self.switch }
    }
}

impl From<Tcp> for Options {
    fn from(tcp: Tcp) -> Self {
        Self { nodelay: tcp.nodelay, keepalive: tcp.keepalive, user_timeout: tcp.user_timeout }
    }
}

impl From<Truncation> for OnTruncation {
    fn from(truncation: Truncation) -> Self {
        match truncation {
            Truncation::Reset => Self::Reset,
            Truncation::Ignore => Self::Finish,
        }
    }
}

//! The end of a connection: what the client hears of an early one, and the closing of its record.

use super::{Client, Conn};
use crate::account::error::{ConnError, Farewell, Stage};
use crate::account::outcome::Finished;
use crate::alert::{self, Alert};
use crate::hello::TLS13;
use crate::local::Local;
use crate::socket;
use tokio::net::TcpStream;

impl Conn {
    /// Tells the client of an early end, closes its socket, and closes the record.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket at once; the record then says `internal`.
    pub async fn close(&mut self, end: Result<Finished, ConnError>, local: &Local) {
        // Whatever becomes of it, it is not pending.
        self.release_pending();
        let client = self.client.take();
        if let Err(error) = &end {
            tracing::debug!(stage = ?self.stage, %error, "a connection ended early");
            match self.farewell(error) {
                Farewell::Reset => client.reset(),
                Farewell::Alert(alert) => self.tell(client, Some(alert), local).await,
                Farewell::Fin => self.tell(client, None, local).await,
                Farewell::NoRoute => self.tell(client, self.no_route(), local).await,
                Farewell::Close | Farewell::Told => drop(client),
            }
        } else {
            drop(client);
        }
        self.record.close(&end);
    }

    fn farewell(&self, error: &ConnError) -> Farewell {
        match (error, self.stage) {
            // To a client that waits for a backend anything but a reset could look like a clean end.
            (ConnError::Stopped(_), Stage::Connect) => Farewell::Reset,
            (ConnError::Stopped(_), Stage::Peek | Stage::Route | Stage::Handshake) => Farewell::Close,
            _ => error.end().farewell,
        }
    }

    /// RFC 8446 §9.2: a TLS 1.3 client that has to name a server and does not is told so; older ones know only that the
    /// name is not one of ours (RFC 6066 §3).
    fn no_route(&self) -> Option<Alert> {
        let hello = self.record.hello.as_deref()?;
        let unnamed = hello.sni.is_none() && hello.version == TLS13;
        Some(if unnamed { Alert::MissingExtension } else { Alert::UnrecognizedName })
    }

    /// Sends the alert, if there is one, and closes so that it arrives.
    async fn tell(&self, client: Client, alert: Option<Alert>, local: &Local) {
        let Client::Bare(client) = client else { return };
        // Boxed: a connection must not carry the size of its end.
        Box::pin(farewell(client, alert, self, local)).await;
    }
}

async fn farewell(client: TcpStream, alert: Option<Alert>, conn: &Conn, local: &Local) {
    match alert {
        Some(alert) => alert::refuse(client, alert, &local.memory, &conn.handle).await,
        None => alert::close_gently(client, &local.memory, &conn.handle).await,
    }
}

impl Client {
    fn reset(self) {
        match self {
            Self::Bare(stream) => socket::reset(&stream),
            Self::Tls(stream) => socket::reset(crate::relay::Wire::tcp(&*stream)),
            Self::Taken => {}
        }
    }
}

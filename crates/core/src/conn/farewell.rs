//! The end of a connection: the farewell to the client after an early one, and the closing of its record.

use super::{Client, Conn};
use crate::account::error::{ConnError, Farewell};
use crate::account::outcome::{Finished, Stage};
use crate::alert::{self, Alert};
use crate::hello::TLS13;
use crate::local::Local;
use crate::relay::Wire;
use crate::socket::Socket;

impl Conn {
    /// Tells the client about an early end, closes its socket, and closes the record.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket at once; the record then says `internal`.
    pub async fn close(&mut self, end: Result<Finished, ConnError>, local: &Local) {
        // However it goes on, the connection is no longer pending.
        self.release_pending();
        let client = self.client.take();
        match &end {
            Err(error) => {
                tracing::debug!(stage = ?self.record.stage, %error, "a connection ended early");
                let mut said = None;
                match self.farewell(error) {
                    Farewell::Reset => client.reset(),
                    Farewell::Alert(alert) => {
                        said = Some(alert);
                        self.tell(client, said, local).await;
                    }
                    Farewell::Fin | Farewell::NoRoute => self.tell(client, None, local).await,
                    Farewell::Close | Farewell::Told => drop(client),
                }
                self.record.close_early(error, said);
            }
            Ok(finished) => {
                drop(client);
                self.record.close(*finished);
            }
        }
    }

    fn farewell(&self, error: &ConnError) -> Farewell {
        match (error, self.record.stage) {
            // To a client that waits for a backend anything but a reset could look like a clean end.
            (ConnError::Stopped(_), Stage::Connect) => Farewell::Reset,
            (ConnError::Stopped(_), Stage::Peek | Stage::Route | Stage::Handshake) => Farewell::Close,
            _ => match error.end().farewell {
                Farewell::NoRoute => self.no_route().map_or(Farewell::NoRoute, Farewell::Alert),
                farewell => farewell,
            },
        }
    }

    /// RFC 8446 §9.2: a TLS 1.3 client that omits the required server name gets an alert that says so; an
    /// older client learns only that weir does not know its name (RFC 6066 §3).
    fn no_route(&self) -> Option<Alert> {
        let hello = self.record.hello.as_deref()?;
        let unnamed = hello.sni.is_none() && hello.version == TLS13;
        Some(if unnamed { Alert::MissingExtension } else { Alert::UnrecognizedName })
    }

    /// Sends the alert, if there is one, and closes so that the alert arrives.
    async fn tell(&self, client: Client, alert: Option<Alert>, local: &Local) {
        let Client::Bare(client) = client else { return };
        // Boxed, so that a connection does not carry the size of its end.
        Box::pin(farewell(client, alert, self, local)).await;
    }
}

async fn farewell(client: Socket, alert: Option<Alert>, conn: &Conn, local: &Local) {
    match alert {
        Some(alert) => alert::refuse(client, alert, &local.memory, &conn.handle).await,
        None => alert::close_gently(client, &local.memory, &conn.handle).await,
    }
}

impl Client {
    fn reset(self) {
        match self {
            Self::Bare(stream) => stream.reset(),
            Self::Tls(stream) => stream.socket().reset(),
            Self::Taken => {}
        }
    }
}

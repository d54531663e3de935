//! The handshake with the client.

use super::{Client, Conn};
use crate::account::error::{ConnError, Stage};
use crate::local::Local;
use crate::plan::{ClientTls, ListenerSettings};
use crate::relay::Tls;
use std::mem;
use std::pin::pin;
use tokio::time::{Instant, timeout};
use weir_tls::HandshakeFailure;

impl Conn {
    /// Finishes the handshake with the client. No backend is dialled before: half-open clients cost them nothing. The
    /// profile is given back: it may have thousands of certificates, and the connection may outlive many reloads.
    ///
    /// # Errors
    /// The handshake failed, took too long, or is not begun because nothing answers to the name or the versions.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future closes the client's socket.
    pub async fn handshake(
        &mut self,
        tls: ClientTls,
        settings: &ListenerSettings,
        local: &Local,
    ) -> Result<(), ConnError> {
        self.stage = Stage::Handshake;
        let metrics = &settings.metrics;
        if let Some(reason) = self.record.hello.as_deref().and_then(|hello| tls.refuses(hello)) {
            metrics.handshake_failed("client", reason.label(), None);
            return Err(ConnError::ClientTlsRefused(reason));
        }
        let Client::Bare(client) = self.client.take() else { unreachable!("one handshake a connection") };
        let started = Instant::now();
        let handshake = tls.profile.accept(client, mem::take(&mut self.ahead), &local.memory.tls);
        let handshake = pin!(timeout(settings.timeouts.handshake, handshake));
        match self.handle.run_until_cancelled(handshake).await? {
            Ok(Ok((stream, session))) => {
                self.record.secured(session, started.elapsed());
                self.release_pending();
                self.client = Client::Tls(Box::new(Tls(stream)));
                Ok(())
            }
            Ok(Err(failed)) => {
                let (reason, alert) = (failed.error.reason, failed.error.alert_name());
                metrics.handshake_failed("client", reason.label(), alert);
                self.client = Client::Bare(failed.io);
                Err(ConnError::ClientTls { reason, alert })
            }
            Err(_elapsed) => {
                metrics.handshake_failed("client", HandshakeFailure::Timeout.label(), None);
                Err(ConnError::ClientTlsTimeout)
            }
        }
    }
}

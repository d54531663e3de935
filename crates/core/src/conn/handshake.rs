//! The handshake with the client.

use super::{Client, Conn};
use crate::account::error::{ConnError, refusal};
use crate::account::outcome::Stage;
use crate::local::Local;
use crate::plan::{ClientTls, StreamSettings};
use crate::relay::Tls;
use std::mem;
use std::pin::pin;
use tokio::time::{Instant, timeout};
use weir_metrics::labels::HandshakeSide;
use weir_tls::HandshakeFailure;

impl Conn {
    /// Finishes the handshake with the client. No backend is dialled before it, so that half-open clients
    /// cost backends nothing. The profile is released afterwards, because it may have thousands of
    /// certificates, and the connection may outlive many reloads.
    ///
    /// # Errors
    /// The handshake failed, took too long, or was refused at once for the name or the versions.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future closes the client's socket.
    pub async fn handshake(
        &mut self,
        tls: ClientTls,
        settings: &StreamSettings,
        local: &Local,
    ) -> Result<(), ConnError> {
        self.record.stage = Stage::Handshake;
        let metrics = &settings.metrics;
        if let Some(reason) = self.record.hello.as_deref().and_then(|hello| tls.refuses(hello)) {
            let alert = refusal(reason).among_all();
            metrics.handshake_failed(HandshakeSide::Client, reason, Some(alert.label()));
            self.count_failed_handshake(settings, local);
            return Err(ConnError::ClientTlsRefused(reason));
        }
        let Client::Bare(client) = self.client.take() else { unreachable!("one handshake a connection") };
        let started = Instant::now();
        // The deadline includes the wait for a turn, and nothing of the session is made before it.
        let handshake = pin!(tls.profile.accept(client, mem::take(&mut self.prefix), &local.memory.tls));
        let handshake = local.handshakes.in_turns(settings.handshakes, handshake);
        let handshake = pin!(timeout(settings.timeouts.handshake, handshake));
        match self.handle.run_until_cancelled(handshake).await? {
            Ok(Ok((stream, session))) => {
                self.record.secured(session, started.elapsed());
                self.update_live();
                self.release_pending();
                self.client = Client::Tls(Box::new(Tls(stream)));
                Ok(())
            }
            Ok(Err(failed)) => {
                self.count_failed_handshake(settings, local);
                let (reason, alert) = (failed.error.reason, failed.error.alert);
                metrics.handshake_failed(HandshakeSide::Client, reason, failed.error.alert_name());
                // The library's own words: the reason alone is a class of errors.
                tracing::debug!(error = %failed.error, "TLS handshake with a client failed");
                self.client = Client::Bare(failed.io);
                Err(ConnError::ClientTls { reason, alert })
            }
            Err(_elapsed) => {
                self.count_failed_handshake(settings, local);
                metrics.handshake_failed(HandshakeSide::Client, HandshakeFailure::Timeout, None);
                Err(ConnError::ClientTlsTimeout)
            }
        }
    }
}

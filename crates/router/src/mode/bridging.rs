//! Bridging: TLS ends here, and a new, verified session goes to the backend.

use super::terminate::{BackendSide, terminate};
use tokio::time::Instant;
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::{Finished, Side};
use weir_core::conn::{Asked, Conn};
use weir_core::local::Local;
use weir_core::plan::{ClientTls, Destination};
use weir_core::relay::{OnTruncation, Tls};
use weir_core::socket::Socket;
use weir_metrics::ListenerMetrics;
use weir_metrics::labels::HandshakeSide;
use weir_pool::Backend;
use weir_pool::shortage::is_shortage;
use weir_tls::{AsClient, FatalAlert, HandshakeFailure};

/// Finishes the handshake with the client, then one with a backend, and relays between the two.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub async fn bridging(
    conn: &mut Conn,
    destination: &Destination,
    tls: ClientTls,
    local: &Local,
) -> Result<Finished, ConnError> {
    let side = Sealed { metrics: &destination.settings.metrics, local };
    // Not changed: the backend's session can say the same.
    terminate(conn, destination, (tls, OnTruncation::PassOn), side, local).await
}

/// The backend gets a session of its own.
struct Sealed<'a> {
    metrics: &'a ListenerMetrics,
    local: &'a Local,
}

impl BackendSide for Sealed<'_> {
    type Stream = Tls<AsClient>;

    async fn secure(
        &self,
        stream: Socket,
        backend: &Backend,
        asked: Asked<'_>,
    ) -> Result<Self::Stream, ConnectError> {
        // `compile` refuses bridging to a pool without a tls section, so there is always a client.
        let client = backend.tls.as_ref().ok_or(ConnectError::Tls {
            reason: HandshakeFailure::Internal,
            alert: None,
            name_from_client: false,
        })?;
        let started = Instant::now();
        let scratch = &self.local.memory.tls;
        let handshake = Box::pin(client.connect(stream, scratch, asked.sni, &backend.host, asked.alpn));
        match self.local.handshakes.at_once(handshake).await {
            Ok((stream, session)) => {
                let took = started.elapsed().as_secs_f64();
                self.metrics.handshake(HandshakeSide::Backend, session.version, session.resumed, took);
                Ok(Tls(stream))
            }
            Err(error) => {
                let (reason, alert) = (error.reason, error.alert);
                self.metrics.handshake_failed(HandshakeSide::Backend, reason, error.alert_name());
                tracing::debug!(backend = %backend.name, %error, "TLS handshake with a backend failed");
                if is_shortage(&error.source) {
                    return Err(ConnectError::Local(error.source));
                }
                Err(ConnectError::Tls { reason, alert, name_from_client: client.asks_for(asked.sni) })
            }
        }
    }

    fn explain(&self, error: ConnError, stream: &mut Self::Stream) -> ConnError {
        if matches!(error, ConnError::Broken(Side::Backend, _))
            && let Some(alert) = stream.0.refused_by(&self.local.memory.tls)
        {
            // The handshake was counted as done, because weir's side of it was.
            let reason = HandshakeFailure::Alert;
            self.metrics.handshake_failed(HandshakeSide::Backend, reason, Some(alert.label()));
            let name_from_client = true; // So that it does not count against the backend.
            return ConnectError::Tls { reason, alert: Some(FatalAlert::Received(alert)), name_from_client }
                .into();
        }
        stream.told_by_alert(Side::Backend, error)
    }
}

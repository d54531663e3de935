//! Bridging: TLS ends here, and a new, verified session goes to the backend.

use super::terminate::{BackendSide, terminate, told_by_alert};
use tokio::net::TcpStream;
use tokio::time::Instant;
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::{Finished, Side};
use weir_core::conn::{Asked, Conn};
use weir_core::local::Local;
use weir_core::plan::{ClientTls, Destination};
use weir_core::relay::{OnTruncation, Tls};
use weir_metrics::ListenerMetrics;
use weir_pool::Backend;
use weir_pool::shortage::is_shortage;
use weir_tls::{AsClient, HandshakeFailure, Scratch};

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
    let side = Sealed { metrics: &destination.settings.metrics, scratch: &local.memory.tls };
    // Passed on as it is: the backend's session can say the same.
    terminate(conn, destination, (tls, OnTruncation::PassOn), side, local).await
}

/// The backend gets a session of its own.
struct Sealed<'a> {
    metrics: &'a ListenerMetrics,
    scratch: &'a Scratch,
}

impl BackendSide for Sealed<'_> {
    type Stream = Tls<AsClient>;

    async fn secure(
        &self,
        stream: TcpStream,
        backend: &Backend,
        asked: Asked<'_>,
    ) -> Result<Self::Stream, ConnectError> {
        // `compile` refuses bridging to a pool without a tls section, so there is always a client.
        let client = backend.tls.as_ref().ok_or(ConnectError::Tls {
            reason: HandshakeFailure::Protocol,
            alert: None,
            clients_name: false,
        })?;
        let started = Instant::now();
        match Box::pin(client.connect(stream, self.scratch, asked.sni, &backend.host, asked.alpn)).await {
            Ok((stream, session)) => {
                let took = started.elapsed().as_secs_f64();
                self.metrics.handshake("backend", session.version, session.resumed.label(), took);
                Ok(Tls(stream))
            }
            Err(error) => {
                let (reason, alert) = (error.reason, error.alert_name());
                self.metrics.handshake_failed("backend", reason.label(), alert);
                tracing::debug!(backend = %backend.name, %error, "TLS handshake with a backend failed");
                if is_shortage(&error.source) {
                    return Err(ConnectError::Local(error.source));
                }
                Err(ConnectError::Tls { reason, alert, clients_name: client.asks_for(asked.sni) })
            }
        }
    }

    fn explain(&self, error: ConnError, stream: &mut Self::Stream) -> ConnError {
        if matches!(error, ConnError::Broken(Side::Backend, _))
            && let Some(alert) = stream.0.refused_by(self.scratch)
        {
            // The handshake was counted as done, because weir's side of it was.
            self.metrics.handshake_failed("backend", HandshakeFailure::Alert.label(), Some(alert));
            let clients_name = true; // So that it does not count against the backend.
            return ConnectError::Tls { reason: HandshakeFailure::Alert, alert: Some(alert), clients_name }
                .into();
        }
        told_by_alert(error, Side::Backend, stream)
    }
}

//! Bridging: TLS ends here, and a new, verified session goes to the backend.

use super::road::{Road, told_by_alert};
use tokio::net::TcpStream;
use tokio::time::Instant;
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::{Finished, Side};
use weir_core::account::record::Record;
use weir_core::memory::Memory;
use weir_core::plan::ClientTls;
use weir_core::relay::{OnTruncation, Tls, Wire, relay};
use weir_metrics::ListenerMetrics;
use weir_pool::Backend;
use weir_pool::shortage::is_shortage;
use weir_tls::{AsClient, Reason};

/// Finishes the handshake with the client, then one with a backend, and relays between the two.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
#[allow(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, and connections live long")]
pub fn bridging<'a>(
    client: TcpStream,
    ahead: Vec<u8>,
    tls: ClientTls,
    mut road: Road<'a>,
    record: &'a mut Record,
) -> impl Future<Output = Result<Finished, ConnError>> {
    async move {
        // Boxed: an idle connection must not carry the size of a handshake.
        let secured = Box::pin(road.secure_client(client, ahead, tls, record)).await?;
        let mut client = secured.stream;
        let wish = Wish {
            sni: road.hello.as_ref().and_then(|h| h.sni.as_deref()),
            alpn: secured.alpn.as_deref(),
            metrics: &road.destination.settings.metrics,
            memory: &road.worker.memory,
        };
        let mut reached = road
            .reach(&mut road.dialling(), client.tcp(), record, async |stream, backend| {
                wish.of(stream, backend).await
            })
            .await?;
        let terms = road.terms(OnTruncation::PassOn);
        let end = relay(&mut client, &mut reached.stream, Vec::new(), terms, &mut record.traffic).await;
        let Err(error) = end else { return end };
        if matches!(error, ConnError::Broken(Side::Backend, _))
            && let Some(alert) = reached.stream.0.refused_by(&road.worker.memory.tls)
        {
            // The handshake was counted as done, because weir's side of it was.
            road.destination.settings.metrics.handshake_failed("backend", Reason::Alert.label(), Some(alert));
            let clients_name = true; // So that it does not count against the backend.
            return Err(ConnectError::Tls { reason: Reason::Alert, alert: Some(alert), clients_name }.into());
        }
        Err(told_by_alert(told_by_alert(error, Side::Client, &client), Side::Backend, &reached.stream))
    }
}

/// What a client's session asks of the one with the backend.
struct Wish<'a> {
    sni: Option<&'a str>,
    alpn: Option<&'a [u8]>,
    metrics: &'a ListenerMetrics,
    memory: &'a Memory,
}

impl Wish<'_> {
    /// A verified session with the backend.
    async fn of(&self, stream: TcpStream, backend: &Backend) -> Result<Tls<AsClient>, ConnectError> {
        // `compile` refuses bridging to a pool without a tls section, so there is always a client.
        let client = backend.tls.as_ref().ok_or(ConnectError::Tls {
            reason: Reason::Protocol,
            alert: None,
            clients_name: false,
        })?;
        let started = Instant::now();
        match Box::pin(client.connect(stream, &self.memory.tls, self.sni, &backend.host, self.alpn)).await {
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
                Err(ConnectError::Tls { reason, alert, clients_name: client.asks_for(self.sni) })
            }
        }
    }
}

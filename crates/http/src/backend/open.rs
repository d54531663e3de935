//! Opens connections to backends, or takes kept ones.

use super::h1::H1;
use super::h2::H2;
use super::keep::Place;
use super::lease::Lease;
use crate::client::Client;
use crate::stream::BackendWire;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;
use weir_core::account::error::ConnectError;
use weir_core::relay::Tls;
use weir_core::socket::Socket;
use weir_metrics::labels::HandshakeSide;
use weir_pool::shortage::is_shortage;
use weir_pool::{Backend, HttpSettings, HttpVersion};
use weir_tls::HandshakeFailure;

/// A kept connection to the backend, or a stream on one.
pub fn kept(client: &Client, backend: &Arc<Backend>, settings: HttpSettings) -> Option<Lease> {
    let place = Place::of(backend, client, settings);
    let keep = &client.worker.keep;
    if settings.version != HttpVersion::Http1
        && let Some(stream) = keep.stream(&place)
    {
        return Some(Lease::H2(stream));
    }
    let connection = keep.take(&place, &client.worker.local, client.http.limits.header)?;
    Some(Lease::H1 { connection, place, worker: Rc::clone(&client.worker) })
}

/// Makes a dialled connection ready for requests.
///
/// # Errors
/// The TLS handshake failed, or the backend closed the connection at once.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn secure(
    client: &Client,
    socket: Socket,
    backend: &Backend,
    settings: HttpSettings,
) -> Result<Lease, ConnectError> {
    let (wire, agreed_h2) = wire(client, socket, backend, settings.version).await?;
    let place = Place::of(backend, client, settings);
    if place.is_of_one_client() {
        client.owns(&place);
    }
    let (worker, header) = (&client.worker, client.http.limits.header);
    let is_h2 = match settings.version {
        HttpVersion::Http1 => false,
        HttpVersion::Http2 => true,
        HttpVersion::Auto => agreed_h2,
    };
    if !is_h2 {
        let begun = H1::begin(wire, &worker.local, header).await;
        let connection = Box::new(begun.map_err(|error| failed(&error))?);
        return Ok(Lease::H1 { connection, place, worker: Rc::clone(worker) });
    }
    let header = u32::try_from(header).unwrap_or(u32::MAX);
    let begun = H2::begin(wire, worker, header).await;
    let connection = begun.map_err(|error| failed(&error))?;
    // Before it is shared: no other request can have taken its last stream.
    let stream = connection.stream();
    worker.keep.share(place, connection, worker.clock.now());
    stream.map(Lease::H2).ok_or_else(|| {
        ConnectError::Failed(io::Error::new(io::ErrorKind::ConnectionReset, "the backend allows no stream"))
    })
}

fn failed(error: &impl ToString) -> ConnectError {
    ConnectError::Failed(io::Error::other(error.to_string()))
}

async fn wire(
    client: &Client,
    socket: Socket,
    backend: &Backend,
    version: HttpVersion,
) -> Result<(BackendWire, bool), ConnectError> {
    let Some(tls) = &backend.tls else { return Ok((BackendWire::Plain(socket), false)) };
    let (asked, local, metrics) = (client.asked(), &client.worker.local, &client.settings.metrics);
    let started = Instant::now();
    let protocols = version.offered().iter().map(|name| name.to_vec()).collect();
    let handshake = tls.connect_offering(socket, &local.memory.tls, asked.sni, &backend.host, protocols);
    let handshake = Box::pin(handshake);
    match local.handshakes.at_once(handshake).await {
        Ok((stream, session)) => {
            let took = started.elapsed().as_secs_f64();
            metrics.handshake(HandshakeSide::Backend, session.version, session.resumed, took);
            let is_h2 = session.alpn.as_deref() == Some(b"h2");
            Ok((BackendWire::Tls(Tls(stream)), is_h2))
        }
        Err(error) => {
            let (reason, alert): (HandshakeFailure, _) = (error.reason, error.alert);
            metrics.handshake_failed(HandshakeSide::Backend, reason, error.alert_name());
            tracing::debug!(backend = %backend.name, %error, "TLS handshake with a backend failed");
            if is_shortage(&error.source) {
                return Err(ConnectError::Local(error.source));
            }
            Err(ConnectError::Tls { reason, alert, name_from_client: tls.asks_for(asked.sni) })
        }
    }
}

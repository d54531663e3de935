//! A client and a backend leave HTTP: what follows is theirs alone, and its bytes are relayed as those of a tcp listener
//! are, with the same deadlines, half-closes and resets (RFC 9110 §7.8, RFC 8441).
//!
//! Two connections go through the very relay of tcp listeners; see [`crate::tunnel`] for streams of HTTP/2.

use crate::backend::h2::Stream;
use crate::backend::lease::Lease;
use crate::body::raw::Chunk;
use crate::body::received::Received;
use crate::exchange::Exchange;
use crate::stream::{BackendWire, HyperStream, StreamWire};
use crate::tunnel;
use crate::worker::Seat;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, Side};
use weir_core::account::record::Traffic;
use weir_core::plan::Destination;
use weir_core::relay::{Ahead, OnTruncation, Rules, Terms, Tls, relay};
use weir_tls::AsServer;

/// A backend that has left HTTP, until the client has left it too.
#[derive(Debug)]
pub struct Handover {
    exchange: Rc<Exchange>,
    backend: BackendSide,
    /// The place at the backend, to the end of the relay.
    seat: Seat,
    destination: Arc<Destination>,
}

/// What the bytes of the client go to.
#[derive(Debug)]
enum BackendSide {
    /// A connection, and what has come over it already.
    Connection(BackendWire, Vec<u8>),
    /// A stream, which is counted on its connection.
    Stream(StreamWire<Bytes>, Stream),
}

impl Handover {
    /// Of an answer by which the backend has left HTTP; `None` if it cannot.
    pub fn of(
        exchange: &Rc<Exchange>,
        body: Received,
        lease: Lease,
        seat: Seat,
        destination: &Arc<Destination>,
    ) -> Option<Self> {
        let backend = match (lease, body) {
            (Lease::H1 { connection, .. }, _) => {
                let (wire, ahead) = connection.upgraded()?;
                BackendSide::Connection(wire, ahead.to_vec())
            }
            (Lease::H2(mut stream), Received::H2(body)) => {
                let wire = StreamWire::new(body.into_stream(), stream.take_tunnel()?);
                BackendSide::Stream(wire, stream)
            }
            (Lease::H2(_), Received::H1(_) | Received::None) => return None,
        };
        Some(Self { exchange: Rc::clone(exchange), backend, seat, destination: Arc::clone(destination) })
    }
}

/// Relays the bytes of a client's connection and a backend until they end, and closes the account of the exchange.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub async fn relay_connection(
    stream: HyperStream<Tls<AsServer>>,
    handover: Handover,
) -> Result<Finished, ConnError> {
    let Handover { exchange, backend, seat, destination } = handover;
    let client = &exchange.client;
    let (mut session, up) = stream.into_parts();
    // From here on it ends at a drain as a connection to the backend does: the longest idle ones first.
    let reserved = seat.into_reserved();
    client.handle.served_by(&reserved.backend().state);
    let end = match backend {
        BackendSide::Connection(wire, down) => {
            between_connections(&mut session, wire, Ahead { up, down }, &exchange, &destination).await
        }
        BackendSide::Stream(mut wire, _counted) => {
            let ahead = Ahead { up, down: Vec::new() };
            tunnel::relay(&mut session, &mut wire, ahead, &exchange, destination.settings.timeouts).await
        }
    };
    let end = end.map_err(|error| session.told_by_alert(Side::Client, error));
    exchange.close(&end);
    end
}

/// Relays the bytes of a client's stream and a backend until they end, and closes the account of the exchange.
///
/// # Cancel safety
/// Dropping the future resets the stream, and closes the connection to the backend.
pub async fn relay_stream(mut stream: StreamWire<Chunk>, handover: Handover) {
    let Handover { exchange, backend, seat: _to_the_end, destination } = handover;
    let timeouts = destination.settings.timeouts;
    let end = match backend {
        BackendSide::Connection(mut wire, down) => {
            let ahead = Ahead { up: Vec::new(), down };
            tunnel::relay(&mut stream, &mut wire, ahead, &exchange, timeouts).await
        }
        BackendSide::Stream(mut wire, _counted) => {
            tunnel::relay(&mut stream, &mut wire, Ahead::default(), &exchange, timeouts).await
        }
    };
    exchange.close(&end);
}

/// The relay of tcp listeners.
async fn between_connections(
    session: &mut Tls<AsServer>,
    wire: BackendWire,
    ahead: Ahead,
    exchange: &Exchange,
    destination: &Destination,
) -> Result<Finished, ConnError> {
    let (client, settings) = (&exchange.client, &destination.settings);
    let rules = Rules {
        idle: settings.timeouts.idle,
        half_closed: settings.timeouts.half_closed,
        client_truncation: match wire {
            BackendWire::Plain(_) => client.truncation,
            // The backend's session can say the same.
            BackendWire::Tls(_) => OnTruncation::PassOn,
        },
        backend_truncation: OnTruncation::PassOn,
    };
    let memory = &client.worker.local.memory;
    let terms = Terms { rules, options: &settings.options, memory, handle: &client.handle };
    let mut traffic = Traffic::new(Arc::clone(&settings.metrics));
    let end = match wire {
        BackendWire::Plain(mut socket) => relay(session, &mut socket, ahead, terms, &mut traffic).await,
        BackendWire::Tls(mut backend) => {
            let end = relay(session, &mut backend, ahead, terms, &mut traffic).await;
            end.map_err(|error| backend.told_by_alert(Side::Backend, error))
        }
    };
    exchange.record().relayed(&traffic);
    end
}

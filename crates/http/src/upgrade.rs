//! A client and a backend leave HTTP: what follows is theirs alone, and its bytes are relayed as those of a tcp listener
//! are, with the same deadlines, half-closes and resets (RFC 9110 §7.8, RFC 8441).
//!
//! It is the relay of tcp listeners itself; a stream of HTTP/2 is a side of it as a connection is.

use crate::backend::h2::Stream;
use crate::backend::lease::Lease;
use crate::body::raw::Chunk;
use crate::body::received::Received;
use crate::exchange::Exchange;
use crate::stream::{BackendWire, HyperStream, Tunnel};
use crate::worker::Seat;
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, Side};
use weir_core::account::record::Traffic;
use weir_core::plan::Destination;
use weir_core::relay::{Ahead, OnTruncation, RawSocket, Rules, Terms, Tls, Wire, relay};
use weir_core::stop::{ConnHandle, Stop};
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
    Stream(Tunnel<Bytes>, Stream),
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
                let tunnel = stream.tunnel(body.into_stream())?;
                BackendSide::Stream(tunnel, stream)
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
    let sides = (&mut session, backend, up);
    let end = between(sides, OnTruncation::PassOn, &exchange, &destination, &client.handle).await;
    let end = end.map_err(|error| session.told_by_alert(Side::Client, error));
    exchange.close(&end);
    end
}

/// Relays the bytes of a client's stream and a backend until they end, and closes the account of the exchange.
///
/// # Cancel safety
/// Dropping the future resets both sides.
pub async fn relay_stream(mut stream: Tunnel<Chunk>, handover: Handover) {
    let Handover { exchange, backend, seat: _to_the_end, destination } = handover;
    let _closes = Abandoned(Rc::clone(&exchange));
    // The stream's own: the connection has others.
    let handle = ConnHandle::within(&exchange.client.handle);
    let sides = (&mut stream, backend, Vec::new());
    let end = {
        let mut relaying = pin!(between(sides, OnTruncation::Reset, &exchange, &destination, &handle));
        poll_fn(|cx| {
            if exchange.poll_overdue(cx).is_ready() {
                // Its backend's time is over.
                handle.cancel(Stop::Drained);
            }
            relaying.as_mut().poll(cx)
        })
        .await
    };
    exchange.close(&end);
}

/// Closes the account of an exchange whose client is gone.
struct Abandoned(Rc<Exchange>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        // Not if it has been closed.
        self.0.abandon();
    }
}

/// A backend's side, which is reset unless the relay has come to its end: its client is gone in the middle.
struct Unfinished<W: Wire> {
    wire: W,
    finished: bool,
}

impl<W: Wire> Unfinished<W> {
    fn new(wire: W) -> Self {
        Self { wire, finished: false }
    }

    async fn relay<C: Wire>(
        &mut self,
        client: &mut C,
        ahead: Ahead,
        terms: Terms<'_>,
        traffic: &mut Traffic,
    ) -> Result<Finished, ConnError> {
        let end = relay(client, &mut self.wire, ahead, terms, traffic).await;
        self.finished = true;
        end
    }
}

impl<W: Wire> Drop for Unfinished<W> {
    fn drop(&mut self) {
        if !self.finished {
            self.wire.socket().reset();
        }
    }
}

/// Relays between a client and a backend. `of_backend` says how the backend's truncation is passed on.
async fn between<C: Wire>(
    (client, backend, up): (&mut C, BackendSide, Vec<u8>),
    of_backend: OnTruncation,
    exchange: &Exchange,
    destination: &Destination,
    handle: &ConnHandle,
) -> Result<Finished, ConnError> {
    let settings = &destination.settings;
    let rules = Rules {
        idle: settings.timeouts.idle,
        half_closed: settings.timeouts.half_closed,
        client_truncation: match backend {
            // The backend's session can say the same.
            BackendSide::Connection(BackendWire::Tls(_), _) => OnTruncation::PassOn,
            BackendSide::Connection(BackendWire::Plain(_), _) | BackendSide::Stream(..) => {
                exchange.client.truncation
            }
        },
        backend_truncation: of_backend,
    };
    let terms =
        Terms { rules, options: &settings.options, memory: &exchange.client.worker.local.memory, handle };
    let mut traffic = exchange.record().traffic();
    let end = match backend {
        BackendSide::Connection(BackendWire::Plain(wire), down) => {
            Unfinished::new(wire).relay(client, Ahead { up, down }, terms, &mut traffic).await
        }
        BackendSide::Connection(BackendWire::Tls(wire), down) => {
            let mut backend = Unfinished::new(wire);
            let end = backend.relay(client, Ahead { up, down }, terms, &mut traffic).await;
            end.map_err(|error| backend.wire.told_by_alert(Side::Backend, error))
        }
        BackendSide::Stream(wire, _counted) => {
            let ahead = Ahead { up, down: Vec::new() };
            Unfinished::new(wire).relay(client, ahead, terms, &mut traffic).await
        }
    };
    exchange.record().relayed(&traffic);
    end
}

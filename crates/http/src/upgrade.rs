//! A client and a backend leave HTTP: what follows is theirs alone, and its bytes are relayed as those of a tcp listener
//! are, with the same deadlines, half-closes and resets (RFC 9110 §7.8, RFC 8441).
//!
//! Two connections go through the very relay of tcp listeners; see [`crate::tunnel`] for streams of HTTP/2.

use crate::backend::lease::Lease;
use crate::exchange::Exchange;
use crate::stream::{BackendWire, HyperStream};
use crate::worker::Seat;
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
    wire: BackendWire,
    /// What the backend has sent already.
    ahead: Vec<u8>,
    /// The place at the backend, to the end of the relay.
    seat: Seat,
    destination: Arc<Destination>,
}

impl Handover {
    /// Of a connection over which the backend has changed the protocol; `None` if it cannot leave HTTP.
    pub fn of(
        exchange: &Rc<Exchange>,
        lease: Lease,
        seat: Seat,
        destination: &Arc<Destination>,
    ) -> Option<Self> {
        let Lease::H1 { connection, .. } = lease else { return None };
        let (wire, ahead) = connection.upgraded()?;
        let (exchange, destination) = (Rc::clone(exchange), Arc::clone(destination));
        Some(Self { exchange, wire, ahead: ahead.to_vec(), seat, destination })
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
    let Handover { exchange, wire, ahead, seat, destination } = handover;
    let client = &exchange.client;
    let (mut session, up) = stream.into_parts();
    // From here on it ends at a drain as a connection to the backend does: the longest idle ones first.
    let reserved = seat.into_reserved();
    client.handle.served_by(&reserved.backend().state);
    let settings = &destination.settings;
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
    let ahead = Ahead { up, down: ahead };
    let end = match wire {
        BackendWire::Plain(mut socket) => relay(&mut session, &mut socket, ahead, terms, &mut traffic).await,
        BackendWire::Tls(mut backend) => {
            let end = relay(&mut session, &mut backend, ahead, terms, &mut traffic).await;
            end.map_err(|error| backend.told_by_alert(Side::Backend, error))
        }
    };
    let end = end.map_err(|error| session.told_by_alert(Side::Client, error));
    exchange.record().relayed(&traffic);
    exchange.close(&end);
    end
}

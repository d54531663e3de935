//! A client's connection leaves HTTP: after an answer with 101 its bytes are relayed as those of a tcp listener are (RFC
//! 9110 §7.8), with the same deadlines, half-closes and resets.

use crate::backend::lease::Lease;
use crate::client::Client;
use crate::exchange::Exchange;
use crate::stream::{BackendWire, HyperStream};
use crate::worker::Seat;
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, Side};
use weir_core::account::record::Traffic;
use weir_core::plan::Destination;
use weir_core::relay::{Ahead, OnTruncation, Rules, Terms, Tls, relay};
use weir_pool::Reserved;
use weir_tls::AsServer;

/// A backend's connection that has left HTTP, until the client's has left it too.
#[derive(Debug)]
pub struct Handover {
    wire: BackendWire,
    /// What the backend has sent already.
    ahead: Vec<u8>,
    /// The place at the backend, to the end of the relay.
    reserved: Reserved,
    destination: Arc<Destination>,
}

impl Handover {
    /// Of a connection over which an answer with 101 has come; `None` if it cannot leave HTTP.
    pub fn of(lease: Lease, seat: Seat, destination: &Arc<Destination>) -> Option<Self> {
        let Lease::H1 { connection, .. } = lease else { return None };
        let (wire, ahead) = connection.upgraded()?;
        let (ahead, destination) = (ahead.to_vec(), Arc::clone(destination));
        Some(Self { wire, ahead, reserved: seat.into_reserved(), destination })
    }
}

/// Relays the bytes of both sides until they end, and closes the account of the exchange.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub async fn run(
    stream: HyperStream<Tls<AsServer>>,
    client: &Client,
    exchange: &Exchange,
    handover: Handover,
) -> Result<Finished, ConnError> {
    let Handover { wire, ahead, reserved, destination } = handover;
    let (mut session, up) = stream.into_parts();
    // Its end at a drain, and its place among the idle ones, is that of a connection to the backend.
    client.handle.served_by(&reserved.backend().state);
    let settings = &destination.settings;
    let mut rules = Rules {
        idle: settings.timeouts.idle,
        half_closed: settings.timeouts.half_closed,
        client_truncation: client.truncation,
        backend_truncation: OnTruncation::PassOn,
    };
    if matches!(wire, BackendWire::Tls(_)) {
        // The backend's session can say the same.
        rules.client_truncation = OnTruncation::PassOn;
    }
    let local = &client.worker.local;
    let terms = Terms { rules, options: &settings.options, memory: &local.memory, handle: &client.handle };
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

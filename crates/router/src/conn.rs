//! MAIN STREET: one connection, from accept to account.
//!
//! accept → [`peek`] → route → [`mode`] → pick ⇄ connect → relay → account. Each stage takes
//! what the one before gave, and never calls back up the road.

use crate::mode::{self, Road};
use crate::worker::Worker;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::account::queue::Draft;
use weir_core::account::record::Record;
use weir_core::alert::{self, Alert};
use weir_core::hello::{Fault, Hello, Offers, TLS13};
use weir_core::limits::{Permit, Unfinished};
use weir_core::peek::{self, Peeked};
use weir_core::plan::{Listener, Mode};
use weir_core::stop::Switch;

/// A connection as the listener hands it over.
#[derive(Debug)]
pub struct Accepted {
    /// The client's socket.
    pub stream: TcpStream,
    /// The client's address.
    pub client: SocketAddr,
    /// The listener as the plan had it at that moment: the connection keeps it until it has its route.
    pub listener: Arc<Listener>,
    /// Ends the connection from outside.
    pub switch: Rc<Switch>,
    /// Its place among those without a complete hello or handshake.
    pub unfinished: Unfinished,
    /// Its room in the limits of process and listener.
    pub permits: [Permit; 2],
    /// Its record, where connections are recorded.
    pub draft: Option<Draft>,
}

/// Carries one accepted connection from first byte to last, and accounts for it once.
///
/// # Cancel safety
/// Dropping the future closes the connection; the record then says `internal`.
pub fn serve(mut accepted: Box<Accepted>, worker: Rc<Worker>) -> impl Future<Output = ()> {
    let listener = &accepted.listener;
    // Made before the future, as the futures of a connection are: what one is called with it would keep twice.
    let mut record =
        Record::open(listener.mode, Arc::clone(&listener.settings.metrics), accepted.draft.take());
    async move {
        let end = carry(accepted, &worker, &mut record).await;
        if let Err(error) = &end {
            tracing::debug!(stage = ?error.stage(), %error, "a connection ended early");
        }
        record.close(&end);
    }
}

async fn carry(
    mut accepted: Box<Accepted>,
    worker: &Worker,
    record: &mut Record,
) -> Result<Finished, ConnError> {
    let first = first_bytes(&mut accepted, worker, record).await;
    // By a call: a box of which the parts are taken here would keep its memory until the connection ends. And now: what
    // has been borrowed as a variable of its own would be kept beside what it goes into.
    let Accepted { stream, client, listener, switch, unfinished, permits: _held, draft: _ } =
        unboxed(accepted);
    let (mut hello, bytes) = match first {
        Ok(first) => first,
        Err(error) => {
            drop(unfinished); // It has shown what it is.
            return refuse(stream, error, None, worker, &switch).await;
        }
    };
    let ip = { client }.ip();
    let Some(route) = listener.choose(hello.as_deref(), ip) else {
        drop(unfinished);
        return refuse(stream, ConnError::NoRoute, hello.as_deref(), worker, &switch).await;
    };
    let (mode, destination) = (route.mode.clone(), Arc::clone(&route.destination));
    // Its table of routes must not live as long as the connection, which may see many reloads.
    drop(listener);
    record.routed(mode.label(), &destination.pool.name);
    if let Some(hello) = &mut hello {
        // Up to 16 KiB of a stranger's words that nobody asks for again, in a connection that may live for days.
        hello.offers = Offers::default();
    }
    let road = Road {
        destination: &destination,
        client,
        switch: &switch,
        worker,
        hello,
        unfinished: Some(unfinished),
    };
    match mode {
        // Boxed: the largest arm would otherwise be the size of every connection.
        Mode::Passthrough => mode::passthrough(stream, bytes, road, record).await,
        Mode::Offload(tls) => Box::pin(mode::offload(stream, bytes, tls, road, record)).await,
        Mode::Bridging(tls) => Box::pin(mode::bridging(stream, bytes, tls, road, record)).await,
    }
}

#[allow(clippy::boxed_local, reason = "the box is to be freed")]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

/// The hello and what was read with it; no hello where the listener lets other bytes pass.
async fn first_bytes(
    accepted: &mut Accepted,
    worker: &Worker,
    record: &mut Record,
) -> Result<(Option<Box<Hello>>, Vec<u8>), ConnError> {
    let Accepted { stream, listener, switch, .. } = accepted;
    let Some(peek) = &listener.peek else { return Ok((None, Vec::new())) };
    let deadline = record.opened() + listener.settings.timeouts.client_hello;
    let reading =
        pin!(peek::client_hello(stream, peek.ceiling, deadline, &worker.memory, &listener.settings.metrics));
    match switch.race(reading).await? {
        Ok(Peeked { hello, bytes }) => {
            record.hello(&hello);
            Ok((Some(hello), bytes))
        }
        Err(refused) if peek.non_tls && matches!(refused.error, ConnError::Hello(Fault::NotTls)) => {
            Ok((None, refused.bytes))
        }
        Err(refused) => Err(refused.error),
    }
}

/// Ends a connection that goes nowhere: with an alert where the client speaks TLS, gently where it may still
/// be sending, at once where it is silent.
async fn refuse(
    client: TcpStream,
    error: ConnError,
    hello: Option<&Hello>,
    worker: &Worker,
    switch: &Switch,
) -> Result<Finished, ConnError> {
    let memory = &worker.memory;
    match &error {
        ConnError::NoRoute => match hello {
            Some(hello) => alert::refuse(client, no_route(hello), memory, switch).await,
            None => alert::close_gently(client, memory, switch).await,
        },
        ConnError::Hello(Fault::BadSni) => {
            alert::refuse(client, Alert::IllegalParameter, memory, switch).await
        }
        ConnError::Hello(Fault::Malformed | Fault::TooLarge) => {
            alert::refuse(client, Alert::DecodeError, memory, switch).await;
        }
        ConnError::Hello(Fault::NotTls) => alert::close_gently(client, memory, switch).await,
        _ => drop(client),
    }
    Err(error)
}

/// RFC 8446 §9.2: a TLS 1.3 client that has to name a server and does not is told so; older ones know only that
/// the name is not one of ours (RFC 6066 §3).
fn no_route(hello: &Hello) -> Alert {
    if hello.sni.is_none() && hello.version == TLS13 {
        Alert::MissingExtension
    } else {
        Alert::UnrecognizedName
    }
}

//! Moves bytes both ways until both have ended: half-close, resets, idle.
//!
//! - [`run`] the two directions side by side, and the timer: one poll after another until an end is due.
//! - [`flow`] one direction: read, write, keep what does not fit, finish.
//! - [`splice`] the bulk path of a flow between two bare TCP sockets.
//! - [`wire`] what a side of a relay can do: bare TCP, TLS with a client, TLS with a backend.
//! - [`prefix`] the hello that goes first, and whether another backend may get it after this one.
//! - [`movement`] when bytes last moved: what weir wrote, and what the peers took of it.
//! - [`rules`] deadlines, and what a truncation becomes.
//! - [`settle`] what a relay came to, and the telling of it to both sides.
//! - [`closing`] the ends that are not clean: passing a reset on, saying farewell at a deadline.
//!
//! A FIN (or close_notify) from one side means "I will send no more" and nothing else: what it sent goes on,
//! then the other side's write half is shut, and the other direction lives on (RFC 9293 §3.6, RFC 8446 §6.1).
//! A reset is passed on as a reset, after what was received before it. Idle time counts both directions
//! together. An idle relay holds no buffer: reads go through the worker's one buffer, and only what cannot be
//! written at once is kept, and then reading stops. The one exception is a hello that may be replayed: it is kept
//! until the backend's first byte, or the client's next.

mod closing;
mod fault;
mod flow;
mod movement;
mod prefix;
mod queue;
mod rules;
mod run;
mod settle;
mod splice;
mod wire;

pub use prefix::{NoReply, Prefix, Relayed, Unanswered};
pub use rules::{OnTruncation, Rules, Terms};
pub use wire::{Finish, Tls, Wire};

use crate::account::error::ConnError;
use crate::account::outcome::Finished;
use crate::account::record::Traffic;
use run::{End, Relay};
use tokio::net::TcpStream;
use weir_pool::HelloReplay;

/// Moves bytes between `client` and `backend` until both have finished; `ahead` goes to the backend first.
///
/// # Errors
/// Every end that is not clean: a reset, a truncation, a deadline, or the handle.
///
/// # Cancel safety
/// Dropping the future loses what was read and not yet written.
pub fn relay<'a, C: Wire, B: Wire>(
    client: &'a mut C,
    backend: &'a mut B,
    ahead: Vec<u8>,
    terms: Terms<'a>,
    traffic: &'a mut Traffic,
) -> impl Future<Output = Result<Finished, ConnError>> {
    // Made before the future: that would keep what it is called with beside what it makes of it.
    let mut relay = Relay::new(client, backend, Prefix::new(ahead, HelloReplay::Never), terms, traffic);
    async move {
        let end = relay.run().await;
        if matches!(end, End::Both) {
            return relay.finished();
        }
        // Boxed: a connection must not carry the size of its end.
        Box::pin(relay.settle(end)).await
    }
}

/// As [`relay`], between bare sockets, and with a hello in `ahead` that may go to another backend: where this one
/// ends before its first byte, and the client has neither sent more nor ended, the hello comes back whole and the
/// client has not been touched. A deadline or the handle never gives it back.
///
/// # Cancel safety
/// Dropping the future loses what was read and not yet written.
pub fn relay_hello<'a>(
    client: &'a mut TcpStream,
    backend: &'a mut TcpStream,
    ahead: Prefix,
    terms: Terms<'a>,
    traffic: &'a mut Traffic,
) -> impl Future<Output = Relayed> {
    let mut relay = Relay::new(client, backend, ahead, terms, traffic);
    async move {
        match relay.run().await {
            End::Both => Relayed::Ended(relay.finished()),
            End::Unanswered(silence) => Relayed::Unanswered(relay.unanswered(silence)),
            // Boxed: a connection must not carry the size of its end.
            end => Relayed::Ended(Box::pin(relay.settle(end)).await),
        }
    }
}

#[cfg(test)]
mod tests;

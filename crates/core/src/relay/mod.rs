//! Moves bytes both ways until both have ended: half-close, resets, idle.
//!
//! - [`run`] the two directions side by side, and the timer: one poll after another until an end is due.
//! - [`flow`] one direction: read, write, keep unwritten bytes, finish.
//! - [`splice`] the bulk path of a flow between two bare sockets.
//! - [`wire`] a side of a relay: a bare socket, TLS with a client, TLS with a backend.
//! - [`prefix`] the hello that goes first, and whether another backend may get it after this one.
//! - [`movement`] when bytes last moved: those that weir wrote, and those that the peers acknowledged.
//! - [`rules`] deadlines, and the treatment of truncations.
//! - [`conclude`] the result of a relay, and how both sides are told.
//! - [`closing`] unclean ends: passing a reset on, saying farewell at a deadline.
//!
//! A FIN (or close_notify) from one side means "I will send no more" and nothing else: its bytes are
//! delivered, then the other side's write half is shut, and the other direction lives on (RFC 9293 §3.6, RFC
//! 8446 §6.1). A reset is passed on as a reset, after the bytes received before it. Idle time counts both
//! directions together. An idle relay holds no buffer: reads go through the worker's one buffer, only bytes
//! that cannot be written at once are kept, and reading stops meanwhile. The one exception is a hello that
//! may be replayed: it is kept until the backend's first byte, or the client's next.

mod closing;
mod conclude;
mod fault;
mod flow;
mod movement;
mod prefix;
mod queue;
mod rules;
mod run;
mod splice;
mod wire;

pub use prefix::{NoReply, Prefix, Relayed, Unanswered};
pub use rules::{OnTruncation, Rules, Terms};
pub use wire::{Finish, RawSocket, Tls, Wire};

use crate::account::error::ConnError;
use crate::account::outcome::Finished;
use crate::account::record::Traffic;
use crate::socket::Socket;
use run::{End, Relay};
use weir_pool::HelloReplay;

/// Bytes that were read from a side before its relay began.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Those of the client, for the backend.
    pub up: Vec<u8>,
    /// Those of the backend, for the client.
    pub down: Vec<u8>,
}

/// Moves bytes between `client` and `backend` until both have finished; those read `ahead` go first.
///
/// # Errors
/// Every unclean end: a reset, a truncation, a deadline, or the handle.
///
/// # Cancel safety
/// Dropping the future loses bytes that were read and not yet written.
pub fn relay<'a, C: Wire, B: Wire>(
    client: &'a mut C,
    backend: &'a mut B,
    ahead: Ahead,
    terms: Terms<'a>,
    traffic: &'a mut Traffic,
) -> impl Future<Output = Result<Finished, ConnError>> {
    // Made before the future, which would otherwise store its arguments beside the relay made of them.
    let prefix = Prefix::new(ahead.up, HelloReplay::Never);
    let mut relay = Relay::new(client, backend, (prefix, ahead.down), terms, traffic);
    async move {
        let end = relay.run().await;
        if matches!(end, End::Both) {
            return relay.result();
        }
        // Boxed, so that a connection does not carry the size of its end.
        Box::pin(relay.conclude(end)).await
    }
}

/// Like [`relay`], between bare sockets, with a hello in `ahead` that may go to another backend: if this one
/// ends before its first byte, and the client has neither sent more nor ended, returns the whole hello and
/// leaves the client untouched. A deadline or the handle never returns the hello.
///
/// # Cancel safety
/// Dropping the future loses bytes that were read and not yet written.
pub fn relay_hello<'a>(
    client: &'a mut Socket,
    backend: &'a mut Socket,
    prefix: Prefix,
    terms: Terms<'a>,
    traffic: &'a mut Traffic,
) -> impl Future<Output = Relayed> {
    let mut relay = Relay::new(client, backend, (prefix, Vec::new()), terms, traffic);
    async move {
        match relay.run().await {
            End::Both => Relayed::Ended(relay.result()),
            End::Unanswered(no_reply) => Relayed::Unanswered(relay.unanswered(no_reply)),
            // Boxed, so that a connection does not carry the size of its end.
            end => Relayed::Ended(Box::pin(relay.conclude(end)).await),
        }
    }
}

#[cfg(test)]
mod tests;

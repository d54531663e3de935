//! The result of a relay, and how both sides are told.

use super::closing::{self, Direction, Patience, Queue};
use super::fault::FlowError;
use super::prefix::{NoReply, Prefix, Unanswered};
use super::run::{End, Relay};
use super::wire::{RawSocket, Wire};
use crate::account::error::ConnError;
use crate::account::outcome::{Finished, Side};
use std::io::ErrorKind;

impl<C: Wire, B: Wire> Relay<'_, C, B> {
    /// Returns the hello, for another backend.
    pub(super) fn unanswered(mut self, no_reply: NoReply) -> Unanswered {
        let (bytes, sent) = self.up.take_ahead();
        let prefix = Prefix { bytes, replay: self.replay, counted: self.counted + sent };
        Unanswered { prefix, no_reply }
    }

    /// The result of a relay whose directions have both ended.
    pub(super) fn result(&mut self) -> Result<Finished, ConnError> {
        // A side that went away after its own end, while bytes were on their way to it.
        let of = |excused| if excused { Queue::Refused } else { Queue::Goes };
        self.take_back(of(self.down.was_excused()), of(self.up.was_excused()));
        match self.truncated {
            Some(side) => Err(ConnError::Truncated(side)),
            None => Ok(self.first.unwrap_or(Finished { first: Side::Client, how: C::CLEAN_END })),
        }
    }

    /// Ends the open parts in the way that `end` requires.
    pub(super) async fn conclude(mut self, end: End) -> Result<Finished, ConnError> {
        self.go_on();
        let (side, error, its_queue) = match end {
            End::Both => return self.result(),
            // Not reached: a relay is unanswered only with a kept hello, and that is not concluded here. Still, a
            // truncated client must not take this for a clean end.
            End::Unanswered(no_reply) => (Side::Backend, no_reply.error(), Queue::Goes),
            End::Broken { from, fault: FlowError::Truncated } => {
                (from, ConnError::Truncated(self.truncated.unwrap_or(from)), Queue::Goes)
            }
            End::Broken { from: side, fault: FlowError::Source(kind) } | End::Gone(side, kind) => {
                (side, self.broken(side, kind), Queue::after(kind))
            }
            End::Broken { from, fault: FlowError::Destination(kind) } => {
                let side = opposite(from);
                (side, self.broken(side, kind), Queue::after(kind))
            }
            End::Cut(error) => {
                self.say_farewell().await;
                return Err(error);
            }
        };
        if side == Side::Client {
            let queue = self.pass_reset_to_backend().await;
            self.take_back(its_queue, queue);
        } else {
            let queue = self.pass_reset_to_client().await;
            self.take_back(queue, its_queue);
        }
        Err(error)
    }

    /// The error of a side that broke. If the other side was truncated before, and this one was told, the
    /// truncation is the cause.
    fn broken(&self, side: Side, kind: ErrorKind) -> ConnError {
        let told = |cause| if cause == Side::Client { self.up.is_done() } else { self.down.is_done() };
        match self.truncated {
            Some(cause) if cause != side && told(cause) => ConnError::Truncated(cause),
            _ => ConnError::Broken(side, kind),
        }
    }

    /// The client broke: the backend gets the earlier bytes, then its end.
    async fn pass_reset_to_backend(&mut self) -> Queue {
        let mut sent = 0;
        let up = Direction { flow: &mut self.up, sent: &mut sent };
        let patience = Patience { handle: self.terms.handle, most: self.terms.rules.ending() };
        let queue = closing::pass_reset_on(up, self.client, self.backend, self.terms.memory, patience).await;
        self.count_up(sent);
        queue
    }

    /// The backend broke: the client gets the earlier bytes, then its end.
    async fn pass_reset_to_client(&mut self) -> Queue {
        let mut sent = 0;
        let down = Direction { flow: &mut self.down, sent: &mut sent };
        let patience = Patience { handle: self.terms.handle, most: self.terms.rules.ending() };
        let queue =
            closing::pass_reset_on(down, self.backend, self.client, self.terms.memory, patience).await;
        self.traffic.down(sent);
        queue
    }

    /// weir ends the connection.
    async fn say_farewell(&mut self) {
        let (mut sent_up, mut sent_down) = (0, 0);
        let up = Direction { flow: &mut self.up, sent: &mut sent_up };
        let down = Direction { flow: &mut self.down, sent: &mut sent_down };
        let [client, backend] =
            closing::farewell(up, down, self.client, self.backend, self.terms.memory).await;
        self.count_up(sent_up);
        self.traffic.down(sent_down);
        self.take_back(client, backend);
    }

    /// Uncounts the bytes sent to the two sides that never arrive.
    fn take_back(&mut self, client: Queue, backend: Queue) {
        self.traffic.take_back_down(lost(self.client, client, self.down.has_told()));
        self.traffic.take_back_up(lost(self.backend, backend, self.up.has_told()));
    }
}

/// Payload sent to a side that it never gets. `told`: the queue contains the end of its stream too.
fn lost<W: Wire>(side: &W, queue: Queue, told: bool) -> usize {
    let dropped = match queue {
        Queue::Goes => Ok(0),
        Queue::Dropped => side.socket().unacknowledged(),
        Queue::Refused => side.socket().unsent(),
    };
    side.payload_of(side.inside() + dropped.unwrap_or(0).saturating_sub(usize::from(told)))
}

fn opposite(side: Side) -> Side {
    if side == Side::Client { Side::Backend } else { Side::Client }
}

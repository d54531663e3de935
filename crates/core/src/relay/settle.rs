//! What a relay came to, and the telling of it to both sides.

use super::ahead::{Ahead, Silence, Unanswered};
use super::closing;
use super::fault::Fault;
use super::run::{End, Relay};
use super::wire::Wire;
use crate::error::ConnError;
use crate::outcome::{Finished, Side};

impl<C: Wire, B: Wire> Relay<'_, C, B> {
    /// The hello, to go to another backend.
    pub(super) fn unanswered(mut self, silence: Silence) -> Unanswered {
        let (bytes, sent) = self.up.take_ahead();
        let ahead = Ahead { bytes, replay: self.replay, counted: self.counted + sent };
        Unanswered { ahead, silence }
    }

    /// What a relay came to in which both directions have ended.
    pub(super) fn finished(&self) -> Result<Finished, ConnError> {
        match self.truncated() {
            Some(side) => Err(ConnError::Truncated(side)),
            None => Ok(self.first.unwrap_or(Finished { first: Side::Client, how: C::CLEAN_END })),
        }
    }

    /// Ends what is still open, in the way that the end asks for.
    pub(super) async fn settle(mut self, end: End) -> Result<Finished, ConnError> {
        self.go_on();
        match end {
            End::Both => self.finished(),
            // Only with a hello that was kept, and who kept it does not settle. A client that is cut short must
            // not take it for an end.
            End::Unanswered(silence) => {
                self.pass_reset_to(Side::Client).await;
                Err(silence.error())
            }
            End::Broken { from: Side::Client, fault: Fault::Truncated } => {
                self.pass_reset_to(Side::Backend).await;
                Err(ConnError::Truncated(Side::Client))
            }
            End::Broken { fault: Fault::Truncated, .. } => {
                self.pass_reset_to(Side::Client).await;
                Err(ConnError::Truncated(Side::Backend))
            }
            End::Broken { from: Side::Client, fault: Fault::Source(kind) }
            | End::Broken { from: Side::Backend, fault: Fault::Destination(kind) }
            | End::Gone(Side::Client, kind) => {
                self.pass_reset_to(Side::Backend).await;
                Err(ConnError::Broken(Side::Client, kind))
            }
            End::Broken { fault: Fault::Source(kind) | Fault::Destination(kind), .. }
            | End::Gone(_, kind) => {
                self.pass_reset_to(Side::Client).await;
                Err(ConnError::Broken(Side::Backend, kind))
            }
            End::Cut(error) => {
                self.say_farewell().await;
                Err(error)
            }
        }
    }

    /// The other side broke: `side` gets what came before that, then its end.
    async fn pass_reset_to(&mut self, side: Side) {
        let mut sent = 0;
        if side == Side::Backend {
            closing::pass_reset_on(&mut self.up, self.client, self.backend, self.terms.memory, &mut sent)
                .await;
            self.count_up(sent);
        } else {
            closing::pass_reset_on(&mut self.down, self.backend, self.client, self.terms.memory, &mut sent)
                .await;
            self.traffic.down(sent);
        }
    }

    /// weir ends the connection.
    async fn say_farewell(&mut self) {
        let (mut sent_up, mut sent_down) = (0, 0);
        let up = closing::Direction { flow: &mut self.up, sent: &mut sent_up };
        let down = closing::Direction { flow: &mut self.down, sent: &mut sent_down };
        closing::farewell(up, down, self.client, self.backend, self.terms.memory).await;
        self.count_up(sent_up);
        self.traffic.down(sent_down);
    }

    fn truncated(&self) -> Option<Side> {
        match (self.up.was_truncated(), self.down.was_truncated()) {
            (true, _) => Some(Side::Client),
            (_, true) => Some(Side::Backend),
            _ => None,
        }
    }
}

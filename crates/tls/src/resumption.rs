//! The answer to a question rustls leaves open: *how* was this session resumed?
//!
//! rustls says only that it was. But it asks our ticketer or our cache for the session, and does so
//! while the handshake's future is polled, on the thread that polls it. So both leave a note in a
//! thread-local cell, and [`Watched`] clears the cell before each poll and reads it after: handshakes
//! interleave on a worker, but a poll does not.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::agreed::Resumed;
use crate::offer::{self, Offer};

thread_local! {
    static GIVEN_BACK: Cell<Resumed> = const { Cell::new(Resumed::No) };
}

/// Notes that the handshake being polled on this thread has been given a session.
pub(crate) fn given_back(how: Resumed) {
    GIVEN_BACK.set(how);
}

/// What was noted on this thread since the last time; the note is then gone.
pub(crate) fn taken_note() -> Resumed {
    GIVEN_BACK.replace(Resumed::No)
}

/// A handshake that also yields how its session was found, should it turn out to be a resumed one.
/// A session that was found may still be declined by rustls (another name, another suite).
pub(crate) struct Watched<F> {
    handshake: F,
    /// What the resolver is told while this handshake is polled.
    offer: Option<Offer>,
    found: Resumed,
}

impl<F> Watched<F> {
    pub(crate) fn new(handshake: F, offer: Option<Offer>) -> Self {
        Self { handshake, offer, found: Resumed::No }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = (F::Output, Resumed);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        GIVEN_BACK.set(Resumed::No);
        offer::swap(&mut self.offer);
        let polled = Pin::new(&mut self.handshake).poll(cx);
        offer::swap(&mut self.offer);
        let found = taken_note();
        if found != Resumed::No {
            self.found = found;
        }
        polled.map(|output| (output, self.found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two handshakes take turns on one thread; what one finds is not the other's.
    #[tokio::test]
    async fn interleaved_handshakes_keep_their_own_notes() {
        async fn handshake(finds: Option<Resumed>) {
            tokio::task::yield_now().await;
            if let Some(how) = finds {
                given_back(how);
            }
            tokio::task::yield_now().await;
        }
        let one = Watched::new(Box::pin(handshake(Some(Resumed::Ticket))), None);
        let two = Watched::new(Box::pin(handshake(None)), None);
        let three = Watched::new(Box::pin(handshake(Some(Resumed::SessionId))), None);
        let (one, two, three) = tokio::join!(one, two, three);
        assert_eq!([one.1, two.1, three.1], [Resumed::Ticket, Resumed::No, Resumed::SessionId]);
    }
}

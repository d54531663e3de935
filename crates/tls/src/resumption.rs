//! The answer to a question rustls leaves open: *how* was this session resumed?
//!
//! rustls says only that it was. But it asks our ticketer or our cache for the session, and does so
//! while the handshake's future is polled, on the thread that polls it. So both leave a note in a
//! thread-local cell, and [`ObservedHandshake`] clears the cell before each poll and reads it after: handshakes
//! interleave on a worker, but a poll does not. In the same way the verifier of clients tells ticketer and cache how
//! long a session may be resumed.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::agreed::Resumed;
use crate::offer::{self, Offer};

thread_local! {
    static GIVEN_BACK: Cell<Resumed> = const { Cell::new(Resumed::No) };
    static GOOD_UNTIL: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Notes how long the client's certificate is valid, in the handshake being polled on this thread; in seconds since
/// 1970. Its session must not be resumed after that.
pub(crate) fn good_until(until: u64) {
    GOOD_UNTIL.set(until);
}

/// What the handshake being polled has noted; without a certificate the end of time.
pub(crate) fn noted_until() -> u64 {
    GOOD_UNTIL.get()
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
pub(crate) struct ObservedHandshake<F> {
    handshake: F,
    /// What the resolver is told while this handshake is polled.
    offer: Option<Offer>,
    found: Resumed,
    /// How long its session may be resumed.
    until: u64,
}

impl<F> ObservedHandshake<F> {
    pub(crate) fn new(handshake: F, offer: Option<Offer>) -> Self {
        Self { handshake, offer, found: Resumed::No, until: u64::MAX }
    }
}

impl<F: Future + Unpin> Future for ObservedHandshake<F> {
    type Output = (F::Output, Resumed);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        GIVEN_BACK.set(Resumed::No);
        GOOD_UNTIL.set(self.until);
        offer::swap(&mut self.offer);
        let polled = Pin::new(&mut self.handshake).poll(cx);
        offer::swap(&mut self.offer);
        self.until = GOOD_UNTIL.replace(u64::MAX);
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
        let one = ObservedHandshake::new(Box::pin(handshake(Some(Resumed::Ticket))), None);
        let two = ObservedHandshake::new(Box::pin(handshake(None)), None);
        let three = ObservedHandshake::new(Box::pin(handshake(Some(Resumed::SessionId))), None);
        let (one, two, three) = tokio::join!(one, two, three);
        assert_eq!([one.1, two.1, three.1], [Resumed::Ticket, Resumed::No, Resumed::SessionId]);
    }
}

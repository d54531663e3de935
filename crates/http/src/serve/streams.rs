//! The requests that a client with HTTP/2 has under way, polled by the task of its connection.

use super::wakes::{NumberWaker, Wakes};
use slab::Slab;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Futures with a waker each.
pub(super) struct Streams<F> {
    slots: Slab<Pin<Box<F>>>,
    /// By number; they outlive their futures, and are used again.
    wakers: Vec<(Arc<NumberWaker>, Waker)>,
    wakes: Arc<Wakes>,
}

impl<F: Future<Output = ()>> Streams<F> {
    pub(super) fn new(wakes: &Arc<Wakes>) -> Self {
        Self { slots: Slab::new(), wakers: Vec::new(), wakes: Arc::clone(wakes) }
    }

    /// Adds the future that `make` gives, and polls it once.
    pub(super) fn begin(&mut self, make: impl FnOnce() -> F) {
        // Made in its place: a future of thousands of bytes is not moved there.
        let future = Box::into_pin(Box::write(Box::new_uninit(), make()));
        let number = self.slots.insert(future);
        while self.wakers.len() <= number {
            let own = self.wakes.waker(self.wakers.len());
            let waker = Waker::from(Arc::clone(&own));
            self.wakers.push((own, waker));
        }
        self.poll(number);
    }

    /// Polls the future of this number, if there is one.
    pub(super) fn poll(&mut self, number: usize) {
        let (Some(future), Some((own, waker))) = (self.slots.get_mut(number), self.wakers.get(number)) else {
            return;
        };
        own.polled();
        if let Poll::Ready(()) = future.as_mut().poll(&mut Context::from_waker(waker)) {
            drop(self.slots.remove(number));
        }
    }
}

//! Holds a client's stream back, at the pace of its connection (`limits.bandwidth`).

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep_until};
use weir_core::stop::ConnHandle;
use weir_metrics::labels::Direction;

/// The pace of a stream, and what wakes its task when it may go on.
#[derive(Debug)]
pub(super) struct Paced {
    /// Of a connection that has a pace.
    handle: Rc<ConnHandle>,
    up: Option<Pin<Box<Sleep>>>,
    down: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// For a client's stream; `None` if its connection has no pace.
    pub(super) fn of(handle: &Rc<ConnHandle>) -> Option<Box<Self>> {
        handle.pace()?;
        Some(Box::new(Self { handle: Rc::clone(handle), up: None, down: None }))
    }

    /// Ready with the number of bytes that may move now.
    pub(super) fn poll_allowed(&mut self, direction: Direction, cx: &mut Context<'_>) -> Poll<usize> {
        let Some(pace) = self.handle.pace() else { return Poll::Ready(usize::MAX) };
        let timer = match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        };
        loop {
            let at = match pace.allows(direction) {
                Ok(bytes) => return Poll::Ready(bytes),
                Err(at) => at,
            };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    /// Records that so many bytes have moved.
    pub(super) fn moved(&self, direction: Direction, bytes: usize) {
        if let Some(pace) = self.handle.pace() {
            pace.moved(direction, bytes);
        }
    }
}

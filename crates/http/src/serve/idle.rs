//! Watches over a connection while no request is on it: the next one must begin in time, and its head must end in time.

use crate::client::Client;
use crate::clock::Deadline;
use crate::stream::Counts;
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use weir_core::account::error::ConnError;

/// The deadlines of a connection without a request.
#[derive(Debug)]
pub(super) struct Idle {
    deadline: Deadline,
    counts: Rc<Counts>,
    /// How many requests have begun.
    begun: Rc<Cell<u64>>,
    /// Those whose end has been seen.
    over: u64,
    state: State,
}

/// How long a client may take to receive an answer that ends the connection while a request's body is on its way.
const FAREWELL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request is on it.
    Busy,
    /// No byte has come since that many.
    Waits(u64),
    /// The head of a request is on its way.
    Head,
}

impl Idle {
    /// For a connection whose first request should come at once.
    pub(super) fn new(client: &Client, counts: Rc<Counts>) -> Self {
        let deadline = client.worker.clock.deadline();
        deadline.set(client.http.timeouts.headers);
        Self { deadline, counts, begun: Rc::default(), over: 0, state: State::Head }
    }

    /// The count of its requests.
    pub(super) fn begun(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.begun)
    }

    /// Whether a request has ever begun.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get() > 0
    }

    /// Whether the last exchange is over, and neither a byte of another request has come nor one of the answer is left.
    pub(super) fn waits(&self) -> bool {
        matches!(self.state, State::Waits(_)) && self.counts.starved.get() && !self.counts.blocked.get()
    }

    /// Gives the connection a last moment, whatever is on it.
    pub(super) fn last_moment(&self) {
        self.deadline.set(Duration::ZERO);
    }

    /// Ready once that is over.
    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        self.deadline.poll_over(cx)
    }

    /// Ready if the client took too long. `busy` says that an exchange is under way.
    pub(super) fn poll(&mut self, busy: bool, cx: &Context<'_>, client: &Client) -> Poll<ConnError> {
        let (begun, read) = (self.begun.get(), self.counts.read.get());
        let timeouts = &client.http.timeouts;
        if busy {
            if self.state != State::Busy {
                self.deadline.clear();
            }
            self.state = State::Busy;
        } else if begun > self.over {
            self.over = begun;
            self.deadline.set(if self.counts.lingers() { FAREWELL } else { timeouts.keep_alive });
            self.state = State::Waits(read);
        } else if matches!(self.state, State::Waits(before) if read > before) {
            self.deadline.set(timeouts.headers);
            self.state = State::Head;
        }
        if self.state == State::Head && client.is_held_back() {
            // The rest of the head may be there, and weir does not read it yet.
            self.deadline.set(timeouts.headers);
        }
        self.deadline.poll_over(cx).map(|()| ConnError::IdleTimeout)
    }
}

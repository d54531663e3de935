//! Moves bytes both ways until both have ended: half-close, resets, idle.
//!
//! - [`flow`] one direction: read, write, keep what does not fit, finish.
//! - [`splice`] the bulk road of a flow between two bare TCP sockets.
//! - [`wire`] what a side of a relay can do: bare TCP, TLS with a client, TLS with a backend.
//! - [`rules`] deadlines, and what a truncation becomes.
//! - [`closing`] the ends that are not clean: passing a reset on, saying farewell at a deadline.
//!
//! A FIN (or close_notify) from one side means "I will send no more" and nothing else: what it sent goes on,
//! then the other side's write half is shut, and the other direction lives on (RFC 9293 §3.6, RFC 8446 §6.1).
//! A reset is passed on as a reset, after what was received before it. Idle time counts both directions
//! together. An idle relay holds no buffer: reads go through the worker's one buffer, and only what cannot be
//! written at once is kept, and then reading stops.

mod closing;
mod fault;
mod flow;
mod queue;
mod rules;
mod splice;
mod wire;

pub use rules::{OnTruncation, Rules, Terms};
pub use wire::{Finish, Session, Tls, Wire};

use crate::account::Traffic;
use crate::error::ConnError;
use crate::memory::Memory;
use crate::outcome::{Finished, Side};
use crate::stop::Switch;
use fault::Fault;
use flow::Flow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Moves bytes between `client` and `backend` until both have finished; `ahead` goes to the backend first.
///
/// # Errors
/// Every end that is not clean: a reset, a truncation, a deadline, or the switch.
///
/// # Cancel safety
/// Dropping the future loses what was read and not yet written.
pub async fn relay<C: Wire, B: Wire>(
    client: &mut C,
    backend: &mut B,
    ahead: Vec<u8>,
    terms: Terms<'_>,
    traffic: &mut Traffic,
) -> Result<Finished, ConnError> {
    let mut relay = Relay {
        up: Flow::new(ahead, terms.rules.client_truncation),
        down: Flow::new(Vec::new(), terms.rules.backend_truncation),
        first: None,
        client,
        backend,
        memory: terms.memory,
        traffic,
    };
    let end = relay.run(&terms.rules, terms.switch).await;
    if matches!(end, End::Both) {
        return relay.finished();
    }
    // Boxed: a connection must not carry the size of its end.
    Box::pin(relay.settle(end)).await
}

struct Relay<'a, C, B> {
    client: &'a mut C,
    backend: &'a mut B,
    up: Flow,
    down: Flow,
    first: Option<Finished>,
    memory: &'a Memory,
    traffic: &'a mut Traffic,
}

/// Why the loop of a relay ended.
enum End {
    /// Both directions finished.
    Both,
    /// The flow that `from` feeds failed.
    Broken { from: Side, fault: Fault },
    /// A side that is not being read from has been reset.
    Gone(Side, std::io::ErrorKind),
    /// A deadline, or the switch.
    Cut(ConnError),
}

impl<C: Wire, B: Wire> Relay<'_, C, B> {
    async fn run(&mut self, rules: &Rules, switch: &Switch) -> End {
        let mut last = Instant::now();
        let mut timer = pin!(sleep_until(last + rules.idle));
        poll_fn(|cx| {
            let end = self.poll_flows(cx, &mut last);
            if end.is_ready() {
                return end;
            }
            if let Poll::Ready(why) = switch.poll_thrown(cx) {
                return Poll::Ready(End::Cut(ConnError::Stopped(why)));
            }
            self.poll_timer(cx, timer.as_mut(), last, rules)
        })
        .await
    }

    fn poll_flows(&mut self, cx: &mut Context<'_>, last: &mut Instant) -> Poll<End> {
        let was_open = self.first.is_none();
        let (mut sent_up, mut sent_down) = (0, 0);
        let up = self.up.poll(cx, self.client, self.backend, self.memory, &mut sent_up);
        if self.up.has_ended() && self.first.is_none() {
            self.first = Some(Finished { first: Side::Client, how: C::CLEAN_END });
        }
        // A socket tells of its reset once: a write that has met it leaves the next read nothing but an end that
        // looks clean. So nothing more is read until it is known what the failure means.
        let broke = matches!(up, Poll::Ready(Err(_))) && !self.up.has_ended();
        let down = if broke {
            Poll::Pending
        } else {
            self.down.poll(cx, self.backend, self.client, self.memory, &mut sent_down)
        };
        if self.down.has_ended() && self.first.is_none() {
            self.first = Some(Finished { first: Side::Backend, how: B::CLEAN_END });
        }
        self.traffic.up(sent_up);
        self.traffic.down(sent_down);
        // The time of a half-closed connection begins with the half-close.
        if sent_up + sent_down > 0 || (was_open && self.first.is_some()) {
            *last = Instant::now();
        }
        match (excused(up, &mut self.up, &self.down), excused(down, &mut self.down, &self.up)) {
            (Poll::Ready(Err(fault)), _) => Poll::Ready(End::Broken { from: Side::Client, fault }),
            (_, Poll::Ready(Err(fault))) => Poll::Ready(End::Broken { from: Side::Backend, fault }),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Both),
            _ => Poll::Pending,
        }
    }

    /// One timer for all deadlines. It is not moved with every byte: when it fires it looks at the last one.
    fn poll_timer(
        &self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        last: Instant,
        rules: &Rules,
    ) -> Poll<End> {
        let half_closed = self.first.is_some();
        let deadline = last + if half_closed { rules.half_closed } else { rules.idle };
        // A side that has finished sending, or whose bytes are stuck, is not read from: nothing would tell of its
        // reset.
        let watching = half_closed || self.up.is_blocked() || self.down.is_blocked();
        let next = |now: Instant| if watching { deadline.min(now + LOOK_AGAIN) } else { deadline };
        if watching {
            let wake = next(Instant::now());
            if timer.deadline() > wake {
                timer.as_mut().reset(wake);
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= deadline {
                let cut = if half_closed { ConnError::HalfClosedTimeout } else { ConnError::IdleTimeout };
                return Poll::Ready(End::Cut(cut));
            }
            if let Some(gone) = self.reset_unseen() {
                return Poll::Ready(gone);
            }
            timer.as_mut().reset(next(now));
        }
        Poll::Pending
    }

    /// A reset of a side that is not being read from.
    fn reset_unseen(&self) -> Option<End> {
        let error = |tcp: &tokio::net::TcpStream| tcp.take_error().ok().flatten();
        if (self.up.has_ended() || self.up.is_blocked())
            && let Some(e) = error(self.client.tcp())
        {
            return Some(End::Gone(Side::Client, e.kind()));
        }
        if (self.down.has_ended() || self.down.is_blocked())
            && let Some(e) = error(self.backend.tcp())
        {
            return Some(End::Gone(Side::Backend, e.kind()));
        }
        None
    }

    /// What a relay came to in which both directions have ended.
    fn finished(&self) -> Result<Finished, ConnError> {
        match self.truncated() {
            Some(side) => Err(ConnError::Truncated(side)),
            None => Ok(self.first.unwrap_or(Finished { first: Side::Client, how: C::CLEAN_END })),
        }
    }

    /// Ends what is still open, in the way that the end asks for.
    async fn settle(mut self, end: End) -> Result<Finished, ConnError> {
        match end {
            End::Both => self.finished(),
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
            closing::pass_reset_on(&mut self.up, self.client, self.backend, self.memory, &mut sent).await;
            self.traffic.up(sent);
        } else {
            closing::pass_reset_on(&mut self.down, self.backend, self.client, self.memory, &mut sent).await;
            self.traffic.down(sent);
        }
    }

    /// weir ends the connection.
    async fn say_farewell(&mut self) {
        let (mut sent_up, mut sent_down) = (0, 0);
        let up = closing::Direction { flow: &mut self.up, sent: &mut sent_up };
        let down = closing::Direction { flow: &mut self.down, sent: &mut sent_down };
        closing::farewell(up, down, self.client, self.backend, self.memory).await;
        self.traffic.up(sent_up);
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

/// A destination that cannot be told of the end any more, because it has gone after its own clean end, is no fault.
fn excused(polled: Poll<Result<(), Fault>>, flow: &mut Flow, opposite: &Flow) -> Poll<Result<(), Fault>> {
    match polled {
        Poll::Ready(Err(Fault::Destination(_))) if opposite.has_ended() && flow.excuse() => {
            Poll::Ready(Ok(()))
        }
        other => other,
    }
}

/// How often a side that is not being read from is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;

//! The loop of a relay: polls both directions, and one timer for all deadlines.

use super::fault::FlowError;
use super::flow::{Flow, Means};
use super::movement::Movement;
use super::prefix::{self, NoReply, Prefix};
use super::rules::Terms;
use super::wire::{RawSocket, Wire, queued};
use crate::account::error::ConnError;
use crate::account::outcome::{Finished, Side};
use crate::account::record::Traffic;
use crate::bandwidth::Pace;
use crate::socket::Options;
use crate::socket::options::WATCH_AFTER;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use weir_metrics::labels::Direction;
use weir_pool::HelloReplay;

/// Two sides, and the two directions between them.
pub(super) struct Relay<'a, C, B> {
    pub(super) client: &'a mut C,
    pub(super) backend: &'a mut B,
    pub(super) up: Flow,
    pub(super) down: Flow,
    pub(super) first: Option<Finished>,
    /// The first side that ended TLS without close_notify, unless that answered the other side's end.
    pub(super) truncated: Option<Side>,
    pub(super) replay: HelloReplay,
    /// The number of next bytes up that were already counted for an earlier backend.
    pub(super) counted: usize,
    pub(super) terms: Terms<'a>,
    pub(super) traffic: &'a mut Traffic,
}

/// Why the loop of a relay ended.
pub(super) enum End {
    /// Both directions finished.
    Both,
    /// The backend ended before its first byte, and the hello may go to another one.
    Unanswered(NoReply),
    /// The flow with the source `from` failed.
    Broken { from: Side, fault: FlowError },
    /// A side that is not being read from has been reset.
    Gone(Side, io::ErrorKind),
    /// A deadline, or the handle.
    Cut(ConnError),
}

impl<'a, C: Wire, B: Wire> Relay<'a, C, B> {
    pub(super) fn new(
        client: &'a mut C,
        backend: &'a mut B,
        (prefix, ahead): (Prefix, Vec<u8>),
        terms: Terms<'a>,
        traffic: &'a mut Traffic,
    ) -> Self {
        let replayable = prefix.is_replayable();
        let Prefix { bytes, replay, counted } = prefix;
        let mut up = Flow::new(bytes, terms.rules.client_truncation);
        let mut down = Flow::new(ahead, terms.rules.backend_truncation);
        if replayable {
            up.hold_hello(false);
            down.hold_hello(prefix::covers(replay, NoReply::Fin));
        }
        Self { client, backend, up, down, first: None, truncated: None, replay, counted, terms, traffic }
    }

    pub(super) async fn run(&mut self) -> End {
        let (idle, handle) = (self.terms.rules.idle, self.terms.handle);
        let begun = Instant::now();
        let mut movement = Movement::new(begun);
        let mut young = Some(begun + WATCH_AFTER);
        let mut timer = pin!(sleep_until(begun + idle.min(WATCH_AFTER)));
        poll_fn(|cx| {
            let end = self.poll_flows(cx, &mut movement);
            handle.moved(movement.last());
            if end.is_ready() {
                return end;
            }
            handle.retire_if(|| self.is_idle(&movement));
            if let Poll::Ready(why) = handle.poll_cancelled(cx) {
                return Poll::Ready(End::Cut(ConnError::Stopped(why)));
            }
            self.poll_timer(cx, timer.as_mut(), &mut movement, &mut young)
        })
        .await
    }

    fn poll_flows(&mut self, cx: &mut Context<'_>, movement: &mut Movement) -> Poll<End> {
        let was_open = self.first.is_none();
        let (mut sent_up, mut sent_down) = (0, 0);
        self.up.beside(&self.down);
        let means = self.means(Direction::Up);
        let up = self.up.poll(cx, self.client, self.backend, means, &mut sent_up);
        if self.up.has_ended() && self.first.is_none() {
            self.first = Some(Finished { first: Side::Client, how: C::CLEAN_END });
        }
        self.keep_or_go_on();
        // A socket reports its reset once: after a write has met it, the next read returns an end that looks
        // clean. So nothing more is read until the meaning of the failure is known.
        let broke = matches!(up, Poll::Ready(Err(_))) && !self.up.has_only_its_end_left();
        let down = if broke {
            Poll::Pending
        } else {
            self.down.beside(&self.up);
            let means = self.means(Direction::Down);
            self.down.poll(cx, self.backend, self.client, means, &mut sent_down)
        };
        if self.down.has_ended() && self.first.is_none() {
            self.first = Some(Finished { first: Side::Backend, how: B::CLEAN_END });
        }
        self.count_up(sent_up);
        self.traffic.down(sent_down);
        if self.truncated.is_none() {
            // A truncation of the other side is an answer to this one, and comes in a later poll.
            self.truncated = self.up.was_truncated().then_some(Side::Client);
            self.truncated = self.truncated.or(self.down.was_truncated().then_some(Side::Backend));
        }
        if let Some(no_reply) = self.no_reply(&up, &down) {
            return Poll::Ready(End::Unanswered(no_reply));
        }
        self.keep_or_go_on();
        // A flow in line, or held back, waits for weir, so it is not idle. The time of a half-closed connection begins with
        // the half-close.
        let waits = self.up.is_in_line() || self.down.is_in_line() || self.is_held_back();
        if sent_up + sent_down > 0 || waits || (was_open && self.first.is_some()) {
            movement.moved(Instant::now());
        }
        match (excused(up, &mut self.up, &self.down), excused(down, &mut self.down, &self.up)) {
            (Poll::Ready(Err(fault)), _) => Poll::Ready(End::Broken { from: Side::Client, fault }),
            (_, Poll::Ready(Err(fault))) => Poll::Ready(End::Broken { from: Side::Backend, fault }),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Both),
            _ => Poll::Pending,
        }
    }

    /// Whether nothing is under way: both sides have said all that they had begun, and have got all of it.
    fn is_idle(&self, movement: &Movement) -> bool {
        let moves = self.up.is_in_line() || self.down.is_in_line() || self.is_held_back();
        let stuck = self.up.is_blocked() || self.down.is_blocked() || self.client.holds_back();
        let ends = self.first.is_some() || self.up.has_read_all() || self.down.has_read_all();
        if moves || stuck || ends || self.up.is_fresh() || movement.last() + IDLE_MOMENT > Instant::now() {
            return false;
        }
        // These cost system calls.
        let begun = self.client.has_part() || self.backend.has_part();
        let unread = self.client.socket().has_unread() || self.backend.socket().has_unread();
        !begun && !unread && queued(self.client) == 0 && queued(self.backend) == 0
    }

    fn means(&self, direction: Direction) -> Means<'a> {
        Means { memory: self.terms.memory, pace: self.terms.handle.pace().map(|pace| (pace, direction)) }
    }

    /// Whether its pace holds this direction back.
    fn holds_back(&self, direction: Direction) -> bool {
        self.terms.handle.pace().is_some_and(|pace| pace.holds_back(direction))
    }

    fn is_held_back(&self) -> bool {
        self.terms.handle.is_held_back()
    }

    /// How the backend ended, if the hello may go to another one.
    fn no_reply(
        &self,
        up: &Poll<Result<(), FlowError>>,
        down: &Poll<Result<(), FlowError>>,
    ) -> Option<NoReply> {
        if !self.up.is_fresh() || !self.down.is_fresh() {
            return None;
        }
        let no_reply = match (up, down) {
            (Poll::Ready(Err(FlowError::Destination(kind))), _) if !self.backend.socket().has_unread() => {
                NoReply::Broke(*kind)
            }
            (Poll::Ready(Err(_)), _) => return None,
            (_, Poll::Ready(Err(FlowError::Source(kind)))) => NoReply::Broke(*kind),
            _ if self.down.has_ended() => NoReply::Fin,
            _ => return None,
        };
        prefix::covers(self.replay, no_reply).then_some(no_reply)
    }

    /// The hello may go to another backend only while neither side has sent a byte or ended.
    fn keep_or_go_on(&mut self) {
        let kept = self.up.is_fresh() && self.down.is_fresh();
        if !kept || self.up.has_ended() || self.down.has_ended() {
            self.go_on();
        }
    }

    /// From here on this backend is the only one.
    pub(super) fn go_on(&mut self) {
        self.up.go_on();
        self.down.go_on();
    }

    /// Counts bytes up, except those already counted for an earlier backend.
    pub(super) fn count_up(&mut self, sent: usize) {
        let again = sent.min(self.counted);
        self.counted -= again;
        self.traffic.up(sent - again);
    }

    /// One timer for all deadlines. It is not reset with every byte: when it fires, the time of the last byte
    /// is checked.
    fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        movement: &mut Movement,
        young: &mut Option<Instant>,
    ) -> Poll<End> {
        let rules = &self.terms.rules;
        let half_closed = self.first.is_some();
        let limit = if half_closed { rules.half_closed } else { rules.idle };
        // A side that has finished sending, or whose bytes are stuck, is not read from, so that no event
        // would report its reset. The same goes for a direction that is held back.
        let held = self.terms.handle.pace().and_then(Pace::next);
        let watching = half_closed
            || self.up.is_blocked()
            || self.down.is_blocked()
            || self.client.holds_back()
            || held.is_some()
            || self.terms.handle.retires();
        let next = |movement: &Movement, young: Option<Instant>| {
            let deadline = movement.last() + limit;
            let looks = [young, movement.next_look(limit), held];
            let wake = looks.into_iter().flatten().fold(deadline, Instant::min);
            if watching { wake.min(Instant::now() + LOOK_AGAIN) } else { wake }
        };
        let wake = next(movement, *young);
        // While bytes are held back it has fired for each chunk.
        if timer.deadline() > wake || held.is_some() {
            timer.as_mut().reset(wake);
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let over = |movement: &Movement| now >= movement.last() + limit;
            if self.is_held_back() {
                // It is weir that moves nothing.
                movement.moved(now);
            }
            if held.is_some_and(|goes_on| goes_on <= now) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if movement.next_look(limit).is_some_and(|look| now >= look || over(movement)) {
                movement.look(now, [queued(self.client), queued(self.backend)]);
            }
            if over(movement) {
                let cut = if half_closed { ConnError::HalfClosedTimeout } else { ConnError::IdleTimeout };
                return Poll::Ready(End::Cut(cut));
            }
            if let Some(gone) = self.reset_unseen() {
                return Poll::Ready(gone);
            }
            if young.take_if(|grown| now >= *grown).is_some() {
                watch_over(self.client, self.terms.options);
                watch_over(self.backend, self.terms.options);
            }
            if self.client.holds_back() {
                // The backend is slow to speak, so bytes that should have gone with its first bytes go alone.
                // A failure will be met again.
                let _sent: Poll<io::Result<()>> = self.client.poll_flush(cx);
            }
            timer.as_mut().reset(next(movement, *young));
        }
        Poll::Pending
    }

    /// The reset of a side that is not being read from.
    fn reset_unseen(&self) -> Option<End> {
        let gone = |side| move |kind| End::Gone(side, kind);
        let [up, down] = [Direction::Up, Direction::Down].map(|direction| self.holds_back(direction));
        unseen(&self.up, up, self.client)
            .map(gone(Side::Client))
            .or_else(|| unseen(&self.down, down, self.backend).map(gone(Side::Backend)))
    }
}

/// A destination that cannot be told of the end because it went away after its own clean end is no fault.
fn excused(
    polled: Poll<Result<(), FlowError>>,
    flow: &mut Flow,
    opposite: &Flow,
) -> Poll<Result<(), FlowError>> {
    match polled {
        Poll::Ready(Err(FlowError::Destination(_))) if opposite.has_read_all() && flow.excuse() => {
            Poll::Ready(Ok(()))
        }
        other => other,
    }
}

fn watch_over<W: Wire>(side: &W, options: &Options) {
    if let Err(error) = side.socket().watch_over(options) {
        tracing::debug!(%error, "cannot set the options of a socket");
    }
}

/// How the source of a flow went away, if the flow does not read from it: it may be held back.
fn unseen<W: Wire>(flow: &Flow, held_back: bool, source: &W) -> Option<io::ErrorKind> {
    let unread = flow.has_ended() || flow.is_blocked() || held_back;
    let error = || source.socket().take_error().ok().flatten().map(|e| e.kind());
    flow.failed_source().or_else(|| unread.then(error).flatten())
}

/// A pause of this length between two bytes is an idle moment: much longer than an answer waits for its next segment.
const IDLE_MOMENT: Duration = Duration::from_secs(1);
/// How often a side that is not being read from is checked.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

//! One direction of a relay: read, write, keep what does not fit, finish.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::fault::FlowError;
use super::rules::OnTruncation;
use super::splice::{self, Bulk};
use super::wire::{Finish, Wire};
use crate::memory::{Kept, Memory, Ticket};
use std::io;
use std::task::{Context, Poll, ready};
use tokio::task::coop::has_budget_remaining;
use weir_tls::LEAST_ROOM;

/// Where a direction is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Reading from its source failed: what had come before that still goes, then the fault is told.
    Failed(FlowError),
    /// Its source broke: what had come before that still goes, and no end is told.
    Broken,
    /// A broken source has been read to its end: what it said still goes, and no end is told.
    Over,
    /// Its source has ended; the destination is still to be told so.
    Finishing(Finish),
    Done,
}

impl Stage {
    /// Whether a direction may go from here to `next`.
    fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Open, Self::Failed(_) | Self::Broken | Self::Finishing(_)) => true,
            (Self::Failed(_) | Self::Broken, Self::Over) => true,
            (Self::Finishing(_), Self::Done) => true,
            _ => self == next,
        }
    }
}

/// A flow that moves less than this each time it is polled needs no turn: it costs others no more than a request does.
const LIGHT: usize = 64 << 10;
/// A flow that moves no more than this at a time answers requests, or asks. Bulk beside it should not keep it waiting.
const MESSAGE: usize = 16 << 10;

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    stage: Stage,
    /// What was read and could not be written; nothing more is read until it is gone.
    kept: Option<Box<Kept>>,
    /// Set from outside, and true until something has been read: what goes ahead is then kept whole, also once
    /// it has gone.
    fresh: bool,
    /// While fresh, the end of its source is not told to its destination.
    holds_end: bool,
    /// The other direction has ended, both sides: what ends this one is the close.
    last: bool,
    /// The other direction has come to its clean end.
    answers_an_end: bool,
    /// TLS below may hold written bytes back.
    unflushed: bool,
    truncated: bool,
    /// Its destination went after its own end, and was not told of this one.
    excused: bool,
    on_truncation: OnTruncation,
    /// It moved much in its last poll, or waits for a turn: it moves nothing more without a turn.
    in_bulk: bool,
    /// Its place in line for a turn, or its turn.
    turn: Option<Ticket>,
    pub(super) bulk: Bulk,
}

impl Flow {
    /// A direction that sends `ahead` first.
    pub(super) fn new(ahead: Vec<u8>, on_truncation: OnTruncation) -> Self {
        Self {
            stage: Stage::Open,
            kept: Kept::ahead(ahead),
            fresh: false,
            holds_end: false,
            last: false,
            answers_an_end: false,
            unflushed: false,
            truncated: false,
            excused: false,
            on_truncation,
            in_bulk: false,
            turn: None,
            bulk: Bulk::default(),
        }
    }

    /// From here to its first byte, or until [`go_on`](Self::go_on), it keeps what goes ahead; with `holds_end` it
    /// keeps the end of its source to itself, too.
    pub(super) fn keep(&mut self, holds_end: bool) {
        (self.fresh, self.holds_end) = (true, holds_end);
    }

    /// Nothing has been read since it was told to keep.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Keeps nothing any more, and gives the memory back.
    pub(super) fn go_on(&mut self) {
        self.fresh = false;
        self.release();
    }

    /// What goes ahead, whole as long as the flow is fresh, and how much of it has gone.
    pub(super) fn take_ahead(&mut self) -> (Vec<u8>, usize) {
        self.kept.take().map_or_else(Default::default, |kept| kept.whole())
    }

    fn go_to(&mut self, next: Stage) {
        debug_assert!(self.stage.may_become(next), "{:?} does not become {next:?}", self.stage);
        self.stage = next;
    }

    /// What is true of a direction between two polls.
    fn check(&self) {
        let nothing_left = !self.has_left() && !self.bulk.is_filled();
        debug_assert!(
            self.stage != Stage::Done || nothing_left,
            "told of the end before the bytes: {self:?}"
        );
        debug_assert!(
            !self.excused || self.stage == Stage::Done,
            "excused from an end that is to come: {self:?}"
        );
        debug_assert!(
            !self.holds_end || self.fresh || self.kept.is_none(),
            "holds back without need: {self:?}"
        );
        debug_assert!(!self.bulk.is_filled() || !self.has_left(), "bytes in a pipe and beside it: {self:?}");
    }

    /// Whether this direction is the last one, as the other one stands now.
    pub(super) fn beside(&mut self, other: &Self) {
        self.last = other.is_done();
        self.answers_an_end = other.is_done() && !other.truncated;
    }

    /// Its source has ended, and nothing of what it said is left here (and perhaps its destination does not know yet).
    pub(super) fn has_ended(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Failed(_) => false,
            Stage::Finishing(_) => self.has_only_its_end_left(),
            Stage::Broken | Stage::Over | Stage::Done => true,
        }
    }

    /// Its source has ended, and has been read to that end.
    pub(super) fn has_read_all(&self) -> bool {
        !matches!(self.stage, Stage::Open | Stage::Failed(_))
    }

    /// How reading from its source failed, while what had come before that is still to go.
    pub(super) fn failed_source(&self) -> Option<io::ErrorKind> {
        match self.stage {
            Stage::Failed(FlowError::Source(kind)) => Some(kind),
            _ => None,
        }
    }

    /// All that its destination still misses is to be told of the end.
    pub(super) fn has_only_its_end_left(&self) -> bool {
        matches!(self.stage, Stage::Finishing(_)) && !self.has_left() && !self.unflushed
    }

    /// Its destination has been told of the end.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Its source ended TLS without close_notify, and that was passed on or let pass.
    pub(super) fn was_truncated(&self) -> bool {
        self.truncated
    }

    /// It has bytes in hand that its destination does not take: its source is not read meanwhile.
    pub(super) fn is_blocked(&self) -> bool {
        self.has_left() || self.unflushed || self.bulk.is_filled()
    }

    /// It waits for its turn of bulk: other flows keep it from moving, and neither of its sides.
    pub(super) fn is_in_line(&self) -> bool {
        self.turn.is_some()
    }

    /// Ends the direction here: what was read still goes, then the destination is told of a clean end.
    pub(super) fn finish(&mut self) {
        self.last = false; // It is waited for.
        if self.stage == Stage::Open {
            self.go_to(Stage::Finishing(Finish::Clean));
        }
    }

    /// Notes that the source broke, unless it had ended before.
    pub(super) fn source_broke(&mut self) {
        self.last = false; // It is waited for.
        match self.stage {
            Stage::Open => self.go_to(Stage::Broken),
            Stage::Failed(_) => self.go_to(Stage::Over),
            _ => {}
        }
    }

    /// The destination is gone, but had ended its own stream before, and has got everything but the end: that
    /// is no fault. True where it applies.
    pub(super) fn excuse(&mut self) -> bool {
        let excused = self.has_only_its_end_left();
        if excused {
            self.go_to(Stage::Done);
            self.excused = true;
        }
        excused
    }

    /// Its destination has been told of the end, which is in the send queue or gone from it.
    pub(super) fn has_told(&self) -> bool {
        self.is_done() && !self.excused
    }

    /// [`Self::excuse`] has applied.
    pub(super) fn was_excused(&self) -> bool {
        self.excused
    }

    /// Moves what can be moved now, in bulk as far as it has a turn. `sent` grows by the bytes that the destination took.
    pub(super) fn poll<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        memory: &Memory,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        let before = *sent;
        let polled = self.poll_steps(cx, from, to, memory, sent);
        memory.turns.pass_on(&mut self.turn);
        let moved = *sent - before;
        self.in_bulk = moved >= LIGHT || self.turn.is_some();
        if (1..=MESSAGE).contains(&moved) && !self.bulk.is_on() {
            memory.turns.saw_light_flow();
        }
        self.check();
        polled
    }

    fn poll_steps<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        memory: &Memory,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        let begun = *sent;
        loop {
            ready!(self.poll_kept(cx, to, memory, sent))?;
            match self.stage {
                Stage::Open | Stage::Broken => {}
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Over => return self.poll_flush(cx, to),
                Stage::Failed(fault) => {
                    ready!(self.poll_flush(cx, to))?;
                    return Poll::Ready(Err(fault));
                }
                Stage::Finishing(_) if self.fresh && self.holds_end => return Poll::Pending,
                Stage::Finishing(finish) => {
                    ready!(to.poll_finish(cx, finish, self.last))
                        .map_err(|e| FlowError::Destination(e.kind()))?;
                    self.go_to(Stage::Done);
                    self.unflushed = false;
                    continue;
                }
            }
            ready!(self.poll_flush(cx, to))?;
            if self.in_bulk || *sent - begun >= LIGHT {
                ready!(memory.turns.poll_take(&mut self.turn, cx));
            }
            let before = *sent;
            let step = self.poll_step(cx, from, to, memory, sent);
            if self.turn.is_some() {
                memory.turns.spend(*sent - before);
            }
            ready!(step)?;
        }
    }

    /// Moves one read, or one pipe.
    fn poll_step<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        memory: &Memory,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        if self.bulk.is_on()
            && let (Some(from), Some(to)) = (from.bare(), to.bare())
        {
            return splice::poll_splice(&mut self.bulk, &mut self.kept, cx, (from, to), memory, sent);
        }
        self.poll_copy(cx, from, to, memory, sent)
    }

    /// Reads what has come through the worker's buffer, and writes it. Where its end has come with it, both are given
    /// to the destination together, which may send them together.
    fn poll_copy<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        memory: &Memory,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        let mut scratch = memory.scratch();
        let room = memory.at_once().min(memory.turns.step()).min(scratch.len());
        let (n, next) = read_on(cx, from, &mut scratch[..room], memory);
        let read = &scratch[..n]; // No source gives more than there was room for.
        let waits = next.is_pending();
        let then = match next {
            Poll::Pending if n > 0 || self.stage != Stage::Broken => self.stage,
            // A broken TLS session over a live socket yields no more data, yet returns `Pending`. Without budget
            // it may be the runtime that waits. A bare socket is dead: where it waits, the runtime has not heard
            // of that yet, and what came before may still be in it.
            Poll::Pending if has_budget_remaining() && from.bare().is_none() => Stage::Over,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => self.ended(Finish::Clean),
            Poll::Ready(Ok(_)) => self.stage,
            Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                self.truncation(from.has_part())
            }
            Poll::Ready(Err(e)) => self.failed(FlowError::Source(e.kind())),
        };
        if !read.is_empty() {
            self.go_on();
            self.bulk.saw_read(n);
            self.unflushed = W::BUFFERS;
            let end = if let Stage::Finishing(finish) = then { Some(finish) } else { None };
            let mut at = 0;
            while at < read.len() {
                let rest = &read[at..];
                let unwritten = match to.poll_write(cx, rest, end, memory) {
                    Poll::Ready(Ok(n @ 1..)) => {
                        at += n;
                        *sent += n;
                        continue;
                    }
                    Poll::Ready(Ok(0)) => Poll::Ready(Err(FlowError::Destination(io::ErrorKind::WriteZero))),
                    Poll::Ready(Err(e)) => Poll::Ready(Err(FlowError::Destination(e.kind()))),
                    Poll::Pending => Poll::Pending,
                };
                // Also where the write failed: an end that came with these bytes has been read, and they have not gone.
                self.kept = Some(memory.keep(rest));
                self.go_to(then);
                return unwritten;
            }
        }
        self.go_to(then);
        if waits && self.stage == Stage::Open {
            ready!(self.poll_flush(cx, to))?;
            return Poll::Pending; // And not asked again: the source has said so.
        }
        Poll::Ready(Ok(()))
    }

    /// What becomes of a direction whose source ended TLS without close_notify, `cut` in the middle of a record.
    ///
    /// It is no truncation where it answers the other side's end: neither side expects more, and many servers close like
    /// this. The end is passed on unchanged all the same.
    fn truncation(&mut self, cut: bool) -> Stage {
        self.truncated = cut || !self.answers_an_end || self.on_truncation == OnTruncation::Reset;
        match self.on_truncation {
            OnTruncation::Reset => self.failed(FlowError::Truncated),
            OnTruncation::Finish => self.ended(Finish::Clean),
            OnTruncation::PassOn => self.ended(Finish::Bare),
        }
    }

    fn ended(&self, finish: Finish) -> Stage {
        if self.stage == Stage::Broken { Stage::Over } else { Stage::Finishing(finish) }
    }

    fn failed(&self, fault: FlowError) -> Stage {
        if self.stage == Stage::Broken { Stage::Over } else { Stage::Failed(fault) }
    }

    fn poll_flush<W: Wire>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), FlowError>> {
        if self.unflushed {
            ready!(to.poll_flush(cx)).map_err(|e| FlowError::Destination(e.kind()))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_kept<W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        memory: &Memory,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        loop {
            while let Some(kept) = self.kept.as_mut().filter(|kept| !kept.left().is_empty()) {
                let n = ready!(to.poll_write(cx, kept.left(), None, memory))
                    .map_err(|e| FlowError::Destination(e.kind()))?;
                if n == 0 {
                    return Poll::Ready(Err(FlowError::Destination(io::ErrorKind::WriteZero)));
                }
                kept.gone(n);
                *sent += n;
                self.unflushed = W::BUFFERS;
            }
            let Some(to) = to.bare() else { break };
            ready!(splice::poll_drain(&mut self.bulk, &mut self.kept, cx, to, memory, sent))?;
            if !self.has_left() {
                break;
            }
        }
        if !self.fresh {
            self.release();
        }
        Poll::Ready(Ok(()))
    }

    /// Some of what it keeps has still to go.
    fn has_left(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.left().is_empty())
    }

    /// Gives the memory of what has gone back: a connection that waits holds no buffer.
    fn release(&mut self) {
        if !self.has_left() {
            self.kept = None;
        }
    }
}

/// Reads until the source waits or has ended, or `buf` is nearly full. How many bytes came, and what the last read said.
fn read_on<R: Wire>(
    cx: &mut Context<'_>,
    from: &mut R,
    buf: &mut [u8],
    memory: &Memory,
) -> (usize, Poll<io::Result<usize>>) {
    let mut n = 0;
    loop {
        let read = from.poll_read(cx, &mut buf[n..], memory);
        if let Poll::Ready(Ok(more @ 1..)) = read {
            n += more;
            if buf.len() - n >= LEAST_ROOM {
                continue;
            }
        }
        return (n, read);
    }
}

//! One direction of a relay: read, write, keep unwritten bytes, finish.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::fault::FlowError;
use super::rules::OnTruncation;
use super::splice::{self, Bulk};
use super::wire::{Finish, Wire};
use crate::bandwidth::Pace;
use crate::memory::{Kept, Memory, Ticket};
use std::io;
use std::task::{Context, Poll, ready};
use tokio::task::coop::has_budget_remaining;
use weir_metrics::labels::Direction;
use weir_tls::LEAST_ROOM;

/// What a direction moves its bytes with, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<'a> {
    /// The worker's buffer and pipes.
    pub(super) memory: &'a Memory,
    /// Its pace, and which direction of it this is; `None` = as fast as it goes.
    pub(super) pace: Option<(&'a Pace, Direction)>,
}

impl Means<'_> {
    /// How many bytes may be read now; `None` = none, and the relay's timer says when some may.
    fn allowed(&self) -> Option<usize> {
        match self.pace {
            Some((pace, direction)) => pace.allows(direction).ok(),
            None => Some(usize::MAX),
        }
    }

    /// Records that so many bytes were read.
    fn read(&self, bytes: usize) {
        if let Some((pace, direction)) = self.pace {
            pace.moved(direction, bytes);
        }
    }
}

/// The stages of a direction's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Reading from its source failed: earlier bytes are still written, then the error is reported.
    Failed(FlowError),
    /// Its source broke: earlier bytes are still written, and the destination is told of no end.
    Broken,
    /// A broken source has been read to its end: its bytes are still written, and the destination is told of
    /// no end.
    Over,
    /// Its source has ended; the destination must still be told.
    Finishing(Finish),
    Done,
}

impl Stage {
    /// Whether a direction may change from this stage to `next`.
    fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Open, Self::Failed(_) | Self::Broken | Self::Finishing(_)) => true,
            (Self::Failed(_) | Self::Broken, Self::Over) => true,
            (Self::Finishing(_), Self::Done) => true,
            _ => self == next,
        }
    }
}

/// A flow that moves less than this per poll needs no turn, because it costs others no more than a request
/// does.
const LIGHT: usize = 64 << 10;
/// A flow that moves no more than this at a time carries requests or answers. Bulk beside it should not delay
/// it.
const MESSAGE: usize = 16 << 10;

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    stage: Stage,
    /// Bytes read but not yet written; nothing more is read until they are gone.
    kept: Option<Box<Kept>>,
    /// Set from outside, and true until something has been read. While it is true the prefix is kept whole,
    /// even after it was written.
    fresh: bool,
    /// While fresh, the end of its source is not passed on to its destination.
    holds_end: bool,
    /// The other direction has ended on both sides, so the close will end this one.
    last: bool,
    /// The other direction has ended cleanly.
    answers_an_end: bool,
    /// TLS below may hold written bytes back.
    unflushed: bool,
    truncated: bool,
    /// Its destination went away after its own end, and was not told of this direction's end.
    excused: bool,
    on_truncation: OnTruncation,
    /// It moved much in its last poll, or waits for a turn: without a turn it moves nothing more.
    in_bulk: bool,
    /// Its place in line for a turn, or the turn itself.
    turn: Option<Ticket>,
    pub(super) bulk: Bulk,
}

impl Flow {
    /// A direction that sends `ahead` first.
    pub(super) fn new(prefix: Vec<u8>, on_truncation: OnTruncation) -> Self {
        Self {
            stage: Stage::Open,
            kept: Kept::prefix(prefix),
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

    /// Keeps the prefix from here until the first byte is read, or until [`go_on`](Self::go_on); with
    /// `holds_end` it also withholds the end of its source.
    pub(super) fn hold_hello(&mut self, holds_end: bool) {
        (self.fresh, self.holds_end) = (true, holds_end);
    }

    /// Whether nothing has been read since the hello was held.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Stops holding the prefix, and frees its memory.
    pub(super) fn go_on(&mut self) {
        self.fresh = false;
        self.release();
    }

    /// The prefix, whole as long as the flow is fresh, and the number of its bytes already written.
    pub(super) fn take_ahead(&mut self) -> (Vec<u8>, usize) {
        self.kept.take().map_or_else(Default::default, |kept| kept.whole())
    }

    fn go_to(&mut self, next: Stage) {
        debug_assert!(self.stage.may_become(next), "{:?} does not become {next:?}", self.stage);
        self.stage = next;
    }

    /// The invariants of a direction between two polls.
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

    /// Updates this direction from the other one's current state.
    pub(super) fn beside(&mut self, other: &Self) {
        self.last = other.is_done();
        self.answers_an_end = other.is_done() && !other.truncated;
    }

    /// Whether its source has ended and all its bytes are written (perhaps the destination is not told yet).
    pub(super) fn has_ended(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Failed(_) => false,
            Stage::Finishing(_) => self.has_only_its_end_left(),
            Stage::Broken | Stage::Over | Stage::Done => true,
        }
    }

    /// Whether its source has ended, and has been read to that end.
    pub(super) fn has_read_all(&self) -> bool {
        !matches!(self.stage, Stage::Open | Stage::Failed(_))
    }

    /// The error of reading from its source, while earlier bytes are still to be written.
    pub(super) fn failed_source(&self) -> Option<io::ErrorKind> {
        match self.stage {
            Stage::Failed(FlowError::Source(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Whether its destination lacks nothing but the end.
    pub(super) fn has_only_its_end_left(&self) -> bool {
        matches!(self.stage, Stage::Finishing(_)) && !self.has_left() && !self.unflushed
    }

    /// Whether its destination has been told of the end.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether its source ended TLS without close_notify, and that was passed on or ignored.
    pub(super) fn was_truncated(&self) -> bool {
        self.truncated
    }

    /// Whether it holds bytes that its destination does not accept, so that its source is not read.
    pub(super) fn is_blocked(&self) -> bool {
        self.has_left() || self.unflushed || self.bulk.is_filled()
    }

    /// Whether it waits for its turn of bulk: other flows hold it up, and neither of its sides.
    pub(super) fn is_in_line(&self) -> bool {
        self.turn.is_some()
    }

    /// Ends the direction here: read bytes are still written, then the destination gets a clean end.
    pub(super) fn finish(&mut self) {
        self.last = false; // weir waits for this end.
        if self.stage == Stage::Open {
            self.go_to(Stage::Finishing(Finish::Clean));
        }
    }

    /// Records that the source broke, unless it had ended before.
    pub(super) fn source_broke(&mut self) {
        self.last = false; // weir waits for this end.
        match self.stage {
            Stage::Open => self.go_to(Stage::Broken),
            Stage::Failed(_) => self.go_to(Stage::Over),
            _ => {}
        }
    }

    /// The destination is gone, but had ended its own stream before, and has received everything but the end:
    /// no fault. Returns whether this applies.
    pub(super) fn excuse(&mut self) -> bool {
        let excused = self.has_only_its_end_left();
        if excused {
            self.go_to(Stage::Done);
            self.excused = true;
        }
        excused
    }

    /// Whether its destination has been told of the end, which is in the send queue or has left it.
    pub(super) fn has_told(&self) -> bool {
        self.is_done() && !self.excused
    }

    /// Whether [`Self::excuse`] has applied.
    pub(super) fn was_excused(&self) -> bool {
        self.excused
    }

    /// Moves all that can move now, in bulk only with a turn. `sent` grows by the bytes that the destination
    /// accepted.
    pub(super) fn poll<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        means: Means<'_>,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        let (before, memory) = (*sent, means.memory);
        let polled = self.poll_steps(cx, from, to, means, sent);
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
        means: Means<'_>,
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        let (begun, memory) = (*sent, means.memory);
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
            let Some(most) = means.allowed() else { return Poll::Pending };
            if self.in_bulk || *sent - begun >= LIGHT {
                ready!(memory.turns.poll_take(&mut self.turn, cx));
            }
            let before = *sent;
            let step = self.poll_step(cx, from, to, (memory, most), sent);
            means.read(*sent - before + self.left());
            if self.turn.is_some() {
                memory.turns.spend(*sent - before);
            }
            ready!(step)?;
        }
    }

    /// Moves one read, or one pipe, of about `most` bytes.
    fn poll_step<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        (memory, most): (&Memory, usize),
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        if self.bulk.is_on()
            && let (Some(from), Some(to)) = (from.bare(), to.bare())
        {
            let (bulk, kept) = (&mut self.bulk, &mut self.kept);
            return splice::poll_splice(bulk, kept, cx, (from, to), (memory, most), sent);
        }
        self.poll_copy(cx, from, to, (memory, most), sent)
    }

    /// Reads the available bytes into the worker's buffer, and writes them. If the end came with them, the
    /// destination gets both together, so that it may send them together.
    fn poll_copy<R: Wire, W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        (memory, most): (&Memory, usize),
        sent: &mut usize,
    ) -> Poll<Result<(), FlowError>> {
        let mut scratch = memory.buffer();
        // TLS has records of its own size.
        let most = if from.bare().is_some() { most } else { most.max(LEAST_ROOM) };
        let room = memory.at_once().min(memory.turns.step()).min(most).min(scratch.len());
        let (n, next) = read_on(cx, from, &mut scratch[..room], memory);
        let read = &scratch[..n]; // No source returns more than fits.
        let waits = next.is_pending();
        let then = match next {
            Poll::Pending if n > 0 || self.stage != Stage::Broken => self.stage,
            // A broken TLS session over a live socket yields no more data, yet returns `Pending`. Without
            // budget the `Pending` may be the runtime's. A broken bare socket is dead: if it returns
            // `Pending`, the runtime does not know yet, and earlier bytes may still be in it.
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
                // Also after a failed write: an end that came with these bytes has been read, and they are
                // not written.
                self.kept = Some(memory.keep(rest));
                self.go_to(then);
                return unwritten;
            }
        }
        self.go_to(then);
        if waits && self.stage == Stage::Open {
            ready!(self.poll_flush(cx, to))?;
            return Poll::Pending; // No further read: the source has just returned `Pending`.
        }
        Poll::Ready(Ok(()))
    }

    /// The next stage of a direction whose source ended TLS without close_notify, `cut` in the middle of a
    /// record.
    ///
    /// It is no truncation if it answers the other side's end: neither side expects more, and many servers
    /// close like this. Even then the end is passed on unchanged.
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

    /// Whether some of its kept bytes are still to be written.
    fn has_left(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.left().is_empty())
    }

    /// How many bytes it has read and not written.
    fn left(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.left().len()) + self.bulk.inside()
    }

    /// Frees the memory of written bytes, so that a waiting connection holds no buffer.
    fn release(&mut self) {
        if !self.has_left() {
            self.kept = None;
        }
    }
}

/// Reads until the source waits or has ended, or `buf` is nearly full. Returns the number of bytes, and the
/// last read's result.
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

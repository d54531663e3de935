//! What hyper reads and writes: a socket or a TLS session, through the worker's memory.
//!
//! Neither direction has a buffer of its own while it waits. A read goes through the worker's buffer; what hyper has no
//! room for is kept until its next read. Large writes take turns with the relay's bulk (`weir_core::memory::Turns`), so
//! that a large body holds its worker no longer than a TCP flow does.

mod ending;
mod metered;
mod paced;
mod traits;
mod tunnel;
mod wire;

pub use ending::Ending;
use metered::Metered;
use paced::Paced;
pub use tunnel::{StreamSocket, Tunnel};
pub use wire::{BackendWire, HyperWire};

use crate::backend::interim::Interim;
use crate::body::BackendFailed;
use crate::body::raw::RawSlot;
use crate::meter::{Flood, UnderWay};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use weir_core::account::request::RequestOutcome;
use weir_core::local::Local;
use weir_core::memory::Ticket;
use weir_core::stop::ConnHandle;
use weir_metrics::labels::Direction;

/// A write from this size on is bulk, and is not copied to be joined with its neighbours.
const LARGE: usize = 16 << 10;

/// What a read of a waiting stream may find at once.
const FIRST: usize = 4 << 10;

/// How many bytes have gone each way. Shared with code that cannot reach the stream while hyper owns it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes that hyper has read.
    pub read: Cell<u64>,
    /// Bytes that hyper has written.
    pub written: Cell<u64>,
    /// More of an answer is expected: a backend may wait for an acknowledgement before it sends that.
    pub expects: Cell<bool>,
    /// The last read found nothing.
    pub starved: Cell<bool>,
    /// The last write or flush could not be completed.
    pub blocked: Cell<bool>,
    /// How often all that there was to write had been written, on a connection with HTTP/2.
    pub settled: Cell<u64>,
    /// The interim answers among what was read.
    pub interim: Cell<Interim>,
    /// What the client floods weir with; the connection ends for it.
    pub flood: Cell<Option<Flood>>,
    /// What a client that speaks HTTP/2 has begun to send and not ended.
    pub under_way: Cell<Option<UnderWay>>,
    /// Whether weir ends the connection, and how.
    pub ending: Cell<Ending>,
    /// The other side must be watched: hyper reads nothing, and its end would go unnoticed.
    watched: Cell<bool>,
    /// The other side may still send what hyper does not read: a close now would destroy what was written.
    lingers: Cell<bool>,
}

impl Counts {
    /// Counts what hyper is about to read.
    fn saw(&self, bytes: &[u8]) -> io::Result<()> {
        self.read.set(self.read.get() + bytes.len() as u64);
        let mut interim = self.interim.get();
        interim.read(bytes).map_err(|many| io::Error::new(io::ErrorKind::InvalidData, many))?;
        self.interim.set(interim);
        Ok(())
    }

    /// The connection has been polled, and waits.
    pub fn settle(&self) {
        if !self.blocked.get() {
            self.settled.set(self.settled.get() + 1);
        }
    }

    /// Has the stream notice that the other side is gone, while hyper reads nothing. Over TLS an end without close_notify
    /// says so; with it the other side may still read.
    pub fn watch(&self, watched: bool) {
        self.watched.set(watched);
    }

    /// Has the stream's end wait for the other side, and discard what it sends.
    pub fn linger(&self) {
        self.lingers.set(true);
    }

    /// Whether it does.
    pub fn lingers(&self) -> bool {
        self.lingers.get()
    }
}

/// The most bytes that are discarded at the end of a connection.
const DISCARD_MAX: u64 = 16 << 20;

/// A wire as hyper's stream.
#[derive(Debug)]
pub struct HyperStream<W> {
    wire: W,
    local: Rc<Local>,
    counts: Rc<Counts>,
    /// Bytes that were read and that hyper had no room for; those from `at` on are still to be read.
    kept: Vec<u8>,
    at: usize,
    /// Its place among the flows in bulk.
    turn: Option<Ticket>,
    /// Where bytes come from that hyper has not read.
    raw: RawSlot,
    /// Bytes discarded since its write half was ended.
    discarded: Option<u64>,
    /// Counts the frames of a client that speaks HTTP/2.
    metered: Option<Box<Metered>>,
    /// Holds back a client whose connection has a pace.
    pace: Option<Box<Paced>>,
}

impl<W: HyperWire> HyperStream<W> {
    /// The stream, and its counts.
    pub fn new(wire: W, local: Rc<Local>) -> (Self, Rc<Counts>) {
        let counts = Rc::new(Counts::default());
        (Self::counted(wire, local, Rc::clone(&counts)), counts)
    }

    /// The stream, whose counts are there already.
    pub fn counted(wire: W, local: Rc<Local>, counts: Rc<Counts>) -> Self {
        let raw = RawSlot::default();
        Self {
            wire,
            local,
            counts,
            kept: Vec::new(),
            at: 0,
            turn: None,
            raw,
            discarded: None,
            metered: None,
            pace: None,
        }
    }

    /// The same stream, of a client that speaks HTTP/2 and has not been read from yet: floods of frames end it.
    #[must_use]
    pub fn metered(self) -> Self {
        let metered = Metered::new();
        self.counts.under_way.set(metered.meter.under_way());
        Self { metered: Some(Box::new(metered)), ..self }
    }

    /// The same stream, at the pace of its client's connection.
    #[must_use]
    pub fn paced(self, handle: &Rc<ConnHandle>) -> Self {
        Self { pace: Paced::of(handle), ..self }
    }

    /// Ready with the number of bytes that its pace allows now.
    fn poll_allowed(&mut self, direction: Direction, cx: &mut Context<'_>) -> Poll<usize> {
        match &mut self.pace {
            Some(pace) => pace.poll_allowed(direction, cx),
            None => Poll::Ready(usize::MAX),
        }
    }

    /// Tells its pace that so many bytes have moved.
    fn spend(&self, direction: Direction, bytes: usize) {
        if let Some(pace) = &self.pace {
            pace.moved(direction, bytes);
        }
    }

    /// The wire, and the bytes that were read from it and not by hyper.
    pub fn into_parts(self) -> (W, Vec<u8>) {
        let kept = self.kept.get(self.at..).map(<[u8]>::to_vec).unwrap_or_default();
        (self.wire, kept)
    }

    /// The same stream, with a slot for answers that go past hyper.
    pub fn with_raw(self, raw: RawSlot) -> Self {
        Self { raw, ..self }
    }

    /// Moves bytes of an answer from its backend to the wire, in its turn.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.counts.blocked.set(true);
        // First: what has been read of the backend can then be taken at once.
        ready!(self.wire.poll_flush(cx))?;
        let most = ready!(self.poll_allowed(Direction::Down, cx));
        let moved = self.raw_step(most, cx);
        self.spend(Direction::Down, taken(&moved));
        self.counts.blocked.set(moved.is_pending());
        if moved.is_pending() {
            self.local.memory.turns.pass_on(&mut self.turn);
        }
        moved
    }

    fn raw_step(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let memory = &self.local.memory;
        let mut slot = self.raw.0.borrow_mut();
        let Some(source) = slot.as_mut() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        ready!(memory.turns.poll_take(&mut self.turn, cx));
        let took = if source.rest.is_empty() {
            let mut buffer = memory.buffer();
            let most = self.wire.takes(&self.local).min(memory.turns.step()).min(most).min(buffer.len());
            let most = most.min(usize::try_from(source.left).unwrap_or(usize::MAX));
            let space = buffer.get_mut(..most).unwrap_or_default();
            let n = match ready!(HyperWire::poll_read(&mut source.socket, cx, space, &self.local)) {
                Ok(n) if n > 0 => n,
                ended => {
                    source.held.exchange.ends(RequestOutcome::BackendReset);
                    let kind = ended.err().map_or(io::ErrorKind::UnexpectedEof, |error| error.kind());
                    return Poll::Ready(Err(broken(kind)));
                }
            };
            let bytes = space.get(..n).unwrap_or_default();
            let wrote = self.wire.poll_write(cx, bytes, &self.local);
            let took = if let Poll::Ready(took) = &wrote { took.as_ref().map_or(0, |took| *took) } else { 0 };
            source.rest = bytes.get(took..).unwrap_or_default().to_vec();
            ready!(wrote)?
        } else {
            let took = ready!(self.wire.poll_write(cx, &source.rest, &self.local))?;
            source.rest.drain(..took);
            took
        };
        source.left = source.left.saturating_sub(took as u64);
        source.held.exchange.record().down(took);
        source.held.exchange.moved();
        memory.turns.spend(took);
        self.counts.written.set(self.counts.written.get() + took as u64);
        if source.left == 0
            && let Some(source) = slot.take()
        {
            source.finish();
        }
        Poll::Ready(Ok(took))
    }

    /// Puts bytes that were read before in front of all others.
    pub fn put_in_front(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let rest = self.kept.get(self.at..).unwrap_or_default();
            self.kept = [bytes, rest].concat();
            self.at = 0;
        }
    }

    /// Ready with true when there is something to read, which is kept, and with false at the end of the peer's stream.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.kept.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let mut buffer = self.local.memory.buffer();
        let size = self.wire.least_room().max(FIRST).min(buffer.len());
        let space = buffer.get_mut(..size).unwrap_or_default();
        let n = match ready!(self.wire.poll_read(cx, space, &self.local)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        self.kept = space.get(..n).unwrap_or_default().to_vec();
        Poll::Ready(Ok(n > 0))
    }

    /// Ends the write half.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_shutdown(cx)
    }

    fn give_kept(&mut self, room: usize, mut put: impl FnMut(&[u8])) -> io::Result<()> {
        let rest = self.kept.get(self.at..).unwrap_or_default();
        let some = rest.get(..room).unwrap_or(rest);
        self.counts.saw(some)?;
        put(some);
        self.at += some.len();
        if self.at >= self.kept.len() {
            (self.kept, self.at) = (Vec::new(), 0);
        }
        Ok(())
    }

    /// Reads ahead of hyper, which is busy with a request, to notice the end of a client that is gone. It costs no system
    /// call while nothing comes.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.counts.watched.get() || !self.kept.is_empty() {
            return Ok(());
        }
        let mut buffer = self.local.memory.buffer();
        let size = self.wire.least_room().min(buffer.len());
        let space = buffer.get_mut(..size).unwrap_or_default();
        if let Poll::Ready(read) = self.wire.poll_read(cx, space, &self.local) {
            let n = read?;
            self.kept = space.get(..n).unwrap_or_default().to_vec();
        }
        Ok(())
    }

    /// Reads and discards until the other side ends.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let discarded = self.discarded.get_or_insert(0);
        while self.counts.lingers() && *discarded < DISCARD_MAX {
            let mut buffer = self.local.memory.buffer();
            match ready!(self.wire.poll_read(cx, &mut buffer, &self.local)) {
                Ok(0) | Err(_) => break,
                Ok(n) => *discarded += n as u64,
            }
        }
        Poll::Ready(())
    }

    /// Writes by `write`, in its turn if `bytes` are many.
    fn in_turn(
        &mut self,
        cx: &mut Context<'_>,
        bytes: usize,
        write: impl FnOnce(&mut W, &mut Context<'_>, &Local) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let bulk = bytes >= LARGE;
        // More than is allowed may go at once: the next waits for it.
        if self.poll_allowed(Direction::Down, cx).is_pending() {
            self.counts.blocked.set(true);
            self.local.memory.turns.pass_on(&mut self.turn);
            return Poll::Pending;
        }
        let turns = &self.local.memory.turns;
        if bulk {
            let turn = turns.poll_take(&mut self.turn, cx);
            self.counts.blocked.set(turn.is_pending());
            ready!(turn);
        }
        let wrote = write(&mut self.wire, cx, &self.local);
        self.spend(Direction::Down, taken(&wrote));
        self.counts.blocked.set(wrote.is_pending());
        match &wrote {
            Poll::Ready(Ok(n)) => {
                self.counts.written.set(self.counts.written.get() + *n as u64);
                if bulk {
                    turns.spend(*n);
                } else {
                    turns.saw_light_flow();
                }
            }
            Poll::Ready(Err(_)) | Poll::Pending => turns.pass_on(&mut self.turn),
        }
        wrote
    }
}

impl<W: HyperWire> HyperStream<W> {
    /// Reads up to `room` bytes, which `put` gets in pieces.
    fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut put: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        if self.ends() {
            return self.poll_ended(cx).map(Err);
        }
        if self.counts.flood.get().is_some() {
            return self.poll_farewell(cx).map(Err);
        }
        if !self.kept.is_empty() {
            return Poll::Ready(self.give_kept(room, put));
        }
        if self.poll_allowed(Direction::Up, cx).is_pending() {
            // It is weir that does not read.
            self.counts.starved.set(false);
            return Poll::Pending;
        }
        let mut buffer = self.local.memory.buffer();
        let size = room.max(self.wire.least_room()).min(buffer.len());
        let space = buffer.get_mut(..size).unwrap_or_default();
        // TLS says EOF without close_notify by an error: to a request it is an end in the middle, or nothing.
        let read = self.wire.poll_read(cx, space, &self.local);
        self.spend(Direction::Up, taken(&read));
        self.counts.starved.set(read.is_pending());
        if read.is_pending() && self.counts.expects.take() {
            self.wire.acknowledge();
        }
        let n = match ready!(read) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        if let Some(metered) = &mut self.metered {
            let judged = metered.meter.read(space.get(..n).unwrap_or_default(), Instant::now());
            self.counts.under_way.set(metered.meter.under_way());
            if let Err(flood) = judged {
                drop(buffer);
                self.counts.flood.set(Some(flood));
                return self.poll_farewell(cx).map(Err);
            }
            if metered.meter.is_out_of_order() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        let (now, later) = space.get(..n).unwrap_or_default().split_at(n.min(room));
        self.counts.saw(now)?;
        put(now);
        if !later.is_empty() {
            self.kept = later.to_vec();
        }
        Poll::Ready(Ok(()))
    }
}

/// How many bytes have moved.
fn taken(moved: &Poll<io::Result<usize>>) -> usize {
    if let Poll::Ready(Ok(bytes)) = moved { *bytes } else { 0 }
}

/// An error of the backend that a client's stream gets its bytes from.
fn broken(kind: io::ErrorKind) -> io::Error {
    io::Error::other(BackendFailed::Broken(kind))
}

//! The bulk path of a flow: socket → pipe → socket inside the kernel, by splice(2).
//!
//! A flow copies while its reads are small, because a pipe costs calls of its own; after a few large reads it
//! takes a pipe, and returns it as soon as it is empty. The pipe is filled only when empty: then "try again"
//! from the socket can only mean that the socket has nothing, never that the pipe is full. Bytes inside may
//! exceed the pipe's capacity in pages, so the code relies only on the numbers that the calls return.
//!
//! If splice(2) does not work (an old or emulated kernel, a seccomp filter), bulk is copied. No byte is lost:
//! a failed splice(2) takes nothing from its source, and bytes inside a pipe can be read out of it.

use super::fault::FlowError;
use crate::memory::{Kept, Memory, Pipe};
use crate::socket::Socket;
use rustix::fd::AsFd;
use rustix::io::{read, retry_on_intr};
use rustix::pipe::{SpliceFlags, splice};
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;

/// Whether a flow is in bulk, and its pipe while bytes are inside.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    on: bool,
    /// Large reads in a row while it is not in bulk; small ones in a row while it is.
    streak: u8,
    pipe: Option<Box<Filled>>,
}

#[derive(Debug)]
struct Filled {
    pipe: Pipe,
    inside: usize,
}

/// A read of this size is a large one.
const LARGE: usize = 16 * 1024;
/// This many large reads in a row turn a flow to bulk, which is spliced between two bare sockets,
const TO_SPLICE: u8 = 3;
/// and this many small ones turn it back.
const TO_COPY: u8 = 8;

impl Bulk {
    /// Records a read that was copied.
    pub(super) fn saw_read(&mut self, n: usize) {
        let goes_on_so = (n >= LARGE) == self.on;
        self.streak = if goes_on_so { 0 } else { self.streak.saturating_add(1) };
        if self.streak >= if self.on { TO_COPY } else { TO_SPLICE } {
            (self.on, self.streak) = (!self.on, 0);
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether bytes are inside its pipe.
    pub(super) fn is_filled(&self) -> bool {
        self.pipe.is_some()
    }

    /// How many bytes are inside its pipe.
    pub(super) fn inside(&self) -> usize {
        self.pipe.as_ref().map_or(0, |filled| filled.inside)
    }

    fn back_to_copying(&mut self) {
        (self.on, self.streak) = (false, 0);
    }
}

/// Fills an empty pipe from the source, with at most `most` bytes, and empties it into the destination; Ready also when the flow returns
/// to copying. `kept` gets the pipe's bytes if they can leave it only by a read.
pub(super) fn poll_splice(
    bulk: &mut Bulk,
    kept: &mut Option<Box<Kept>>,
    cx: &mut Context<'_>,
    (from, to): (&Socket, &Socket),
    (memory, most): (&Memory, usize),
    sent: &mut usize,
) -> Poll<Result<(), FlowError>> {
    loop {
        ready!(from.poll_read_ready(cx)).map_err(|e| FlowError::Source(e.kind()))?;
        let Some(pipe) = memory.pipes.take() else {
            bulk.back_to_copying();
            return Poll::Ready(Ok(()));
        };
        let most = pipe.capacity.min(memory.turns.step()).min(most);
        match from.try_io(Interest::READABLE, || step(from, &pipe.write, most)) {
            Ok(0) => {
                // The end, or an urgent byte that splice(2) does not step over: a read tells which.
                memory.pipes.give(pipe);
                bulk.back_to_copying();
                return Poll::Ready(Ok(()));
            }
            Ok(inside) => {
                bulk.streak = if inside < LARGE { bulk.streak.saturating_add(1) } else { 0 };
                bulk.pipe = Some(Box::new(Filled { pipe, inside }));
                ready!(poll_drain(bulk, kept, cx, to, memory, sent))?;
                if bulk.streak >= TO_COPY {
                    bulk.back_to_copying();
                }
                return Poll::Ready(Ok(()));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => memory.pipes.give(pipe),
            Err(e) => {
                memory.pipes.give(pipe);
                return match Failure::of(&e) {
                    Failure::Socket => Poll::Ready(Err(FlowError::Source(e.kind()))),
                    failure => {
                        failure.note(&e, memory);
                        bulk.back_to_copying();
                        Poll::Ready(Ok(()))
                    }
                };
            }
        }
    }
}

/// Empties the flow's pipe into the destination, and returns it. If the pipe cannot be spliced from, `kept`
/// gets the bytes inside, and the flow returns to copying.
pub(super) fn poll_drain(
    bulk: &mut Bulk,
    kept: &mut Option<Box<Kept>>,
    cx: &mut Context<'_>,
    to: &Socket,
    memory: &Memory,
    sent: &mut usize,
) -> Poll<Result<(), FlowError>> {
    while let Some(filled) = &mut bulk.pipe {
        ready!(to.poll_write_ready(cx)).map_err(|e| FlowError::Destination(e.kind()))?;
        match to.try_io(Interest::WRITABLE, || step(&filled.pipe.read, to, filled.inside)) {
            Ok(n) => {
                *sent += n;
                filled.inside = filled.inside.saturating_sub(n);
                if filled.inside == 0
                    && let Some(filled) = bulk.pipe.take()
                {
                    memory.pipes.give(filled.pipe);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => {
                let failure = Failure::of(&e);
                if failure != Failure::Socket
                    && let Ok(bytes) = read_out(&filled.pipe, filled.inside)
                {
                    failure.note(&e, memory);
                    (bulk.pipe, *kept) = (None, Some(memory.keep_all(bytes)));
                    bulk.back_to_copying();
                    return Poll::Ready(Ok(()));
                }
                bulk.pipe = None; // Its bytes cannot be delivered.
                return Poll::Ready(Err(FlowError::Destination(e.kind())));
            }
        }
    }
    Poll::Ready(Ok(()))
}

/// The meaning of an error from splice(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// It does not work here, and never will.
    Call,
    /// There is no memory for it now.
    Shortage,
    Socket,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        use rustix::io::Errno;
        const NEVER: [Errno; 5] = [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP];
        match error.raw_os_error() {
            Some(code) if NEVER.iter().any(|never| never.raw_os_error() == code) => Self::Call,
            Some(code) if code == Errno::NOMEM.raw_os_error() => Self::Shortage,
            _ => Self::Socket,
        }
    }

    fn note(self, error: &io::Error, memory: &Memory) {
        if self == Self::Call {
            memory.pipes.give_up(error);
        }
    }
}

/// Reads `inside` bytes out of a pipe.
fn read_out(pipe: &Pipe, inside: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; inside];
    let mut at = 0;
    while let Some(room) = bytes.get_mut(at..).filter(|room| !room.is_empty()) {
        match retry_on_intr(|| read(&pipe.read, &mut *room))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => at += n,
        }
    }
    Ok(bytes)
}

fn step(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    retry_on_intr(|| splice(&from, None, &to, None, len, flags)).map_err(io::Error::from)
}

//! A scripted side of a relay: which bytes it sends and when, how much it accepts and when, and how it ends.
//!
//! Pauses use the runtime's time, which tests pause: a script of hours takes no time, and a lost wake-up
//! shows as a relay that takes longer than its scripts.

use super::no_socket::NoSocket;
use super::*;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::ready;
use tokio::task::coop::poll_proceed;
use tokio::time::Sleep;

/// A step in sending.
#[derive(Clone, Copy, Debug)]
pub(super) enum Say {
    /// This many bytes, as many at a time as fit into a read.
    Bytes(usize),
    /// No bytes for this many milliseconds; 0: it can go on at once, but must be polled again.
    Pause(u64),
}

/// How a side ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// By a FIN, or close_notify.
    Clean,
    /// By a FIN without close_notify.
    Truncated,
    /// By a reset.
    Reset,
    /// Not at all: it falls silent.
    NoReply,
}

/// A step in accepting bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Take {
    /// At most this many bytes per write; each round twice as many as in the round before.
    Most(usize),
    /// No bytes for this many milliseconds.
    Pause(u64),
}

/// The fate of a side as a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It accepts all.
    Well,
    /// The write of this byte fails.
    FailsAt(usize),
    /// From this byte on it accepts nothing.
    SticksAt(usize),
    /// It accepts all, but cannot be told of the end.
    FailsAtTheEnd,
}

/// The script of one side.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) says: Vec<Say>,
    pub(super) last: Last,
    /// Repeated over and over.
    pub(super) takes: Vec<Take>,
    pub(super) fate: Fate,
    /// The duration of a flush, and of an end, if these take any time.
    pub(super) flush: Option<u64>,
}

impl Script {
    /// The number of bytes it sends.
    pub(super) fn length(&self) -> usize {
        self.says.iter().map(|say| if let Say::Bytes(n) = say { *n } else { 0 }).sum()
    }
}

/// Adds a timer's resolution.
fn pause(ms: u64) -> Duration {
    if ms == 0 { Duration::ZERO } else { Duration::from_millis(ms + 1) }
}

/// A pause that may be running.
#[derive(Default)]
struct Pausing {
    sleep: Option<Pin<Box<Sleep>>>,
    slept: Duration,
}

impl Pausing {
    fn poll(&mut self, cx: &mut Context<'_>, ms: u64) -> Poll<()> {
        if ms == 0 {
            // Woken at once and polled again.
            if self.sleep.take().is_some() {
                return Poll::Ready(());
            }
            self.sleep = Some(Box::pin(sleep(Duration::ZERO)));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(ms))));
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        self.slept += pause(ms);
        Poll::Ready(())
    }
}

/// A side that follows its script; with `BUFFERS` it holds unflushed bytes back, as TLS does.
pub(super) struct Scripted<const BUFFERS: bool> {
    pub(super) script: Script,
    said: Vec<u8>,
    /// The number of bytes of `said` already read, the step of the script, and its remaining bytes.
    at: usize,
    step: usize,
    left: usize,
    speaking: Pausing,
    taking: Pausing,
    flushing: Pausing,
    /// The number of finished steps in accepting.
    takes: usize,
    /// All accepted bytes.
    pub(super) heard: Vec<u8>,
    /// Accepted bytes that have not left yet, if it buffers.
    pub(super) held: Rc<Cell<usize>>,
    /// The end promised with the last accepted bytes.
    pub(super) promised: Option<Finish>,
    /// The end it was told.
    pub(super) told: Option<Finish>,
    /// Whether its own end has been read.
    pub(super) ended: bool,
    /// Whether a write or its end has failed.
    pub(super) failed: bool,
    /// It could not be told of the end, but had ended cleanly before, so it misses nothing.
    pub(super) excused: bool,
    asked: usize,
    socket: NoSocket,
}

/// How often a script may be polled: this catches a relay that spins.
const QUESTIONS: usize = 200_000;

impl<const BUFFERS: bool> Scripted<BUFFERS> {
    /// A side that sends bytes of this seed.
    pub(super) fn new(script: Script, seed: u64) -> Self {
        Self {
            said: payload(seed, script.length()),
            script,
            at: 0,
            step: 0,
            left: 0,
            speaking: Pausing::default(),
            taking: Pausing::default(),
            flushing: Pausing::default(),
            takes: 0,
            heard: Vec::new(),
            held: Rc::default(),
            promised: None,
            told: None,
            ended: false,
            failed: false,
            excused: false,
            asked: 0,
            socket: NoSocket::default(),
        }
    }

    /// All bytes that it sends.
    pub(super) fn says(&self) -> &[u8] {
        &self.said
    }

    /// Whether its close would send a reset.
    pub(super) fn was_reset(&self) -> bool {
        self.socket.was_reset()
    }

    /// How long it has kept others waiting.
    pub(super) fn slept(&self) -> Duration {
        self.speaking.slept + self.taking.slept + self.flushing.slept
    }

    fn question(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked += 1;
        assert!(self.asked < QUESTIONS, "the relay spins");
        ready!(poll_proceed(cx)).made_progress(); // As sockets do.
        Poll::Ready(())
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(ms) = self.script.flush
            && self.held.get() > 0
        {
            ready!(self.flushing.poll(cx, ms));
        }
        self.held.set(0);
        Poll::Ready(())
    }
}

impl<const BUFFERS: bool> Wire for Scripted<BUFFERS> {
    type Socket = NoSocket;
    const BUFFERS: bool = BUFFERS;
    const CLEAN_END: How = if BUFFERS { How::CloseNotify } else { How::Fin };

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        ready!(self.question(cx));
        while self.left == 0 {
            match self.script.says.get(self.step) {
                Some(Say::Bytes(n)) => self.left = *n,
                Some(Say::Pause(ms)) => ready!(self.speaking.poll(cx, *ms)),
                None => {
                    return match self.script.last {
                        Last::NoReply => Poll::Pending,
                        Last::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                        Last::Truncated => {
                            self.ended = true;
                            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
                        }
                        Last::Clean => {
                            assert!(!self.ended, "read again after its clean end");
                            self.ended = true;
                            Poll::Ready(Ok(0))
                        }
                    };
                }
            }
            self.step += 1;
        }
        let n = self.left.min(buf.len());
        buf[..n].copy_from_slice(&self.said[self.at..self.at + n]);
        (self.at, self.left) = (self.at + n, self.left - n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        end: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        ready!(self.question(cx));
        assert_eq!(self.told, None, "written to after it was told of the end");
        assert_eq!(self.promised, None, "written to after what was to be the last");
        assert!(!bytes.is_empty(), "a write of nothing");
        let taken = self.heard.len();
        let room = match self.script.fate {
            Fate::FailsAt(at) if taken == at => {
                self.failed = true;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Fate::SticksAt(at) if taken == at => return Poll::Pending,
            Fate::FailsAt(at) | Fate::SticksAt(at) => at - taken,
            Fate::Well | Fate::FailsAtTheEnd => usize::MAX,
        };
        let mut most = usize::MAX;
        if let Some(rounds) = self.takes.checked_div(self.script.takes.len()) {
            let step = self.script.takes[self.takes % self.script.takes.len()];
            match step {
                Take::Most(n) => most = n << rounds.min(30),
                Take::Pause(ms) if rounds == 0 => {
                    ready!(self.taking.poll(cx, ms));
                }
                Take::Pause(_) => {}
            }
            self.takes += 1;
        }
        let n = bytes.len().min(room).min(most);
        self.heard.extend_from_slice(&bytes[..n]);
        if BUFFERS {
            self.held.set(self.held.get() + n);
        }
        self.promised = end.filter(|_| n == bytes.len());
        Poll::Ready(Ok(n))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(BUFFERS, "a flush of what holds nothing back");
        ready!(self.question(cx));
        ready!(self.poll_flushed(cx));
        Poll::Ready(Ok(()))
    }

    fn inside(&self) -> usize {
        self.held.get()
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, how: Finish, last: bool) -> Poll<io::Result<()>> {
        ready!(self.question(cx));
        assert!(self.ended || !last, "closed with its own stream not read to its end");
        assert_eq!(self.told, None, "told of the end twice");
        assert_eq!(self.promised.unwrap_or(how), how, "another end than the one that was to follow");
        let had_all = self.held.get() == 0;
        ready!(self.poll_flushed(cx));
        if self.script.fate == Fate::FailsAtTheEnd || self.failed {
            self.excused = had_all && !self.failed && self.ended && self.script.last == Last::Clean;
            self.failed = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.told = Some(how);
        Poll::Ready(Ok(()))
    }

    fn socket(&self) -> &NoSocket {
        &self.socket
    }

    fn bare(&self) -> Option<&Socket> {
        None
    }
}

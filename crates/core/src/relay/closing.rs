//! Unclean ends: passing a reset on, and saying farewell at a deadline.

use super::fault::FlowError;
use super::flow::{Flow, Means};
use super::wire::{Finish, RawSocket, Wire, queued};
use crate::memory::Memory;
use crate::stop::ConnHandle;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the end of a connection may take after weir has decided on it.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a peer may accept nothing of the rest, once the other side is gone. A kernel announces free
/// window in steps of a segment, which on a loopback is 64 KiB: three seconds for a client that reads 20
/// KB/s.
const STALLED: Duration = Duration::from_secs(4);
/// How often the send queue is checked, because no event tells when it is empty. At first this often,
const ACK_POLL: Duration = Duration::from_millis(2);
/// and in the end this often, because thousands of slow clients may have lost the same backend.
const SELDOM: Duration = Duration::from_millis(100);

/// Reads per check, bounded because a peer that never stops sending must not hold up the worker.
const DISCARDS: usize = 4;

/// One direction, and what its destination took of it at the end.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    pub(super) flow: &'a mut Flow,
    pub(super) sent: &'a mut usize,
}

/// The fate of the bytes in a side's send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// The kernel delivers them.
    Goes,
    /// The peer's reset dropped them. Bytes sent before them have arrived, because bytes do not overtake each
    /// other.
    Dropped,
    /// The peer's reset dropped them: those that were sent before had arrived, as bytes do not overtake each other.
    Refused,
}

impl Queue {
    /// The fate of the queue of a side that broke with this error.
    pub(super) fn after(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Kind;
        match kind {
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::NotConnected => Self::Refused,
            // Its TLS broke, or its keys are used up; its socket is alive.
            Kind::InvalidData | weir_tls::KEYS_USED_UP => Self::Goes,
            _ => Self::Dropped,
        }
    }
}

/// How long weir waits for a peer that is still reading the rest.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    pub(super) handle: &'a ConnHandle,
    /// The most, however steadily the peer reads.
    pub(super) most: Duration,
}

/// The wait for a peer that is still reading.
struct Waiting<'a> {
    handle: &'a ConnHandle,
    hurried: bool,
    over: Instant,
    moved: Instant,
    /// The number of bytes written, and how many of them are queued.
    state: (usize, usize),
}

impl<'a> Waiting<'a> {
    fn begin(patience: &Patience<'a>, state: (usize, usize)) -> Self {
        let now = Instant::now();
        Self { handle: patience.handle, hurried: false, over: now + patience.most, moved: now, state }
    }

    /// Whether to go on waiting, given the peer's state. A flow that is `in_line` for a turn of bulk moves
    /// nothing, however fast the peer reads, so that does not count as a stall.
    fn goes_on(&mut self, state: (usize, usize), in_line: bool) -> bool {
        let now = Instant::now();
        if self.state != state || in_line {
            (self.state, self.moved) = (state, now);
        }
        now < self.over && (self.hurried || now < self.moved + STALLED)
    }

    /// The connection was cancelled, so little time is left.
    fn hurry(&mut self) {
        self.hurried = true;
        self.over = self.over.min(Instant::now() + FAREWELL_TIMEOUT);
    }
}

/// The result of one round of waiting.
enum Turn {
    /// The peer's kernel, or weir's, has all bytes.
    HandedOver,
    /// The peer is gone.
    Gone(io::ErrorKind),
    Stopped,
}

/// `from` broke. Delivers earlier bytes to `to`, for as long as it accepts them, then resets it, because its
/// stream is truncated; if `from` had finished sending, `to` gets its ordinary end instead.
pub(super) async fn pass_reset_on<R: Wire, W: Wire>(
    Direction { flow, sent }: Direction<'_>,
    from: &mut R,
    to: &mut W,
    memory: &Memory,
    patience: Patience<'_>,
) -> Queue {
    flow.source_broke();
    // What has come is delivered as fast as it goes.
    let means = Means { memory, pace: None };
    let mut waiting = Waiting::begin(&patience, (*sent, queued(to)));
    let (mut handed_over, mut pause) = (false, ACK_POLL);
    loop {
        let turn = poll_fn(|cx| {
            if !waiting.hurried && waiting.handle.poll_cancelled(cx).is_ready() {
                return Poll::Ready(Turn::Stopped);
            }
            if handed_over {
                return Poll::Pending;
            }
            // A source that is gone answers every read, with data or with an end.
            flow.poll(cx, from, to, means, sent).map(|end| match end {
                Err(FlowError::Destination(kind)) => Turn::Gone(kind),
                Ok(()) | Err(FlowError::Source(_) | FlowError::Truncated) => Turn::HandedOver,
            })
        });
        match timeout(pause, turn).await {
            Ok(Turn::HandedOver) => handed_over = true,
            Ok(Turn::Stopped) => waiting.hurry(),
            Ok(Turn::Gone(kind)) => return Queue::after(kind),
            Err(_elapsed) => pause = (pause * 2).min(SELDOM),
        }
        // Bytes that it still sends have no reader, but it may read nothing before they have left its queue.
        if let Err(error) = discard(to.socket(), memory).and_then(|()| still_there(to.socket())) {
            tracing::debug!(%error, "the peer is gone");
            return Queue::after(error.kind());
        }
        let left = queued(to);
        if handed_over && left == 0 {
            break;
        }
        if !waiting.goes_on((*sent, left), flow.is_in_line()) {
            tracing::debug!(left, "could not deliver everything before passing a reset on");
            break;
        }
    }
    if flow.is_done() {
        return Queue::Goes;
    }
    if handed_over && to.bare().is_none() && waiting.moved.elapsed() < STALLED && queued(to) > 0 {
        // It reads, but slowly. A FIN without close_notify shows a truncated stream as well as a reset does,
        // and the kernel still delivers the rest.
        let told = poll_fn(|cx| to.poll_finish(cx, Finish::Bare, false));
        if let Ok(Ok(())) = timeout(ACK_POLL, told).await {
            return Queue::Goes;
        }
    }
    to.socket().reset();
    Queue::Dropped
}

/// weir ends the connection: flushes, ends both sides cleanly, and resets a side that does not accept its end
/// in time. Returns the fate of the send queues of client and backend.
pub(super) async fn farewell<C: Wire, B: Wire>(
    up: Direction<'_>,
    down: Direction<'_>,
    client: &mut C,
    backend: &mut B,
    memory: &Memory,
) -> [Queue; 2] {
    let deadline = Instant::now() + FAREWELL_TIMEOUT;
    up.flow.finish();
    down.flow.finish();
    let means = Means { memory, pace: None };
    let both = poll_fn(|cx| {
        let to_backend = up.flow.poll(cx, client, backend, means, up.sent);
        let to_client = down.flow.poll(cx, backend, client, means, down.sent);
        // A side that fails now is gone; the other one still gets its end.
        if to_backend.is_ready() && to_client.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    });
    if timeout_at(deadline, both).await.is_err() {
        tracing::debug!("a side did not take its end in time");
    }
    tokio::join!(
        await_acknowledged(client.socket(), memory, deadline),
        await_acknowledged(backend.socket(), memory, deadline)
    );
    [leave(client, down.flow), leave(backend, up.flow)]
}

/// Resets a side that did not accept its end.
fn leave<W: Wire>(side: &W, flow: &Flow) -> Queue {
    if flow.is_done() {
        return Queue::Goes;
    }
    side.socket().reset();
    Queue::Dropped
}

/// Waits until the peer has acknowledged everything, and discards its further input: closing a socket with
/// unread input resets it, and that destroys the rest of its send queue (RFC 2525 §2.17).
async fn await_acknowledged(socket: &impl RawSocket, memory: &Memory, deadline: Instant) {
    let acknowledged = async {
        loop {
            discard(socket, memory)?;
            if socket.unacknowledged()? == 0 {
                return io::Result::Ok(());
            }
            sleep(ACK_POLL).await;
        }
    };
    if let Ok(Err(error)) = timeout_at(deadline, acknowledged).await {
        tracing::debug!(%error, "the peer is gone");
    }
}

/// The error of a peer that has already sent its end, whose reset no read reports.
fn still_there(socket: &impl RawSocket) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Reads off pending input.
fn discard(socket: &impl RawSocket, memory: &Memory) -> io::Result<()> {
    for _ in 0..DISCARDS {
        match socket.discard(&mut memory.buffer()) {
            Ok(0) => return Ok(()), // It has finished sending, and may still be receiving.
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

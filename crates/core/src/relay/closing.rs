//! The ends that are not clean: passing a reset on, and saying farewell at a deadline.

use super::fault::FlowError;
use super::flow::Flow;
use super::queue::{queued, unacknowledged};
use super::wire::{Finish, Wire};
use crate::memory::Memory;
use crate::socket;
use crate::stop::ConnHandle;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the end of a connection may take once weir has decided it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a peer may accept nothing of the rest, once the other side is gone. A kernel announces free window in steps
/// of a segment, which on a loopback is 64 KiB: three seconds for a client that reads 20 KB/s.
const STALLED: Duration = Duration::from_secs(4);
/// How often the send queue is looked at: nothing tells when it is empty. At first this often,
const LOOK: Duration = Duration::from_millis(2);
/// and in the end this often: thousands of slow clients may have lost the same backend.
const SELDOM: Duration = Duration::from_millis(100);

/// Reads at one look: a peer that never stops sending must not keep the worker.
const DISCARDS: usize = 4;

/// One direction, and what its destination took of it at the end.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    pub(super) flow: &'a mut Flow,
    pub(super) sent: &'a mut usize,
}

/// What becomes of the bytes in the send queue of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// The kernel delivers them.
    Goes,
    /// weir's reset drops them.
    Dropped,
    /// The peer's reset dropped them: those that were sent before had arrived, as bytes do not overtake each other.
    Refused,
}

impl Queue {
    /// Of a side that broke like this.
    pub(super) fn after(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Kind;
        match kind {
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::NotConnected => Self::Refused,
            // Its TLS broke, or its keys are used up; its socket lives.
            Kind::InvalidData | weir_tls::KEYS_USED_UP => Self::Goes,
            _ => Self::Dropped,
        }
    }
}

/// How long weir waits for a peer that is still reading the rest.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    pub(super) handle: &'a ConnHandle,
    /// However steadily it takes it.
    pub(super) most: Duration,
}

/// The wait for a peer that is still reading.
struct Waiting<'a> {
    handle: &'a ConnHandle,
    hurried: bool,
    over: Instant,
    moved: Instant,
    /// Bytes written, and those of them that are queued.
    state: (usize, usize),
}

impl<'a> Waiting<'a> {
    fn begin(patience: &Patience<'a>, state: (usize, usize)) -> Self {
        let now = Instant::now();
        Self { handle: patience.handle, hurried: false, over: now + patience.most, moved: now, state }
    }

    /// Whether to wait on, as things stand with the peer now. Nothing moves while the flow is `in_line` for a turn of bulk,
    /// however fast the peer reads.
    fn goes_on(&mut self, state: (usize, usize), in_line: bool) -> bool {
        let now = Instant::now();
        if self.state != state || in_line {
            (self.state, self.moved) = (state, now);
        }
        now < self.over && (self.hurried || now < self.moved + STALLED)
    }

    /// The time to finish is over for the connection.
    fn hurry(&mut self) {
        self.hurried = true;
        self.over = self.over.min(Instant::now() + PATIENCE);
    }
}

/// What a turn of waiting came to.
enum Turn {
    /// The peer's kernel, or weir's, has it all.
    HandedOver,
    /// The peer is gone.
    Gone(io::ErrorKind),
    Stopped,
}

/// `from` broke. Delivers to `to` what came before that, for as long as it takes it, then resets it, because its stream
/// is cut short; if `from` had finished sending, `to` gets its ordinary end instead.
pub(super) async fn pass_reset_on<R: Wire, W: Wire>(
    Direction { flow, sent }: Direction<'_>,
    from: &mut R,
    to: &mut W,
    memory: &Memory,
    patience: Patience<'_>,
) -> Queue {
    flow.source_broke();
    let mut waiting = Waiting::begin(&patience, (*sent, queued(to)));
    let (mut handed_over, mut pause) = (false, LOOK);
    loop {
        let turn = poll_fn(|cx| {
            if !waiting.hurried && waiting.handle.poll_cancelled(cx).is_ready() {
                return Poll::Ready(Turn::Stopped);
            }
            if handed_over {
                return Poll::Pending;
            }
            // A source that is gone answers every read, with data or with an end.
            flow.poll(cx, from, to, memory, sent).map(|end| match end {
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
        // Bytes that it still sends have no reader, but it may not read before they have gone.
        if let Err(error) = discard(to.tcp(), memory).and_then(|()| still_there(to.tcp())) {
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
        // It reads, but slowly: a FIN without close_notify shows a truncated stream as well as a reset does, and the
        // kernel delivers the rest.
        let told = poll_fn(|cx| to.poll_finish(cx, Finish::Bare, false));
        if let Ok(Ok(())) = timeout(LOOK, told).await {
            return Queue::Goes;
        }
    }
    socket::reset(to.tcp());
    Queue::Dropped
}

/// weir ends the connection: flushes, ends both sides cleanly, and resets a side that does not take its end in time.
/// Returns what becomes of the send queues of client and backend.
pub(super) async fn farewell<C: Wire, B: Wire>(
    up: Direction<'_>,
    down: Direction<'_>,
    client: &mut C,
    backend: &mut B,
    memory: &Memory,
) -> [Queue; 2] {
    let deadline = Instant::now() + PATIENCE;
    up.flow.finish();
    down.flow.finish();
    let both = poll_fn(|cx| {
        let to_backend = up.flow.poll(cx, client, backend, memory, up.sent);
        let to_client = down.flow.poll(cx, backend, client, memory, down.sent);
        // A side that fails now is gone; the other one still gets its end.
        if to_backend.is_ready() && to_client.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    });
    if timeout_at(deadline, both).await.is_err() {
        tracing::debug!("a side did not take its end in time");
    }
    tokio::join!(settle(client.tcp(), memory, deadline), settle(backend.tcp(), memory, deadline));
    [(down.flow.is_done(), client.tcp()), (up.flow.is_done(), backend.tcp())].map(|(done, tcp)| {
        if done {
            return Queue::Goes;
        }
        socket::reset(tcp);
        Queue::Dropped
    })
}

/// Waits until the peer has acknowledged everything, and discards what it still sends: closing a socket with
/// unread input resets it, and that destroys what is still in its send queue (RFC 2525 §2.17).
async fn settle(stream: &TcpStream, memory: &Memory, deadline: Instant) {
    let acknowledged = async {
        loop {
            discard(stream, memory)?;
            if unacknowledged(stream)? == 0 {
                return io::Result::Ok(());
            }
            sleep(LOOK).await;
        }
    };
    if let Ok(Err(error)) = timeout_at(deadline, acknowledged).await {
        tracing::debug!(%error, "the peer is gone");
    }
}

/// The error of a peer that has already sent its end: no read reports its reset.
fn still_there(stream: &TcpStream) -> io::Result<()> {
    stream.take_error()?.map_or(Ok(()), Err)
}

/// Reads off what has come in.
fn discard(stream: &TcpStream, memory: &Memory) -> io::Result<()> {
    for _ in 0..DISCARDS {
        match stream.try_read(&mut memory.scratch()) {
            Ok(0) => return Ok(()), // It has finished sending, and may still be receiving.
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

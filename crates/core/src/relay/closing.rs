//! The ends that are not clean: passing a reset on, and saying farewell at a deadline.

use super::flow::Flow;
use super::queue::unacknowledged;
use super::wire::Wire;
use crate::memory::Memory;
use crate::socket;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// How long the end of a connection may take once it is decided.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the send queue is looked at: nothing tells when it is empty.
const LOOK: Duration = Duration::from_millis(2);

/// Reads at one look: a peer that never stops sending must not keep the worker.
const DISCARDS: usize = 4;

/// One direction, and what its destination took of it at the end.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    pub(super) flow: &'a mut Flow,
    pub(super) sent: &'a mut usize,
}

/// `from` broke. Delivers to `to` what came before that, then resets it, because its stream is cut short; if
/// `from` had finished sending, `to` gets its ordinary end instead.
pub(super) async fn pass_reset_on<R: Wire, W: Wire>(
    flow: &mut Flow,
    from: &mut R,
    to: &mut W,
    memory: &Memory,
    sent: &mut usize,
) {
    let deadline = Instant::now() + PATIENCE;
    flow.source_broke();
    // A source that is gone answers every read, with data or with an end; the deadline bounds the destination.
    let delivered = poll_fn(|cx| match flow.poll(cx, from, to, memory, sent) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    });
    if timeout_at(deadline, delivered).await.is_err() {
        tracing::debug!("could not deliver everything before passing a reset on");
    }
    settle(to.tcp(), memory, deadline).await;
    if !flow.is_done() {
        socket::reset(to.tcp());
    }
}

/// weir ends the connection: flushes, ends both sides cleanly, and resets what even that does not end.
pub(super) async fn farewell<C: Wire, B: Wire>(
    up: Direction<'_>,
    down: Direction<'_>,
    client: &mut C,
    backend: &mut B,
    memory: &Memory,
) {
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
    if !down.flow.is_done() {
        socket::reset(client.tcp());
    }
    if !up.flow.is_done() {
        socket::reset(backend.tcp());
    }
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

//! The ends that are not clean: passing a reset on, and saying farewell at a deadline.

use super::flow::Flow;
use super::queue::unacknowledged;
use super::wire::Wire;
use super::{Memory, Relay};
use crate::account::Side;
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

impl<C: Wire, B: Wire> Relay<'_, C, B> {
    /// The other side broke. Delivers to `side` what came before that, then resets it, because its stream is
    /// cut short; if the other side had finished sending, `side` gets its ordinary end instead.
    pub(super) async fn deliver_and_reset(&mut self, side: Side) {
        let deadline = Instant::now() + PATIENCE;
        let mut sent = 0;
        if side == Side::Backend {
            self.up.source_broke();
            deliver(&mut self.up, self.client, self.backend, self.memory, deadline, &mut sent).await;
            self.traffic.up(sent);
            end(&self.up, self.backend.tcp(), deadline).await;
        } else {
            self.down.source_broke();
            deliver(&mut self.down, self.backend, self.client, self.memory, deadline, &mut sent).await;
            self.traffic.down(sent);
            end(&self.down, self.client.tcp(), deadline).await;
        }
    }

    /// weir ends the connection: flushes, ends both sides cleanly, and resets what even that does not end.
    pub(super) async fn farewell(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        self.up.finish();
        self.down.finish();
        let (mut sent_up, mut sent_down) = (0, 0);
        let both = poll_fn(|cx| {
            let up = self.up.poll(cx, self.client, self.backend, self.memory, &mut sent_up);
            let down = self.down.poll(cx, self.backend, self.client, self.memory, &mut sent_down);
            // A side that fails now is gone; the other one still gets its end.
            if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        let in_time = timeout_at(deadline, both).await.is_ok();
        self.traffic.up(sent_up);
        self.traffic.down(sent_down);
        if !in_time || !self.down.is_done() {
            socket::reset(self.client.tcp());
        }
        if !in_time || !self.up.is_done() {
            socket::reset(self.backend.tcp());
        }
    }
}

/// Moves what the broken side had sent before it broke, as far as it has come in.
async fn deliver<R: Wire, W: Wire>(
    flow: &mut Flow,
    from: &mut R,
    to: &mut W,
    memory: &Memory,
    deadline: Instant,
    sent: &mut usize,
) {
    let drained = poll_fn(|cx| match flow.poll(cx, from, to, memory, sent) {
        // Ended, or failed: nothing more can come.
        Poll::Ready(_) => Poll::Ready(()),
        // Waiting with nothing in hand is waiting for a source that is gone.
        Poll::Pending if flow.is_empty() => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    });
    if timeout_at(deadline, drained).await.is_err() {
        tracing::debug!("could not deliver everything before passing a reset on");
    }
}

/// Resets `to` once it has acknowledged everything, unless its stream has ended cleanly.
async fn end(flow: &Flow, to: &TcpStream, deadline: Instant) {
    if flow.is_done() {
        return;
    }
    let acknowledged = async {
        while unacknowledged(to)? > 0 {
            sleep(LOOK).await;
        }
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout_at(deadline, acknowledged).await {
        tracing::debug!(%error, "cannot read the send queue");
    }
    socket::reset(to);
}

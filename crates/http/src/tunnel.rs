//! Relays the bytes of a client and a backend that have left HTTP where one of them speaks HTTP/2: there they are the
//! data of a stream (RFC 8441, RFC 9113 §8.5). Two connections go through the relay of tcp listeners instead.
//!
//! The ends of a stream stand for those of a connection: END_STREAM for a FIN, RST_STREAM for a RST.

use crate::exchange::Exchange;
use crate::stream::HyperWire;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::local::Local;
use weir_core::plan::Timeouts;
use weir_core::relay::Ahead;
use weir_core::stop::Stop;

/// What one direction moves before the worker's other tasks have their turn.
const TURN: usize = 128 << 10;

/// Relays until both sides have ended; `ahead` are the bytes that were read before.
///
/// # Errors
/// Every end that is not clean. A reset has been passed on then; after a deadline each side gets an orderly end.
///
/// # Cancel safety
/// Dropping the future loses bytes that were read and not yet written.
pub async fn relay<C: HyperWire, B: HyperWire>(
    client: &mut C,
    backend: &mut B,
    ahead: Ahead,
    exchange: &Exchange,
    timeouts: Timeouts,
) -> Result<Finished, ConnError> {
    let local = &exchange.client.worker.local;
    let (mut up, mut down) = (Flow::of(ahead.up), Flow::of(ahead.down));
    let mut first = None;
    exchange.keep_within(timeouts.idle);
    let end = poll_fn(|cx| {
        if let Poll::Ready(why) = exchange.client.handle.poll_cancelled(cx) {
            return Poll::Ready(Err(ConnError::Stopped(why)));
        }
        let (mut sent_up, mut sent_down, was_open) = (0, 0, first.is_none());
        let upwards = up.poll(cx, (client, Side::Client), (backend, Side::Backend), local, &mut sent_up);
        if up.ended && first.is_none() {
            first = Some(Finished { first: Side::Client, how: How::Fin });
        }
        let downwards = match &upwards {
            Poll::Ready(Err(_)) => Poll::Pending,
            _ => down.poll(cx, (backend, Side::Backend), (client, Side::Client), local, &mut sent_down),
        };
        if down.ended && first.is_none() {
            first = Some(Finished { first: Side::Backend, how: How::Fin });
        }
        exchange.record().up(sent_up);
        exchange.record().down(sent_down);
        if sent_up + sent_down > 0 || (was_open && first.is_some()) {
            exchange.keep_within(if first.is_some() { timeouts.half_closed } else { timeouts.idle });
        }
        match (upwards, downwards) {
            (Poll::Ready(Err(fault)), _) | (_, Poll::Ready(Err(fault))) => Poll::Ready(Err(fault)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => exchange.poll_overdue(cx).map(|()| {
                Err(match first {
                    _ if exchange.is_cut() => ConnError::Stopped(Stop::Drained),
                    Some(_) => ConnError::HalfClosedTimeout,
                    None => ConnError::IdleTimeout,
                })
            }),
        }
    })
    .await;
    match (end, first) {
        (Ok(()), Some(first)) => Ok(first),
        (Ok(()), None) => unreachable!("both directions have ended"),
        (Err(error), _) => {
            poll_fn(|cx| {
                conclude(cx, &error, client, backend);
                Poll::Ready(())
            })
            .await;
            Err(error)
        }
    }
}

/// Tells both sides of an end that is not clean, as far as they take it at once.
fn conclude<C: HyperWire, B: HyperWire>(
    cx: &mut Context<'_>,
    error: &ConnError,
    client: &mut C,
    backend: &mut B,
) {
    if matches!(error, ConnError::Broken(..) | ConnError::Truncated(_)) {
        client.reset();
        backend.reset();
        return;
    }
    for told in [client.poll_shutdown(cx), backend.poll_shutdown(cx)] {
        // A side that takes nothing has had its time.
        drop(told);
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// Bytes that were read and not written; those before `at` have gone.
    kept: Vec<u8>,
    at: usize,
    /// Its source has ended.
    ended: bool,
    /// Its destination has been told.
    done: bool,
}

impl Flow {
    fn of(ahead: Vec<u8>) -> Self {
        Self { kept: ahead, ..Self::default() }
    }

    /// Moves what can be moved, and adds up in `sent` what `to` has taken. Ready when the end has gone too.
    fn poll<A: HyperWire, B: HyperWire>(
        &mut self,
        cx: &mut Context<'_>,
        (from, source): (&mut A, Side),
        (to, destination): (&mut B, Side),
        local: &Local,
        sent: &mut usize,
    ) -> Poll<Result<(), ConnError>> {
        loop {
            while let Some(rest) = self.kept.get(self.at..).filter(|rest| !rest.is_empty()) {
                match to.poll_write(cx, rest, local) {
                    Poll::Ready(Ok(n)) if n > 0 => (self.at, *sent) = (self.at + n, *sent + n),
                    Poll::Ready(Ok(_)) => {
                        return Poll::Ready(Err(broken(destination, io::ErrorKind::WriteZero)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(destination, error.kind()))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            (self.kept, self.at) = (Vec::new(), 0);
            if self.ended {
                if !self.done {
                    ready!(to.poll_shutdown(cx)).map_err(|error| broken(destination, error.kind()))?;
                    self.done = true;
                }
                return Poll::Ready(Ok(()));
            }
            if *sent >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut buffer = local.memory.buffer();
            match from.poll_read(cx, &mut buffer, local) {
                Poll::Ready(Ok(n)) => {
                    self.ended = n == 0;
                    self.kept = buffer.get(..n).unwrap_or_default().to_vec();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(source, error.kind()))),
                Poll::Pending => {
                    let flushed = to.poll_flush(cx);
                    let flushed = flushed.map_err(|error| broken(destination, error.kind()));
                    return if let Poll::Ready(Err(error)) = flushed {
                        Poll::Ready(Err(error))
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }
}

fn broken(side: Side, kind: io::ErrorKind) -> ConnError {
    match kind {
        io::ErrorKind::UnexpectedEof => ConnError::Truncated(side),
        kind => ConnError::Broken(side, kind),
    }
}

//! Memory shared by a worker's connections: its read buffer, its pipes, the bound on unwritten bytes, the
//! turns of bulk.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

mod kept;
mod pipes;
mod spare;
mod turns;

pub(crate) use kept::Kept;
pub use pipes::Budget;
pub(crate) use pipes::Pipe;
pub use spare::give_back;
pub use turns::{Ticket, Turns};

use crate::socket::Socket;
use pipes::Pipes;
use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use tokio::io::{AsyncRead, ReadBuf};
use weir_metrics::WorkerMetrics;
use weir_tls::{AT_ONCE, LEAST_ROOM, PageBuffer, Scratch};

/// A worker's scratch memory. Used only while a read is being handled, never across a wait.
#[derive(Debug)]
pub struct Memory {
    scratch: RefCell<PageBuffer>,
    /// Holds records while they are encrypted or decrypted.
    pub tls: Scratch,
    pub(crate) pipes: Pipes,
    /// How much bulk moves between two looks at sockets and timers.
    pub turns: Turns,
}

/// One read: large enough that bulk takes few calls, small enough to stay in the processor's cache.
const SCRATCH: usize = AT_ONCE;
/// The size of a read when flows keep much: as small as TLS allows.
const SMALL: usize = LEAST_ROOM;

impl Memory {
    /// A read buffer, and pipes within `budget`.
    pub fn new(budget: Budget, metrics: WorkerMetrics) -> Self {
        Self {
            scratch: RefCell::new(PageBuffer::new(SCRATCH, PageBuffer::PLAIN)),
            tls: Scratch::default(),
            pipes: Pipes::new(budget, SCRATCH + Scratch::BYTES + 2 * PageBuffer::MORE, metrics),
            turns: Turns::default(),
        }
    }

    /// The buffer, for the duration of one poll.
    pub fn buffer(&self) -> RefMut<'_, PageBuffer> {
        self.scratch.borrow_mut()
    }

    /// Keeps bytes that could not be written.
    pub(crate) fn keep(&self, rest: &[u8]) -> Box<Kept> {
        Kept::rest(rest.to_vec(), self.tls.ledger.enter(rest.len()))
    }

    /// Keeps bytes that came out of a pipe and were not written.
    pub(crate) fn keep_all(&self, rest: Vec<u8>) -> Box<Kept> {
        let counted = self.tls.ledger.enter(rest.len());
        Kept::rest(rest, counted)
    }

    /// Most bytes that a flow should read at once: fewer when many flows could not write their bytes.
    pub(crate) fn at_once(&self) -> usize {
        if self.tls.ledger.is_full() { SMALL } else { SCRATCH }
    }

    /// Reads once through the buffer, at most `limit` bytes, and passes them to `see`. 0 bytes is the end.
    ///
    /// # Errors
    /// Those of the socket.
    ///
    /// # Cancel safety
    /// Cancel safe: a future that has not finished has read nothing.
    pub async fn read<T>(
        &self,
        stream: &mut Socket,
        limit: usize,
        mut see: impl FnMut(&[u8]) -> T,
    ) -> io::Result<(usize, T)> {
        poll_fn(|cx| {
            let mut scratch = self.buffer();
            let size = limit.min(scratch.len());
            let mut buf = ReadBuf::new(&mut scratch[..size]);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
            let seen = see(buf.filled());
            Ok((buf.filled().len(), seen)).into()
        })
        .await
    }

    /// Closes pipes that were not needed since the last call.
    pub fn trim(&self) {
        self.pipes.trim();
    }
}

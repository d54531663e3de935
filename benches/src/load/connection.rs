//! One request after the other on a connection of its own, in bare bytes or HTTP/1.1.

use super::dial::{Dialler, Wire};
use super::sealed::Sealed;
use crate::talk::{Direction, Request, fits, pieces};
use crate::work::Protocol;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// A connection, ready for requests.
pub(super) struct Connection {
    wire: Box<dyn Wire>,
    dialler: Dialler,
    /// Bytes of an answer's body that came with its head.
    ahead: Vec<u8>,
}

impl Connection {
    pub(super) fn new(wire: Box<dyn Wire>, dialler: Dialler) -> Self {
        Self { wire, dialler, ahead: Vec::new() }
    }

    /// The stream below.
    pub(super) fn into_wire(self) -> Box<dyn Wire> {
        self.wire
    }

    /// One request and its whole answer; `None` after a failure, which is then in the account.
    pub(super) async fn exchange(&mut self, direction: Direction, length: u64) -> Option<()> {
        let request = self.dialler.request(direction, length);
        match self.try_exchange(request).await {
            Ok(()) => Some(()),
            Err(error) => {
                self.dialler.tally.failed("request", &error);
                None
            }
        }
    }

    /// The same connection, whose answers are counted without being read; an error is in the account.
    pub(super) fn seal(self) -> Option<Sealed> {
        let sealed = self.wire.seal();
        if sealed.is_none() {
            self.dialler.tally.failed("request", &io::Error::other("something came after the answer"));
        }
        sealed
    }

    /// Asks for a download, and leaves the reading of its payload to the caller.
    pub(super) async fn ask(&mut self, request: Request) -> io::Result<()> {
        self.send(request).await?;
        self.head(request).await
    }

    async fn send(&mut self, request: Request) -> io::Result<()> {
        let patience = self.dialler.patience;
        in_time(patience, self.wire.write_all(&self.dialler.message(request))).await?;
        in_time(patience, self.wire.flush()).await?;
        self.dialler.note_request();
        Ok(())
    }

    /// Reads the head of an answer, if it has one, and what comes with it.
    async fn head(&mut self, request: Request) -> io::Result<()> {
        if self.dialler.protocol == Protocol::Tcp {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(HEAD);
        loop {
            if in_time(self.dialler.patience, self.wire.read_buf(&mut bytes)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = request.answered(&bytes)? {
                self.ahead = bytes.split_off(head);
                return Ok(());
            }
        }
    }

    /// Reads a part of an answer, beginning at `offset`; gives how many bytes it read.
    pub(super) async fn read(
        &mut self,
        request: Request,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let n = if self.ahead.is_empty() {
            in_time(self.dialler.patience, self.wire.read(buffer)).await?
        } else {
            let n = self.ahead.as_slice().read(buffer).await?;
            self.ahead.drain(..n);
            n
        };
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fits = fits(request.seed, offset, buffer.get(..n).unwrap_or_default());
        self.dialler.tally.note(|got| {
            got.received += n as u64;
            got.corrupt += u64::from(!fits);
        });
        Ok(n)
    }

    /// Ends the connection properly: our end first, then the other's, within a second. A failure here does
    /// not change the measurement.
    pub(super) async fn close(mut self) {
        let farewell = async {
            self.wire.shutdown().await?;
            while self.wire.read(&mut [0; 64]).await? > 0 {}
            io::Result::Ok(())
        };
        drop(timeout(FAREWELL, farewell).await);
    }

    async fn try_exchange(&mut self, request: Request) -> io::Result<()> {
        self.send(request).await?;
        if request.direction == Direction::Up {
            self.upload(request).await?;
        }
        self.head(request).await?;
        let mut buffer = vec![0; usize::try_from(request.answer()).unwrap_or(BULK).min(BULK)];
        let mut got = 0;
        while got < request.answer() {
            got += self.read(request, got, &mut buffer).await? as u64;
        }
        if got > request.answer() || !self.ahead.is_empty() {
            return Err(io::Error::other("more than was asked for"));
        }
        Ok(())
    }

    async fn upload(&mut self, request: Request) -> io::Result<()> {
        let mut given = 0;
        while given < request.length {
            let pieces = pieces(request.seed, given, request.length - given);
            let n = in_time(self.dialler.patience, self.wire.write_vectored(&pieces)).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            given += n as u64;
            self.dialler.tally.note(|got| got.sent += n as u64);
        }
        in_time(self.dialler.patience, self.wire.flush()).await
    }
}

/// Connections that stay open.
pub(super) struct Held(pub(super) Vec<Connection>);

impl Held {
    /// Closes all of them, some hundred at a time.
    pub(super) async fn close(self) {
        let mut left = self.0.into_iter().peekable();
        while left.peek().is_some() {
            let mut closing = tokio::task::JoinSet::new();
            for connection in left.by_ref().take(CLOSING) {
                closing.spawn(connection.close());
            }
            closing.join_all().await;
        }
    }
}

async fn in_time<T>(patience: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, what).await.unwrap_or_else(|late| Err(late.into()))
}

/// How many bytes are read at once while an answer's head is awaited.
const HEAD: usize = 1024;
/// The size of bulk reads.
const BULK: usize = 128 * 1024;
/// How long the other side may take to end as well.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// How many are closed at once.
const CLOSING: usize = 256;

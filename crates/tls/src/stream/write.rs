//! The sending half of a [`TlsStream`]: what is written, what is held back, and the end of both.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::{ONE_RECORD, Reading, Role, Scratch, TlsStream, Transport, broken, encode};
use rustls::unbuffered::{ConnectionState, EncryptError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A ticket longer than this, by the client's certificates in it, is sent by itself.
const LONG_TICKET: usize = 4 * 1024;
/// The keys of a session have protected as many records as they may, 2^24 with AES-GCM, and TLS 1.2 has no way to make
/// new ones: no socket gives this kind of error. TLS 1.3 makes new ones by itself.
pub const KEYS_USED_UP: io::ErrorKind = io::ErrorKind::QuotaExceeded;
/// A header, an alert, and what encryption adds to it.
const CLOSE_NOTIFY: usize = 128;

impl<S: Role, IO: Transport> TlsStream<S, IO> {
    /// Takes a part of `plain`, and sends what the socket takes of it; the rest is kept for [`Self::poll_flush`].
    ///
    /// `last`: nothing comes behind `plain`, and [`Self::poll_close_notify`] and the end of the stream below follow at
    /// once. With the end of `plain` goes close_notify.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::InvalidData`] on a broken session; [`KEYS_USED_UP`], after which the peer has
    /// been told of the end.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        plain: &[u8],
        last: bool,
        scratch: &Scratch,
    ) -> Poll<io::Result<usize>> {
        if !self.may_wait || self.unsent.len() > LONG_TICKET {
            ready!(self.poll_flush(cx))?;
        }
        if self.reading == Reading::Failed {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let most = if scratch.ledger.is_full() { ONE_RECORD } else { self.writes.bytes() };
        let last = last && plain.len() <= most;
        let plain = plain.get(..most).unwrap_or(plain);
        let mut output = scratch.borrow();
        let ticket = self.unsent.len();
        output[..ticket].copy_from_slice(&self.unsent); // At most LONG_TICKET; anything longer has been flushed.
        let encrypted = self.encrypt(plain, &mut output[ticket..]);
        if encrypted.as_ref().is_err_and(|error| error.kind() == KEYS_USED_UP) {
            // rustls has used the last record that these keys may protect for close_notify.
            self.said_goodbye = true;
            self.queue_close_notify();
            let _sent: Poll<io::Result<()>> = self.poll_flush(cx);
        }
        let mut end = ticket + encrypted?;
        self.all_gone();
        (self.may_wait, self.unacknowledged) = (false, false);
        if last && !std::mem::replace(&mut self.said_goodbye, true) {
            self.queue_close_notify();
            let goodbye = std::mem::take(&mut self.unsent);
            let room = output.get_mut(end..end + goodbye.len()).ok_or(io::ErrorKind::WriteZero)?;
            room.copy_from_slice(&goodbye);
            end += goodbye.len();
        }
        let output = &output[..end];
        let mut at = 0;
        while at < output.len() {
            let rest = &output[at..];
            match send(&mut self.io, cx, rest, last) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => at += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.unsent = rest.to_vec();
                    self.counted = Some(scratch.ledger.enter(rest.len()));
                    self.writes.stalled();
                    return Poll::Ready(Ok(plain.len()));
                }
            }
        }
        self.writes.saw(plain.len() >= self.writes.bytes());
        Poll::Ready(Ok(plain.len()))
    }

    fn encrypt(&mut self, plain: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            // A beginning of a record is nothing that a step can be done with, so nothing is discarded.
            let state = self.side.process(&mut self.partial).state;
            let room = &mut output[at..];
            match state.map_err(broken)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return Ok(at + traffic.encrypt(plain, room).map_err(exhausted)?);
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    at += data.encode(room).map_err(|error| io::Error::other(error.to_string()))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Sends what is to be sent.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx, false)
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>, last: bool) -> Poll<io::Result<()>> {
        self.may_wait = false;
        while self.sent < self.unsent.len() {
            let unsent = &self.unsent[self.sent..];
            match ready!(send(&mut self.io, cx, unsent, last)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.sent += n;
                    debug_assert!(self.sent <= self.unsent.len(), "more was sent than encrypted");
                    self.unacknowledged = false;
                }
                Err(error) => {
                    self.broke.get_or_insert(error.kind());
                    return Poll::Ready(Err(error));
                }
            }
        }
        if self.sent > 0 {
            self.all_gone();
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Nothing is to be sent any more: its memory is given back.
    fn all_gone(&mut self) {
        (self.unsent, self.sent, self.counted) = (Vec::new(), 0, None);
    }

    /// Sends what the session has to say by itself. That it cannot be sent now is no reason not to read.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) {
        if !self.may_wait && !self.unsent.is_empty() {
            // Nor is that it can never be sent: what has come is there to be read, and behind it `broke` tells.
            let _sent: Poll<io::Result<()>> = self.poll_flush(cx);
        }
    }

    /// Sends close_notify after all that was written, then a FIN.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close_notify(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Sends close_notify after all that was written. A shutdown of the stream below, or its close, follows at once: the
    /// last bytes may be held back until then.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_close_notify(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            self.said_goodbye = true;
            self.queue_close_notify();
        }
        self.poll_unsent(cx, true)
    }

    fn queue_close_notify(&mut self) {
        if self.reading == Reading::Failed {
            return; // It has said its last word.
        }
        loop {
            match self.side.process(&mut self.partial).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let mut alert = [0; CLOSE_NOTIFY];
                    match traffic.queue_close_notify(&mut alert) {
                        Ok(n) => self.unsent.extend(alert.iter().take(n)),
                        // More is to be sent before it than a close_notify: it is queued, and comes out by steps.
                        Err(EncryptError::InsufficientSize(_)) => continue,
                        Err(EncryptError::EncryptExhausted) => {}
                    }
                    return;
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if encode(data, &mut self.unsent).is_err() {
                        return;
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }
}

fn send(io: &mut impl Transport, cx: &mut Context<'_>, bytes: &[u8], last: bool) -> Poll<io::Result<usize>> {
    if last { io.poll_write_last(cx, bytes) } else { Pin::new(io).poll_write(cx, bytes) }
}

fn exhausted(error: EncryptError) -> io::Error {
    let kind = match error {
        EncryptError::EncryptExhausted => KEYS_USED_UP,
        EncryptError::InsufficientSize(_) => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error.to_string())
}

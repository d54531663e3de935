//! The sending half of a [`TlsStream`]: writes, held-back bytes, and close_notify.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::{Reading, Role, Scratch, TlsStream, Transport, broken, encode};
use rustls::unbuffered::{ConnectionState, EncryptError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A longer ticket (it may contain the client's certificates) is sent alone, not with the next write.
const LONG_TICKET: usize = 4 * 1024;
/// The error of a session whose keys have protected as many records as they may (2^24 with AES-GCM). TLS 1.2 cannot
/// make new keys; TLS 1.3 does so by itself. No socket gives this kind of error.
pub const KEYS_USED_UP: io::ErrorKind = io::ErrorKind::QuotaExceeded;
/// Space for an encrypted alert, in bytes.
const CLOSE_NOTIFY: usize = 128;

impl<S: Role, IO: Transport> TlsStream<S, IO> {
    /// Encrypts a part of `plain` and sends as much of it as the socket accepts; the rest is kept for
    /// [`Self::poll_flush`]. Returns how many bytes of `plain` were taken.
    ///
    /// `last` says that nothing follows `plain`, and that [`Self::poll_close_notify`] and the end of the transport
    /// follow at once. close_notify is then sent with the end of `plain`.
    ///
    /// # Errors
    /// Errors of the socket; [`io::ErrorKind::InvalidData`] on a broken session; [`KEYS_USED_UP`], after close_notify
    /// has been queued.
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
        let most = self.takes(scratch);
        let last = last && plain.len() <= most;
        let plain = plain.get(..most).unwrap_or(plain);
        let mut output = scratch.borrow();
        let ticket = self.unsent.len();
        output[..ticket].copy_from_slice(&self.unsent); // At most LONG_TICKET; anything longer has been flushed.
        let encrypted = self.encrypt(plain, &mut output[ticket..]);
        if encrypted.as_ref().is_err_and(|error| error.kind() == KEYS_USED_UP) {
            // rustls has used the last record that these keys may protect for its close_notify.
            self.said_goodbye = true;
            self.queue_close_notify();
            let _sent: Poll<io::Result<()>> = self.poll_flush(cx);
        }
        let mut end = ticket + encrypted?;
        self.clear_unsent();
        (self.may_wait, self.unacknowledged) = (false, false);
        if last && !std::mem::replace(&mut self.said_goodbye, true) {
            self.queue_close_notify();
            let goodbye = std::mem::take(&mut self.unsent);
            let space = output.get_mut(end..end + goodbye.len()).ok_or(io::ErrorKind::WriteZero)?;
            space.copy_from_slice(&goodbye);
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
        self.writes.completed(plain.len() >= self.writes.bytes());
        Poll::Ready(Ok(plain.len()))
    }

    fn encrypt(&mut self, plain: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            // No step can consume an incomplete record, so nothing is discarded.
            let state = self.side.process(&mut self.partial).state;
            let space = &mut output[at..];
            match state.map_err(broken)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return Ok(at + traffic.encrypt(plain, space).map_err(exhausted)?);
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    at += data.encode(space).map_err(|error| io::Error::other(error.to_string()))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Sends all queued bytes.
    ///
    /// # Errors
    /// Errors of the socket.
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
            self.clear_unsent();
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Frees the memory of the sent bytes.
    fn clear_unsent(&mut self) {
        (self.unsent, self.sent, self.counted) = (Vec::new(), 0, None);
    }

    /// Sends the session's own messages. If they cannot be sent now, reading goes on.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) {
        if !self.may_wait && !self.unsent.is_empty() {
            // Reading goes on even after an error: received bytes are still there, and `broke` is reported after them.
            let _sent: Poll<io::Result<()>> = self.poll_flush(cx);
        }
    }

    /// Sends all written bytes and close_notify, then a FIN.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close_notify(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Sends all written bytes and close_notify. A shutdown or close of the transport must follow at once: the last
    /// bytes may be held back until then.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn poll_close_notify(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            self.said_goodbye = true;
            self.queue_close_notify();
        }
        self.poll_unsent(cx, true)
    }

    /// The loop ends, because rustls returns each queued record once, allows traffic only when none is left, and queues
    /// close_notify once; `partial` holds no complete record, so nothing else is queued meanwhile.
    fn queue_close_notify(&mut self) {
        if self.reading == Reading::Failed {
            return; // The alert was the last message.
        }
        loop {
            match self.side.process(&mut self.partial).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let mut alert = [0; CLOSE_NOTIFY];
                    match traffic.queue_close_notify(&mut alert) {
                        Ok(n) => self.unsent.extend(alert.iter().take(n)),
                        // More than a close_notify must be sent first: rustls has queued it, and further steps return
                        // it.
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

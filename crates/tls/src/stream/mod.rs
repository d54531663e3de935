//! A TLS stream that holds no buffer while it waits.
//!
//! The stream uses rustls' unbuffered interface: ciphertext is read in large pieces into the worker's scratch buffer,
//! many records at a time, and plaintext is encrypted there and sent with one call. The stream itself keeps only the
//! beginning of an incomplete record, and encrypted bytes that the socket did not accept.
//!
//! It ends as RFC 8446 §6.1 says: close_notify reads as EOF, EOF without it is
//! [`io::ErrorKind::UnexpectedEof`], and each direction ends independently.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

mod buffered;
mod handshake;
mod kept_bytes;
mod scratch;
mod side;
mod transport;
mod write;

pub use buffered::Buffered;
pub use kept_bytes::{KeptBytes, KeptGuard};
pub use scratch::{AT_ONCE, PageBuffer, Scratch};
pub use side::{AsClient, AsServer, Role};
pub use transport::Transport;
pub use write::KEYS_USED_UP;

pub(crate) use handshake::handshake;

use crate::alert::Alert;
use rustls::ProtocolVersion;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::ReadBuf;

/// A TLS stream over `IO`.
pub struct TlsStream<S, IO> {
    side: S,
    io: IO,
    /// Plaintext received with the end of the handshake.
    early: Vec<u8>,
    /// The beginning of an incomplete record.
    partial: Vec<u8>,
    /// Encrypted records; those from `sent` on have not been sent yet.
    unsent: Vec<u8>,
    sent: usize,
    /// Counts `unsent` if it holds more than protocol answers.
    counted: Option<KeptGuard>,
    /// Counts the bytes that a waiting handshake keeps.
    counted_part: Option<KeptGuard>,
    /// `unsent` holds a ticket, which may wait for the next write.
    may_wait: bool,
    /// A handshake message of the peer has been read, and nothing sent since then acknowledges it.
    unacknowledged: bool,
    reading: Reading,
    /// The last flush failed. A socket reports an error once, and the next read then looks like a clean EOF, so the
    /// error is kept.
    broke: Option<io::ErrorKind>,
    /// close_notify has been sent or queued.
    said_goodbye: bool,
    /// The fatal alert by which the peer ended the session.
    alert: Option<Alert>,
    /// The peer has sent a ticket or plaintext in the session.
    heard: bool,
    /// Bytes read at a time.
    reads: Pace,
    /// Bytes encrypted at a time.
    writes: Pace,
}

/// The state of the direction from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    /// Ended by close_notify.
    Ended,
    /// Ended by a FIN alone.
    Truncated,
    /// The session is broken.
    Failed,
}

/// The result of one step of rustls.
enum Step {
    /// Something was encoded, decrypted or ended; more may follow.
    More,
    /// All input is processed.
    Done,
    Failed(rustls::Error),
}

/// The amount read or encrypted at a time. It grows while every call completes in full, so that bulk transfers take few
/// calls and a slow peer makes the stream keep little.
#[derive(Clone, Copy, Debug)]
struct Pace(u8);

impl Default for Pace {
    fn default() -> Self {
        Self(1)
    }
}

impl Pace {
    /// From one record up to [`AT_ONCE`].
    fn bytes(self) -> usize {
        usize::from(self.0) * ONE_RECORD
    }

    /// Grows if the last call read or sent `all` that was requested.
    fn completed(&mut self, all: bool) {
        if all && self.bytes() * 2 <= AT_ONCE {
            self.0 *= 2;
        }
    }

    /// Shrinks, because the socket did not accept everything at once.
    fn stalled(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }
}

/// The most plaintext in one record (RFC 8446 §5.1); a record is a little longer.
const ONE_RECORD: usize = 16 * 1024;
/// The bytes that encryption adds to a record: header, type and tag (RFC 8446 §5.2); header, nonce and tag (RFC 5288
/// §3).
const RECORD_OVERHEAD_TLS13: usize = 22;
const RECORD_OVERHEAD_TLS12: usize = 29;
/// The payload of an alert.
const ALERT: usize = 2;
/// The longest record that rustls accepts, with its header: TLS 1.2 allows that much expansion (RFC 5246 §6.2.3).
const LONGEST_RECORD: usize = 5 + (16 << 10) + (2 << 10);
/// The least space for plaintext that a read may be given: enough for a record whose beginning came with an earlier
/// read and for some new bytes.
pub const LEAST_ROOM: usize = 20 << 10;
/// The most answers kept for a peer that keeps sending requests and reads nothing; above it, reading stops.
const ANSWERS: usize = 64 * 1024;

impl<S: Role, IO: Transport> TlsStream<S, IO> {
    fn new(side: S, io: IO, ahead: Vec<u8>) -> Self {
        Self {
            side,
            io,
            early: Vec::new(),
            partial: ahead,
            unsent: Vec::new(),
            sent: 0,
            counted: None,
            counted_part: None,
            may_wait: false,
            unacknowledged: false,
            reading: Reading::Open,
            broke: None,
            said_goodbye: false,
            alert: None,
            heard: false,
            reads: Pace::default(),
            writes: Pace::default(),
        }
    }

    /// The transport.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The transport, to end it without any TLS message.
    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The transport, without any TLS message; unsent and undecrypted bytes are lost.
    pub fn into_inner(self) -> IO {
        self.io
    }

    /// The fatal alert by which the peer ended the session (RFC 8446 §6.2).
    pub fn alert_received(&self) -> Option<Alert> {
        self.alert
    }

    /// The alert by which the peer refused a handshake that this end had finished, as a TLS 1.3 server does
    /// when it requires a certificate. Only an alert that precedes everything else in the session counts. Call it after
    /// the stream has failed: if a write failed with a reset, the alert may still be unread and is read here.
    pub fn refused_by(&mut self, scratch: &Scratch) -> Option<Alert> {
        if self.side.common().protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None; // Both ends had finished: the alert is about the session, not the handshake.
        }
        if self.alert.is_none() && !self.heard {
            let mut context = Context::from_waker(Waker::noop());
            // Only the alert matters: the plaintext is discarded.
            let _read: Poll<io::Result<usize>> =
                self.poll_read(&mut context, &mut vec![0; LEAST_ROOM], scratch);
        }
        self.alert_received().filter(|_| !self.heard)
    }

    /// This end of the session.
    pub fn side(&self) -> &S {
        &self.side
    }

    /// Whether a ticket waits for the next write; [`Self::poll_flush`] sends it alone.
    pub fn holds_back(&self) -> bool {
        self.may_wait && !self.unsent.is_empty()
    }

    /// The number of encrypted bytes that the transport has not accepted yet; a waiting ticket does not count.
    pub fn inside(&self) -> usize {
        if self.may_wait { 0 } else { self.unsent.len() - self.sent }
    }

    /// The number of plaintext bytes in the last `n` bytes that were or will be sent; exact if their records are full.
    pub fn plaintext_of(&self, n: usize) -> usize {
        let overhead = match self.side.common().protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => RECORD_OVERHEAD_TLS13,
            _ => RECORD_OVERHEAD_TLS12,
        };
        let n = if self.said_goodbye { n.saturating_sub(overhead + ALERT) } else { n };
        let (full, part) = (n / (ONE_RECORD + overhead), n % (ONE_RECORD + overhead));
        full * ONE_RECORD + part.saturating_sub(overhead)
    }

    /// The plaintext that a write takes at once: more while the peer reads fast, one record for a slow one, or while the
    /// sessions of this thread hold as much for slow peers as they may.
    pub fn takes(&self, scratch: &Scratch) -> usize {
        if scratch.ledger.is_full() { ONE_RECORD } else { self.writes.bytes() }
    }

    /// Whether an incomplete record has been received.
    pub fn has_part(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The certificate that the peer presented, in DER.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.side.common().peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Reads plaintext into `plain`, which must hold at least [`LEAST_ROOM`] bytes. 0 means that the peer sent
    /// close_notify.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] for EOF without close_notify; [`io::ErrorKind::InvalidData`] if the peer breaks
    /// the protocol, after the alert has been sent as far as the socket accepts it; errors of the socket, including
    /// those met while sending held-back bytes.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut [u8],
        scratch: &Scratch,
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            let n = early.len().min(plain.len());
            plain[..n].copy_from_slice(&early[..n]);
            self.early.extend_from_slice(&early[n..]);
            return Poll::Ready(Ok(n));
        }
        loop {
            self.answer(cx);
            match self.reading {
                Reading::Open => {}
                Reading::Ended => return Poll::Ready(Ok(0)),
                Reading::Truncated => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Reading::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            if self.broke.is_none() && self.unsent.len() - self.sent > ANSWERS {
                return Poll::Pending; // `answer` waits for the socket.
            }
            let mut input = scratch.borrow();
            let before = self.partial.len();
            // Plaintext is shorter than its records, which are the incomplete one and the new ones. `partial` may also
            // hold a message of several records (a long ticket), whose length rustls bounds.
            let plain_of_new = plain.len().saturating_sub(before.min(LONGEST_RECORD));
            let most = (before + self.reads.bytes().min(plain_of_new)).min(AT_ONCE);
            if most <= before {
                // The peer spreads one message over more than a whole buffer.
                self.reading = Reading::Failed;
                continue;
            }
            let mut buf = ReadBuf::new(&mut input[before..most]);
            let polled = Pin::new(&mut self.io).poll_read(cx, &mut buf);
            if polled.is_pending() && std::mem::take(&mut self.unacknowledged) {
                // Not earlier: the first bytes of most clients are already there, and the answer acknowledges them.
                self.io.acknowledge();
            }
            ready!(polled)?;
            let read = buf.filled().len();
            self.reads.completed(buf.remaining() == 0);
            if read == 0 {
                if let Some(kind) = self.broke {
                    return Poll::Ready(Err(kind.into()));
                }
                self.reading = Reading::Truncated;
                continue;
            }
            input[..before].copy_from_slice(&self.partial);
            let mut filled = 0;
            let (left, failed) = self.take(&mut input[..before + read], &mut |bytes| {
                // It fits: plaintext is shorter than its records, and `most` leaves space for the incomplete one.
                plain[filled..filled + bytes.len()].copy_from_slice(bytes);
                filled += bytes.len();
            });
            self.partial = input[left..before + read].to_vec();
            self.heard |= filled > 0 || (failed.is_none() && left > 0);
            if let Some(error) = failed {
                self.reading = Reading::Failed;
                if let rustls::Error::AlertReceived(alert) = error {
                    self.alert = Some(Alert::of(alert.into()));
                }
            }
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
            // These were tickets: a backend's first answer may wait for their acknowledgement.
            self.unacknowledged = self.partial.is_empty();
        }
    }

    /// Processes `input`. Returns the offset of the unprocessed rest, and the error that broke the session, if any: its
    /// alert is then queued, and rustls must not be called again.
    fn take(&mut self, input: &mut [u8], see: &mut dyn FnMut(&[u8])) -> (usize, Option<rustls::Error>) {
        let mut at = 0;
        loop {
            let (discard, step) = self.step(&mut input[at..], see);
            at += discard; // rustls discards no more than it was given.
            match step {
                Step::More => {}
                Step::Done => return (at, None),
                Step::Failed(error) => {
                    self.may_wait = false;
                    // Stop when nothing is left to send: a further step would fail on the same bytes again.
                    while self.side.common().wants_write() {
                        let (discard, _alert) = self.step(&mut input[at..], see);
                        at += discard;
                    }
                    return (at, Some(error));
                }
            }
        }
    }

    /// Runs one step of rustls; returns how many bytes of `input` it has consumed, and the result.
    fn step(&mut self, input: &mut [u8], see: &mut dyn FnMut(&[u8])) -> (usize, Step) {
        let status = self.side.process(input);
        let discard = status.discard;
        let step = match status.state {
            Err(error) => Step::Failed(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut step = Step::More;
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => see(record.payload),
                        Err(error) => step = Step::Failed(error),
                    }
                }
                step
            }
            Ok(ConnectionState::EncodeTlsData(data)) => match encode(data, &mut self.unsent) {
                Ok(()) => Step::More,
                Err(error) => Step::Failed(error),
            },
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Step::More
            }
            Ok(ConnectionState::PeerClosed) => {
                self.reading = Reading::Ended;
                Step::More
            }
            Ok(
                ConnectionState::Closed
                | ConnectionState::WriteTraffic(_)
                | ConnectionState::BlockedHandshake,
            ) => Step::Done,
            // Early data is neither offered nor accepted.
            Ok(_) => Step::Failed(rustls::Error::General("an unknown state".to_owned())),
        };
        (discard, step)
    }
}

impl<S, IO> fmt::Debug for TlsStream<S, IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("reading", &self.reading).finish_non_exhaustive()
    }
}

/// Appends the bytes that rustls wants to send.
fn encode<D>(mut data: EncodeTlsData<'_, D>, to: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let at = to.len();
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        _ => return Ok(()), // Nothing to encode.
    };
    to.resize(at + needed, 0);
    match data.encode(&mut to[at..]) {
        Ok(_) => Ok(()),
        Err(error) => Err(rustls::Error::General(error.to_string())),
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;

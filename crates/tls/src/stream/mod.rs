//! A TLS stream that holds no buffer while it waits.
//!
//! It stands on rustls' unbuffered interface: ciphertext is read in large pieces into the worker's scratch buffer,
//! many records at a time, and plaintext is encrypted there and sent with one call. What stays with the stream is
//! what must: the beginning of a record whose rest has not come, and what was encrypted and the socket did not take.
//!
//! Its ends are those of RFC 8446 §6.1: close_notify reads as an end, an end without it as
//! [`io::ErrorKind::UnexpectedEof`], and each direction ends by itself.
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
pub use scratch::{AT_ONCE, Scratch};
pub use side::{AsClient, AsServer, Role};
pub use transport::Transport;
pub use write::KEYS_USED_UP;

pub(crate) use handshake::handshake;

use crate::failure::alert_name;
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
    /// Plaintext that came with the end of the handshake.
    early: Vec<u8>,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// Records that are to be sent, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Counts them where they are more than an answer.
    counted: Option<KeptGuard>,
    /// Counts what a handshake keeps while it waits.
    counted_part: Option<KeptGuard>,
    /// What is to be sent may wait for what is written next: it is a ticket.
    may_wait: bool,
    /// A handshake message of the peer's has been read, and nothing has been sent since that would acknowledge it.
    unacknowledged: bool,
    reading: Reading,
    /// The last flush failed. A socket reports an error once, and the next read then looks like a clean EOF, so the error
    /// is kept.
    broke: Option<io::ErrorKind>,
    /// close_notify is among what was sent or is to be.
    said_goodbye: bool,
    /// The fatal alert by which the peer ended the session.
    alert: Option<u8>,
    /// The peer has said something in the session: a ticket, or plaintext.
    heard: bool,
    /// Bytes read at a time.
    reads: Pace,
    /// Bytes encrypted at a time.
    writes: Pace,
}

/// Where the peer's direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    /// By close_notify.
    Ended,
    /// By a FIN alone.
    Truncated,
    /// The session is broken.
    Failed,
}

/// What rustls wants next.
enum Step {
    /// Something is encoded, decrypted or ended; there may be more.
    More,
    /// It has worked through everything.
    Done,
    Failed(rustls::Error),
}

/// How much is read, or encrypted, at a time: more while each time all of it goes, so that bulk takes few calls and a
/// slow peer makes the stream keep little.
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

    /// `all` that was asked for has come, or gone at once.
    fn saw(&mut self, all: bool) {
        if all && self.bytes() * 2 <= AT_ONCE {
            self.0 *= 2;
        }
    }

    /// The socket did not take it at once.
    fn stalled(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }
}

/// A record is at most a little longer than this.
const ONE_RECORD: usize = 16 * 1024;
/// What encryption adds to a record: header, type and tag (RFC 8446 §5.2); header, nonce and tag (RFC 5288 §3).
const AROUND_TLS13: usize = 22;
const AROUND_TLS12: usize = 29;
/// The payload of an alert.
const ALERT: usize = 2;
/// What rustls takes for a record at most, its header with it: TLS 1.2 allows that much expansion (RFC 5246 §6.2.3).
const LONGEST_RECORD: usize = 5 + (16 << 10) + (2 << 10);
/// The least room for plaintext that a read may be given: that of a record whose beginning came with an earlier read, and
/// of something new.
pub const LEAST_ROOM: usize = 20 << 10;
/// Answers to a peer that asks and asks and takes nothing, as far as they are kept.
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

    /// The stream below.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The stream below, to end it without a word of TLS.
    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The stream below, without a word of TLS; what was not sent or decrypted is lost.
    pub fn into_inner(self) -> IO {
        self.io
    }

    /// The name of the fatal alert by which the peer ended the session (RFC 8446 §6.2).
    pub fn alert_received(&self) -> Option<&'static str> {
        self.alert.map(alert_name)
    }

    /// The name of the alert by which the peer refused a handshake that this end had finished, as a TLS 1.3 server does
    /// when it requires a certificate. Only an alert that comes before anything else in the session counts. Call it once
    /// the stream has failed: the alert may lie behind a reset that a write has met, and is then read here.
    pub fn refused_by(&mut self, scratch: &Scratch) -> Option<&'static str> {
        if self.side.common().protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None; // Both ends had finished: what comes now is about the session.
        }
        if self.alert.is_none() && !self.heard {
            let mut context = Context::from_waker(Waker::noop());
            // Only the alert matters now: plaintext has no reader any more.
            let _read: Poll<io::Result<usize>> =
                self.poll_read(&mut context, &mut vec![0; LEAST_ROOM], scratch);
        }
        self.alert_received().filter(|_| !self.heard)
    }

    /// This end of the session.
    pub fn side(&self) -> &S {
        &self.side
    }

    /// There is a ticket that waits for what is written next; [`Self::poll_flush`] sends it alone.
    pub fn holds_back(&self) -> bool {
        self.may_wait && !self.unsent.is_empty()
    }

    /// Bytes that were written, are encrypted, and have not been taken by the stream below.
    pub fn inside(&self) -> usize {
        if self.may_wait { 0 } else { self.unsent.len() - self.sent }
    }

    /// How much plaintext is in the last `n` bytes that were sent or will be sent; exact to the byte if their records
    /// are full.
    pub fn plaintext_of(&self, n: usize) -> usize {
        let around = match self.side.common().protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => AROUND_TLS13,
            _ => AROUND_TLS12,
        };
        let n = if self.said_goodbye { n.saturating_sub(around + ALERT) } else { n };
        let (full, part) = (n / (ONE_RECORD + around), n % (ONE_RECORD + around));
        full * ONE_RECORD + part.saturating_sub(around)
    }

    /// The beginning of a record has come, and its rest has not.
    pub fn has_part(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The certificate that the peer presented, in DER.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.side.common().peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Reads plaintext into `plain`, which has room for [`LEAST_ROOM`] bytes. 0 is the end that the peer told.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] for an end without close_notify; [`io::ErrorKind::InvalidData`] where the peer
    /// breaks the protocol: the alert that says so is sent as far as the socket takes it; those of the socket, also
    /// where it was the sending of something held back that met them.
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
            // Plaintext is shorter than its records: the one that has begun, and what comes now. What else there may be is
            // a message of several records (a long ticket), of which rustls bounds the length.
            let plain_of_new = plain.len().saturating_sub(before.min(LONGEST_RECORD));
            let most = (before + self.reads.bytes().min(plain_of_new)).min(AT_ONCE);
            if most <= before {
                // A message that the peer spreads over more than a whole buffer.
                self.reading = Reading::Failed;
                continue;
            }
            let mut buf = ReadBuf::new(&mut input[before..most]);
            let polled = Pin::new(&mut self.io).poll_read(cx, &mut buf);
            if polled.is_pending() && std::mem::take(&mut self.unacknowledged) {
                // Only now: most clients' first bytes are there already, and are acknowledged with the answer.
                self.io.acknowledge();
            }
            ready!(polled)?;
            let read = buf.filled().len();
            self.reads.saw(buf.remaining() == 0);
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
                // There is room: plaintext is shorter than its records, and `most` leaves room for what has begun.
                plain[filled..filled + bytes.len()].copy_from_slice(bytes);
                filled += bytes.len();
            });
            self.partial = input[left..before + read].to_vec();
            self.heard |= filled > 0 || (failed.is_none() && left > 0);
            if let Some(error) = failed {
                self.reading = Reading::Failed;
                if let rustls::Error::AlertReceived(alert) = error {
                    self.alert = Some(alert.into());
                }
            }
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
            // Tickets: a backend's first answer may wait for their acknowledgement.
            self.unacknowledged = self.partial.is_empty();
        }
    }

    /// Works through `input`. Gives where the rest begins that it could do nothing with, and what broke the session:
    /// then the alert that says so is among what is to be sent, and rustls must not be asked again.
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
                    // Only as long as something is to be sent: asked further, it would fail on the same bytes again.
                    while self.side.common().wants_write() {
                        let (discard, _alert) = self.step(&mut input[at..], see);
                        at += discard;
                    }
                    return (at, Some(error));
                }
            }
        }
    }

    /// One step of rustls, and how much of `input` it is done with.
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
            // Early data is never offered or accepted.
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

/// Appends what rustls wants to be sent.
fn encode<D>(mut data: EncodeTlsData<'_, D>, to: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let at = to.len();
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        _ => return Ok(()), // It is empty.
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

//! Pure: the first bytes of a client → partial, a hello, or the reason for a refusal.
//!
//! [`Assembler`] splits records and joins the handshake message that is spread over them, however it is
//! split, even inside the server name (RFC 8446 §5.1). It decides as soon as the bytes allow, refuses an
//! oversized message by its header instead of buffering it, and looks at each byte once, however small the
//! pieces. [`message`] then reads the joined message: tls-parser splits the fields, and every inner length
//! must be used up exactly. [`ja4`] says by which kind of software it was made.
//!
//! This module only looks at the bytes: the caller keeps them and replays them unchanged.
#![deny(clippy::indexing_slicing)]

mod ja4;
mod message;
mod offers;

pub use ja4::Ja4;
pub use offers::Offers;

/// The parts of a hello that routing and the record use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name (RFC 6066 §3), lower-cased, without trailing dot. `None` if it is absent or an IP
    /// literal.
    pub sni: Option<Box<str>>,
    /// The ALPN protocols offered.
    pub offers: Offers,
    /// The newest version offered: 0x0303 is TLS 1.2, 0x0304 is TLS 1.3.
    pub version: u16,
    /// Whether it contains an encrypted ClientHello (RFC 9849); the name is then the outer one.
    pub ech: bool,
    /// Whether the client sends early data (RFC 8446 §4.2.10).
    pub early_data: bool,
    /// Its JA4, the kind of the client's software; `None` if it was not asked for.
    pub ja4: Option<Ja4>,
    /// Length of the handshake message with its header, in bytes.
    pub length: usize,
    /// The number of TLS records that carried it.
    pub records: u32,
}

impl Hello {
    /// True if `read`, the number of bytes read from the client, covers this hello alone and no early data
    /// follows: a backend that gets the hello again then does nothing twice (RFC 8446 §8, §4.2.10).
    pub fn may_be_replayed(&self, read: usize) -> bool {
        !self.early_data && read == self.length + self.records as usize * HEADER
    }
}

/// The version numbers of TLS 1.2 and 1.3 (RFC 5246 §6.2.1, RFC 8446 §4.2.1).
pub const TLS12: u16 = 0x0303;
/// See [`TLS12`].
pub const TLS13: u16 = 0x0304;

/// Why the bytes are not a hello that weir accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// Not a TLS ClientHello at all: plain HTTP, SSH, SSLv2, noise.
    NotTls,
    /// TLS, but against its rules.
    Malformed,
    /// A server name that is not a DNS name, two server names, or a repeated extension.
    BadSni,
    /// It announces more than the ceiling.
    TooLarge,
}

/// The verdict on the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// A whole hello.
    Hello(Box<Hello>),
    /// No further bytes can make it a hello.
    Refused(HelloError),
}

/// Joins a handshake message over TLS records.
#[derive(Debug)]
pub struct Assembler {
    /// Most handshake bytes, header included.
    ceiling: usize,
    /// Most raw bytes, record headers included.
    raw_ceiling: usize,
    /// Where the next record's header begins.
    next: usize,
    records: u32,
    joined: Vec<u8>,
}

impl Assembler {
    /// An assembler for a message of up to `ceiling` bytes, in up to four times as many raw bytes, because
    /// small records are legal, if odd.
    pub fn new(ceiling: usize) -> Self {
        Self { ceiling, raw_ceiling: ceiling.saturating_mul(4), next: 0, records: 0, joined: Vec::new() }
    }

    /// Most raw bytes that a hello may take.
    pub fn raw_ceiling(&self) -> usize {
        self.raw_ceiling
    }

    /// The JA4 of the whole hello that it has joined.
    pub fn ja4(&self) -> Option<Ja4> {
        ja4::ja4(&self.joined)
    }

    /// Continues with `raw`: all bytes so far; each call must extend the previous bytes.
    pub fn advance(&mut self, raw: &[u8]) -> Progress {
        if self.records == 0
            && let Some(fault) = not_a_hello(raw)
        {
            return Progress::Refused(fault);
        }
        loop {
            let here = raw.get(self.next..).unwrap_or_default();
            let body = match record(here) {
                Ok(Some(body)) => body,
                Ok(None) => return self.refuse_early(here),
                Err(fault) => return Progress::Refused(fault),
            };
            if self.next + HEADER + body.len > self.raw_ceiling {
                return Progress::Refused(HelloError::TooLarge);
            }
            let Some(bytes) = here.get(HEADER..HEADER + body.len) else {
                return self.refuse_early(here);
            };
            self.next += HEADER + body.len;
            self.records += 1;
            self.joined.extend_from_slice(bytes);
            match self.announced() {
                Some(total) if total > self.ceiling => return Progress::Refused(HelloError::TooLarge),
                Some(total) if self.joined.len() > total => return Progress::Refused(HelloError::Malformed),
                Some(total) if self.joined.len() == total => return self.read(),
                _ => {}
            }
        }
    }

    /// The length of the message from its header; `None` before the header is complete.
    fn announced(&self) -> Option<usize> {
        announced(&self.joined)
    }

    /// Refuses a message that is too large by the first part of its record, before the record is complete.
    fn refuse_early(&self, here: &[u8]) -> Progress {
        if self.joined.is_empty()
            && let Some(total) = announced(here.get(HEADER..).unwrap_or_default())
            && total > self.ceiling
        {
            return Progress::Refused(HelloError::TooLarge);
        }
        Progress::Partial
    }

    fn read(&self) -> Progress {
        match message::client_hello(&self.joined, self.records) {
            Ok(hello) => Progress::Hello(Box::new(hello)),
            Err(fault) => Progress::Refused(fault),
        }
    }
}

/// Bytes of a record's header.
const HEADER: usize = 5;
/// Most plaintext bytes of a record (RFC 8446 §5.1).
const RECORD_MAX: usize = 1 << 14;
/// Record and message types (RFC 8446 §5.1, §4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// The bytes of a record that follow its header.
struct Body {
    len: usize,
}

/// The body that a record's header announces; `None` before the header is complete.
fn record(here: &[u8]) -> Result<Option<Body>, HelloError> {
    let [kind, major, _, high, low, ..] = here else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    // A record of another type in between, an empty one, or one over the limit violates RFC 8446 §5.1. The
    // minor version means nothing.
    if *kind != HANDSHAKE || *major != 3 || len == 0 || len > RECORD_MAX {
        return Err(HelloError::Malformed);
    }
    Ok(Some(Body { len }))
}

/// Decides on the very first bytes, before the parser would call them merely incomplete.
fn not_a_hello(raw: &[u8]) -> Option<HelloError> {
    let is = |at: usize, want: u8| raw.get(at).is_none_or(|b| *b == want);
    (!(is(0, HANDSHAKE) && is(1, 3) && is(HEADER, CLIENT_HELLO))).then(|| {
        // An empty first record has no byte 5 of its own: it is TLS, but malformed.
        match record(raw) {
            Err(fault) if is(0, HANDSHAKE) && is(1, 3) => fault,
            _ => HelloError::NotTls,
        }
    })
}

/// The length in a handshake header, including the header's own four bytes.
fn announced(joined: &[u8]) -> Option<usize> {
    let [_, a, b, c, ..] = joined else { return None };
    usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok().map(|n| n + 4)
}

#[cfg(test)]
mod tests;

//! JA4: a short text that is the same for all hellos of one kind of software.
//!
//! By <https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md>, the part of JA4+ that is under the BSD
//! licence. It says nothing about who the client is, and any client can choose its own: a hint, like a User-Agent.

use super::message::Reader;
use smallvec::SmallVec;
use std::fmt;
use weir_tls::sha256;

/// A JA4, such as `t13d1516h2_8daaf6152771_02713d6af862`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ja4(Box<[u8; LENGTH]>);

impl Ja4 {
    /// Its text: printable ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&*self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The JA4 of a hello, a whole handshake message that [`super::message`] has found to be sound.
pub(super) fn ja4(message: &[u8]) -> Option<Ja4> {
    let mut facts = Facts::of(message)?;
    let counts = [&facts.ciphers, &facts.extensions].map(|list| decimal(list.len()));
    facts.ciphers.sort_unstable();
    facts.extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
    facts.extensions.sort_unstable();
    let mut text = SmallVec::<[u8; LENGTH]>::new();
    text.push(b't');
    text.extend(version(facts.version));
    text.push(if facts.has_name { b'd' } else { b'i' });
    text.extend_from_slice(counts.as_flattened());
    text.extend(ends(facts.protocol));
    text.push(b'_');
    text.extend(hash(&facts.ciphers, &[]));
    text.push(b'_');
    text.extend(hash(&facts.extensions, &facts.algorithms));
    Some(Ja4(Box::new(text.into_inner().ok()?)))
}

/// Numbers in a hello: usual ones need no allocation.
type Numbers = SmallVec<[u16; 48]>;

/// The parts of a hello that count, in its own order, without GREASE (RFC 8701).
struct Facts<'a> {
    /// The newest version offered.
    version: u16,
    has_name: bool,
    ciphers: Numbers,
    extensions: Numbers,
    /// Its signature algorithms.
    algorithms: Numbers,
    /// The first of its ALPN protocols.
    protocol: &'a [u8],
}

impl<'a> Facts<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(message.get(HEADER..)?);
        let version = rest.number16().ok()?;
        rest.take(RANDOM).ok()?;
        let _session = rest.vector8().ok()?;
        let ciphers = numbers(rest.vector16().ok()?);
        let _compression = rest.vector8().ok()?;
        let (extensions, algorithms) = (Numbers::new(), Numbers::new());
        let mut facts = Self { version, has_name: false, ciphers, extensions, algorithms, protocol: &[] };
        let mut rest = if rest.0.is_empty() { rest } else { Reader(rest.vector16().ok()?) };
        while !rest.0.is_empty() {
            let (kind, data) = (rest.number16().ok()?, rest.vector16().ok()?);
            if !is_grease(kind) {
                facts.extension(kind, Reader(data));
            }
        }
        Some(facts)
    }

    fn extension(&mut self, kind: u16, mut data: Reader<'a>) {
        self.extensions.push(kind);
        match kind {
            SERVER_NAME => self.has_name = true,
            SIGNATURE_ALGORITHMS => self.algorithms = data.vector16().map(numbers).unwrap_or_default(),
            ALPN => {
                let list = data.vector16().unwrap_or_default();
                self.protocol = Reader(list).vector8().unwrap_or_default();
            }
            SUPPORTED_VERSIONS => {
                let offered = data.vector8().map(numbers).unwrap_or_default();
                self.version = offered.into_iter().max().unwrap_or(self.version);
            }
            _ => {}
        }
    }
}

/// The numbers in a list, without GREASE.
fn numbers(list: &[u8]) -> Numbers {
    let (pairs, _odd) = list.as_chunks();
    pairs.iter().map(|pair| u16::from_be_bytes(*pair)).filter(|number| !is_grease(*number)).collect()
}

/// RFC 8701 §2: both bytes are equal, and end with the digit A.
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn version(number: u16) -> [u8; 2] {
    *match number {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        _ => b"00",
    }
}

/// Two digits; more than 99 count as 99.
fn decimal(count: usize) -> [u8; 2] {
    let count = u8::try_from(count.min(99)).unwrap_or(99);
    [b'0' + count / 10, b'0' + count % 10]
}

/// The first and the last character of a protocol's name; if either is no letter or digit, those of its hexadecimal form.
fn ends(protocol: &[u8]) -> [u8; 2] {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else { return *b"00" };
    match first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        true => [*first, *last],
        false => [digit(first >> 4), digit(last & 0x0f)],
    }
}

/// The hash of two lists of numbers, cut to twelve hexadecimal digits. Without a first list there is none.
fn hash(first: &[u16], second: &[u16]) -> [u8; HASH] {
    // As many digits as 100 numbers have.
    let mut text = SmallVec::<[u8; 512]>::new();
    put(&mut text, first);
    if !second.is_empty() {
        text.push(b'_');
        put(&mut text, second);
    }
    let mut digits = [b'0'; HASH];
    if !first.is_empty() {
        let (pairs, _none) = digits.as_chunks_mut();
        for (pair, byte) in pairs.iter_mut().zip(sha256(&text)) {
            *pair = [digit(byte >> 4), digit(byte & 0x0f)];
        }
    }
    digits
}

/// Adds the numbers, four hexadecimal digits each, with commas between them.
fn put(text: &mut SmallVec<[u8; 512]>, numbers: &[u16]) {
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        let [high, low] = number.to_be_bytes();
        text.extend([digit(high >> 4), digit(high & 0x0f), digit(low >> 4), digit(low & 0x0f)]);
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Characters of a JA4, and of each hash in it.
const LENGTH: usize = 36;
const HASH: usize = 12;
/// Bytes of a handshake message's header, and of a hello's random (RFC 8446 §4, §4.1.2).
const HEADER: usize = 4;
const RANDOM: usize = 32;
/// Extension types (the IANA registry "TLS ExtensionType Values").
const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

#[cfg(test)]
#[path = "ja4_tests.rs"]
mod tests;

//! The question: a client's first bytes, given as hex, in a file, or made from a name and protocols.
//!
//! A name becomes the hello that a client would send for it, and every hello is read by the data path's own reader.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use weir_core::hello::{Assembler, Hello, HelloError, Progress, TLS12, TLS13};

/// A client's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First {
    /// The hello's line in the file, if the file has one hello per line.
    pub(super) line: Option<usize>,
    pub(super) bytes: Result<Vec<u8>, NotHex>,
}

/// Text that is not hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHex {
    offset: usize,
    /// `None` if the text ends in the middle of a byte.
    found: Option<u8>,
}

/// Bytes that are not a complete hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// `None` if more bytes could complete it.
    pub(super) fault: Option<HelloError>,
    /// The number of valid bytes before the fault.
    offset: usize,
}

impl fmt::Display for NotHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, found } = self;
        match found {
            Some(byte) => write!(f, "not hex: `{}` at offset {offset}", byte.escape_ascii()),
            None => write!(f, "not hex: the last byte has one digit, at offset {offset}"),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            None => return write!(f, "the hello is truncated: it goes on behind byte {}", self.offset),
            Some(HelloError::NotTls) => "not a TLS ClientHello",
            Some(HelloError::Malformed) => "a malformed ClientHello",
            Some(HelloError::BadSni) => "a ClientHello whose server name is no DNS name, or not the only one",
            Some(HelloError::TooLarge) => "a ClientHello over the ceiling (limits.client_hello)",
        };
        write!(f, "{what}: refused at offset {}", self.offset)
    }
}

/// The bytes that `text` gives in hex; white space may be anywhere.
///
/// # Errors
/// The first character that is not a hex digit, or an incomplete last byte.
pub(super) fn from_hex(text: &[u8]) -> Result<Vec<u8>, NotHex> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut half = None;
    for (offset, &byte) in text.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace()) {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digit = digit.ok_or(NotHex { offset, found: Some(byte) })?;
        half = match half {
            None => Some((digit, offset)),
            Some((high, _)) => {
                bytes.push(high << 4 | digit);
                None
            }
        };
    }
    half.map_or(Ok(bytes), |(_, offset)| Err(NotHex { offset, found: None }))
}

/// The hellos in a file: one in raw bytes if the file begins with the first byte of a TLS record, else one in hex per
/// line. Empty lines, and lines that begin with `#`, are ignored.
///
/// # Errors
/// The file cannot be read, is too large, or contains no hello.
pub(super) fn from_file(path: &Path) -> Result<Vec<First>> {
    let shown = path.display();
    let mut content = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut content).with_context(|| format!("cannot read {shown}"))?;
    if content.len() as u64 > LARGEST_FILE {
        bail!("{shown} has more than {} MiB", LARGEST_FILE >> 20);
    }
    if content.first() == Some(&RECORD) {
        return Ok(vec![First { line: None, bytes: Ok(content) }]);
    }
    let lines = content.split(|byte| *byte == b'\n').zip(1..);
    let told = lines.filter(|(text, _)| !matches!(text.trim_ascii(), [] | [b'#', ..]));
    let hellos: Vec<First> =
        told.map(|(text, line)| First { line: Some(line), bytes: from_hex(text) }).collect();
    if hellos.is_empty() {
        bail!("{shown} has no hello in it");
    }
    Ok(hellos)
}

/// The hello of a TLS 1.3 client that asks for `name` and offers `protocols`.
///
/// # Errors
/// A name or protocol is empty or too long for a hello.
pub(super) fn made(name: Option<&str>, protocols: &[String]) -> Result<Vec<u8>> {
    let mut extensions = [43u16.to_be_bytes().to_vec(), sized16(&[2, 3, 4])?].concat();
    if let Some(name) = name {
        let entry = [vec![0], sized16(name.as_bytes())?].concat();
        extensions.extend([vec![0, 0], sized16(&sized16(&entry)?)?].concat());
    }
    let mut list = Vec::new();
    for protocol in protocols {
        let length = u8::try_from(protocol.len()).ok().filter(|length| *length > 0);
        list.push(length.with_context(|| format!("`{protocol}` is no protocol: it has 1 to 255 bytes"))?);
        list.extend(protocol.as_bytes());
    }
    if !list.is_empty() {
        extensions.extend([vec![0, 16], sized16(&sized16(&list)?)?].concat());
    }
    // No session to resume, one cipher suite, no compression; all random bytes are zero.
    let head = [&TLS12.to_be_bytes()[..], &[0; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    let body = [head, sized16(&extensions)?].concat();
    let length = u32::try_from(body.len())?.to_be_bytes();
    let message = [&[1], length.get(1..).unwrap_or_default(), &body].concat();
    let mut hello = Vec::new();
    for piece in message.chunks(LARGEST_RECORD) {
        hello.extend([RECORD, 3, 1]);
        hello.extend(sized16(piece)?);
    }
    Ok(hello)
}

/// The bytes, preceded by their length.
fn sized16(bytes: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(bytes.len()).context("that is more than a ClientHello has room for")?;
    Ok([&length.to_be_bytes()[..], bytes].concat())
}

/// The hello at the beginning of `bytes`, as read by a listener that accepts handshakes of up to `ceiling` bytes.
///
/// # Errors
/// The bytes are not a hello; the error has the offset at which the data path would refuse them.
pub(super) fn read(bytes: &[u8], ceiling: usize) -> Result<Box<Hello>, Unreadable> {
    match Assembler::new(ceiling).advance(bytes) {
        Progress::Hello(hello) => Ok(hello),
        Progress::Partial => Err(Unreadable { fault: None, offset: bytes.len() }),
        Progress::Refused(fault) => {
            // Given byte by byte, an assembler refuses at the deciding byte.
            let mut assembler = Assembler::new(ceiling);
            let in_order = |end: &usize| {
                let prefix = bytes.get(..*end).unwrap_or_default();
                matches!(assembler.advance(prefix), Progress::Partial)
            };
            let offset = (1..bytes.len()).take_while(in_order).count();
            Err(Unreadable { fault: Some(fault), offset })
        }
    }
}

/// The name of the version that a hello offers.
pub(super) fn version(number: u16) -> &'static str {
    match number {
        TLS13 => "TLS 1.3",
        TLS12 => "TLS 1.2",
        _ => "older than TLS 1.2",
    }
}

/// The type of a handshake record (RFC 8446 §5.1); no text begins with this byte.
const RECORD: u8 = 22;
/// The most bytes in a record (RFC 8446 §5.1).
const LARGEST_RECORD: usize = 1 << 14;
/// About a thousand of the largest hellos that any listener accepts, or tens of thousands of usual ones.
const LARGEST_FILE: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, protocols: &[&str]) -> Result<Box<Hello>, Unreadable> {
        let protocols: Vec<String> = protocols.iter().map(|&p| p.to_owned()).collect();
        read(&made(Some(name), &protocols).unwrap(), 16 << 10)
    }

    #[test]
    fn hex_may_have_spaces_and_nothing_else() {
        assert_eq!(from_hex(b" 16 03\t0 1\r\nfF"), Ok(vec![22, 3, 1, 255]));
        let told = |text: &str| from_hex(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(told("16 0x03"), "not hex: `x` at offset 4");
        assert_eq!(told("16 0é"), "not hex: `\\xc3` at offset 4");
        assert_eq!(told("16 0 "), "not hex: the last byte has one digit, at offset 3");
    }

    #[test]
    fn files_have_one_hello_per_line_or_one_in_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hellos");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            from_file(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
        };
        let first = |line, bytes| First { line, bytes };
        assert_eq!(read(&[22, 3, b'\n', 1]), Ok(vec![first(None, Ok(vec![22, 3, b'\n', 1]))]));
        assert_eq!(
            read(b"# captured\n16 03\r\n\n  zz\n01"),
            Ok(vec![
                first(Some(2), Ok(vec![22, 3])),
                first(Some(4), Err(NotHex { offset: 2, found: Some(b'z') })),
                first(Some(5), Ok(vec![1])),
            ])
        );
        assert_eq!(read(b"\n# nothing\n"), Err("FILE has no hello in it".to_owned()));
        std::fs::remove_file(&path).unwrap();
        assert!(from_file(&path).unwrap_err().to_string().starts_with("cannot read"));
    }

    #[test]
    fn names_become_hellos_that_the_data_path_reads() {
        let read = hello("WWW.Example.com.", &["h2", "http/1.1"]).unwrap();
        assert_eq!(read.sni.as_deref(), Some("www.example.com"));
        assert_eq!(read.offers.iter().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
        assert_eq!(version(read.version), "TLS 1.3");
        assert_eq!(hello("10.0.0.1", &[]).unwrap().sni, None, "an address counts as no name");
        assert_eq!(hello("a b", &[]).unwrap_err().fault, Some(HelloError::BadSni));
        let many: Vec<String> = (0..6_000).map(|n| format!("{n:04}")).collect();
        assert_eq!(super::read(&made(None, &many).unwrap(), 64 << 10).unwrap().records, 2);
        assert!(made(None, &[String::new()]).is_err() && made(Some(&"a".repeat(70_000)), &[]).is_err());
    }

    #[test]
    fn faults_have_their_offset() {
        let good = made(Some("a.example"), &[]).unwrap();
        let told = |bytes: &[u8]| super::read(bytes, 512).map(|_| ()).unwrap_err().to_string();
        assert_eq!(told(&good[..20]), "the hello is truncated: it goes on behind byte 20");
        assert_eq!(told(&[]), "the hello is truncated: it goes on behind byte 0");
        assert_eq!(told(b"GET / HTTP/1.1"), "not a TLS ClientHello: refused at offset 0");
        assert_eq!(told(&[22, 3, 1, 0, 5, 2, 0]), "not a TLS ClientHello: refused at offset 5");
        assert_eq!(
            told(&[22, 3, 1, 2, 0, 1, 0, 16, 0, 0]),
            "a ClientHello over the ceiling (limits.client_hello): refused at offset 8"
        );
        let mut another = good.clone();
        another.extend([22, 3, 1, 0, 1, 0]);
        assert!(super::read(&another, 512).is_ok(), "bytes after a hello are payload");
        assert!(
            told(&good.iter().map(|b| if *b == b'.' { 0 } else { *b }).collect::<Vec<_>>())
                .contains("server name")
        );
    }
}

//! HTTP/2 by hand: frames that no library would send.

use crate::stream::Stream;
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PUSH_PROMISE.
pub const PUSH_PROMISE: u8 = 5;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;
/// Of SETTINGS and PING: an acknowledgement.
pub const ACK: u8 = 1;
/// Of DATA and HEADERS: the last of its stream.
pub const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION: the last of its block.
pub const END_HEADERS: u8 = 4;
/// Of DATA and HEADERS: with padding.
pub const PADDED: u8 = 8;
/// Of HEADERS: with a priority.
pub const PRIORITISED: u8 = 32;

/// An error that is none.
pub const NO_ERROR: u32 = 0;
/// A rule was broken.
pub const PROTOCOL_ERROR: u32 = 1;
/// A window was overrun.
pub const FLOW_CONTROL_ERROR: u32 = 3;
/// A frame for a stream that is closed.
pub const STREAM_CLOSED: u32 = 5;
/// A frame of a wrong size.
pub const FRAME_SIZE_ERROR: u32 = 6;
/// The stream was not looked at.
pub const REFUSED_STREAM: u32 = 7;
/// The stream is not wanted any more.
pub const CANCEL: u32 = 8;
/// A block of fields that cannot be decoded.
pub const COMPRESSION_ERROR: u32 = 9;
/// A flood.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame of a stream.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.to_vec() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// SETTINGS with these values.
    pub fn settings(values: &[(u16, u32)]) -> Self {
        let pair = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        Self::new(SETTINGS, 0, 0, &values.iter().flat_map(pair).collect::<Vec<u8>>())
    }

    /// WINDOW_UPDATE by so many bytes; stream 0 is the connection.
    pub fn window(stream: u32, bytes: u32) -> Self {
        Self::new(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
    }

    /// RST_STREAM.
    pub fn reset(stream: u32, error: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, &error.to_be_bytes())
    }

    /// GOAWAY, whose last stream is this.
    pub fn goaway(last: u32, error: u32) -> Self {
        Self::new(GOAWAY, 0, 0, &[last.to_be_bytes(), error.to_be_bytes()].concat())
    }

    /// The error of RST_STREAM or GOAWAY; 0 of others.
    pub fn error(&self) -> u32 {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return 0,
        };
        let four = self.payload.get(at..at + 4);
        four.map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
    }

    /// The status in HEADERS.
    pub fn status(&self) -> u16 {
        status(&self.payload)
    }

    /// The next frame.
    ///
    /// # Errors
    /// The end of the connection.
    pub async fn read(stream: &mut Stream) -> io::Result<Self> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Self { kind: head[3], flags: head[4], stream: number, payload })
    }
}

/// What begins a client's connection, in front of its SETTINGS.
pub const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What begins a client's connection: the preface, and settings by which weir's fields refer to no earlier ones.
pub fn preface() -> Vec<u8> {
    [MAGIC, &Frame::settings(&[(HEADER_TABLE_SIZE, 0)]).bytes()].concat()
}

/// A setting: the size of the table of fields.
pub const HEADER_TABLE_SIZE: u16 = 1;

/// A block of fields, each as a literal without indexing (RFC 7541 §6.2.2): any bytes can be sent.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// A length with a prefix of 7 bits (RFC 7541 §5.1), without Huffman coding.
fn length(bytes: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        bytes.push(value as u8);
        return;
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128 + 128) as u8);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// An answer with this status.
    Answer(u16),
    /// RST_STREAM with this error.
    Reset(u32),
    /// GOAWAY with this error, or the end of the connection.
    Gone(u32),
}

/// Reads until the stream has its answer, or its end.
///
/// # Panics
/// When nothing of that comes within twenty seconds.
pub async fn fate(stream: &mut Stream, number: u32) -> Fate {
    let read = async {
        loop {
            let Ok(frame) = Frame::read(stream).await else { return Fate::Gone(0) };
            match frame.kind {
                HEADERS if frame.stream == number => return Fate::Answer(frame.status()),
                RST_STREAM if frame.stream == number => return Fate::Reset(frame.error()),
                GOAWAY if frame.error() != NO_ERROR => return Fate::Gone(frame.error()),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the stream has neither answer nor end")
}

/// The status at the beginning of a block: an index of the static table, or a literal with its name there.
pub fn status(mut block: &[u8]) -> u16 {
    // Changes of the size of the table come first.
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest;
    }
    match block.first() {
        Some(byte @ 0x88..=0x8e) => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        // A literal with the name of index 8; Huffman-coded digits have 5 or 6 bits.
        Some(_) => huffman_digits(&block[1..]),
        None => 0,
    }
}

fn huffman_digits(text: &[u8]) -> u16 {
    let (coded, length) = (text[0] & 0x80 != 0, usize::from(text[0] & 0x7f));
    let bytes = &text[1..=length];
    if !coded {
        return std::str::from_utf8(bytes).unwrap().parse().unwrap();
    }
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: usize| (0..count).fold(0, |all, _| all << 1 | bits.next().unwrap_or(1));
    // RFC 7541, appendix B: 0, 1 and 2 are 00000 to 00010; 3 to 9 are 011001 to 011111.
    (0..3).fold(0, |all, _| {
        let five = take(5);
        let digit = if five < 3 { five } else { (five << 1 | take(1)) - 0b01_1001 + 3 };
        all * 10 + digit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        assert_eq!(status(&[0x88]), 200);
        assert_eq!(status(&[0x8c, 0x88]), 400);
        assert_eq!(status(b"\x48\x03405"), 405);
        // RFC 7541 C.6.1: 302.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
    }
}

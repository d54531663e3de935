//! Finds the frames of HTTP/2 in a stream of bytes, by their nine-byte headers (RFC 9113 §4.1).

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes of its payload.
    pub length: u32,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Without content: of length 0, or all of it padding.
    pub empty: bool,
}

/// Finds the frames in a stream of bytes that comes in pieces.
#[derive(Debug)]
pub struct Frames {
    /// The header as far as it has come, and behind it the length of the padding of DATA.
    header: [u8; HEADER + 1],
    have: usize,
    /// Bytes of payload that are still to come, or of the preface.
    left: u32,
    /// A header has begun.
    began: bool,
}

impl Frames {
    /// The frames that begin after `left` bytes.
    pub fn after(left: u32) -> Self {
        Self { header: [0; HEADER + 1], have: 0, left, began: false }
    }

    /// Whether the header of a frame has begun since this was last asked.
    pub fn began(&mut self) -> bool {
        std::mem::take(&mut self.began)
    }

    /// The next frame whose header ends in `rest`, from which it takes what it has looked at.
    pub fn next(&mut self, rest: &mut &[u8]) -> Option<Frame> {
        loop {
            if self.have == 0 && self.left > 0 {
                let skipped = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                *rest = rest.get(skipped..).unwrap_or_default();
                self.left = self.left.saturating_sub(u32::try_from(skipped).unwrap_or(u32::MAX));
            }
            let (byte, behind) = rest.split_first()?;
            self.began |= self.have == 0;
            *rest = behind;
            if let Some(at) = self.header.get_mut(self.have) {
                *at = *byte;
            }
            self.have += 1;
            let [a, b, c, kind, flags, s0, s1, s2, s3, padding] = self.header;
            let length = u32::from_be_bytes([0, a, b, c]);
            let padded = kind == DATA && flags & PADDED != 0 && length > 0;
            if self.have == HEADER && !padded || self.have > HEADER {
                let behind_header = u32::from(self.have > HEADER);
                self.have = 0;
                self.left = length.saturating_sub(behind_header);
                let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
                let empty = length == 0 || padded && length <= u32::from(padding) + 1;
                return Some(Frame { length, kind, flags, stream, empty });
            }
        }
    }

    /// Bytes that are still to come of the frame under way, or at least of its header; 0 between two frames.
    pub fn owed(&self) -> usize {
        match self.have {
            0 => usize::try_from(self.left).unwrap_or(usize::MAX),
            have => HEADER.saturating_sub(have).max(1),
        }
    }
}

/// Bytes of a frame's header.
const HEADER: usize = 9;

/// DATA (RFC 9113 §6.1).
pub const DATA: u8 = 0;
/// HEADERS (§6.2).
pub const HEADERS: u8 = 1;
/// PRIORITY (§6.3).
pub const PRIORITY: u8 = 2;
/// RST_STREAM (§6.4).
pub const RST_STREAM: u8 = 3;
/// SETTINGS (§6.5).
pub const SETTINGS: u8 = 4;
/// PING (§6.7).
pub const PING: u8 = 6;
/// GOAWAY (§6.8).
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE (§6.9).
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION (§6.10).
pub const CONTINUATION: u8 = 9;
/// PRIORITY_UPDATE (RFC 9218 §7.1).
pub const PRIORITY_UPDATE: u8 = 16;
/// Of DATA and HEADERS: the last of its stream.
pub const END_STREAM: u8 = 1;
/// Of SETTINGS: an acknowledgement.
pub const ACK: u8 = 1;
/// Of HEADERS and CONTINUATION: the last of its block.
pub const END_HEADERS: u8 = 4;
/// Of DATA: with padding.
pub const PADDED: u8 = 8;

//! A client of HTTP/2 that asks many things at once and takes whatever comes.

use crate::frames::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, MAGIC, SETTINGS, block};
use crate::stream::Stream;
use crate::world::NAME;

/// A client of HTTP/2 whose windows never close.
#[derive(Debug)]
pub struct H2Client {
    stream: Stream,
    next: u32,
}

impl H2Client {
    /// Begins the protocol on a connection that has agreed on it.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn over(mut stream: Stream) -> Self {
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const ACK: u8 = 1;
        const MOST: u32 = (1 << 31) - 1;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(Frame::settings(&[(INITIAL_WINDOW_SIZE, MOST)]).bytes());
        bytes.extend(Frame::window(0, MOST - 65_535).bytes());
        bytes.extend(Frame::new(SETTINGS, ACK, 0, &[]).bytes());
        stream.send(&bytes).await.unwrap();
        Self { stream, next: 1 }
    }

    /// Sends so many requests at once, and reads their answers. Gives the bytes of their bodies.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn ask(&mut self, path: &str, count: usize) -> usize {
        let head = block(&[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", path.as_bytes()),
            (b":authority", NAME.as_bytes()),
        ]);
        let mut bytes = Vec::new();
        for _ in 0..count {
            bytes.extend(Frame::new(HEADERS, END_HEADERS | END_STREAM, self.next, &head).bytes());
            self.next += 2;
        }
        self.stream.send(&bytes).await.unwrap();
        let (mut ended, mut length) = (0, 0);
        while ended < count {
            let frame = Frame::read(&mut self.stream).await.unwrap();
            if frame.kind == DATA {
                length += frame.payload.len();
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                ended += 1;
            }
        }
        length
    }
}

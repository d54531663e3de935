//! Counts the frames of an HTTP/2 connection, and says when a client floods weir with them.
//!
//! hyper and h2 have no budget for frames that cost work and bring nothing: PING, SETTINGS, PRIORITY, empty DATA and their
//! like. The meter reads the nine-byte headers of frames (RFC 9113 §4.1) as the bytes pass, in pieces of any size, without a
//! copy and without judging what they mean: h2 does that. Each kind has a ceiling for a second, which grows with what weir
//! sends in answer: a client that downloads may send window updates in proportion, one that only asks may not.
//!
//! What weir writes is followed as well: for these credits, and to know where a frame ends, because only there may the
//! GOAWAY stand that ends the connection.

pub mod frames;

use frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PRIORITY,
    PRIORITY_UPDATE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use std::time::Duration;
use tokio::time::Instant;
use weir_metrics::labels::Limit;

/// What a client sends too many of. Its word is the reason in the connection's record, and in `weir_limited_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// RST_STREAM: streams are opened and reset before they are answered (CVE-2023-44487).
    Resets,
    /// CONTINUATION: a block of fields does not end (CVE-2024-27316).
    Continuation,
    /// SETTINGS, each of which must be acknowledged (CVE-2019-9515).
    Settings,
    /// PING, each of which must be answered (CVE-2019-9512).
    Pings,
    /// DATA without a byte of content, and without an end (CVE-2019-9518).
    EmptyData,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priority,
    /// WINDOW_UPDATE, also by single bytes (CVE-2019-9511).
    WindowUpdates,
    /// Frames of other types, which are ignored.
    Unknown,
}

impl Flood {
    const COUNT: usize = 8;

    /// The limit that it went beyond.
    pub const fn limit(self) -> Limit {
        match self {
            Self::Resets => Limit::H2Resets,
            Self::Continuation => Limit::H2Continuation,
            Self::Settings => Limit::H2Settings,
            Self::Pings => Limit::H2Pings,
            Self::EmptyData => Limit::H2EmptyData,
            Self::Priority => Limit::H2Priority,
            Self::WindowUpdates => Limit::H2WindowUpdates,
            Self::Unknown => Limit::H2Unknown,
        }
    }

    /// Frames in a second that any client may send.
    const fn base(self) -> u32 {
        match self {
            // A browser that leaves a page resets all its streams at once.
            Self::Resets => 250,
            Self::Continuation | Self::EmptyData | Self::Pings | Self::Unknown => 100,
            Self::Settings => 20,
            Self::Priority => 500,
            Self::WindowUpdates => 2000,
        }
    }

    /// Further frames for what weir has sent.
    const fn earned(self, credit: Credit) -> u32 {
        match self {
            Self::Resets | Self::Continuation | Self::Unknown => credit.answers,
            Self::Settings => 0,
            // gRPC pings once a round trip while data comes, to learn the bandwidth.
            Self::Pings => credit.answers.saturating_add(credit.data),
            Self::EmptyData => credit.answers.saturating_mul(4),
            Self::Priority => credit.answers.saturating_mul(16),
            // One for the stream and one for the connection, for each frame of data.
            Self::WindowUpdates => {
                credit.data.saturating_mul(4).saturating_add(credit.answers.saturating_mul(4))
            }
        }
    }
}

/// What weir has sent.
#[derive(Clone, Copy, Debug, Default)]
struct Credit {
    /// Streams whose answer has ended.
    answers: u32,
    /// Frames of data of some size: a client that opens its window by single bytes earns nothing.
    data: u32,
}

/// The meter of one connection.
#[derive(Debug)]
pub struct Meter {
    read: Frames,
    written: Frames,
    counts: [u32; Flood::COUNT],
    now: Credit,
    before: Credit,
    second: Instant,
    /// CONTINUATION frames of the block of fields that is open.
    block: u32,
    /// Of the whole connection.
    resets: u64,
    answers: u64,
    /// The highest stream that the client has opened.
    last_stream: u32,
    /// A block of fields has begun, and its last frame has not.
    open: bool,
    /// When the frame or block that is under way has begun.
    begun: Instant,
    /// It is DATA.
    data: bool,
    /// Whether the first frame was SETTINGS, once it has come.
    is_settled: Option<bool>,
}

/// What a client has begun to send and not ended. Until it ends, h2 and hyper know nothing of it, so no deadline of a
/// request covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderWay {
    /// A frame of content.
    Data(Instant),
    /// The preface, a block of fields, or a frame of another kind.
    Other(Instant),
}

impl Meter {
    /// The meter of a connection of which nothing was read yet: it begins with the client's preface.
    pub fn new(now: Instant) -> Self {
        Self {
            read: Frames::after(PREFACE),
            written: Frames::after(0),
            counts: [0; Flood::COUNT],
            now: Credit::default(),
            before: Credit::default(),
            second: now,
            block: 0,
            resets: 0,
            answers: 0,
            last_stream: 0,
            open: false,
            begun: now,
            data: false,
            is_settled: None,
        }
    }

    /// Counts the frames that begin in `bytes`, which were read from the client.
    ///
    /// # Errors
    /// The client floods weir. These bytes must go no further, and the connection must end with [`Self::goaway`].
    pub fn read(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        if now.saturating_duration_since(self.second) >= SECOND {
            self.counts = [0; Flood::COUNT];
            (self.before, self.now, self.second) = (self.now, Credit::default(), now);
        }
        let mut rest = bytes;
        loop {
            let frame = self.read.next(&mut rest);
            if self.read.began() && !self.open {
                (self.begun, self.data) = (now, false);
            }
            let Some(frame) = frame else { return Ok(()) };
            self.is_settled.get_or_insert(frame.kind == SETTINGS && frame.flags & ACK == 0);
            self.data = frame.kind == DATA;
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                self.open = frame.flags & END_HEADERS == 0;
            }
            self.judge(frame)?;
        }
    }

    /// Whether the client's preface was none: SETTINGS must come first (RFC 9113 §3.4), which h2 does not demand.
    pub fn is_out_of_order(&self) -> bool {
        self.is_settled == Some(false)
    }

    /// What the client has begun to send and not ended.
    pub fn under_way(&self) -> Option<UnderWay> {
        let under_way = if self.data { UnderWay::Data } else { UnderWay::Other };
        (self.open || self.read.owed() > 0).then(|| under_way(self.begun))
    }

    /// Follows `bytes` that were written to the client.
    pub fn wrote(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(frame) = self.written.next(&mut rest) {
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                self.now.answers = self.now.answers.saturating_add(1);
                self.answers += 1;
            }
            if frame.kind == DATA && frame.length >= SOME_DATA {
                self.now.data = self.now.data.saturating_add(1);
            }
        }
    }

    /// Bytes that are still to be written of the frame under way, or at least of its header; 0 between two frames.
    pub fn owed(&self) -> usize {
        self.written.owed()
    }

    /// The frame that ends the connection with ENHANCE_YOUR_CALM (RFC 9113 §6.8), to be written where nothing is
    /// [owed](Self::owed).
    pub fn goaway(&self) -> [u8; 17] {
        let mut frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ENHANCE_YOUR_CALM];
        let stream = self.last_stream.to_be_bytes();
        frame.iter_mut().skip(9).zip(stream).for_each(|(at, byte)| *at = byte);
        frame
    }

    fn judge(&mut self, frame: Frame) -> Result<(), Flood> {
        match frame.kind {
            HEADERS => {
                self.block = 0;
                self.last_stream = self.last_stream.max(frame.stream);
                Ok(())
            }
            DATA if frame.empty && frame.flags & END_STREAM == 0 => self.count(Flood::EmptyData),
            DATA => Ok(()),
            CONTINUATION => {
                self.block = self.block.saturating_add(1);
                if self.block > BLOCK {
                    return Err(Flood::Continuation);
                }
                self.count(Flood::Continuation)
            }
            RST_STREAM => {
                self.resets += 1;
                // Below the ceiling of a second, but for minutes.
                if self.resets > RESETS.saturating_add(self.answers.saturating_mul(2)) {
                    return Err(Flood::Resets);
                }
                self.count(Flood::Resets)
            }
            SETTINGS => self.count(Flood::Settings),
            PING => self.count(Flood::Pings),
            PRIORITY | PRIORITY_UPDATE => self.count(Flood::Priority),
            WINDOW_UPDATE => self.count(Flood::WindowUpdates),
            _ => self.count(Flood::Unknown),
        }
    }

    fn count(&mut self, flood: Flood) -> Result<(), Flood> {
        let Some(count) = self.counts.get_mut(flood as usize) else { return Ok(()) };
        *count = count.saturating_add(1);
        let earned = flood.earned(self.now).saturating_add(flood.earned(self.before));
        if *count > flood.base().saturating_add(earned) { Err(flood) } else { Ok(()) }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Bytes of a client's preface (RFC 9113 §3.4).
const PREFACE: u32 = 24;
/// CONTINUATION frames of one block of fields: full ones hold 512 KiB.
const BLOCK: u32 = 32;
/// Resets that a connection has free of charge.
const RESETS: u64 = 2000;
/// The least bytes of a DATA frame that earn something.
const SOME_DATA: u32 = 64;

const ENHANCE_YOUR_CALM: u8 = 11;

#[cfg(test)]
mod tests;

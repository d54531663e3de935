//! The protocol between client and backend.
//!
//! A client sends a [`Request`] of 64 bytes: send me so many bytes, or take so many. The bytes are no run of
//! zeros but a pattern in which each position has its own bytes, begun at a place that the client picks by a
//! seed for each request. So no program in between can make up an answer, and a lost, doubled or changed byte
//! shows, although only the ends of each read are compared. [`http`] has the same requests in HTTP.

mod http;

pub use http::AGENT;

use serde::{Deserialize, Serialize};
use std::io::IoSlice;
use std::sync::OnceLock;

/// How long a request is.
pub const REQUEST: usize = 64;
/// How long the answer to an upload is.
pub const RECEIPT: u64 = 64;
/// The answer to a small request.
pub const SMALL: u64 = 256;

/// Which way the payload of a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the client.
    Down,
    /// To the backend, which answers with a receipt.
    Up,
}

/// A client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which way the payload goes.
    pub direction: Direction,
    /// Where the pattern begins, of the payload and of the answer.
    pub seed: u64,
    /// Payload bytes.
    pub length: u64,
}

impl Request {
    /// The bytes to send.
    pub fn encode(&self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        let direction = match self.direction {
            Direction::Down => b'D',
            Direction::Up => b'U',
        };
        let head = MAGIC
            .into_iter()
            .chain([direction])
            .chain(self.seed.to_be_bytes())
            .chain(self.length.to_be_bytes());
        let filler = piece(self.seed, 0, REQUEST).iter().copied();
        for (to, from) in bytes.iter_mut().zip(head.chain(filler)) {
            *to = from;
        }
        bytes
    }

    /// Reads a request; `None` if the bytes are no request, or were changed on the way.
    pub fn decode(bytes: &[u8; REQUEST]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let (direction, rest) = rest.split_first()?;
        let (seed, rest) = rest.split_first_chunk::<8>()?;
        let (length, _) = rest.split_first_chunk::<8>()?;
        let direction = match direction {
            b'D' => Direction::Down,
            b'U' => Direction::Up,
            _ => return None,
        };
        let request =
            Self { direction, seed: u64::from_be_bytes(*seed), length: u64::from_be_bytes(*length) };
        (*head == MAGIC && request.encode() == *bytes).then_some(request)
    }

    /// How many bytes the answer has.
    pub fn answer(&self) -> u64 {
        match self.direction {
            Direction::Down => self.length,
            Direction::Up => RECEIPT,
        }
    }
}

/// A piece of the pattern that begins at `seed`, from `offset` on: at most `most` bytes, and at most 4 KiB.
pub fn piece(seed: u64, offset: u64, most: usize) -> &'static [u8] {
    let at = usize::try_from(seed.wrapping_add(offset) % PERIOD as u64).unwrap_or(0);
    let pattern = pattern();
    pattern.get(at..at + most.min(PERIOD)).unwrap_or(pattern)
}

/// A larger piece, for one vectored write: at most `most` bytes, and at most 256 KiB.
pub fn pieces(seed: u64, offset: u64, most: u64) -> Vec<IoSlice<'static>> {
    let most = usize::try_from(most).unwrap_or(WRITE).min(WRITE);
    let starts = (0..most).step_by(PERIOD);
    starts.map(|at| IoSlice::new(piece(seed, offset + at as u64, most - at))).collect()
}

/// Whether `got` can be the pattern's bytes at `offset`: its first and last bytes are compared.
///
/// Each position within 4 KiB has other bytes, so that a loss in between moves the following bytes out of
/// place.
pub fn fits(seed: u64, offset: u64, got: &[u8]) -> bool {
    let sample = got.len().min(SAMPLE);
    let (Some(first), Some(last)) = (got.get(..sample), got.get(got.len() - sample..)) else { return false };
    let behind = offset + (got.len() - sample) as u64;
    piece(seed, offset, sample) == first && piece(seed, behind, sample) == last
}

/// No TLS connection begins like this.
const MAGIC: [u8; 4] = *b"WBRQ";
/// After how many bytes the pattern repeats: a prime, so that no buffer's size is a multiple of it. Twice as
/// many bytes stay in the first-level cache: CPUs often share the other caches, and reads from memory by the
/// ends would make the load balancer slower.
const PERIOD: usize = 4_093;
/// The size of bulk writes.
const WRITE: usize = 256 * 1024;
/// How many bytes at each end of a read are compared: cheap beside the read itself.
const SAMPLE: usize = 32;

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        // SplitMix64: eight bytes a step, the same in both processes.
        let mut state = 0x7765_6972_u64;
        let mut step = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_be_bytes()
        };
        let period: Vec<u8> =
            std::iter::repeat_with(&mut step).take(PERIOD / 8 + 1).flatten().take(PERIOD).collect();
        period.iter().copied().cycle().take(2 * PERIOD).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_sent_and_not_otherwise() {
        let request = Request { direction: Direction::Up, seed: 77_777, length: 1 << 40 };
        let mut bytes = request.encode();
        assert_eq!(Request::decode(&bytes), Some(request));
        bytes[REQUEST - 1] ^= 1;
        assert_eq!(Request::decode(&bytes), None);
    }

    #[test]
    fn pieces_join_to_one_pattern() {
        let whole: Vec<u8> = pieces(5, 0, 200_000).iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(whole.len(), 200_000);
        let mut joined = Vec::new();
        while joined.len() < whole.len() {
            let next = piece(5, joined.len() as u64, (whole.len() - joined.len()).min(1_001));
            joined.extend_from_slice(next);
        }
        assert!(whole == joined);
        assert_eq!(pieces(5, 0, u64::MAX).iter().map(|piece| piece.len()).sum::<usize>(), WRITE);
    }

    #[test]
    fn lost_doubled_and_changed_bytes_show() {
        let sent: Vec<u8> = pieces(9, 0, 100_000).iter().flat_map(|piece| piece.to_vec()).collect();
        assert!(fits(9, 0, &sent));
        assert!(fits(9, 40_000, &sent[40_000..]));
        assert!(!fits(9, 40_000, &sent[40_001..]), "one is lost");
        assert!(!fits(9, 40_000, &sent[39_999..]), "one is doubled");
        assert!(!fits(10, 0, &sent), "another request's answer");
        let mut changed = sent.clone();
        changed[99_999] ^= 1;
        assert!(!fits(9, 0, &changed));
    }
}

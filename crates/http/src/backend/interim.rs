//! Counts interim answers (1xx, RFC 9110 §15.2) in the bytes of a backend. hyper skips any number of them.

use std::fmt;

/// Reads along until the head of a final answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interim {
    state: State,
    seen: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No answer is awaited, or it is a final one.
    #[default]
    Over,
    /// So many bytes of a status line have come; the digit behind nine of them tells.
    Status(u8),
    /// In a line of an interim answer.
    Line,
    /// At the beginning of one, or behind a CR there.
    Begin,
}

/// More interim answers than any backend has a reason for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MOST} interim answers")
    }
}

impl std::error::Error for TooMany {}

/// Interim answers to one request.
const MOST: u8 = 16;
/// The bytes of `HTTP/1.1 `.
const VERSION: u8 = 9;

impl Interim {
    /// An answer is awaited.
    pub fn awaited() -> Self {
        Self { state: State::Status(0), seen: 0 }
    }

    /// Reads these bytes, those of most answers no further than the status.
    ///
    /// # Errors
    /// There were too many.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), TooMany> {
        for byte in bytes {
            self.state = match (self.state, byte) {
                (State::Over, _) => return Ok(()),
                // hyper skips empty lines in front of a status line.
                (State::Status(0), b'\r' | b'\n') => State::Status(0),
                (State::Status(VERSION), b'1') => State::Line,
                (State::Status(VERSION), _) => State::Over,
                (State::Status(n), _) => State::Status(n + 1),
                (State::Line, b'\n') => State::Begin,
                (State::Line, _) => State::Line,
                (State::Begin, b'\r') => State::Begin,
                (State::Begin, b'\n') => {
                    self.seen += 1;
                    if self.seen > MOST {
                        return Err(TooMany);
                    }
                    State::Status(0)
                }
                (State::Begin, _) => State::Line,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed(text: &str, pieces: usize) -> Result<State, TooMany> {
        let mut interim = Interim::awaited();
        for piece in text.as_bytes().chunks(pieces.max(1)) {
            interim.read(piece)?;
        }
        Ok(interim.state)
    }

    const FINAL: &str = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 a\r\n\r\n";

    #[test]
    fn only_a_flood_is_too_many() {
        for one in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\nlink: </a>\n\n",
            "HTTP/1.0 199\r\na: b\r\n\tc\r\n\r\n",
        ] {
            for pieces in [1, 7, 10_000] {
                assert_eq!(fed(&format!("{}{}", one.repeat(16), FINAL.repeat(100)), pieces), Ok(State::Over));
                assert_eq!(fed(&format!("{}{FINAL}", one.repeat(17)), pieces), Err(TooMany));
            }
        }
        assert_eq!(fed(&FINAL.repeat(100), 3), Ok(State::Over));
        let mut none = Interim::default();
        assert_eq!(none.read("HTTP/1.1 100 a\r\n\r\n".repeat(100).as_bytes()), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400), pieces in 1..50_usize) {
            let mut whole = Interim::awaited();
            let result = whole.read(&bytes);
            let mut split = Interim::awaited();
            let pieced = bytes.chunks(pieces).try_for_each(|piece| split.read(piece));
            prop_assert_eq!(result, pieced);
        }
    }
}

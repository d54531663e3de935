//! Pure: gRPC's health protocol (grpc.health.v1), of which weir needs one question and one field of the answer: a library
//! for protocol buffers would be larger than the rest of the check.

use http::HeaderMap;

/// The method's path.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";
/// A `HealthCheckRequest` without a service, which asks for the whole server: no compression, no bytes.
pub(super) const QUESTION: &[u8] = &[0; PREFIX];
/// Bytes of an answer's message, at most: it has two.
pub(super) const LONGEST: usize = 4096;

/// What precedes a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// `HealthCheckResponse.status`, a varint.
const STATUS: u64 = 1 << 3;
/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// It serves.
    Yes,
    /// It does not.
    No(Unserving),
}

/// Why a backend does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserving {
    /// `UNKNOWN`, `NOT_SERVING`, `SERVICE_UNKNOWN`, by the number of the status.
    #[error("{}", match .0 { 0 => "UNKNOWN", 2 => "NOT_SERVING", 3 => "SERVICE_UNKNOWN", _ => "a status of its own" })]
    Status(u64),
    /// The call failed, by the number of the code.
    #[error("gRPC status {}{}", .0, match .0 { 12 => ", UNIMPLEMENTED: it has no health service", _ => "" })]
    Call(u32),
}

/// Reads the end of a call and its message; `None` if it is none of gRPC.
pub(super) fn read(trailers: &HeaderMap, message: &[u8]) -> Option<Serving> {
    let code: u32 = trailers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    if code != 0 {
        return Some(Serving::No(Unserving::Call(code)));
    }
    let (prefix, message) = message.split_at_checked(PREFIX)?;
    let [0, length @ ..] = prefix else { return None };
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    match status(message.get(..length).filter(|all| all.len() == message.len())?)? {
        SERVING => Some(Serving::Yes),
        other => Some(Serving::No(Unserving::Status(other))),
    }
}

/// The status in a `HealthCheckResponse`; an absent field means 0. Unknown fields are skipped.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                status = if tag == STATUS { value } else { status };
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Takes a number of seven bits a byte.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &'static str, message: &[u8]) -> Option<Serving> {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
        read(&trailers, message)
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(answer("0", &[0, 0, 0, 0, 2, 8, 1]), Some(Serving::Yes));
        assert_eq!(answer("0", &[0, 0, 0, 0, 7, 0x12, 1, b'x', 0x1a, 0, 8, 1]), Some(Serving::Yes));
        for (message, status) in [
            (&[0, 0, 0, 0, 0][..], 0),
            (&[0, 0, 0, 0, 2, 8, 2], 2),
            (&[0, 0, 0, 0, 2, 8, 3], 3),
            (&[0, 0, 0, 0, 3, 8, 0x80, 1], 128),
        ] {
            assert_eq!(answer("0", message), Some(Serving::No(Unserving::Status(status))));
        }
        assert_eq!(answer("12", &[]), Some(Serving::No(Unserving::Call(12))));
        assert!(Unserving::Call(12).to_string().contains("UNIMPLEMENTED"));
        assert_eq!(Unserving::Status(2).to_string(), "NOT_SERVING");
    }

    #[test]
    fn anything_else_is_not_grpc() {
        for message in [
            &[][..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x12, 9],
            &[0, 0, 0, 0, 1, 0xff],
            &[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0, 255, 255, 255, 255, 8, 1],
        ] {
            assert_eq!(answer("0", message), None, "{message:?}");
        }
        assert_eq!(answer("x", &[0, 0, 0, 0, 2, 8, 1]), None);
        assert_eq!(read(&HeaderMap::new(), &[0, 0, 0, 0, 2, 8, 1]), None);
    }
}

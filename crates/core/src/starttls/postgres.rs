//! PostgreSQL: SSLRequest, GSSENCRequest, and TLS without either since version 17
//! (<https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL>).

use super::{ToBackend, ToClient, WordError};

/// SSLRequest: its length, and a number that is no version of the protocol.
pub(super) const REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
/// Shortest and longest packet that a server takes for the first one.
const LENGTHS: std::ops::RangeInclusive<u32> = 8..=10_000;

pub(super) fn hear(bytes: &[u8]) -> Result<ToClient, WordError> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(ToClient::More) };
    let length = u32::from_be_bytes(*length);
    if !LENGTHS.contains(&length) {
        return Err(WordError::Malformed);
    }
    let Some((code, _)) = rest.split_first_chunk() else { return Ok(ToClient::More) };
    match (u32::from_be_bytes(*code), length) {
        (SSL, 8) => Ok(ToClient::Begin(8, b"S".to_vec())),
        (GSS, 8) => Ok(ToClient::Say(8, b"N".to_vec())),
        // It names no database, so no backend could be chosen for it, and gets no answer.
        (CANCEL, _) => Ok(ToClient::End(Vec::new())),
        (version, _) if version >> 16 == 3 => Ok(ToClient::Refuse(refusal())),
        _ => Err(WordError::Malformed),
    }
}

/// An ErrorResponse, with the code of a connection that the server rejects.
fn refusal() -> Vec<u8> {
    let fields = b"SFATAL\0VFATAL\0C08004\0MTLS is required\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap_or_default();
    [b"E", &length.to_be_bytes()[..], fields].concat()
}

pub(super) fn granted(bytes: &[u8]) -> Result<ToBackend, WordError> {
    match bytes.first() {
        None => Ok(ToBackend::More),
        Some(b'S') => Ok(ToBackend::Granted(1)),
        Some(b'N' | b'E') => Err(WordError::Declined),
        Some(_) => Err(WordError::Malformed),
    }
}

//! LDAP (RFC 4511) with StartTLS (§4.14): messages in BER.

use super::{ToBackend, ToClient, WordError};

/// The request of message 1: an ExtendedRequest with the name of StartTLS.
pub(super) const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const NAME: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Result codes (RFC 4511 §A.2).
const SUCCESS: u8 = 0;
const CONFIDENTIALITY_REQUIRED: u8 = 13;
/// Protocol operations: their tags, without class and form.
const UNBIND: u8 = 2;
const ABANDON: u8 = 16;
const EXTENDED: u8 = 23;

pub(super) fn hear(bytes: &[u8]) -> Result<ToClient, WordError> {
    let Some(Message { id, operation, content, taken }) = message(bytes)? else { return Ok(ToClient::More) };
    match operation {
        EXTENDED if value(content, 0x80)?.is_some_and(|(name, _)| name == NAME) => {
            Ok(ToClient::Begin(taken, answer(id, EXTENDED + 1, SUCCESS)))
        }
        UNBIND => Ok(ToClient::End(Vec::new())),
        ABANDON => Ok(ToClient::Say(taken, Vec::new())),
        // A search has its result in SearchResultDone.
        3 => Ok(ToClient::Say(taken, answer(id, 5, CONFIDENTIALITY_REQUIRED))),
        0 | 6 | 8 | 10 | 12 | 14 | EXTENDED => {
            Ok(ToClient::Say(taken, answer(id, operation + 1, CONFIDENTIALITY_REQUIRED)))
        }
        _ => Err(WordError::Malformed),
    }
}

pub(super) fn granted(bytes: &[u8]) -> Result<ToBackend, WordError> {
    let Some(Message { id, operation, content, taken }) = message(bytes)? else { return Ok(ToBackend::More) };
    let result = value(content, 0x0a)?.ok_or(WordError::Malformed)?.0;
    match (id, operation, result) {
        (&[1], 24, [SUCCESS]) => Ok(ToBackend::Granted(taken)),
        (&[1], 24, _) => Err(WordError::Declined),
        _ => Err(WordError::Malformed),
    }
}

struct Message<'a> {
    /// The bytes of its number.
    id: &'a [u8],
    operation: u8,
    content: &'a [u8],
    taken: usize,
}

/// The first message; `None` before it is whole.
fn message(bytes: &[u8]) -> Result<Option<Message<'_>>, WordError> {
    let Some((inside, rest)) = value(bytes, 0x30)? else { return Ok(None) };
    let taken = bytes.len() - rest.len();
    let whole = |part| value(inside, part)?.ok_or(WordError::Malformed);
    let (id, behind): (&[u8], &[u8]) = whole(0x02)?;
    let tag = *behind.first().ok_or(WordError::Malformed)?;
    // Class APPLICATION, and a number below 31.
    if tag & 0xc0 != 0x40 || tag & 0x1f == 0x1f || !(1..=5).contains(&id.len()) {
        return Err(WordError::Malformed);
    }
    let (content, _controls) = value(behind, tag)?.ok_or(WordError::Malformed)?;
    Ok(Some(Message { id, operation: tag & 0x1f, content, taken }))
}

/// The content of a value, and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The content of the value in front, which must have this tag, and what follows it; `None` before it is whole.
fn value(bytes: &[u8], tag: u8) -> Result<Option<Split<'_>>, WordError> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    if *first != tag {
        return Err(WordError::Malformed);
    }
    let Some((length, rest)) = rest.split_first() else { return Ok(None) };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        // The indefinite form is not allowed (RFC 4511 §5.1), and four bytes are more than enough.
        0x81..=0x84 => {
            let Some((digits, rest)) = rest.split_at_checked(usize::from(length & 0x7f)) else {
                return Ok(None);
            };
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return Err(WordError::Malformed),
    };
    if length > super::LONGEST {
        return Err(WordError::TooLong);
    }
    Ok(rest.split_at_checked(length))
}

/// An LDAPResult without a text.
fn answer(id: &[u8], operation: u8, code: u8) -> Vec<u8> {
    let result = [0x0a, 1, code, 4, 0, 4, 0];
    let name = if operation == EXTENDED + 1 { [&[0x8a, 22][..], NAME].concat() } else { Vec::new() };
    let short = |length: usize| u8::try_from(length).unwrap_or_default();
    let inside = [
        &[2, short(id.len())][..],
        id,
        &[0x60 | operation, short(result.len() + name.len())],
        &result,
        &name,
    ]
    .concat();
    [&[0x30, short(inside.len())][..], &inside].concat()
}

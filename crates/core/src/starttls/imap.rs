//! IMAP (RFC 9051) with STARTTLS (§6.2.1).

use super::lines::{first, word};
use super::{ToBackend, ToClient, WordError};

pub(super) const GREETING: &[u8] = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] Ready\r\n";
/// The tag of weir's own command.
const COMMAND: &[u8] = b"w1 STARTTLS\r\n";

pub(super) fn hear(bytes: &[u8]) -> Result<ToClient, WordError> {
    let Some((line, taken)) = first(bytes)? else { return Ok(ToClient::More) };
    let (tag, rest) = word(line);
    // Bytes of a literal that needs no leave would be read as commands.
    if !is_tag(tag) || line.ends_with(b"+}") {
        return Err(WordError::Malformed);
    }
    let (command, argument) = word(rest);
    let command = command.to_ascii_uppercase();
    let tagged = |before: &[u8], text: &[u8]| [before, tag, b" ", text, b"\r\n"].concat();
    let say = |text: &[u8]| Ok(ToClient::Say(taken, tagged(b"", text)));
    match command.as_slice() {
        b"STARTTLS" if argument.is_empty() => {
            Ok(ToClient::Begin(taken, tagged(b"", b"OK Begin TLS negotiation now")))
        }
        b"CAPABILITY" => {
            let before = b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n";
            Ok(ToClient::Say(taken, tagged(before, b"OK Done")))
        }
        b"NOOP" => say(b"OK Done"),
        b"LOGOUT" => Ok(ToClient::End(tagged(b"* BYE Bye\r\n", b"OK Done"))),
        b"LOGIN" | b"AUTHENTICATE" => say(b"NO [PRIVACYREQUIRED] Issue STARTTLS first"),
        _ => say(b"BAD Issue STARTTLS first"),
    }
}

/// RFC 9051 §9: any ASTRING-CHAR except `+`.
fn is_tag(tag: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\+".contains(byte);
    (1..=64).contains(&tag.len()) && tag.iter().all(fits)
}

/// What follows from a backend's answer: its greeting, and then that to STARTTLS, with untagged lines before it.
pub(super) fn answered(step: usize, bytes: &[u8]) -> Result<ToBackend, WordError> {
    let (mut rest, mut taken) = (bytes, 0);
    while let Some((line, length)) = first(rest)? {
        taken += length;
        rest = rest.get(length..).unwrap_or_default();
        let (tag, text) = word(line);
        let (state, _) = word(text);
        let is_ok = state.eq_ignore_ascii_case(b"OK");
        match (step, tag) {
            (0, b"*") if is_ok => return Ok(ToBackend::Say(taken, COMMAND.to_vec())),
            (1, b"w1") if is_ok => return Ok(ToBackend::Granted(taken)),
            (1, b"*") if !state.eq_ignore_ascii_case(b"BYE") => {}
            // A session that is authenticated already (PREAUTH), a refusal, or an end.
            _ => return Err(WordError::Declined),
        }
    }
    Ok(ToBackend::More)
}

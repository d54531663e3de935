//! SMTP (RFC 5321) with STARTTLS (RFC 3207).

use super::lines::{first, word};
use super::{ToBackend, ToClient, WordError};

pub(super) fn greeting(host: &str) -> Vec<u8> {
    format!("220 {host} ESMTP\r\n").into_bytes()
}

pub(super) fn hear(bytes: &[u8], host: &str) -> Result<ToClient, WordError> {
    let Some((line, taken)) = first(bytes)? else { return Ok(ToClient::More) };
    let (command, argument) = word(line);
    let say = |text: String| Ok(ToClient::Say(taken, text.into_bytes()));
    match command.to_ascii_uppercase().as_slice() {
        b"STARTTLS" if argument.is_empty() => {
            Ok(ToClient::Begin(taken, b"220 2.0.0 Ready to start TLS\r\n".to_vec()))
        }
        b"STARTTLS" => say("501 5.5.4 STARTTLS has no argument\r\n".to_owned()),
        b"EHLO" if !argument.is_empty() => say(format!("250-{host}\r\n250 STARTTLS\r\n")),
        b"HELO" if !argument.is_empty() => say(format!("250 {host}\r\n")),
        b"EHLO" | b"HELO" => say("501 5.5.4 A name is missing\r\n".to_owned()),
        b"NOOP" | b"RSET" => say("250 2.0.0 OK\r\n".to_owned()),
        b"QUIT" => Ok(ToClient::End(b"221 2.0.0 Bye\r\n".to_vec())),
        b"" => say("500 5.5.2 A command is missing\r\n".to_owned()),
        _ => say("530 5.7.0 Must issue a STARTTLS command first\r\n".to_owned()),
    }
}

/// What follows from a backend's answer: to the connection, to EHLO, to STARTTLS.
pub(super) fn answered(step: usize, bytes: &[u8], host: &str) -> Result<ToBackend, WordError> {
    let Some((code, lines, taken)) = answer(bytes)? else { return Ok(ToBackend::More) };
    match (step, code) {
        (0, b"220") => Ok(ToBackend::Say(taken, format!("EHLO {host}\r\n").into_bytes())),
        (1, b"250") => {
            let offers = lines.iter().any(|line| line.eq_ignore_ascii_case(b"STARTTLS"));
            if offers {
                Ok(ToBackend::Say(taken, b"STARTTLS\r\n".to_vec()))
            } else {
                Err(WordError::Declined)
            }
        }
        (2, b"220") => Ok(ToBackend::Granted(taken)),
        _ => Err(WordError::Declined),
    }
}

/// A whole answer: its code, the texts of its lines, and the bytes that it takes; `None` before it is whole.
#[allow(clippy::type_complexity, reason = "three parts of one thing")]
fn answer(bytes: &[u8]) -> Result<Option<(&[u8], Vec<&[u8]>, usize)>, WordError> {
    let (mut rest, mut lines, mut taken) = (bytes, Vec::new(), 0);
    loop {
        let Some((line, length)) = first(rest)? else { return Ok(None) };
        let (code, more) = line.split_at_checked(3).ok_or(WordError::Malformed)?;
        if !code.iter().all(u8::is_ascii_digit) || bytes.get(..3) != Some(code) {
            return Err(WordError::Malformed);
        }
        taken += length;
        rest = rest.get(length..).unwrap_or_default();
        match more.split_first() {
            Some((b'-', text)) => lines.push(text),
            Some((b' ', text)) => {
                lines.push(text);
                return Ok(Some((code, lines, taken)));
            }
            None => return Ok(Some((code, lines, taken))),
            Some(_) => return Err(WordError::Malformed),
        }
    }
}

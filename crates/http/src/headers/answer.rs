//! Pure: the head of a backend's answer, cleaned for the client.
//!
//! hyper has unfolded obs-fold to one space (RFC 9112 §5.2) and swallowed answers of 1xx by now.

use super::refusal::{Reason, Refusal};
use super::strict::is_length;
use super::{Towards, Upgrade, hop_by_hop};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, StatusCode, Version};

/// Cleans the head of an answer from a backend that was asked `towards`. Whether client and backend leave HTTP with it, as
/// the client wished.
///
/// # Errors
/// A refusal with 502 for an answer that two programs may read in different ways. Its connection must not be used
/// again.
pub fn to_client(parts: &mut Parts, wish: Option<&Upgrade>, towards: Towards) -> Result<bool, Refusal> {
    lengths(parts)?;
    let chosen = hop_by_hop::strip(&mut parts.headers).upgrade;
    let leaves = match wish {
        Some(wish) => wish.answered(parts, chosen.as_ref(), towards)?,
        None => false,
    };
    if !leaves && (parts.status.is_informational() || parts.status.as_u16() >= 600) {
        return Err(Refusal::gateway(Reason::AnswerStatus));
    }
    if matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // hyper warns in the log of a length without a body.
        parts.headers.remove(CONTENT_LENGTH);
    }
    // hyper writes the version of the client's connection; that of HTTP/1.0 would keep it from chunks.
    parts.version = Version::HTTP_11;
    Ok(leaves)
}

/// The length of the body must have one reading.
fn lengths(parts: &Parts) -> Result<(), Refusal> {
    let headers: &HeaderMap = &parts.headers;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if let Some(coding) = coding
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Refusal::gateway(Reason::AnswerCoding));
    }
    let mut given = headers.get_all(CONTENT_LENGTH).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if coding.is_none() && is_length(length) => Ok(()),
        _ => Err(Refusal::gateway(Reason::AnswerLength)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{fields, shown};
    use super::*;

    fn answer(status: u16, all: &[(&'static str, &str)]) -> Parts {
        let mut parts = http::Response::builder().status(status).body(()).unwrap().into_parts().0;
        parts.headers = fields(all);
        parts
    }

    fn cleaned(status: u16, all: &[(&'static str, &str)]) -> Vec<String> {
        let mut parts = answer(status, all);
        assert!(!to_client(&mut parts, None, Towards::Http1).unwrap());
        shown(&parts.headers)
    }

    fn refused(status: u16, all: &[(&'static str, &str)]) -> (u16, Reason) {
        let refusal = to_client(&mut answer(status, all), None, Towards::Http1).unwrap_err();
        (refusal.status.as_u16(), refusal.reason)
    }

    #[test]
    fn hop_by_hop_fields_of_answers_go() {
        let all = [
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("content-length", "3"),
            ("connection", "close, x-own, content-length, set-cookie"),
            ("x-own", "a"),
            ("keep-alive", "a"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("proxy-connection", "close"),
        ];
        let wanted = [
            "content-length: 3",
            "date: Sun, 06 Nov 1994 08:49:37 GMT",
            "set-cookie: a=b",
            "set-cookie: c=d",
            "trailer: x-sum",
        ];
        assert_eq!(cleaned(200, &all), wanted);
        assert!(cleaned(200, &[("transfer-encoding", "Chunked")]).is_empty());
        assert!(cleaned(304, &[("content-length", "9")]).is_empty());
        assert!(cleaned(204, &[("content-length", "0")]).is_empty());
    }

    #[test]
    fn answers_with_two_readings_are_refused() {
        let length = (502, Reason::AnswerLength);
        assert_eq!(refused(200, &[("content-length", "3"), ("content-length", "3")]), length);
        assert_eq!(refused(200, &[("content-length", "3"), ("transfer-encoding", "chunked")]), length);
        for value in ["", "+3", "3, 3", "3,4", "a"] {
            assert_eq!(refused(200, &[("content-length", value)]), length, "{value}");
        }
        for value in ["gzip", "gzip, chunked", "identity", ""] {
            assert_eq!(refused(200, &[("transfer-encoding", value)]), (502, Reason::AnswerCoding), "{value}");
        }
        for status in [101, 103, 600, 999] {
            assert_eq!(refused(status, &[]), (502, Reason::AnswerStatus), "{status}");
        }
    }
}

//! Answers: JSON, text.

use crate::api::Refused;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// What a caller gets.
pub(crate) type Reply = Response<Full<Bytes>>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Reply {
    match serde_json::to_string_pretty(value) {
        Ok(body) => answer(status, JSON, body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// A refusal, as the API words it.
pub(crate) fn refuse(status: StatusCode, why: &str) -> Reply {
    json(status, &Refused { error: why.to_owned() })
}

/// The refusal of a method, with those that are allowed.
pub(crate) fn only(allowed: &'static str) -> Reply {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

pub(crate) fn text(status: StatusCode, body: String) -> Reply {
    answer(status, TEXT, body)
}

pub(crate) fn answer(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

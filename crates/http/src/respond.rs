//! Pure: answers of weir's own, for a route or in place of a backend's.
//!
//! Everything that a client chose and that stands in such an answer was parsed as an authority, as a path, or as a
//! number before, and is put into a field by a type that takes no line break.

use crate::headers::Authority;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, Uri};
use std::fmt;
use std::time::SystemTime;
use weir_core::plan::http::{FixedResponse, NewPath, Redirect};

/// What a request asked for, as far as answers need it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its target.
    pub target: &'a Uri,
    /// Its host and port.
    pub authority: &'a Authority,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// The answer of a route with `respond`.
pub fn fixed(answer: &FixedResponse) -> Response<Bytes> {
    let kind = (!answer.body.is_empty()).then(|| answer.content_type.clone());
    own(answer.status, answer.body.clone(), kind)
}

/// The answer of a route with `redirect`; `None` if the new address would be no URI, which a target that hyper has
/// parsed cannot bring about.
pub fn redirect(redirect: &Redirect, question: &Question<'_>) -> Option<Response<Bytes>> {
    let location = HeaderValue::from_maybe_shared(location(redirect, question)).ok()?;
    let mut response = own(redirect.status, line(redirect.status, None), Some(PLAIN));
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}

/// The new address (RFC 9110 §10.2.2): absolute, with the request's parts where the route has none.
fn location(redirect: &Redirect, question: &Question<'_>) -> Bytes {
    let Question { target, authority, secure, .. } = question;
    let own_scheme = if *secure { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own_scheme);
    let host = redirect.host.as_deref().unwrap_or(authority.host());
    let by_default = if scheme == "https" { 443 } else { 80 };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => authority.port(),
    };
    let mut text = BytesMut::with_capacity(128);
    for part in [scheme, "://", host] {
        text.put_slice(part.as_bytes());
    }
    if let Some(port) = port.filter(|port| *port != by_default) {
        text.put_slice(format!(":{port}").as_bytes());
    }
    let path = target.path();
    match &redirect.path {
        // `*` of OPTIONS is no path.
        _ if !path.starts_with('/') => text.put_u8(b'/'),
        NewPath::Same => text.put_slice(path.as_bytes()),
        NewPath::Whole(new) => text.put_slice(new.as_bytes()),
        NewPath::Prefix(change) => {
            let rest = change.from.rest(path);
            let to = if rest.is_empty() { &*change.to } else { change.to.trim_end_matches('/') };
            text.put_slice(to.as_bytes());
            text.put_slice(rest.as_bytes());
        }
    }
    if let Some(query) = target.path_and_query().and_then(PathAndQuery::query) {
        text.put_u8(b'?');
        text.put_slice(query.as_bytes());
    }
    text.freeze()
}

/// An answer to a request that no backend answers. The reason stands in the record alone; the client gets the id, which
/// leads to it.
pub fn error(status: StatusCode, id: Option<&dyn fmt::Display>, close: bool) -> Response<Bytes> {
    let mut response = own(status, line(status, id), Some(PLAIN));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, crate::headers::ALLOWED);
    }
    if close {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same answer to HEAD: the length of its body, but no body (RFC 9110 §9.3.2).
pub fn without_body(mut response: Response<Bytes>) -> Response<Bytes> {
    let length = std::mem::take(response.body_mut()).len();
    if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Status, reason and id in one line.
fn line(status: StatusCode, id: Option<&dyn fmt::Display>) -> Bytes {
    let reason = status.canonical_reason().unwrap_or("Error");
    match id {
        Some(id) => format!("{} {reason}\nrequest id: {id}\n", status.as_u16()).into(),
        None => format!("{} {reason}\n", status.as_u16()).into(),
    }
}

fn own(status: StatusCode, body: Bytes, kind: Option<HeaderValue>) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // RFC 9110 §6.6.1: an origin server sends the date.
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        response.headers_mut().insert(DATE, date);
    }
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_core::plan::http::PrefixChange;
    use weir_core::route::requests::PathPrefix;

    fn prefix(from: &str, to: &str) -> NewPath {
        NewPath::Prefix(PrefixChange { from: PathPrefix::parse(from).unwrap(), to: to.into() })
    }

    fn to(path: NewPath) -> Redirect {
        Redirect { status: StatusCode::PERMANENT_REDIRECT, scheme: None, host: None, port: None, path }
    }

    fn location_of(redirect: &Redirect, host: &str, target: &str) -> String {
        let authority = Authority::parse(HeaderValue::from_str(host).unwrap()).unwrap();
        let target: Uri = target.parse().unwrap();
        let question = Question { target: &target, authority: &authority, secure: true };
        let answer = super::redirect(redirect, &question).unwrap();
        answer.headers()[LOCATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn locations_keep_what_the_route_does_not_change() {
        let at = |redirect: &Redirect, target: &str| location_of(redirect, "a.b:8443", target);
        let old_new = to(prefix("/old/", "/new"));
        for (target, wanted) in [
            ("/old/x/y?q=1&r=%20", "https://a.b:8443/new/x/y?q=1&r=%20"),
            ("/old", "https://a.b:8443/new"),
            ("/old/", "https://a.b:8443/new/"),
            ("/old?", "https://a.b:8443/new?"),
            ("/%6fld/x", "https://a.b:8443/new/x"),
            ("/old//x", "https://a.b:8443/new//x"),
        ] {
            assert_eq!(at(&old_new, target), wanted, "{target}");
        }
        let root = to(prefix("/old", "/"));
        assert_eq!(at(&root, "/old/x"), "https://a.b:8443/x");
        assert_eq!(at(&root, "/old"), "https://a.b:8443/");
        assert_eq!(at(&to(prefix("/", "/new")), "/x"), "https://a.b:8443/new/x");
        assert_eq!(at(&to(NewPath::Whole("/h".into())), "/x?q"), "https://a.b:8443/h?q");
        let elsewhere = Redirect { host: Some("c.d".into()), ..to(NewPath::Same) };
        assert_eq!(at(&elsewhere, "/x"), "https://c.d:8443/x");
        let scheme = Redirect { scheme: Some("https".into()), ..elsewhere.clone() };
        assert_eq!(at(&scheme, "/x"), "https://c.d/x", "another scheme has its own port");
        let port = Redirect { scheme: Some("http".into()), port: Some(80), ..elsewhere };
        assert_eq!(at(&port, "/x"), "http://c.d/x");
        assert_eq!(at(&to(NewPath::Same), "*"), "https://a.b:8443/");
        assert_eq!(location_of(&to(NewPath::Same), "[::1]:443", "/x"), "https://[::1]/x");
    }

    #[test]
    fn a_path_can_lead_to_no_other_host() {
        // The host stands in front, so `//x.y` is a path.
        assert_eq!(location_of(&to(prefix("/old", "/")), "a.b", "/old//x.y"), "https://a.b//x.y");
        assert_eq!(location_of(&to(NewPath::Same), "a.b", "//x.y/z"), "https://a.b//x.y/z");
    }

    #[test]
    fn answers_have_their_fields() {
        let body = Bytes::from_static(b"gone");
        let fixed = super::fixed(&FixedResponse { status: StatusCode::GONE, body, content_type: PLAIN });
        assert_eq!((fixed.status().as_u16(), &fixed.body()[..]), (410, &b"gone"[..]));
        assert!(fixed.headers().contains_key(DATE));
        assert_eq!(fixed.headers()[CONTENT_TYPE], PLAIN);
        let none = FixedResponse { status: StatusCode::NO_CONTENT, body: Bytes::new(), content_type: PLAIN };
        assert!(!super::fixed(&none).headers().contains_key(CONTENT_TYPE));
        let head = without_body(super::fixed(&FixedResponse {
            status: StatusCode::OK,
            body: Bytes::from("1234"),
            content_type: PLAIN,
        }));
        assert_eq!((head.body().len(), &head.headers()[CONTENT_LENGTH]), (0, &HeaderValue::from(4)));
        assert!(!without_body(super::fixed(&none)).headers().contains_key(CONTENT_LENGTH));
        let failed = error(StatusCode::BAD_GATEWAY, Some(&"id-1"), false);
        assert_eq!(failed.body(), "502 Bad Gateway\nrequest id: id-1\n");
        assert!(!failed.headers().contains_key(CONNECTION));
        assert_eq!(error(StatusCode::BAD_REQUEST, None, true).headers()[CONNECTION], "close");
    }

    proptest! {
        #[test]
        fn locations_are_uris_on_the_same_host(path in "/[!-~]{0,40}", query in "[!-~]{0,20}") {
            let Ok(target) = format!("{path}?{query}").parse::<Uri>() else { return Ok(()) };
            prop_assume!(target.path().starts_with('/') && target.authority().is_none());
            for redirect in [to(NewPath::Same), to(prefix("/", "/new"))] {
                let found = location_of(&redirect, "a.b", &target.to_string());
                prop_assert!(found.starts_with("https://a.b/"), "{}", found);
                prop_assert!(found.bytes().all(|byte| byte.is_ascii_graphic()), "{}", found);
            }
        }
    }
}

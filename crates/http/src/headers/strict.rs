//! Pure: requests that hyper lets through, and a proxy must not.
//!
//! Each check refuses a request that two programs may read in different ways, because the second one is a backend
//! (RFC 9112 §11.2). hyper and h2 refuse others before: obs-fold, NUL, a space before the colon, lengths that differ.

use super::authority::Authority;
use super::refusal::{Reason, Refusal};
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

/// Checks a request and gives its target the form that backends get (RFC 9112 §3.2.1). The authority of the target
/// counts before the `Host` field, which is set to it. `Expect` is removed, because weir itself answers with 100.
pub(super) fn check(parts: &mut Parts, secure: bool) -> Result<Authority, Refusal> {
    method(parts)?;
    lengths(parts)?;
    expectation(&mut parts.headers)?;
    if parts.version == Version::HTTP_2 {
        values(&parts.headers)?;
    }
    let authority = authority(parts, if secure { 443 } else { 80 })?;
    target(parts)?;
    if parts.headers.get(HOST) != Some(authority.text()) {
        parts.headers.insert(HOST, authority.text().clone());
    }
    Ok(authority)
}

/// CONNECT is for forward proxies, unless it is that of RFC 8441; TRACE shows fields to scripts.
fn method(parts: &Parts) -> Result<(), Refusal> {
    let extended = parts.version == Version::HTTP_2 && parts.extensions.get::<h2::ext::Protocol>().is_some();
    if parts.method == Method::TRACE || (parts.method == Method::CONNECT && !extended) {
        return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, reason: Reason::Method });
    }
    Ok(())
}

/// The length of the body must have one reading (RFC 9112 §6). With HTTP/1.1, hyper has removed a length beside a
/// transfer coding by now.
fn lengths(parts: &Parts) -> Result<(), Refusal> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if parts.version != Version::HTTP_11 {
            return Err(Refusal::bad(Reason::Length));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, reason: Reason::TransferCoding });
        }
    }
    let mut given = parts.headers.get_all(CONTENT_LENGTH).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if is_length(length) => Ok(()),
        _ => Err(Refusal::bad(Reason::Length)),
    }
}

/// Whether a length is decimal digits, and no more than 2^63 bytes.
pub(super) fn is_length(value: &HeaderValue) -> bool {
    let digits = value.as_bytes();
    let sound = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    sound && value.to_str().is_ok_and(|text| text.parse::<i64>().is_ok())
}

fn expectation(headers: &mut HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(EXPECT) {
        return Ok(());
    }
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(EXPECT).iter().all(known) {
        return Err(Refusal { status: StatusCode::EXPECTATION_FAILED, reason: Reason::Expectation });
    }
    headers.remove(EXPECT);
    Ok(())
}

/// No value begins or ends with white space (RFC 9113 §8.2.1); HTTP/1.1 would cut it off, and read another value.
fn values(headers: &HeaderMap) -> Result<(), Refusal> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let sound = headers.values().all(|value| {
        let bytes = value.as_bytes();
        !blank(bytes.first()) && !blank(bytes.last())
    });
    if sound { Ok(()) } else { Err(Refusal::bad(Reason::Field)) }
}

/// The authority of a request. In HTTP/1, there must be one `Host` field even beside an absolute target, which counts
/// before it (RFC 9112 §3.2.2). In HTTP/2, `:authority` or `Host` must be there, and both must be the same.
fn authority(parts: &Parts, default_port: u16) -> Result<Authority, Refusal> {
    let refused = Refusal::bad(Reason::Host);
    let mut given = parts.headers.get_all(HOST).iter();
    let host = match (given.next(), given.next()) {
        (None, _) => None,
        (Some(host), None) => Some(Authority::parse(host.clone()).ok_or(refused)?),
        _ => return Err(refused),
    };
    let target = parts.uri.authority().map(|target| {
        let text = HeaderValue::from_str(target.as_str()).ok();
        text.and_then(Authority::parse).ok_or(refused)
    });
    match (target.transpose()?, host) {
        (Some(target), Some(host))
            if parts.version == Version::HTTP_2 && !target.is_same(&host, default_port) =>
        {
            Err(refused)
        }
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(refused),
        (Some(target), _) => Ok(target),
        (None, host) => host.ok_or(refused),
    }
}

/// The target becomes a path, with its query; `*` is for OPTIONS alone. A fragment is gone by now, as hyper drops it.
fn target(parts: &mut Parts) -> Result<(), Refusal> {
    let refused = Refusal::bad(Reason::Target);
    let uri = &parts.uri;
    let known = uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let path = uri.path_and_query().filter(|_| known).ok_or(refused)?;
    let text = path.as_str();
    if !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err(refused);
    }
    let path = match text.as_bytes().first() {
        // Not the path itself: what is left of `http://example.com#a` looks like this, and is written as nothing.
        Some(b'/') if text.len() == 1 => PathAndQuery::from_static("/"),
        Some(b'/') => path.clone(),
        Some(b'*') if text.len() == 1 && parts.method == Method::OPTIONS && uri.scheme().is_none() => {
            path.clone()
        }
        // `:path` of HTTP/2 has no authority in front, and hyper gives a scheme only with an authority.
        Some(b'*')
            if text.len() == 1 && parts.method == Method::OPTIONS && parts.version == Version::HTTP_2 =>
        {
            path.clone()
        }
        // An absolute target without a path: `http://example.com?a=b`.
        Some(b'?') if parts.version != Version::HTTP_2 => {
            PathAndQuery::try_from(format!("/{text}")).map_err(|_unsound| refused)?
        }
        _ => return Err(refused),
    };
    if uri.scheme().is_some() || uri.authority().is_some() {
        parts.uri = Uri::from(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{fields, request, request2};
    use super::*;
    use proptest::prelude::*;

    fn refused(mut parts: Parts) -> (u16, Reason) {
        let refusal = check(&mut parts, true).expect_err("must be refused");
        (refusal.status.as_u16(), refusal.reason)
    }

    fn passed(mut parts: Parts) -> (String, String) {
        let authority = check(&mut parts, true).unwrap();
        assert_eq!(parts.headers.get_all(HOST).iter().count(), 1);
        assert_eq!(parts.headers[HOST], *authority.text());
        (authority.text().to_str().unwrap().to_owned(), parts.uri.to_string())
    }

    fn with(all: &[(&'static str, &str)]) -> Parts {
        let mut parts = request("POST", "/", &[("host", "example.com")]);
        parts.headers.extend(fields(all));
        parts
    }

    #[test]
    fn each_request_has_one_host() {
        for hosts in [
            &[][..],
            &[("host", "")],
            &[("host", "a"), ("host", "a")],
            &[("host", "a@b")],
            &[("host", "a b")],
        ] {
            assert_eq!(refused(request("GET", "/", hosts)), (400, Reason::Host), "{hosts:?}");
            assert_eq!(refused(request2("GET", "/", hosts)), (400, Reason::Host), "{hosts:?}");
        }
        let mut old = request("GET", "/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(refused(old), (400, Reason::Host));
        assert_eq!(
            passed(request("GET", "/a?b=c", &[("host", "Example.com:443")])),
            ("Example.com:443".into(), "/a?b=c".into())
        );
    }

    #[test]
    fn an_absolute_target_counts_before_host() {
        let host = [("host", "other.example")];
        for target in ["http://example.com/a?b", "https://example.com/a?b"] {
            assert_eq!(passed(request("GET", target, &host)), ("example.com".into(), "/a?b".into()));
        }
        assert_eq!(passed(request("GET", "http://example.com", &host)).1, "/");
        assert_eq!(passed(request("GET", "http://example.com?a=b", &host)).1, "/?a=b");
        assert_eq!(passed(request("GET", "http://example.com#a", &host)).1, "/");
        assert_eq!(refused(request("GET", "http://example.com/", &[])), (400, Reason::Host));
        assert_eq!(refused(request("GET", "http://u:p@example.com/", &host)), (400, Reason::Host));
        assert_eq!(refused(request("GET", "ftp://example.com/", &host)), (400, Reason::Target));
        assert_eq!(refused(request("GET", "http://example.com/", &[("host", "a b")])), (400, Reason::Host));
    }

    #[test]
    fn authority_and_host_of_http2_agree() {
        let url = "https://example.com/a";
        for host in ["example.com", "EXAMPLE.com.", "example.com:443"] {
            assert_eq!(passed(request2("GET", url, &[("host", host)])), ("example.com".into(), "/a".into()));
        }
        assert_eq!(passed(request2("GET", url, &[])).0, "example.com");
        assert_eq!(passed(request2("GET", "/a", &[("host", "example.com")])).0, "example.com");
        for host in ["other.example", "example.com:80", "a b", ""] {
            assert_eq!(refused(request2("GET", url, &[("host", host)])), (400, Reason::Host), "{host}");
        }
        assert_eq!(refused(request2("GET", "https://u@example.com/", &[])), (400, Reason::Host));
    }

    #[test]
    fn targets_are_paths() {
        let host = [("host", "example.com")];
        for target in ["*", "example.com:80", "/\u{e9}"] {
            assert_eq!(refused(request("GET", target, &host)), (400, Reason::Target), "{target}");
        }
        assert_eq!(passed(request("OPTIONS", "*", &host)).1, "*");
        assert_eq!(passed(request("GET", "//a/../b//", &host)).1, "//a/../b//");
        let mut bare = request2("GET", "https://example.com/", &[]);
        bare.uri = "https://example.com?a=b".parse().unwrap();
        assert_eq!(refused(bare), (400, Reason::Target));
    }

    #[test]
    fn tunnels_and_traces_are_refused() {
        let host = [("host", "example.com")];
        for (method, target) in
            [("CONNECT", "example.com:80"), ("CONNECT", "/"), ("TRACE", "/"), ("TRACE", "*")]
        {
            assert_eq!(refused(request(method, target, &host)), (405, Reason::Method), "{method} {target}");
            assert_eq!(refused(request2(method, target, &host)), (405, Reason::Method), "{method} {target}");
        }
        let mut extended = request2("CONNECT", "https://example.com/chat", &[]);
        extended.extensions.insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(passed(extended).1, "/chat");
    }

    #[test]
    fn bodies_have_one_length() {
        for coding in
            ["gzip, chunked", "chunked, chunked", "xchunked", "identity", "", "chunked;a=b", "\"chunked\""]
        {
            assert_eq!(
                refused(with(&[("transfer-encoding", coding)])),
                (501, Reason::TransferCoding),
                "{coding}"
            );
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(refused(with(&twice)), (501, Reason::TransferCoding));
        passed(with(&[("transfer-encoding", "Chunked")]));
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut parts = with(&[("transfer-encoding", "chunked")]);
            parts.version = version;
            assert_eq!(refused(parts), (400, Reason::Length), "{version:?}");
        }
        for length in ["", "+3", "-3", "3, 3", "3,3", "0x3", "3.0", " ", "9223372036854775808", "٣"] {
            assert_eq!(refused(with(&[("content-length", length)])), (400, Reason::Length), "{length}");
        }
        assert_eq!(refused(with(&[("content-length", "3"), ("content-length", "3")])), (400, Reason::Length));
        passed(with(&[("content-length", "0003")]));
    }

    #[test]
    fn the_only_expectation_is_a_continue() {
        let mut parts = with(&[("expect", "100-Continue")]);
        check(&mut parts, true).unwrap();
        assert!(!parts.headers.contains_key(EXPECT));
        for value in ["", "200-ok", "100-continue, x"] {
            assert_eq!(refused(with(&[("expect", value)])), (417, Reason::Expectation));
        }
        assert_eq!(refused(with(&[("expect", "100-continue"), ("expect", "x")])), (417, Reason::Expectation));
    }

    #[test]
    fn values_of_http2_have_no_white_space_around_them() {
        for value in [" a", "a ", "\ta", "a\t", " "] {
            assert_eq!(
                refused(request2("GET", "https://a/", &[("x", value)])),
                (400, Reason::Field),
                "{value:?}"
            );
        }
        passed(request2("GET", "https://a/", &[("x", "a b"), ("y", "")]));
    }

    proptest! {
        /// A passed request has one host that parses, a target that begins with a slash, and one sound length.
        #[test]
        fn passed_requests_have_one_meaning(
            target in "(/|http://a|https://b:1|\\*|a:80)[!-~]{0,20}",
            hosts in proptest::collection::vec("[a-z@:. \\[\\]]{0,6}", 0..3),
            lengths in proptest::collection::vec("[0-9+, ]{0,3}", 0..3),
            two in any::<bool>(),
        ) {
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            let mut parts = request(if target == "*" { "OPTIONS" } else { "GET" }, "/", &[]);
            parts.uri = uri;
            parts.version = if two { Version::HTTP_2 } else { Version::HTTP_11 };
            hosts.iter().for_each(|host| { parts.headers.append(HOST, host.trim().parse().unwrap()); });
            lengths.iter().for_each(|length| { parts.headers.append(CONTENT_LENGTH, length.trim().parse().unwrap()); });
            if let Ok(authority) = check(&mut parts, true) {
                prop_assert!(parts.uri.authority().is_none() && parts.uri.scheme().is_none());
                let path = parts.uri.to_string();
                prop_assert!(path.starts_with('/') || path == "*");
                prop_assert_eq!(parts.headers.get_all(HOST).iter().collect::<Vec<_>>(), [authority.text()]);
                prop_assert!(parts.headers.get_all(CONTENT_LENGTH).iter().count() < 2);
            }
        }
    }
}

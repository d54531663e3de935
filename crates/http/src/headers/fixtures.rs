//! Heads for tests.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

/// A map of these fields.
pub(super) fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
    let all = all.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let mut map = HeaderMap::new();
    all.for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

/// The fields as lines, sorted.
pub(super) fn shown(headers: &HeaderMap) -> Vec<String> {
    let mut all: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    all.sort();
    all
}

/// The head of an HTTP/1.1 request.
pub(super) fn request(method: &str, target: &str, all: &[(&'static str, &str)]) -> Parts {
    let mut parts = Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0;
    parts.headers = fields(all);
    parts
}

/// The head of an HTTP/2 request, as hyper's server gives it.
pub(super) fn request2(method: &str, target: &str, all: &[(&'static str, &str)]) -> Parts {
    let mut parts = request(method, target, all);
    parts.version = Version::HTTP_2;
    parts
}

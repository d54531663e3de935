//! Clients that stay with a backend by a header field: its value is the key of a consistent hash, so that no cookie is
//! needed and every node agrees.

use http::HeaderMap;

/// The value of the field; several are joined as a list is (RFC 9110 §5.3). `None` where the request has none, or an
/// empty one: then the pool's policy alone picks.
pub(super) fn value(name: &str, request: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = request.get_all(name).iter();
    let mut value = values.next()?.as_bytes().to_vec();
    for more in values {
        value.extend_from_slice(b", ");
        value.extend_from_slice(more.as_bytes());
    }
    (!value.is_empty()).then_some(value)
}

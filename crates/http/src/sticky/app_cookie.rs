//! Clients that stay with a backend as long as they have a cookie of the application, such as a session of its own.

use super::fields;
use http::HeaderMap;
use http::header::SET_COOKIE;

/// Whether the request has the application's cookie, with any value.
pub(super) fn is_sent(app: &str, request: &HeaderMap) -> bool {
    fields::pairs(request).any(|(name, _)| name == app.as_bytes())
}

/// Whether the answer sets the application's cookie.
pub(super) fn is_set(app: &str, answer: &HeaderMap) -> bool {
    answer.get_all(SET_COOKIE).iter().any(|line| fields::set_name(line.as_bytes()) == app.as_bytes())
}

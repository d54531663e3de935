//! Pure: trailers are scrubbed, because backends and clients may take them for fields of the head.

use super::hop_by_hop;
use super::names::{self, Claim};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, EXPECT, HOST, MAX_FORWARDS, RANGE, SET_COOKIE, TRAILER,
};
use http::{HeaderMap, HeaderName};

/// Removes from the trailers of a request or an answer every field that frames, routes, proves or tells of the client
/// (RFC 9110 §6.5.1), whichever peer sent it.
pub fn scrub(trailers: &mut HeaderMap) {
    hop_by_hop::strip(trailers);
    let unfit: Vec<HeaderName> = trailers.keys().filter(|name| is_unfit(name)).cloned().collect();
    for name in &unfit {
        trailers.remove(name);
    }
}

fn is_unfit(name: &HeaderName) -> bool {
    let head_only = matches!(
        *name,
        ACCEPT_ENCODING
            | AUTHORIZATION
            | CACHE_CONTROL
            | CONTENT_ENCODING
            | CONTENT_LENGTH
            | CONTENT_RANGE
            | CONTENT_TYPE
            | COOKIE
            | EXPECT
            | HOST
            | MAX_FORWARDS
            | RANGE
            | SET_COOKIE
            | TRAILER
    );
    // Names with `_` stay: gRPC allows them in its trailers, and no CGI program reads trailers.
    let claims = match names::claim(name.as_str()) {
        Claim::None => false,
        Claim::Misread => {
            !name.as_str().contains('_') || names::is_protected(&name.as_str().replace('_', "-"))
        }
        Claim::Proxy | Claim::Certificate => true,
    };
    head_only || claims || *name == names::X_REQUEST_ID
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{fields, shown};
    use super::*;

    #[test]
    fn trailers_carry_no_field_of_a_head() {
        let mut trailers = fields(&[
            ("grpc-status", "0"),
            ("grpc-status-details-bin", "AA"),
            ("own_key", "1"),
            ("x-sum", "2"),
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=a"),
            ("x-real-ip", "a"),
            ("x-client-cert-subject", "CN=a"),
            ("x-request-id", "a"),
            ("host", "a"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("authorization", "a"),
            ("connection", "x-named"),
            ("x-named", "a"),
            ("trailer", "x"),
            ("x_forwarded_for", "192.0.2.1"),
            ("keep-alive", "a"),
            ("upgrade", "a"),
            ("x.real.ip", "a"),
        ]);
        scrub(&mut trailers);
        assert_eq!(
            shown(&trailers),
            ["grpc-status-details-bin: AA", "grpc-status: 0", "own_key: 1", "x-sum: 2"]
        );
    }
}

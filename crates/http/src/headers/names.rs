//! The names of fields that are special to a proxy, in lower case.

use http::HeaderName;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const X_CLIENT_CERT_SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
pub(super) const X_CLIENT_CERT_FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");

/// What a field's name makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: it passes.
    None,
    /// A word about the client that counts if it comes from a trusted proxy.
    Proxy,
    /// A word about the client's certificate that only weir may say.
    Certificate,
    /// A name that some backends take for another (RFC 3875 §4.1.18: CGI writes `-` as `_`), or for an order to them.
    Misread,
}

/// The claim of a field name, which must be in lower case.
pub(super) fn claim(name: &str) -> Claim {
    match name.as_bytes().first() {
        // The two letters with which all names begin that are a claim as they stand.
        Some(b'x' | b'f' | b'c') if is_certificate(name) => Claim::Certificate,
        Some(b'x' | b'f') if is_proxy(name) => Claim::Proxy,
        // Many CGI programs take it for the environment variable HTTP_PROXY.
        Some(b'p') if name == "proxy" => Claim::Misread,
        _ if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => Claim::None,
        _ if name.contains('_') => Claim::Misread,
        // `x.forwarded.for` becomes HTTP_X_FORWARDED_FOR in some gateways, as `x-forwarded-for` does.
        _ => {
            let plain: String =
                name.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' }).collect();
            if is_protected(&plain) || plain == "proxy" { Claim::Misread } else { Claim::None }
        }
    }
}

/// Whether a field with this name must stay although `Connection` names it: backends decide by these fields, or
/// weir sets them. Without regard to case.
pub(super) fn is_protected(name: &str) -> bool {
    if name.len() > LONGEST_SPECIAL {
        // Names with a known beginning have any length.
        let start = name.get(..LONGEST_SPECIAL).unwrap_or_default().to_ascii_lowercase();
        return is_certificate(&start) || is_proxy(&start);
    }
    let name = name.to_ascii_lowercase();
    is_certificate(&name) || is_proxy(&name) || END_TO_END.contains(&&*name)
}

fn is_certificate(name: &str) -> bool {
    name.starts_with("x-client-cert") || name == "client-cert" || name == "client-cert-chain"
}

fn is_proxy(name: &str) -> bool {
    name.starts_with("x-forwarded") || name == "forwarded" || name == "x-real-ip"
}

const LONGEST_SPECIAL: usize = 32;

/// Fields that are for the other end whatever `Connection` says.
const END_TO_END: [&str; 24] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "last-modified",
    "location",
    "origin",
    "range",
    "referer",
    "set-cookie",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-request-id",
    "etag",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known_by_name() {
        for (name, wanted) in [
            ("x-forwarded-for", Claim::Proxy),
            ("x-forwarded-ssl", Claim::Proxy),
            ("x-forwarded", Claim::Proxy),
            ("forwarded", Claim::Proxy),
            ("x-real-ip", Claim::Proxy),
            ("x-client-cert-subject", Claim::Certificate),
            ("x-client-cert", Claim::Certificate),
            ("client-cert", Claim::Certificate),
            ("proxy", Claim::Misread),
            ("client-cert-chain", Claim::Certificate),
            ("x_forwarded_for", Claim::Misread),
            ("a_b", Claim::Misread),
            ("x.forwarded.for", Claim::Misread),
            ("x-forwarded~for", Claim::Proxy),
            ("content.length", Claim::Misread),
            ("x!client!cert!subject", Claim::Misread),
            ("x-app.version", Claim::None),
            ("traceparent", Claim::None),
            ("forwarded-to", Claim::None),
            ("x-request-id", Claim::None),
            ("cookie", Claim::None),
        ] {
            assert_eq!(claim(name), wanted, "{name}");
        }
    }

    #[test]
    fn protected_names_have_any_case_and_length() {
        assert!(is_protected("X-FORWARDED-FOR") && is_protected("Cookie") && is_protected("Content-Length"));
        assert!(is_protected(&format!("X-Client-Cert-{}", "a".repeat(100))));
        assert!(!is_protected("x-own") && !is_protected("keep-alive") && !is_protected(&"a".repeat(100)));
    }
}

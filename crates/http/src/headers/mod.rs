//! Pure: what is checked, removed and set in the heads and trailers of requests and answers.
//!
//! A request goes through [`admit()`] before its route is chosen, so that routes see the fields as
//! backends do, [`complete()`] once, and [`shape()`] for each backend that is tried. Its answer goes through [`to_client()`], and the
//! trailers of both through [`scrub()`].
//!
//! - `strict` what is refused. `authority` host and port.
//! - `hop_by_hop` fields for one connection alone. `names` which names are special.
//! - `forwarded` what backends hear of the client. `certificate` and of its certificate. `facts` both, as values.
//! - `request_id` the id of a request. `answer`, `trailers` on the way back. `upgrade` a change of protocol, both ways.
//! - `compact` what HTTP/2 may keep.
//!
//! All other fields pass unchanged, those of W3C's trace context (`traceparent`, `tracestate`) among them.

mod answer;
mod authority;
mod certificate;
mod compact;
mod facts;
#[cfg(test)]
mod fixtures;
mod forwarded;
mod hop_by_hop;
mod names;
mod refusal;
mod request_id;
mod strict;
#[cfg(test)]
mod tests;
mod trailers;
mod upgrade;

pub use answer::to_client;
pub use authority::Authority;
pub use compact::compact;
pub use facts::ClientFacts;
pub use refusal::{ALLOWED, Reason, Refusal};
pub use request_id::RequestId;
pub use trailers::scrub;
pub use upgrade::Upgrade;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use names::Claim;
use std::net::IpAddr;
use weir_core::plan::http::Forwarding;

/// A request that may go on.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The host for which it is.
    pub authority: Authority,
    /// The client's address; behind trusted proxies that which they tell.
    pub client: IpAddr,
    /// The client's wish to leave HTTP with the backend, such as for a WebSocket.
    pub upgrade: Option<Upgrade>,
    /// Whether the client takes trailers.
    pub trailers: bool,
    /// Whether a trusted proxy sent it.
    trusted: bool,
}

/// The protocol of a backend's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2 {
        /// Whether it is over TLS.
        secure: bool,
        /// Whether the backend takes an extended CONNECT (RFC 8441 §3).
        connect: bool,
    },
}

/// Checks a request, and removes what must not go on: hop-by-hop fields, and what the client has no say in. Its
/// target is a path after that, and its `Host` field the authority.
///
/// # Errors
/// The refusal of a request that a backend might read in another way.
pub fn admit(parts: &mut Parts, client: &ClientFacts, forwarding: &Forwarding) -> Result<Admitted, Refusal> {
    // Once, in place of growing step by step.
    parts.headers.reserve(ADDED);
    let authority = strict::check(parts, client.is_secure())?;
    let has_body = parts.headers.contains_key(TRANSFER_ENCODING)
        || parts
            .headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0'));
    let connect = Upgrade::connect(parts)?;
    if connect.is_some() && has_body {
        // What follows is no body, and a backend that stays with HTTP would read another request as one.
        return Err(Refusal::bad(Reason::Length));
    }
    // A backend may change the protocol before it has read a body, and would read the rest as the new protocol.
    let wishes = hop_by_hop::strip(&mut parts.headers);
    let trusted = forwarding.trusts(client.peer());
    remove_claims(&mut parts.headers, forwarding, trusted);
    join_cookies(&mut parts.headers);
    Ok(Admitted {
        authority,
        client: forwarded::client_address(client.peer(), &parts.headers, forwarding),
        upgrade: connect
            .or_else(|| wishes.upgrade.filter(|_| !has_body).and_then(|wish| Upgrade::offered(wish, parts))),
        trailers: wishes.trailers,
        trusted,
    })
}

fn remove_claims(headers: &mut HeaderMap, forwarding: &Forwarding, trusted: bool) {
    // Empty, without an allocation, for most requests.
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| match names::claim(name.as_str()) {
            Claim::None => false,
            Claim::Proxy => !trusted && !forwarded::passes_from_strangers(name, forwarding),
            Claim::Certificate | Claim::Misread => true,
        })
        .cloned()
        .collect();
    for name in &claims {
        headers.remove(name);
    }
}

/// HTTP/2 splits cookies over fields (RFC 9113 §8.2.3); backends want one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::try_from(parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Sets the fields that weir adds to an admitted request, whichever backend gets it. Call it once: a second call would
/// append once more.
pub fn complete(
    headers: &mut HeaderMap,
    admitted: &Admitted,
    client: &ClientFacts,
    forwarding: &Forwarding,
    id: &RequestId,
) {
    forwarded::set(headers, client, &admitted.authority, forwarding, admitted.trusted);
    if forwarding.request_id {
        headers.insert(names::X_REQUEST_ID, id.value());
    }
    if let Some(certificate) = client.certificate() {
        certificate.set(headers);
    }
}

/// Gives an admitted request the form of a backend's protocol, also after it had that of another. `chunked` says that
/// it has a body of unknown length.
pub fn shape<B>(request: &mut Request<B>, admitted: &Admitted, towards: Towards, chunked: bool) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        request.headers_mut().remove(name);
    }
    if admitted.trailers {
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
    let upgrades = admitted.upgrade.as_ref().is_some_and(|upgrade| upgrade.shape(request, towards));
    match towards {
        Towards::Http1 => shape_http1(request, admitted, upgrades, chunked),
        Towards::Http2 { secure, connect: _ } => shape_http2(request, admitted, secure),
    }
}

fn shape_http1<B>(request: &mut Request<B>, admitted: &Admitted, upgrades: bool, chunked: bool) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        headers.insert(HOST, admitted.authority.text().clone());
    }
    if chunked && !headers.contains_key(CONTENT_LENGTH) {
        // By itself, hyper sends no body of unknown length with GET.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let connection = match (admitted.trailers, upgrades) {
        (true, true) => "te, upgrade",
        (true, false) => "te",
        (false, true) => "upgrade",
        (false, false) => return,
    };
    headers.insert(CONNECTION, HeaderValue::from_static(connection));
}

fn shape_http2<B>(request: &mut Request<B>, admitted: &Admitted, secure: bool) {
    *request.version_mut() = Version::HTTP_2;
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let mut target = http::uri::Parts::default();
    target.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    target.authority = admitted.authority.text().as_bytes().try_into().ok();
    target.path_and_query = Some(path);
    // An authority that http's own parser does not take stays in `Host`, which HTTP/2 allows.
    if let Ok(uri) = Uri::from_parts(target) {
        *request.uri_mut() = uri;
        request.headers_mut().remove(HOST);
    }
}

/// The length of a body, if a head that was checked tells it.
pub fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

/// The fields that weir adds to most requests: Host, four X-Forwarded, the id.
const ADDED: usize = 6;

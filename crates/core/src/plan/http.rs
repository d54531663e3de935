//! The plan of requests: what a listener with `protocol: http` does with them.

use super::misdirected::Policies;
use super::{Destination, ListenAddress};
use crate::networks::Networks;
use crate::rates::{Rate, Scope};
use crate::route::requests::{self, PathPrefix};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use weir_pool::Pool;

/// How the requests of a listener are treated.
#[derive(Debug)]
pub struct Http {
    /// The most specific match wins.
    pub routes: requests::Table<Arc<RequestRoute>>,
    /// The route for requests that no other route matches.
    pub default: Option<Arc<RequestRoute>>,
    /// Whether a connection may carry requests for a host; others get 421.
    pub policies: Policies,
    /// What backends are told about the client.
    pub forwarding: Forwarding,
    /// Bounds of a request.
    pub limits: HttpLimits,
    /// Deadlines of requests.
    pub timeouts: HttpTimeouts,
    /// Plain HTTP that is redirected here.
    pub redirect_from: Option<RedirectFrom>,
}

/// Addresses on which plain HTTP is redirected to a listener.
#[derive(Debug)]
pub struct RedirectFrom {
    /// At least one.
    pub addresses: Vec<ListenAddress>,
    /// The port that clients are sent to.
    pub port: u16,
    /// The answer to requests below `/.well-known/acme-challenge/`.
    pub challenges: Challenges,
}

/// What answers the challenges of a certificate authority (RFC 8555 §8.3).
#[derive(Debug)]
pub enum Challenges {
    /// Nothing: they are redirected as all others.
    Redirected,
    /// The files of a folder.
    Folder(PathBuf),
    /// A backend.
    Pool(Arc<Destination>),
}

/// What happens to the requests that match a route.
#[derive(Debug)]
pub struct RequestRoute {
    /// Its place among the routes of its listener in the file, from 1; 0 for the default.
    pub number: usize,
    /// What they get.
    pub action: Action,
    /// Whether they need a verified client certificate; without one they get 403.
    pub requires_certificate: bool,
    /// The most requests of one client; beyond it they get 429.
    pub rate: Option<RequestRate>,
}

impl RequestRoute {
    /// The pool that its requests go to, unless weir answers them by itself.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.action {
            Action::Forward(destination) => Some(&destination.pool),
            Action::Respond(_) | Action::Redirect(_) => None,
        }
    }
}

/// What the requests of a route get.
#[derive(Debug)]
pub enum Action {
    /// An answer of a backend.
    Forward(Arc<Destination>),
    /// An answer of weir's own.
    Respond(FixedResponse),
    /// The address of another place.
    Redirect(Redirect),
}

/// An answer of weir's own.
#[derive(Clone, Debug)]
pub struct FixedResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, in UTF-8.
    pub body: Bytes,
    /// The Content-Type field, if there is a body.
    pub content_type: HeaderValue,
}

/// Where a client must go instead; absent parts stay as the request has them.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`.
    pub scheme: Option<Box<str>>,
    /// The host, without a port; IPv6 in brackets.
    pub host: Option<Box<str>>,
    /// The port; `None` = the scheme's own if the scheme changes, else the request's.
    pub port: Option<u16>,
    /// The path; the query stays.
    pub path: NewPath,
}

/// The path in an answer that redirects.
#[derive(Clone, Debug)]
pub enum NewPath {
    /// That of the request.
    Same,
    /// This one.
    Whole(Box<str>),
    /// That of the request, with another beginning.
    Prefix(PrefixChange),
}

/// A change of the beginning of a path.
#[derive(Clone, Debug)]
pub struct PrefixChange {
    /// The prefix that the route matches; it has no other.
    pub from: PathPrefix,
    /// Its replacement: begins with a slash, and ends with none unless it is `/`.
    pub to: Box<str>,
}

/// How often one client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// The rate, and the requests at once.
    pub rate: Rate,
    /// The route, by its listener and its conditions: another plan's route with the same ones goes on with its counts.
    pub scope: Scope,
}

/// What backends are told about the client.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// X-Forwarded-For, -Proto, -Port, -Host.
    pub x_forwarded: Rewrite,
    /// RFC 7239 `Forwarded`.
    pub forwarded: Rewrite,
    /// Whether a request gets an X-Request-Id.
    pub request_id: bool,
    /// The proxies in front of weir whose word on the client counts.
    pub trusted: Arc<Networks>,
}

impl Forwarding {
    /// Whether a peer's word on its client counts.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.has(peer)
    }
}

weir_metrics::closed_set! {
    /// What becomes of a header field that tells of the client.
    pub Rewrite {
        /// What came in is dropped, and weir's own is set.
        Replace = "replace",
        /// What came in stays, and weir's own is appended.
        Append = "append",
        /// What came in is dropped, and weir sets none.
        Off = "off",
    }
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// The most bytes of a request's head, and of a backend's answer.
    pub header: usize,
    /// The most bytes of a request's body; a longer one gets 413. `None` = any.
    pub body: Option<u64>,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

/// Deadlines of requests.
#[derive(Clone, Copy, Debug)]
pub struct HttpTimeouts {
    /// From the first byte of a request's head until its end.
    pub headers: Duration,
    /// A body, of a request or an answer, that makes no progress.
    pub body: Duration,
    /// From the end of the request until the head of the answer.
    pub response: Duration,
    /// A whole request and its answer; `None` = no deadline.
    pub request: Option<Duration>,
    /// A client's connection without a request.
    pub keep_alive: Duration,
}

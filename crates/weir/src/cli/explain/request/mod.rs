//! A request: what a listener with `protocol: http` does with it, and why its other routes do not serve it.
//!
//! As [`mod@super::answer`], this decides nothing: the steps are those of the data path, in its order, by its functions.
//!
//! - [`question`]: the request that is asked about.
//! - [`mod@text`]: the result as text.

mod question;
#[cfg(test)]
mod tests;
mod text;

pub(super) use question::{Asked, Question, RequestArgs};
pub(super) use text::{lines, lost};

use super::answer::{Destination, Line, NOWHERE};
use http::header::{CONTENT_LENGTH, LOCATION};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_core::account::request::RequestOutcome;
use weir_core::hello::Offers;
use weir_core::plan::http::{Action, Http, RequestRate, RequestRoute};
use weir_core::plan::{ListenAddress, Listener};
use weir_core::rates::Rate;
use weir_core::route::requests::{Verdict, Wanted};
use weir_http::exchange::usual;
use weir_http::headers::{self, Admitted, ClientFacts};
use weir_http::respond::{self, Question as Target};
use weir_http::sticky;
use weir_pool::selector::ClientKey;
use weir_pool::{Pool, Sticky};

/// What a request gets.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli::explain) struct Requested {
    /// The client's address, behind trusted proxies that which they tell; `None` if it was not given.
    client: Option<IpAddr>,
    /// `None` if it goes to the default pool, or is refused.
    route: Option<Line>,
    /// Whether it needs a verified client certificate, and gets 403 without one.
    requires_certificate: bool,
    /// How often a client may ask this.
    limit: Option<Limit>,
    /// The answer of weir's own; `None` if a backend answers.
    answer: Option<OwnAnswer>,
    pool: Option<Destination>,
    /// How the pool knows clients again.
    sticky: Option<Stays>,
    /// The other routes, in the order of the file.
    lost: Vec<Lost>,
    /// The number of further routes that match other names.
    name_differs: usize,
    /// The pool of requests that match no route.
    default_pool: Option<Arc<str>>,
}

/// An answer of weir's own.
#[derive(Debug, Serialize)]
struct OwnAnswer {
    status: u16,
    /// The outcome, as in the record of a request.
    outcome: &'static str,
    /// Where the client is sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    why: String,
}

/// The most requests of a client.
#[derive(Debug, Serialize)]
struct Limit {
    #[serde(rename = "interval_ms", serialize_with = "in_millis")]
    interval: Duration,
    burst: u32,
}

/// How a pool knows clients again.
#[derive(Debug, Serialize)]
struct Stays {
    /// `cookie`, `app_cookie` or `header`.
    by: &'static str,
    /// The name of the cookie or field.
    name: String,
    /// The backend that the request's cookie names.
    backend: Option<Arc<str>>,
}

/// A route that does not serve the request.
#[derive(Debug, Serialize)]
struct Lost {
    #[serde(flatten)]
    route: Line,
    /// `None` if weir answers its requests by itself.
    pool: Option<Arc<str>>,
    #[serde(serialize_with = "label")]
    why: Verdict,
    /// What its requests get, if it is no pool.
    #[serde(skip)]
    instead: String,
}

fn in_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1000.0)
}

fn label<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.label())
}

/// The client whose connection carries the request.
#[derive(Debug)]
pub(super) struct Client<'a> {
    /// The name in its hello.
    pub(super) sni: Option<&'a str>,
    /// The protocols that it offers there.
    pub(super) offers: &'a Offers,
    /// Its address; `None` if it was not given.
    pub(super) source: Option<IpAddr>,
}

/// What the request of this client gets from the listener. Of the routes that match other names, at most `others` are
/// listed.
pub(super) fn consider(
    listener: &Listener,
    http: &Http,
    client: &Client<'_>,
    mut parts: Parts,
    others: usize,
) -> Requested {
    let peer = client.source.unwrap_or(NOWHERE);
    let port = listener.addresses.first().and_then(ListenAddress::port);
    let facts = ClientFacts::new(peer, port, true, None);
    let mut told = Requested {
        client: client.source,
        default_pool: listener.default_pool().map(|pool| Arc::clone(&pool.name)),
        ..Requested::default()
    };
    let admitted = match headers::admit(&mut parts, &facts, &http.forwarding) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let why = format!("the head breaks a rule of HTTP ({})", refusal.reason.label());
            return told.refused(refusal.status, &why);
        }
    };
    let is_known = client.source.is_some() || admitted.client != NOWHERE;
    told.client = is_known.then_some(admitted.client);
    let host = admitted.authority.host();
    let own = http.policies.lookup(client.sni, client.offers, peer);
    if http.policies.misdirect(own, Some(host), client.offers, peer) {
        let why = format!(
            "{host} belongs to a route of connections with another mode, TLS profile or source than that of this connection"
        );
        return told.refused(StatusCode::MISDIRECTED_REQUEST, &why);
    }
    let wanted = Wanted {
        host: Some(host),
        path: parts.uri.path(),
        method: &parts.method,
        headers: &parts.headers,
        offers: client.offers,
        source: admitted.client,
    };
    let (Ok(verdicts), Ok(found)) = (http.routes.explain(&wanted), http.routes.lookup(&wanted)) else {
        let why =
            "backends could read the path in different ways, and not all of them lead to the same route";
        return told.refused(StatusCode::BAD_REQUEST, why);
    };
    told.weigh(http, &verdicts, others);
    let Some(route) = found.or(http.default.as_ref()) else {
        return told.refused(StatusCode::NOT_FOUND, "no route matches, and there is no default_pool");
    };
    told.served(http, route, &admitted, &parts, client)
}

impl Requested {
    /// The pool whose backends answer.
    pub(super) fn pool(&self) -> Option<&Destination> {
        self.pool.as_ref()
    }

    fn refused(self, status: StatusCode, why: &str) -> Self {
        self.answered(status, usual(status), why)
    }

    fn answered(mut self, status: StatusCode, outcome: RequestOutcome, why: &str) -> Self {
        let (status, outcome, why) = (status.as_u16(), outcome.label(), why.to_owned());
        self.answer = Some(OwnAnswer { status, outcome, location: None, why });
        self
    }

    /// Notes the verdicts on the routes.
    fn weigh(&mut self, http: &Http, verdicts: &[Verdict], others: usize) {
        let line = |number: usize| {
            let route = http.routes.routes().get(number)?;
            let conditions = http.routes.conditions().get(number)?.to_string();
            Some((route, Line { number: route.number, conditions }))
        };
        let differing = verdicts.iter().filter(|verdict| **verdict == Verdict::NameDiffers).count();
        let all = differing <= others;
        self.name_differs = if all { 0 } else { differing };
        for (number, why) in verdicts.iter().enumerate() {
            let Some((route, line)) = line(number) else { continue };
            match why {
                Verdict::Matched => self.route = Some(line),
                Verdict::NameDiffers if !all => {}
                _ => self.lost.push(Lost {
                    route: line,
                    pool: route.pool().map(|pool| Arc::clone(&pool.name)),
                    why: *why,
                    instead: instead(&route.action),
                }),
            }
        }
    }

    /// Notes what the serving route does.
    fn served(
        mut self,
        http: &Http,
        route: &RequestRoute,
        admitted: &Admitted,
        parts: &Parts,
        client: &Client<'_>,
    ) -> Self {
        self.requires_certificate = route.requires_certificate;
        let limit = |RequestRate { rate: Rate { interval, burst }, .. }| Limit { interval, burst };
        self.limit = route.rate.map(limit);
        let length =
            parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let (Some(most), Some(length)) = (http.limits.body, length)
            && length > most
        {
            let why = format!("its body has {length} bytes, and http.max_body is {most}");
            return self.refused(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        match &route.action {
            Action::Forward(destination) => {
                self.forwarded(&destination.pool, admitted, client.sni, parts.headers.clone());
            }
            // Whatever its status, such an answer is what the route is for.
            Action::Respond(answer) => {
                self = self.answered(answer.status, RequestOutcome::Ok, "the route's own answer");
            }
            Action::Redirect(redirect) => {
                let target = Target { target: &parts.uri, authority: &admitted.authority, secure: true };
                let Some(answer) = respond::redirect(redirect, &target) else {
                    return self.refused(StatusCode::BAD_REQUEST, "its path is no part of an address");
                };
                let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                self = self.answered(answer.status(), RequestOutcome::Ok, "the route redirects");
                if let Some(own) = &mut self.answer {
                    own.location = location.map(str::to_owned);
                }
            }
        }
        self
    }

    fn forwarded(&mut self, pool: &Pool, admitted: &Admitted, sni: Option<&str>, mut fields: HeaderMap) {
        let choice = sticky::before(pool, &mut fields);
        let client = choice.key(ClientKey { source: admitted.client, sni, field: None });
        let preferred = choice.preferred(pool).map(|place| Arc::clone(place.backend()));
        let mut destination = Destination::of(pool, &client, self.client);
        if let Some(backend) = &preferred {
            destination.prefer(backend);
        }
        self.sticky = pool.settings.sticky.as_ref().map(|sticky| {
            let (by, name) = match sticky {
                Sticky::Cookie(cookie) => ("cookie", cookie.name.to_string()),
                Sticky::AppCookie { app, .. } => ("app_cookie", app.to_string()),
                Sticky::Header(name) => ("header", name.to_string()),
            };
            Stays { by, name, backend: preferred.map(|backend| Arc::clone(&backend.name)) }
        });
        self.pool = Some(destination);
    }
}

/// What requests of a route without a pool get.
fn instead(action: &Action) -> String {
    match action {
        Action::Forward(_) => String::new(),
        Action::Respond(answer) => format!("respond {}", answer.status.as_u16()),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status.as_u16()),
    }
}

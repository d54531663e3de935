//! The answer: each listener, the route that a client gets there and why not the others, the pool and its backends.
//!
//! This module decides nothing: the functions that the data path calls read the hello, look up the route and pick the
//! backends.

use super::asked::{self, Unreadable};
use super::request::{self, Asked, Question, Requested};
use serde::{Serialize, Serializer};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::hello::{Hello, HelloError, Offers};
use weir_core::plan::{Listener, Mode, ModeName, Route};
use weir_core::route::Verdict;
use weir_pool::pick::Order;
use weir_pool::selector::{ClientKey, Selector};
use weir_pool::{Backend, Pool, Tier};
use weir_tls::HandshakeFailure;

/// How weir would serve a client.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// The hello's line in the file of hellos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// The contents of the hello; `None` if the bytes are not a hello, but a listener accepts them.
    pub(super) client: Option<Client>,
    /// The client's address; `None` if it was not given.
    pub(super) source: Option<IpAddr>,
    /// The request; `None` if no host is known for it.
    pub(super) request: Option<Asked>,
    pub(super) listeners: Vec<Considered>,
}

/// The contents of a hello.
#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) sni: Option<Box<str>>,
    /// In order of preference; escaped.
    pub(super) alpn: Vec<String>,
    pub(super) version: &'static str,
    pub(super) ech: bool,
}

/// How one listener would serve the client.
#[derive(Debug, Serialize)]
pub(super) struct Considered {
    pub(super) listener: Arc<str>,
    pub(super) addresses: Vec<String>,
    /// The listener's mode, which applies unless the route has its own.
    pub(super) listener_mode: &'static str,
    /// The mode, as in the access record.
    pub(super) mode: &'static str,
    /// `http` if its connections carry requests.
    pub(super) protocol: &'static str,
    /// Whether the listener reads the first bytes.
    pub(super) peeked: bool,
    /// `None` if the client goes to the default pool, or is refused.
    pub(super) route: Option<Line>,
    /// `None` also for a connection whose requests have a pool each.
    pub(super) pool: Option<Destination>,
    pub(super) refused: Option<Refused>,
    /// What the request gets, if the connection carries requests.
    pub(super) request: Option<Requested>,
    /// The other routes, in the order of the file.
    pub(super) lost: Vec<Lost>,
    /// The number of further routes that match other names.
    pub(super) name_differs: usize,
    /// The pool of clients that match no route.
    pub(super) default_pool: Option<Arc<str>>,
}

/// A route.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// Its position in the file, from 1.
    pub(super) number: usize,
    /// Its conditions.
    #[serde(rename = "match")]
    pub(super) conditions: String,
}

/// A route that does not serve the client, because another route or the default pool does.
#[derive(Debug, Serialize)]
pub(super) struct Lost {
    #[serde(flatten)]
    pub(super) route: Line,
    /// `None` if its connections carry requests.
    pub(super) pool: Option<Arc<str>>,
    #[serde(serialize_with = "label")]
    pub(super) why: Verdict,
}

/// Why the data path ends before a backend is dialled.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// The outcome, as in the access record.
    pub(super) outcome: &'static str,
    pub(super) why: String,
}

/// A pool, and the order in which its backends would be tried.
#[derive(Debug, Serialize)]
pub(super) struct Destination {
    pub(super) name: Arc<str>,
    pub(super) balance: &'static str,
    #[serde(serialize_with = "by_label")]
    pub(super) order: Order,
    /// The order in words.
    #[serde(skip)]
    pub(super) how: &'static str,
    pub(super) bounded_load: Option<u32>,
    /// The most backends that a connection tries.
    pub(super) tries: usize,
    pub(super) backends: Vec<Member>,
    /// Backends that get no connection.
    pub(super) unusable: Vec<Member>,
    /// The DNS names among its backends, which are not resolved here.
    pub(super) not_resolved: Vec<String>,
}

/// A backend of a pool.
#[derive(Debug, Serialize)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) address: String,
    pub(super) weight: u16,
    pub(super) backup: bool,
}

/// [`Considered::protocol`] of a connection that carries requests.
pub(super) const HTTP: &str = "http";

fn label<S: serde::Serializer>(verdict: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(verdict.label())
}

/// A listener, and the conditions of its routes.
#[derive(Debug)]
pub(super) struct ListenerView<'p> {
    listener: &'p Listener,
    conditions: Vec<String>,
    /// Routes that match other names are listed if there are at most this many, else counted.
    others: usize,
}

impl<'p> ListenerView<'p> {
    pub(super) fn new(listener: &'p Listener, others: usize) -> Self {
        let conditions = listener.routes.conditions().iter().map(ToString::to_string).collect();
        Self { listener, conditions, others }
    }

    /// Whether the listener accepts these bytes.
    fn takes(&self, unreadable: &Unreadable) -> bool {
        match &self.listener.peek {
            None => true,
            Some(peek) => peek.non_tls && unreadable.fault == Some(HelloError::NotTls),
        }
    }

    fn ceiling(&self) -> Option<usize> {
        self.listener.peek.map(|peek| peek.ceiling)
    }

    fn consider(&self, bytes: &[u8], source: Option<IpAddr>, question: &Question) -> Considered {
        let listener = self.listener;
        let from = source.unwrap_or(NOWHERE);
        if let (Some(admission), Some(client)) = (&listener.admission, source)
            && !admission.lets_in(client)
        {
            let refused = refused(&ConnError::Denied, "`allow` or `deny` keep this address out");
            return Considered { refused: Some(refused), ..self.at(None, None, source, None) };
        }
        let hello = match listener.peek {
            None => None,
            Some(peek) => match asked::read(bytes, peek.ceiling) {
                Ok(hello) => Some(hello),
                Err(unreadable) if self.takes(&unreadable) => {
                    return self.at(listener.choose(None, from), None, source, None);
                }
                Err(unreadable) => {
                    let error = unreadable.fault.map_or(ConnError::HelloTimeout, ConnError::Hello);
                    let refused = refused(&error, &unreadable.to_string());
                    return Considered { refused: Some(refused), ..self.at(None, None, source, None) };
                }
            },
        };
        let nothing = Offers::default();
        let (sni, offers) = match &hello {
            Some(hello) => (hello.sni.as_deref(), &hello.offers),
            None => (None, &nothing),
        };
        let route = listener.choose(hello.as_deref(), from);
        let verdicts = listener.routes.explain(sni, offers, from);
        let mut considered = self.at(route, hello.as_deref(), source, Some(&verdicts));
        if considered.refused.is_none()
            && let Some(http) = listener.http().filter(|_| considered.protocol == HTTP)
        {
            let client = request::Client { sni, offers, source };
            let asked = question.of(sni);
            considered.request =
                asked.map(|parts| request::consider(listener, http, &client, parts, self.others));
        }
        considered
    }

    fn at(
        &self,
        route: Option<&Arc<Route>>,
        hello: Option<&Hello>,
        source: Option<IpAddr>,
        verdicts: Option<&[Verdict]>,
    ) -> Considered {
        let listener = self.listener;
        let verdicts = verdicts.unwrap_or_default();
        let matched = verdicts.iter().position(|verdict| *verdict == Verdict::Matched);
        let (lost, name_differs) = self.lost(verdicts);
        let carries_requests = route.is_some_and(|route| self.has_requests(route));
        Considered {
            listener: Arc::clone(&listener.name),
            addresses: listener.addresses.iter().map(ToString::to_string).collect(),
            listener_mode: listener.mode.label(),
            mode: route.map_or(listener.mode, |route| route.mode.name()).label(),
            protocol: if carries_requests { HTTP } else { "tcp" },
            peeked: listener.peek.is_some(),
            route: matched.map(|index| self.line(index)),
            pool: route.filter(|_| !carries_requests).map(|route| {
                let sni = hello.and_then(|hello| hello.sni.as_deref());
                let client = ClientKey { source: source.unwrap_or(NOWHERE), sni, field: None };
                Destination::of(&route.destination.pool, &client, source)
            }),
            request: None,
            refused: match route {
                Some(route) => refused_by_profile(&route.mode, hello),
                None => Some(refused(&ConnError::NoRoute, "no route matches, and there is no default_pool")),
            },
            lost,
            name_differs,
            default_pool: listener.default_pool().map(|pool| Arc::clone(&pool.name)),
        }
    }

    fn lost(&self, verdicts: &[Verdict]) -> (Vec<Lost>, usize) {
        let others = verdicts.iter().filter(|verdict| **verdict == Verdict::NameDiffers).count();
        let all = others <= self.others;
        let routes = self.listener.routes.routes().iter().zip(verdicts).enumerate();
        let lost = routes
            .filter(|(_, (_, why))| **why != Verdict::Matched && (all || **why != Verdict::NameDiffers))
            .map(|(index, (route, why))| Lost {
                route: self.line(index),
                pool: (!self.has_requests(route)).then(|| Arc::clone(&route.destination.pool.name)),
                why: *why,
            });
        (lost.collect(), if all { 0 } else { others })
    }

    fn line(&self, index: usize) -> Line {
        Line {
            number: self.listener.routes.routes().get(index).map_or(0, |route| route.number),
            conditions: self.conditions.get(index).cloned().unwrap_or_default(),
        }
    }

    /// Whether the connections of a route carry requests.
    fn has_requests(&self, route: &Route) -> bool {
        self.listener.http().is_some() && route.mode.name() != ModeName::Passthrough
    }
}

/// How each of the listeners would serve a client with these first bytes.
///
/// # Errors
/// The bytes are not a complete hello, and no listener accepts them as they are.
pub(super) fn answer(
    sights: &[ListenerView<'_>],
    bytes: &[u8],
    source: Option<IpAddr>,
    question: &Question,
) -> Result<Answer, Unreadable> {
    let ceiling = sights.iter().filter_map(ListenerView::ceiling).max().unwrap_or(usize::MAX);
    let hello = match asked::read(bytes, ceiling) {
        Ok(hello) => Some(hello),
        Err(unreadable) => {
            // An incomplete hello is a mistake in the question, unless every listener accepts it unread.
            let mut takers = sights.iter().map(|sight| sight.takes(&unreadable));
            let told = if unreadable.fault.is_none() { takers.all(|t| t) } else { takers.any(|t| t) };
            if !told {
                return Err(unreadable);
            }
            None
        }
    };
    let request =
        question.of(hello.as_ref().and_then(|hello| hello.sni.as_deref())).map(|parts| Asked::of(&parts));
    let client = hello.map(|hello| Client {
        alpn: hello.offers.iter().map(|name| name.escape_ascii().to_string()).collect(),
        version: asked::version(hello.version),
        ech: hello.ech,
        sni: hello.sni,
    });
    let listeners = sights.iter().map(|sight| sight.consider(bytes, source, question)).collect();
    Ok(Answer { line: None, client, source, request, listeners })
}

impl Destination {
    /// That of a client by whose key backends are picked. `source` is `None` if it was not given.
    pub(super) fn of(pool: &Pool, client: &ClientKey<'_>, source: Option<IpAddr>) -> Self {
        let members = pool.members();
        let equals = are_equals(&members.primaries) && are_equals(&members.backups);
        let (order, how) = match client.field {
            Some(_) => {
                (Order::Exact, "by the header field of `sticky`: the same for every request with this value")
            }
            None => {
                let order = pool.settings.balance.order(source, client.sni, equals);
                (order, pool.settings.balance.in_words(order))
            }
        };
        // A fixed seed gives the same answer to the same question.
        let tried = Selector::seeded(0).order(pool, client);
        let is_backup = |backend: &Arc<Backend>| {
            members.backups.backends.iter().any(|other| Arc::ptr_eq(&other.state, &backend.state))
        };
        let member = |backend: &Arc<Backend>| Member {
            name: Arc::clone(&backend.name),
            address: backend.address.to_string(),
            weight: backend.weight,
            backup: is_backup(backend),
        };
        let unusable = members.all().filter(|b| !tried.iter().any(|t| Arc::ptr_eq(&t.state, &b.state)));
        Self {
            name: Arc::clone(&pool.name),
            balance: pool.settings.balance.label(),
            how,
            order,
            bounded_load: pool.settings.bounded_load,
            tries: pool.settings.retries + 1,
            backends: tried.iter().map(member).collect(),
            unusable: unusable.map(member).collect(),
            not_resolved: pool.sources().map(ToString::to_string).collect(),
        }
    }
}

impl Destination {
    /// Puts a backend first.
    pub(super) fn prefer(&mut self, backend: &Backend) {
        let of = |list: &mut Vec<Member>| {
            let at = list.iter().position(|member| member.name == backend.name)?;
            Some(list.remove(at))
        };
        // One of weight 0 is tried for its own clients.
        if let Some(member) = of(&mut self.backends).or_else(|| of(&mut self.unusable)) {
            self.backends.insert(0, member);
        }
    }
}

fn by_label<S: Serializer>(order: &Order, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(order.label())
}

/// Whether all backends of a tier have the same weight, apart from those of weight 0, which get no connections.
fn are_equals(tier: &Tier) -> bool {
    let mut weights = tier.backends.iter().map(|backend| backend.weight).filter(|weight| *weight > 0);
    weights.next().is_none_or(|first| weights.all(|weight| weight == first))
}

/// The refusal that is decided before the handshake begins, if any.
fn refused_by_profile(mode: &Mode, hello: Option<&Hello>) -> Option<Refused> {
    let (Mode::Offload(tls) | Mode::Bridging(tls), Some(hello)) = (mode, hello) else { return None };
    let reason = tls.refuses(hello)?;
    let why = match reason {
        HandshakeFailure::NoSharedVersion => "it speaks no TLS 1.2",
        _ => "no certificate is for this name (unknown_sni: refuse)",
    };
    Some(refused(&ConnError::ClientTls { reason, alert: None }, why))
}

fn refused(error: &ConnError, why: &str) -> Refused {
    Refused { outcome: error.end().outcome.label(), why: why.to_owned() }
}

/// The address of a client whose address was not given: only the widest networks contain it.
pub(super) const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

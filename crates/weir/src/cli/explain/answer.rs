//! The answer: each listener, the route that a client gets there and why not the others, the pool and its backends.
//!
//! Nothing is decided here: the hello is read, the route looked up and the backends picked by what the data path calls.

use super::asked::{self, Unreadable};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::hello::{Hello, HelloError, Offers};
use weir_core::plan::{Listener, Mode, Route};
use weir_core::route::Verdict;
use weir_pool::selector::{Asker, Cursors};
use weir_pool::{Backend, Balance, Pool, Tier};
use weir_tls::HandshakeFailure;

/// What becomes of a client.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// Its line in the file of hellos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// What it said; none where the bytes are no hello, and a listener takes them all the same.
    pub(super) client: Option<Client>,
    /// Where it comes from; none where that was not said.
    pub(super) source: Option<IpAddr>,
    pub(super) listeners: Vec<Considered>,
}

/// What a hello says.
#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) sni: Option<Box<str>>,
    /// The most wanted first; escaped.
    pub(super) alpn: Vec<String>,
    pub(super) version: &'static str,
    pub(super) ech: bool,
}

/// What becomes of it at one listener.
#[derive(Debug, Serialize)]
pub(super) struct Considered {
    pub(super) listener: Arc<str>,
    pub(super) addresses: Vec<String>,
    /// The listener's own, which holds where no route says otherwise.
    pub(super) listener_mode: &'static str,
    /// As its record would have it.
    pub(super) mode: &'static str,
    /// The first bytes are looked at.
    pub(super) peeked: bool,
    /// None where it goes to the default pool, or nowhere.
    pub(super) route: Option<Line>,
    pub(super) pool: Option<Destination>,
    pub(super) refused: Option<Refused>,
    /// The other routes, in the order of the file.
    pub(super) lost: Vec<Lost>,
    /// How many more there are that want another name.
    pub(super) name_differs: usize,
    /// Where it would go without a route.
    pub(super) default_pool: Option<Arc<str>>,
}

/// A route.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// Its place in the file, from 1.
    pub(super) number: usize,
    /// Its conditions.
    #[serde(rename = "match")]
    pub(super) conditions: String,
}

/// A route that another one or the default serves instead of.
#[derive(Debug, Serialize)]
pub(super) struct Lost {
    #[serde(flatten)]
    pub(super) route: Line,
    pub(super) pool: Arc<str>,
    #[serde(serialize_with = "label")]
    pub(super) why: Verdict,
}

/// Where the data path ends before a backend is dialled.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// As its record would have it.
    pub(super) outcome: &'static str,
    pub(super) why: String,
}

/// A pool, and the order in which its backends would be tried.
#[derive(Debug, Serialize)]
pub(super) struct Destination {
    pub(super) name: Arc<str>,
    pub(super) balance: &'static str,
    pub(super) order: Order,
    pub(super) bounded_load: Option<u32>,
    /// Backends that a connection tries at most.
    pub(super) tries: usize,
    pub(super) backends: Vec<Member>,
    /// Those that get no connection.
    pub(super) unusable: Vec<Member>,
    /// Names among its backends: DNS is not asked.
    pub(super) not_resolved: Vec<String>,
}

/// How much the order says of the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// It is the same for every connection of this client; in a pool with `bounded_load`, while none is over its bound.
    Exact,
    /// One goes after the other, and the first may be any.
    Rotation,
    /// Another connection may see another one.
    Sample,
}

/// A backend of a pool.
#[derive(Debug, Serialize)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) weight: u16,
    pub(super) backup: bool,
}

fn label<S: serde::Serializer>(verdict: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(verdict.label())
}

/// A listener, and what its routes ask for.
#[derive(Debug)]
pub(super) struct Sight<'p> {
    listener: &'p Listener,
    conditions: Vec<String>,
    /// Routes that want another name are listed up to this many, and else counted.
    others: usize,
}

impl<'p> Sight<'p> {
    pub(super) fn new(listener: &'p Listener, others: usize) -> Self {
        let conditions = listener.routes.conditions().iter().map(ToString::to_string).collect();
        Self { listener, conditions, others }
    }

    /// Whether the listener lets such bytes pass.
    fn takes(&self, unreadable: &Unreadable) -> bool {
        match &self.listener.peek {
            None => true,
            Some(peek) => peek.non_tls && unreadable.fault == Some(HelloError::NotTls),
        }
    }

    fn ceiling(&self) -> Option<usize> {
        self.listener.peek.map(|peek| peek.ceiling)
    }

    fn consider(&self, bytes: &[u8], source: Option<IpAddr>) -> Considered {
        let listener = self.listener;
        let from = source.unwrap_or(NOWHERE);
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
        self.at(route, hello.as_deref(), source, Some(&verdicts))
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
        Considered {
            listener: Arc::clone(&listener.name),
            addresses: listener.addresses.iter().map(|address| address.socket.to_string()).collect(),
            listener_mode: listener.mode,
            mode: route.map_or(listener.mode, |route| route.mode.label()),
            peeked: listener.peek.is_some(),
            route: matched.map(|index| self.line(index)),
            pool: route.map(|route| Destination::of(&route.destination.pool, hello, source)),
            refused: match route {
                Some(route) => refused_by_profile(&route.mode, hello),
                None => Some(refused(&ConnError::NoRoute, "no route matches, and there is no default_pool")),
            },
            lost,
            name_differs,
            default_pool: listener.default.as_ref().map(|default| Arc::clone(&default.destination.pool.name)),
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
                pool: Arc::clone(&route.destination.pool.name),
                why: *why,
            });
        (lost.collect(), if all { 0 } else { others })
    }

    fn line(&self, index: usize) -> Line {
        Line { number: index + 1, conditions: self.conditions.get(index).cloned().unwrap_or_default() }
    }
}

/// What becomes of a client with these first bytes at each of the listeners.
///
/// # Errors
/// When the bytes are no whole hello, and no listener takes them as they are.
pub(super) fn answer(
    sights: &[Sight<'_>],
    bytes: &[u8],
    source: Option<IpAddr>,
) -> Result<Answer, Unreadable> {
    let ceiling = sights.iter().filter_map(Sight::ceiling).max().unwrap_or(usize::MAX);
    let hello = match asked::read(bytes, ceiling) {
        Ok(hello) => Some(hello),
        Err(unreadable) => {
            // An incomplete hello is a mistake in the question, unless no listener reads it.
            let mut takers = sights.iter().map(|sight| sight.takes(&unreadable));
            let told = if unreadable.fault.is_none() { takers.all(|t| t) } else { takers.any(|t| t) };
            if !told {
                return Err(unreadable);
            }
            None
        }
    };
    let client = hello.map(|hello| Client {
        alpn: hello.offers.iter().map(|name| name.escape_ascii().to_string()).collect(),
        version: asked::version(hello.version),
        ech: hello.ech,
        sni: hello.sni,
    });
    let listeners = sights.iter().map(|sight| sight.consider(bytes, source)).collect();
    Ok(Answer { line: None, client, source, listeners })
}

impl Destination {
    fn of(pool: &Pool, hello: Option<&Hello>, source: Option<IpAddr>) -> Self {
        let asker =
            Asker { source: source.unwrap_or(NOWHERE), sni: hello.and_then(|hello| hello.sni.as_deref()) };
        let members = pool.members();
        let order = match pool.settings.balance {
            Balance::RoundRobin => Order::Rotation,
            // Of idle backends the heaviest come first, and equals in turn.
            Balance::LeastConnections if are_equals(&members.primaries) && are_equals(&members.backups) => {
                Order::Rotation
            }
            Balance::LeastConnections | Balance::RandomTwo => Order::Sample,
            Balance::Sni if asker.sni.is_some() => Order::Exact,
            Balance::Sni | Balance::SourceIp if source.is_some() => Order::Exact,
            Balance::Sni | Balance::SourceIp => Order::Sample,
        };
        // The same seed: the same question has the same answer.
        let tried = Cursors::seeded(0).order(pool, &asker);
        let is_backup = |backend: &Arc<Backend>| {
            members.backups.backends.iter().any(|other| Arc::ptr_eq(&other.live, &backend.live))
        };
        let member = |backend: &Arc<Backend>| Member {
            name: Arc::clone(&backend.name),
            address: backend.address,
            weight: backend.weight,
            backup: is_backup(backend),
        };
        let unusable = members.all().filter(|b| !tried.iter().any(|t| Arc::ptr_eq(&t.live, &b.live)));
        Self {
            name: Arc::clone(&pool.name),
            balance: pool.settings.balance.label(),
            order,
            bounded_load: pool.settings.bounded_load,
            tries: pool.settings.retries + 1,
            backends: tried.iter().map(member).collect(),
            unusable: unusable.map(member).collect(),
            not_resolved: pool.targets().map(ToString::to_string).collect(),
        }
    }
}

/// Whether no backend of a tier is heavier than another one; those of weight 0 get nothing.
fn are_equals(tier: &Tier) -> bool {
    let mut weights = tier.backends.iter().map(|backend| backend.weight).filter(|weight| *weight > 0);
    weights.next().is_none_or(|first| weights.all(|weight| weight == first))
}

/// What is decided of a handshake before it begins.
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

/// Where a client comes from of whom that was not said: in no network but the widest ones.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

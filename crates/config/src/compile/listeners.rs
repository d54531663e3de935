//! Listeners: addresses, deadlines and ceilings, and the default pool. `modes` covers what their routes need.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use weir_core::bandwidth::Speeds;
use weir_core::handshakes::Steps;
use weir_core::plan::misdirected::Policies;
use weir_core::plan::{
    self, Admission, Destination, Kind, ListenAddress, ModeName, Peek, Route, Stream, StreamSettings,
};
use weir_core::rates::Scope;
use weir_core::route::{Ambiguous, Match, Table};
use weir_core::socket::Options;
use weir_core::starttls::StartTls;
use weir_metrics::Metrics;
use weir_pool::Pool;

use super::compiler::{Compiler, accept};
use super::deadline::deadline;
use super::http::{self, HttpDraft};
use super::known::Known;
use super::modes::{ListenerModes, RouteDraft};
use super::names::NameIndex;
use super::requests::{self, RequestDraft};
use super::{admission, machine, misspelt, request_match, routes, starttls, unspoken};
use crate::diagnostics::Report;
use crate::key::{Item, Key, PlaceId, ROOT};
use crate::ranges;
use crate::schema::{self, Auto, NonTls};
use crate::speeds::Speed;
use crate::units::Time;
use crate::word::Words;

/// A listener without its counters, and with pools by index.
pub(super) struct ListenerDraft {
    name: String,
    addresses: Vec<ListenAddress>,
    mode: ModeName,
    admission: Option<Box<Admission>>,
    peek: Option<Peek>,
    starttls: Option<StartTls>,
    routes: Vec<(Match, RouteDraft)>,
    default: Option<RouteDraft>,
    requests: Vec<(requests::Match, RequestDraft)>,
    timeouts: plan::Timeouts,
    max_connections: usize,
    bandwidth: Speeds,
    pending: usize,
    handshakes: Steps,
    options: Options,
    backlog: u32,
    freebind: bool,
    fast_open: u32,
    http: Option<HttpDraft>,
}

impl ListenerDraft {
    /// Gives the listener its counters, and replaces pool indices with the pools.
    pub(super) fn build(
        self,
        pools: &[Arc<Pool>],
        metrics: &Arc<Metrics>,
    ) -> Result<plan::Listener, Vec<Ambiguous>> {
        let metrics = Arc::new(metrics.listener(&self.name));
        let settings = Arc::new(StreamSettings {
            timeouts: self.timeouts,
            handshakes: self.handshakes,
            failed_handshakes: self
                .admission
                .as_ref()
                .and_then(|admission| admission.per_client?.failed_handshakes),
            options: self.options,
            starttls: self.starttls,
            metrics: Arc::clone(&metrics),
        });
        let destinations: RefCell<HashMap<usize, Arc<Destination>>> = RefCell::default();
        let destination = |number: usize| {
            // Drafts hold indices into this very list.
            let pool = pools.get(number)?;
            let make = || Arc::new(Destination::new(Arc::clone(pool), Arc::clone(&settings)));
            Some(Arc::clone(destinations.borrow_mut().entry(number).or_insert_with(make)))
        };
        let by_default = self.default.as_ref().and_then(|draft| draft.pool);
        // Connections whose requests choose a pool each still name one, and use no more of it than its name.
        let named =
            by_default.or(self.requests.iter().find_map(|(_, draft)| draft.pool())).unwrap_or_default();
        let default_mode = self.default.as_ref().map(|draft| draft.mode.clone());
        let modes: Vec<_> =
            self.routes.iter().map(|(one, draft)| (one.clone(), draft.mode.clone())).collect();
        let route = |draft: RouteDraft| {
            let destination = destination(draft.pool.unwrap_or(named))?;
            Some(Arc::new(Route { number: draft.number, mode: draft.mode, destination }))
        };
        let default = self.default.and_then(route);
        let routes =
            self.routes.into_iter().filter_map(|(conditions, draft)| Some((conditions, route(draft)?)));
        let routes = Table::build(routes.collect())?;
        let http = match self.http {
            None => None,
            Some(http) => {
                let policies = Policies::of(&modes, default_mode.as_ref());
                let build = |(one, draft): (requests::Match, RequestDraft)| {
                    let route = draft.build(&self.name, &one, destination)?;
                    Some((one, route))
                };
                let requests = requests::Table::build(self.requests.into_iter().filter_map(build).collect())?;
                let default = by_default.and_then(destination);
                Some(Arc::new(http.build(requests, policies, default.as_ref(), destination)))
            }
        };
        Ok(plan::Listener {
            routes,
            default,
            kind: Kind::Stream(Stream {
                backlog: self.backlog,
                freebind: self.freebind,
                fast_open: self.fast_open,
                settings,
                http,
            }),
            metrics,
            scope: Scope::of(("clients", &self.name)),
            name: self.name.into(),
            addresses: self.addresses,
            mode: self.mode,
            admission: self.admission,
            peek: self.peek,
            max_connections: self.max_connections,
            bandwidth: self.bandwidth,
            pending: self.pending,
        })
    }
}

pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    file: &schema::File,
    known: &Known<'_, '_>,
) -> Vec<ListenerDraft> {
    let list = &file.listeners;
    NameIndex::collect(&mut compiler.report, list, "listener", |listener| &listener.name);
    if list.items().is_empty() && !list.has_refused() {
        let hint = "listeners: [{name: edge, address: \":443\", mode: passthrough, default_pool: web}]";
        compiler.report.error(list.or(ROOT, "listeners"), "there is no listener").hint(hint);
    }
    list.items().iter().map(|listener| draft_listener(compiler, listener, known)).collect()
}

fn draft_listener(
    compiler: &mut Compiler<'_>,
    listener: &Item<schema::Listener>,
    known: &Known<'_, '_>,
) -> ListenerDraft {
    let name = listener.name.get().cloned().unwrap_or_default();
    let addresses = addresses(&mut compiler.report, listener);
    if !listener.mode.is_written() {
        compiler
            .report
            .error(listener, format!("the listener `{name}` has no `mode`"))
            .hint(format!("one of: {}", ModeName::WORDS.join(", ")));
    }
    let mut modes = ListenerModes::new(compiler, listener, known);
    let Routes { connections: routes, requests } = draft_routes(compiler, listener, &mut modes);
    let ports: Vec<u16> = addresses.iter().filter_map(ListenAddress::port).collect();
    requests::check(&mut compiler.report, &requests, &ports);
    let default = match listener.default_pool.is_written() || !requests.iter().any(requests::is_alone) {
        true => modes.default(compiler),
        false => modes.entry(),
    };
    modes.finish(compiler);
    unspoken::warn(compiler, listener, known);
    unspoken::warn_of_shared_pools(compiler, listener, known, &routes, default.as_ref());
    let trusted = Arc::new(admission::trusted(&mut compiler.report, listener));
    let admission = admission::draft(&mut compiler.report, listener, &trusted);
    let http = http::draft(compiler, listener, known, &addresses, &trusted);
    refuse_no_way(&mut compiler.report, listener);
    let (max_connections, pending, ceiling) = limits(&mut compiler.report, listener);
    let options = tcp(&mut compiler.report, listener);
    let non_tls = listener.non_tls().0 == NonTls::Allow;
    let starttls = starttls::draft(compiler, listener, known);
    ListenerDraft {
        name,
        addresses,
        mode: listener.mode.get().map_or(ModeName::Passthrough, |mode| mode.0),
        admission,
        peek: listener.peek().then_some(Peek { ceiling, non_tls, starttls }),
        starttls,
        routes,
        default,
        requests: requests.into_iter().map(|(conditions, draft, _)| (conditions, draft)).collect(),
        timeouts: timeouts(&mut compiler.report, listener),
        max_connections,
        bandwidth: bandwidth(&mut compiler.report, listener),
        pending,
        handshakes: match listener.limits().handshakes() {
            Auto::Auto => None,
            Auto::Count(count) => NonZeroU32::new(count),
        },
        options,
        backlog: listener.tcp().backlog(),
        freebind: listener.tcp().freebind(),
        fast_open: listener.tcp().fast_open(),
        http,
    }
}

fn addresses(report: &mut Report<'_>, listener: &Item<schema::Listener>) -> Vec<ListenAddress> {
    let key = &listener.address;
    if !key.is_written() {
        let name = listener.name.get().map_or("", String::as_str);
        report.error(listener, format!("the listener `{name}` has no `address`")).hint("such as \":443\"");
    }
    if let Some(place) = key.place()
        && key.is_whole()
        && key.get().is_some_and(schema::Texts::is_empty)
    {
        report.error_at_key(place, "`address` is empty").hint("such as \":443\"");
    }
    listening(report, key, &listener.tcp())
}

/// The addresses of a key.
pub(super) fn listening(
    report: &mut Report<'_>,
    key: &Key<schema::Texts>,
    tcp: &schema::Tcp,
) -> Vec<ListenAddress> {
    let read = |(place, text): (PlaceId, &str)| {
        let address = misspelt::listening(text, report.folder(place));
        let mut address = accept(report, place, address)?;
        if let ListenAddress::Tcp(address) = &mut address {
            address.mptcp = tcp.mptcp();
        }
        if let Some(why) = machine::refuses(&address, tcp.freebind()) {
            report.warning(place, format!("this machine cannot listen on `{text}`: {why}"));
        }
        Some(address)
    };
    key.texts().filter_map(read).collect()
}

/// The routes of a listener. With `protocol: http` a route may be one of connections and of requests.
#[derive(Default)]
struct Routes<'f> {
    connections: Vec<(Match, RouteDraft)>,
    requests: Vec<requests::Drafted<'f>>,
}

fn draft_routes<'f>(
    compiler: &mut Compiler<'_>,
    listener: &'f schema::Listener,
    modes: &mut ListenerModes<'_, '_>,
) -> Routes<'f> {
    let list = listener.routes.items();
    let mut routes = Routes::default();
    // The route in the file behind each route of connections.
    let mut written_at = Vec::with_capacity(list.len());
    let mut entries = 0_usize;
    for (number, route) in (1..).zip(list) {
        let bare = refuse_bare(&mut compiler.report, listener, route);
        refuse_unread(&mut compiler.report, listener, route);
        let one = draft_route(compiler, listener, route, modes);
        let (connections, requests) = (one.connections.filter(|_| !bare), one.requests.filter(|_| !bare));
        entries = entries.saturating_add(connections.as_ref().map_or(0, |(one, _)| one.entries()));
        entries = entries.saturating_add(requests.as_ref().map_or(0, |(one, _)| one.entries()));
        if entries > MOST_ENTRIES {
            // A table of this size would not fit into memory, so no more of these routes are read.
            let message = format!("more than {MOST_ENTRIES} pairs of a name and a network in one listener");
            compiler.report.error(route, message).hint("networks in a route of their own need no names");
            return Routes::default();
        }
        if let Some((conditions, draft)) = connections {
            routes.connections.push((conditions, RouteDraft { number, ..draft }));
            written_at.push(route);
        }
        let numbered = |(conditions, mut draft): (_, RequestDraft)| {
            draft.number = number;
            (conditions, draft, route)
        };
        routes.requests.extend(requests.map(numbered));
    }
    let conditions = routes.connections.iter().map(|(conditions, _)| (conditions.clone(), ())).collect();
    for Ambiguous(first, second) in Table::build(conditions).err().unwrap_or_default() {
        let (Some(one), Some(other)) = (written_at.get(first), written_at.get(second)) else { continue };
        let message = match first == second {
            true => "this route names the same thing twice".to_owned(),
            false => {
                let line = compiler.report.line(*one);
                format!("the route in line {line} matches some of the same connections equally well")
            }
        };
        let spot = other.matches.or(*other, "match");
        compiler.report.error(spot, message).hint("neither would win; make one more specific");
    }
    routes
}

/// One route of the file: of connections, of requests, or of both.
struct OneRoute {
    connections: Option<(Match, RouteDraft)>,
    requests: Option<(requests::Match, RequestDraft)>,
}

fn draft_route(
    compiler: &mut Compiler<'_>,
    listener: &schema::Listener,
    route: &Item<schema::Route>,
    modes: &mut ListenerModes<'_, '_>,
) -> OneRoute {
    let none = schema::Match::default();
    let written = route.matches.get().unwrap_or(&none);
    let relays = route.mode.get().is_some_and(|mode| mode.0 == ModeName::Passthrough);
    let alone = requests::is_of_requests_alone(route);
    if !http::speaks(listener) || relays && !alone {
        requests::refuse(&mut compiler.report, listener, route);
        let conditions = routes::conditions(&mut compiler.report, written);
        let connections = conditions.zip(modes.route(compiler, route));
        return OneRoute { connections, requests: None };
    }
    let conditions = request_match::conditions(&mut compiler.report, written);
    let connections = if alone { None } else { modes.route(compiler, route) };
    let draft = requests::draft(compiler, route, conditions.as_ref(), connections.as_ref(), modes);
    let of_connections = conditions.as_ref().map(|all| Match {
        names: all.names.clone(),
        alpn: all.alpn.clone(),
        source: all.source.clone(),
    });
    OneRoute { connections: of_connections.zip(connections), requests: conditions.zip(draft) }
}

/// Refuses a route without conditions. Returns whether it has none.
fn refuse_bare(report: &mut Report<'_>, listener: &schema::Listener, route: &Item<schema::Route>) -> bool {
    let none = schema::Match::default();
    let written = route.matches.get().unwrap_or(&none);
    let bare = written.sni.is_none()
        && written.alpn.is_none()
        && written.source.is_none()
        && !requests::is_of_requests_alone(route);
    if bare && route.is_whole() && !route.matches.has_refused() {
        let hint = match http::speaks(listener) {
            false => "a match has sni, alpn or source; what no route matches goes to default_pool",
            true => "for all requests: match: {path_prefix: /}; what no route matches goes to default_pool",
        };
        report.error(route, "this route matches nothing in particular").hint(hint);
    }
    bare
}

/// Refuses conditions on a hello that is not read.
fn refuse_unread(report: &mut Report<'_>, listener: &schema::Listener, route: &Item<schema::Route>) {
    let Some(written) = route.matches.get().filter(|_| !listener.peek()) else { return };
    for (name, key) in [("sni", &written.sni), ("alpn", &written.alpn)] {
        if let (Some(_), Some(place)) = (key.get(), key.place()) {
            let message = format!("with `peek: false` nothing is read, so a route cannot match `{name}`");
            report.error_at_key(place, message).hint("only source can be matched");
        }
    }
}

/// A listener that has neither a route nor a default would refuse every connection.
fn refuse_no_way(report: &mut Report<'_>, listener: &Item<schema::Listener>) {
    let routes = listener.routes.has_refused() || !listener.routes.items().is_empty();
    if !routes && !listener.default_pool.is_written() {
        let name = listener.name.get().map_or("", String::as_str);
        let message = format!("the listener `{name}` has neither routes nor a default_pool");
        report.error(listener, message).hint("default_pool: the name of a pool");
    }
}

fn timeouts(report: &mut Report<'_>, listener: &schema::Listener) -> plan::Timeouts {
    let written = listener.timeouts();
    plan::Timeouts {
        client_hello: deadline(report, &written.client_hello, written.client_hello()),
        handshake: deadline(report, &written.handshake, written.handshake()),
        connect: deadline(report, &written.connect, written.connect()),
        idle: deadline(report, &written.idle, written.idle()),
        half_closed: deadline(report, &written.half_closed, written.half_closed()),
    }
}

/// Returns the ceilings for connections, pending connections, and the hello's size in bytes.
fn limits(report: &mut Report<'_>, listener: &schema::Listener) -> (usize, usize, usize) {
    let written = listener.limits();
    let mut count = |name: &str, key: &Key<u32>, value: u32| {
        refuse_none(report, name, key);
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let max_connections = count("max_connections", &written.max_connections, written.max_connections());
    let pending = count("pending", &written.pending, written.pending());
    let hello = written.client_hello();
    let (least, most) = ranges::sizes("Limits", "client_hello");
    if let Some(place) = written.client_hello.place()
        && (hello < least || hello > most)
    {
        let message = format!("{hello} is not a ceiling for a ClientHello");
        report.error(place, message).hint(format!("from {least} to {most}"));
    }
    (max_connections, pending, usize::try_from(hello.0).unwrap_or(usize::MAX))
}

/// Returns the limits on bytes a second.
fn bandwidth(report: &mut Report<'_>, listener: &schema::Listener) -> Speeds {
    let limits = listener.limits();
    let Some(written) = limits.bandwidth.get() else { return Speeds::default() };
    let (least, _) = ranges::sizes("Bandwidth", "connection");
    let mut speed = |key: &Key<Speed>| {
        let (Some(speed), Some(place)) = (key.get(), key.place()) else { return 0 };
        if speed.0 < least {
            report.error(place, format!("{speed} is too slow")).hint(format!("at least {}", Speed(least)));
        }
        speed.0.0
    };
    let speeds = Speeds { connection: speed(&written.connection), listener: speed(&written.listener) };
    if let (Some(place), true) = (limits.bandwidth.place(), limits.bandwidth.is_whole()) {
        if speeds == Speeds::default() {
            report.warning(place, "`bandwidth` limits nothing").hint("connection or listener: 10MiB/s");
        } else if speeds.listener > 0 && speeds.connection > speeds.listener {
            let message = "one connection may have more than all of the listener together";
            report.warning(place, message).hint("a connection never gets more than the listener has");
        }
    }
    speeds
}

fn tcp(report: &mut Report<'_>, listener: &schema::Listener) -> Options {
    let written = listener.tcp();
    refuse_none(report, "backlog", &written.backlog);
    let mut time = |name: &str, key: &Key<Time>, value: Time| {
        let range = ranges::times("Tcp", name);
        if let Some(place) = key.place()
            && !range.contains(value)
        {
            let hint = format!("from {} to {}, or 0s for none", range.least, range.most);
            report.error(place, format!("the system takes no `{name}` of {value}")).hint(hint);
        }
        value.0
    };
    let options = Options {
        nodelay: written.nodelay(),
        keepalive: time("keepalive", &written.keepalive, written.keepalive()),
        user_timeout: time("user_timeout", &written.user_timeout, written.user_timeout()),
    };
    if let Some(place) = written.fast_open.place().filter(|_| written.fast_open() > 0)
        && let Some(why) = machine::refuses_fast_open()
    {
        report.warning(place, format!("clients of TCP Fast Open are served as others: {why}"));
    }
    options
}

/// Refuses a count of zero.
fn refuse_none(report: &mut Report<'_>, name: &str, key: &Key<u32>) {
    if let (Some(0), Some(place)) = (key.get(), key.place()) {
        report.error(place, format!("`{name}` is at least 1"));
    }
}

/// Entries of a listener's table: each name of a route times each of its networks. This is a hundred times
/// the need of 10,000 routes, and some 100 MB of memory.
const MOST_ENTRIES: usize = 1_000_000;

//! Listeners: addresses, deadlines and ceilings, and the default pool. What their routes need is in `modes`.

use std::collections::HashMap;
use std::sync::Arc;

use weir_core::plan::{self, Address, Destination, ListenerSettings, Peek, Route};
use weir_core::route::{Ambiguous, Match, Table};
use weir_core::socket::Options;
use weir_metrics::Metrics;
use weir_pool::Pool;

use super::compiler::{Compiler, accept};
use super::deadline::refuse_zero;
use super::known::Known;
use super::modes::{ListenerModes, RouteDraft};
use super::names::NameIndex;
use super::{machine, misspelt, routes, unspoken};
use crate::defaults;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::ranges;
use crate::schema::{self, NonTls, Protocol};
use crate::units::Time;

/// A listener without its counters, and with pools by number.
pub(super) struct ListenerDraft {
    name: String,
    addresses: Vec<Address>,
    mode: &'static str,
    peek: Option<Peek>,
    routes: Vec<(Match, RouteDraft)>,
    default: Option<RouteDraft>,
    timeouts: plan::Timeouts,
    max_connections: usize,
    pending: usize,
    options: Options,
    backlog: u32,
}

impl ListenerDraft {
    /// Gives the listener its counters, and its routes the pools themselves.
    pub(super) fn build(
        self,
        pools: &[Arc<Pool>],
        metrics: &Arc<Metrics>,
    ) -> Result<plan::Listener, Vec<Ambiguous>> {
        let settings = Arc::new(ListenerSettings {
            timeouts: self.timeouts,
            options: self.options,
            metrics: Arc::new(metrics.listener(&self.name)),
        });
        let mut destinations: HashMap<usize, Arc<Destination>> = HashMap::new();
        let mut route = |draft: RouteDraft| {
            // Drafts hold numbers of this very list.
            let pool = pools.get(draft.pool)?;
            let destination = destinations.entry(draft.pool).or_insert_with(|| {
                Arc::new(Destination { pool: Arc::clone(pool), settings: Arc::clone(&settings) })
            });
            Some(Arc::new(Route { mode: draft.mode, destination: Arc::clone(destination) }))
        };
        let default = self.default.and_then(&mut route);
        let routes =
            self.routes.into_iter().filter_map(|(conditions, draft)| Some((conditions, route(draft)?)));
        Ok(plan::Listener {
            routes: Table::build(routes.collect())?,
            default,
            settings,
            name: self.name.into(),
            addresses: self.addresses,
            mode: self.mode,
            peek: self.peek,
            max_connections: self.max_connections,
            pending: self.pending,
            backlog: self.backlog,
        })
    }
}

pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    file: &schema::File,
    known: &Known<'_, '_>,
) -> Vec<ListenerDraft> {
    let root = Place::Root;
    let list = root.key("listeners");
    let names = file.listeners.iter().map(|listener| listener.name.as_deref());
    NameIndex::collect(&mut compiler.report, &list, "listener", names);
    if file.listeners.is_empty() && (compiler.report.is_whole(&list) || !compiler.report.mentions(&list)) {
        let hint = "listeners: [{name: edge, address: \":443\", mode: passthrough, default_pool: web}]";
        compiler.report.error(&list, "there is no listener").hint(hint);
    }
    let listeners = file.listeners.iter().enumerate();
    listeners.map(|(index, listener)| draft_listener(compiler, &list.index(index), listener, known)).collect()
}

fn draft_listener(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    listener: &schema::Listener,
    known: &Known<'_, '_>,
) -> ListenerDraft {
    let name = listener.name.clone().unwrap_or_default();
    let addresses = addresses(&mut compiler.report, place, listener);
    if listener.protocol == Some(Protocol::Http) {
        compiler
            .report
            .error(&place.key("protocol"), "`protocol: http` is not supported yet")
            .hint("use tcp");
    }
    if listener.mode.is_none() && !compiler.report.mentions(&place.key("mode")) {
        compiler
            .report
            .error(place, format!("the listener `{name}` has no `mode`"))
            .hint("one of: passthrough, offload, bridging");
    }
    let mut modes = ListenerModes::new(compiler, place, listener, known);
    let routes = draft_routes(compiler, place, listener, &mut modes);
    let default = listener.default_pool.as_ref().and_then(|pool| modes.default(compiler, pool));
    modes.finish(compiler);
    unspoken::warn(compiler, place, listener, known);
    refuse_no_way(&mut compiler.report, place, listener);
    let (max_connections, pending, ceiling) = limits(&mut compiler.report, &place.key("limits"), listener);
    let (options, backlog) = tcp(&mut compiler.report, &place.key("tcp"), listener);
    let non_tls = listener.non_tls.unwrap_or(defaults::NON_TLS) == NonTls::Allow;
    ListenerDraft {
        name,
        addresses,
        mode: match listener.mode {
            Some(schema::Mode::Offload) => plan::OFFLOAD,
            Some(schema::Mode::Bridging) => plan::BRIDGING,
            Some(schema::Mode::Passthrough) | None => plan::PASSTHROUGH,
        },
        peek: listener.peek.unwrap_or(defaults::PEEK).then_some(Peek { ceiling, non_tls }),
        routes,
        default,
        timeouts: timeouts(&mut compiler.report, &place.key("timeouts"), listener),
        max_connections,
        pending,
        options,
        backlog,
    }
}

fn addresses(report: &mut Report<'_>, place: &Place<'_>, listener: &schema::Listener) -> Vec<Address> {
    let key = place.key("address");
    let Some(texts) = &listener.address else {
        if !report.mentions(&key) {
            let name = listener.name.as_deref().unwrap_or_default();
            report.error(place, format!("the listener `{name}` has no `address`")).hint("such as \":443\"");
        }
        return Vec::new();
    };
    if texts.0.is_empty() && report.is_whole(&key) {
        report.error_at_key(&key, "`address` is empty").hint("such as \":443\"");
    }
    let read = |(index, text): (usize, &String)| {
        let place = key.index(index);
        let address = accept(report, &place, misspelt::listening(text))?;
        if let Some(why) = machine::refuses(&address) {
            report.warning(&place, format!("this machine cannot listen on `{text}`: {why}"));
        }
        Some(address)
    };
    texts.0.iter().enumerate().filter_map(read).collect()
}

fn draft_routes(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    listener: &schema::Listener,
    modes: &mut ListenerModes<'_, '_>,
) -> Vec<(Match, RouteDraft)> {
    let list = place.key("routes");
    let mut drafts = Vec::with_capacity(listener.routes.len());
    // Which route of the file each draft is.
    let mut numbers = Vec::with_capacity(listener.routes.len());
    let mut entries = 0_usize;
    for (index, route) in listener.routes.iter().enumerate() {
        let place = list.index(index);
        let key = place.key("match");
        let written = route.matches.clone().unwrap_or_default();
        let bare = written.sni.is_none() && written.alpn.is_none() && written.source.is_none();
        if bare
            && compiler.report.is_whole(&place)
            && (compiler.report.is_whole(&key) || route.matches.is_none())
        {
            let hint = "a match has sni, alpn or source; what no route matches goes to default_pool";
            compiler.report.error(&place, "this route matches nothing in particular").hint(hint);
        }
        if listener.peek == Some(false) {
            for (key_name, given) in [("sni", written.sni.is_some()), ("alpn", written.alpn.is_some())] {
                if given {
                    let message =
                        format!("with `peek: false` nothing is read, so a route cannot match `{key_name}`");
                    compiler
                        .report
                        .error_at_key(&key.key(key_name), message)
                        .hint("only source can be matched");
                }
            }
        }
        let conditions = routes::conditions(&mut compiler.report, &key, &written).filter(|_| !bare);
        let draft = modes.route(compiler, &place, route);
        entries = entries.saturating_add(conditions.as_ref().map_or(0, Match::entries));
        if entries > MOST_ENTRIES {
            // A table of this size would not fit into memory, so nothing further is made of these routes.
            let message = format!("more than {MOST_ENTRIES} pairs of a name and a network in one listener");
            compiler.report.error(&place, message).hint("networks in a route of their own need no names");
            return Vec::new();
        }
        if let (Some(conditions), Some(draft)) = (conditions, draft) {
            drafts.push((conditions, draft));
            numbers.push(index);
        }
    }
    let conditions = drafts.iter().map(|(conditions, _)| (conditions.clone(), ())).collect();
    for Ambiguous(first, second) in Table::build(conditions).err().unwrap_or_default() {
        let number = |draft: usize| numbers.get(draft).copied().unwrap_or_default();
        let line = compiler.report.line(&list.index(number(first)));
        let message = match number(first) == number(second) {
            true => "this route names the same thing twice".to_owned(),
            false => format!("the route in line {line} matches some of the same connections equally well"),
        };
        let place = list.index(number(second));
        compiler.report.error(&place.key("match"), message).hint("neither would win; make one more specific");
    }
    drafts
}

/// A listener that has neither a route nor a default would refuse every connection.
fn refuse_no_way(report: &mut Report<'_>, place: &Place<'_>, listener: &schema::Listener) {
    let said = |key: &str| report.mentions(&place.key(key)) && !report.is_whole(&place.key(key));
    if listener.routes.is_empty()
        && listener.default_pool.is_none()
        && !said("routes")
        && !said("default_pool")
    {
        let name = listener.name.as_deref().unwrap_or_default();
        let message = format!("the listener `{name}` has neither routes nor a default_pool");
        report.error(place, message).hint("default_pool: the name of a pool");
    }
}

fn timeouts(report: &mut Report<'_>, place: &Place<'_>, listener: &schema::Listener) -> plan::Timeouts {
    let written = listener.timeouts.clone().unwrap_or_default();
    let mut read = |key: &str, value: Option<Time>, default: Time| {
        let value = value.unwrap_or(default);
        refuse_zero(report, &place.key(key), value);
        value.0
    };
    plan::Timeouts {
        client_hello: read("client_hello", written.client_hello, defaults::CLIENT_HELLO),
        handshake: read("handshake", written.handshake, defaults::HANDSHAKE),
        connect: read("connect", written.connect, defaults::CONNECT),
        idle: read("idle", written.idle, defaults::IDLE),
        half_closed: read("half_closed", written.half_closed, defaults::HALF_CLOSED),
    }
}

/// Connections, pending connections, and the hello's ceiling in bytes.
fn limits(report: &mut Report<'_>, place: &Place<'_>, listener: &schema::Listener) -> (usize, usize, usize) {
    let written = listener.limits.clone().unwrap_or_default();
    let mut count = |key: &str, value: Option<u32>, default: u32| {
        let value = value.unwrap_or(default);
        if value == 0 {
            report.error(&place.key(key), format!("`{key}` is at least 1"));
        }
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let max_connections = count("max_connections", written.max_connections, defaults::MAX_CONNECTIONS);
    let pending = count("pending", written.pending, defaults::PENDING);
    let hello = written.client_hello.unwrap_or(defaults::CLIENT_HELLO_SIZE);
    let (least, most) = ranges::sizes("Limits", "client_hello");
    if hello < least || hello > most {
        let message = format!("{hello} is not a ceiling for a ClientHello");
        let hint = format!("from {least} to {most}");
        report.error(&place.key("client_hello"), message).hint(hint);
    }
    (max_connections, pending, usize::try_from(hello.0).unwrap_or(usize::MAX))
}

fn tcp(report: &mut Report<'_>, place: &Place<'_>, listener: &schema::Listener) -> (Options, u32) {
    let written = listener.tcp.clone().unwrap_or_default();
    let backlog = written.backlog.unwrap_or(defaults::BACKLOG);
    if backlog == 0 {
        report.error(&place.key("backlog"), "`backlog` is at least 1");
    }
    let mut time = |key: &str, value: Time| {
        let range = ranges::times("Tcp", key);
        if !range.contains(value) {
            let hint = format!("from {} to {}, or 0s for none", range.least, range.most);
            report.error(&place.key(key), format!("the system takes no `{key}` of {value}")).hint(hint);
        }
        value.0
    };
    let keepalive = written.keepalive.unwrap_or(defaults::KEEPALIVE);
    let user_timeout = written.user_timeout.unwrap_or(defaults::USER_TIMEOUT);
    let options = Options {
        nodelay: written.nodelay.unwrap_or(defaults::NODELAY),
        keepalive: time("keepalive", keepalive),
        user_timeout: time("user_timeout", user_timeout),
    };
    (options, backlog)
}

/// Entries of a listener's table: each name of a route with each of its networks. A hundred times what 10,000 routes
/// have, and some 100 MB of memory.
const MOST_ENTRIES: usize = 1_000_000;

//! Routes of requests: their conditions, and what their requests get.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method};
use weir_core::hello::Offers;
use weir_core::plan::http::{Action, FixedResponse, NewPath, Redirect, RequestRate, RequestRoute};
use weir_core::plan::{Destination, Mode};
use weir_core::rates::{Rate, Scope};
use weir_core::route::requests::{FieldPattern, Rule, Verdict, Wanted};
pub(super) use weir_core::route::requests::{Match, Table};
use weir_core::route::{Ambiguous, NamePattern};

use super::compiler::Compiler;
use super::modes::{ListenerModes, RouteDraft, Tls};
use super::{http, own_answer, request_match};
use crate::diagnostics::Report;
use crate::key::Item;
use crate::schema;

/// A route of requests, with its pool by index.
pub(super) struct RequestDraft {
    /// Its place in the file, from 1.
    pub(super) number: usize,
    requires_certificate: bool,
    rate: Option<Rate>,
    action: ActionDraft,
}

/// What its requests get.
enum ActionDraft {
    Forward(usize),
    Respond(FixedResponse),
    Redirect(Redirect),
}

impl RequestDraft {
    /// The pool that it forwards to.
    pub(super) fn pool(&self) -> Option<usize> {
        match self.action {
            ActionDraft::Forward(pool) => Some(pool),
            ActionDraft::Respond(_) | ActionDraft::Redirect(_) => None,
        }
    }

    /// Gives it its destination, and its name among the rates; `None` if there is no such pool.
    pub(super) fn build(
        self,
        listener: &str,
        conditions: &Match,
        destination: impl FnOnce(usize) -> Option<Arc<Destination>>,
    ) -> Option<Arc<RequestRoute>> {
        let action = match self.action {
            ActionDraft::Forward(pool) => Action::Forward(destination(pool)?),
            ActionDraft::Respond(answer) => Action::Respond(answer),
            ActionDraft::Redirect(redirect) => Action::Redirect(redirect),
        };
        let Self { number, requires_certificate, rate, .. } = self;
        let rate = rate.map(|rate| RequestRate { rate, scope: Scope::of((listener, conditions.in_order())) });
        Some(Arc::new(RequestRoute { number, action, requires_certificate, rate }))
    }
}

/// Whether a route asks for something that only requests have, so that no connection can go by it.
pub(super) fn is_of_requests_alone(route: &schema::Route) -> bool {
    let asks = |written| request_match::request_keys(written).iter().any(|(_, place)| place.is_some());
    route.matches.get().is_some_and(asks)
}

/// Refuses the keys of requests where there are none: on a listener of connections, or, by `mode: passthrough`, in a
/// route of them.
pub(super) fn refuse(report: &mut Report<'_>, listener: &schema::Listener, route: &Item<schema::Route>) {
    let needs = match http::speaks(listener) {
        false => "`protocol: http`: tcp sees no requests",
        true => "mode offload or bridging: passthrough sees no requests",
    };
    let none = schema::Match::default();
    for (key, place) in request_match::request_keys(route.matches.get().unwrap_or(&none)) {
        let Some(place) = place else { continue };
        let hint = match key {
            "host" => {
                "`sni` matches the name in the ClientHello; requests need `protocol: http` on the listener"
            }
            _ => "set `protocol: http` on the listener, in mode offload or bridging",
        };
        report.error_at_key(place, format!("`{key}` needs {needs}")).hint(hint);
    }
    let keys = [
        ("require_client_cert", route.require_client_cert.place().filter(|_| route.require_client_cert())),
        ("limits", route.limits.place().filter(|_| route.limits.is_written())),
        ("redirect", route.redirect.place().filter(|_| route.redirect.is_written())),
        ("respond", route.respond.place().filter(|_| route.respond.is_written())),
    ];
    for (key, place) in keys {
        let Some(place) = place else { continue };
        let hint = match key {
            "require_client_cert" => "for all connections of the route: `client_auth` in its TLS profile",
            _ => "set `protocol: http` on the listener, in mode offload or bridging",
        };
        report.error_at_key(place, format!("`{key}` needs {needs}")).hint(hint);
    }
}

/// Drafts a route of requests, whose connections have their own route in `connections` if they may; `None` when something
/// in it was refused.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    route: &Item<schema::Route>,
    conditions: Option<&Match>,
    connections: Option<&RouteDraft>,
    modes: &mut ListenerModes<'_, '_>,
) -> Option<RequestDraft> {
    let alone = is_of_requests_alone(route);
    if alone {
        refuse_connection_keys(&mut compiler.report, route);
    }
    let pool = |compiler: &mut Compiler<'_>| match alone {
        true => modes.pool_of_requests(compiler, route),
        // Looked for, and reported, as that of its connections.
        false => connections.and_then(|draft| draft.pool),
    };
    let action = action(compiler, route, conditions, pool);
    let tls = match (connections.map(|draft| &draft.mode), modes.tls()) {
        (Some(Mode::Offload(tls) | Mode::Bridging(tls)), _) => Some(tls),
        (None, Tls::Ready(tls)) if alone => Some(tls),
        _ => None,
    };
    if let (Some(tls), Some(place)) =
        (tls, route.require_client_cert.place().filter(|_| route.require_client_cert()))
        && tls.profile.client_auth().is_none()
    {
        let message =
            "`require_client_cert` would refuse every request: no client is asked for a certificate";
        compiler
            .report
            .error_at_key(place, message)
            .hint("client_auth: {ca: client-ca.pem, mode: optional} in the TLS profile");
    }
    let rate = rate(&mut compiler.report, route)?;
    let requires_certificate = route.require_client_cert();
    Some(RequestDraft { number: 0, requires_certificate, rate, action: action? })
}

/// A handshake comes before the first request.
fn refuse_connection_keys(report: &mut Report<'_>, route: &schema::Route) {
    let keys = [
        ("mode", route.mode.place().filter(|_| route.mode.is_written())),
        ("tls", route.tls.place().filter(|_| route.tls.is_written())),
    ];
    for (key, place) in keys {
        let Some(place) = place else { continue };
        let message = format!("a route of requests has no `{key}`: the handshake comes before any request");
        let hint = format!("a route by `sni`, `alpn` or `source` alone may set `{key}`");
        report.error_at_key(place, message).hint(hint);
    }
}

fn action(
    compiler: &mut Compiler<'_>,
    route: &Item<schema::Route>,
    conditions: Option<&Match>,
    pool: impl FnOnce(&mut Compiler<'_>) -> Option<usize>,
) -> Option<ActionDraft> {
    let written = [
        ("pool", route.pool.place().filter(|_| route.pool.is_written())),
        ("redirect", route.redirect.place().filter(|_| route.redirect.is_written())),
        ("respond", route.respond.place().filter(|_| route.respond.is_written())),
    ];
    let mut written = written.iter().filter_map(|(key, place)| Some((*key, (*place)?)));
    let Some((first, _)) = written.next() else {
        // A route of connections too has been told that already.
        if route.is_whole() && is_of_requests_alone(route) {
            let message = "this route has no `pool`, and neither `redirect` nor `respond`";
            compiler.report.error(route, message).hint("pool: the name of a pool");
        }
        return None;
    };
    if let Some((second, place)) = written.next() {
        let message = format!("`{first}` and `{second}` in one route: its requests can get one answer only");
        compiler.report.error_at_key(place, message).hint("leave one of them out");
        return None;
    }
    let report = &mut compiler.report;
    match first {
        "respond" => own_answer::respond(report, &route.respond).map(ActionDraft::Respond),
        "redirect" => {
            let paths = conditions.map(|conditions| &*conditions.paths).unwrap_or_default();
            // Refused conditions may have had a path.
            let prefix = route.redirect.get().is_some_and(|redirect| redirect.path_prefix.is_written());
            if conditions.is_none() && prefix {
                return None;
            }
            own_answer::redirect(report, &route.redirect, paths).map(ActionDraft::Redirect)
        }
        _ => pool(compiler).map(ActionDraft::Forward),
    }
}

/// The route's limit, `Some(None)` if there is none; `None` when it was refused.
fn rate(report: &mut Report<'_>, route: &schema::Route) -> Option<Option<Rate>> {
    let (Some(limits), Some(place)) = (route.limits.get(), route.limits.place()) else {
        return (!route.limits.has_refused()).then_some(None);
    };
    let Some(rate) = limits.requests.get() else {
        if route.limits.is_whole() {
            report
                .error_at_key(place, "`limits` has no `requests`")
                .hint("limits: {requests: 100/s, burst: 200}");
        }
        return None;
    };
    let burst = limits.burst.get().copied().unwrap_or(rate.count);
    if let (0, Some(place)) = (burst, limits.burst.place()) {
        report.error(place, "`burst` is at least 1");
        return None;
    }
    Some(Some(Rate { interval: rate.interval(), burst }))
}

/// A draft, its conditions, and the route in the file behind it.
pub(super) type Drafted<'f> = (Match, RequestDraft, &'f Item<schema::Route>);

/// Whether no connection can go by this route.
pub(super) fn is_alone((.., route): &Drafted<'_>) -> bool {
    is_of_requests_alone(route)
}

/// Reports routes between which no rule decides, and warns of those that do not work as they look.
pub(super) fn check(report: &mut Report<'_>, drafts: &[Drafted<'_>], ports: &[u16]) {
    let numbered = drafts.iter().enumerate().map(|(number, (conditions, ..))| (conditions.clone(), number));
    let table = match Table::build(numbered.collect()) {
        Ok(table) => table,
        Err(pairs) => return report_ambiguous(report, drafts, &pairs),
    };
    warn_of_loops(report, drafts, &table, ports);
    warn_of_ways_around(report, drafts, &table);
}

fn report_ambiguous(report: &mut Report<'_>, drafts: &[Drafted<'_>], pairs: &[Ambiguous]) {
    for Ambiguous(first, second) in pairs {
        let (Some((.., one)), Some((.., other))) = (drafts.get(*first), drafts.get(*second)) else {
            continue;
        };
        if !is_of_requests_alone(one) && !is_of_requests_alone(other) {
            // Reported already: they match the same connections.
            continue;
        }
        let message = match first == second {
            true => "this route names the same thing twice".to_owned(),
            false => {
                format!(
                    "the route in line {} matches some of the same requests equally well",
                    report.line(*one)
                )
            }
        };
        let spot = other.matches.or(*other, "match");
        report.error(spot, message).hint("neither would win; make one more specific");
    }
}

/// A request that a route would match if there were no others.
struct Example {
    host: String,
    path: String,
    method: Method,
    headers: HeaderMap,
    offers: Offers,
    source: std::net::IpAddr,
}

impl Example {
    fn of(conditions: &Match) -> Self {
        let host = match conditions.names.first() {
            Some(NamePattern::Exact(name)) => name.to_string(),
            Some(NamePattern::Suffix(suffix)) => format!("any.{suffix}"),
            Some(NamePattern::AnyName | NamePattern::Anything) | None => "any.invalid".to_owned(),
        };
        let path = conditions.paths.first().map_or("/".to_owned(), ToString::to_string);
        let mut headers = HeaderMap::new();
        for field in &conditions.fields {
            let value = match &field.pattern {
                FieldPattern::Exact(value) => value.clone(),
                FieldPattern::Present => HeaderValue::from_static("any"),
            };
            headers.insert(field.name.clone(), value);
        }
        Self {
            host,
            path,
            method: conditions.methods.first().cloned().unwrap_or(Method::GET),
            headers,
            offers: Offers::of(conditions.alpn.first().map(Vec::as_slice)),
            source: conditions.source.first().map_or([0, 0, 0, 0].into(), |network| network.addr()),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        let Self { host, path, method, headers, offers, source } = self;
        Wanted { host: Some(host), path, method, headers, offers, source: *source }
    }
}

/// Warns where the address that a client is sent to leads to the same route of the same listener.
fn warn_of_loops(report: &mut Report<'_>, drafts: &[Drafted<'_>], table: &Table<usize>, ports: &[u16]) {
    for (number, (conditions, draft, route)) in drafts.iter().enumerate() {
        let ActionDraft::Redirect(redirect) = &draft.action else { continue };
        let port = match (&redirect.scheme, redirect.port) {
            (_, Some(port)) => Some(port),
            (Some(_), None) => Some(443),
            (None, None) => None,
        };
        if redirect.scheme.as_deref() == Some("http") || port.is_some_and(|port| !ports.contains(&port)) {
            continue;
        }
        let mut next = Example::of(conditions);
        if let Some(host) = &redirect.host {
            next.host = host.to_string();
        }
        next.path = match &redirect.path {
            NewPath::Same => next.path,
            NewPath::Whole(path) => path.to_string(),
            NewPath::Prefix(change) => format!("{}/any", change.to.trim_end_matches('/')),
        };
        if table.lookup(&next.wanted()).ok().flatten() == Some(&number) {
            let message = "this route redirects to itself: clients go round in a circle";
            let spot = route.redirect.or(*route, "redirect");
            report.warning(spot, message).hint("leave the new address to another route, by host or path");
        }
    }
}

/// Warns where a route that needs a certificate is passed over for a name: names are compared before paths.
fn warn_of_ways_around(report: &mut Report<'_>, drafts: &[Drafted<'_>], table: &Table<usize>) {
    if !drafts.iter().any(|(_, draft, _)| draft.requires_certificate) {
        return;
    }
    let mut names: Vec<&NamePattern> = drafts.iter().flat_map(|(conditions, ..)| &conditions.names).collect();
    names.sort();
    names.dedup();
    names.truncate(MOST_NAMES);
    for (number, (conditions, draft, route)) in drafts.iter().enumerate() {
        if !draft.requires_certificate || conditions.paths.is_empty() {
            continue;
        }
        let around = names.iter().find_map(|name| {
            let example = Example {
                host: Example::of(&Match { names: vec![(*name).clone()], ..Match::default() }).host,
                ..Example::of(conditions)
            };
            let verdicts = table.explain(&example.wanted()).ok()?;
            let passed_over = verdicts.get(number) == Some(&Verdict::LessSpecific(Rule::Name));
            let winner = verdicts.iter().position(|verdict| *verdict == Verdict::Matched)?;
            let (other, other_draft, other_route) = drafts.get(winner)?;
            let longer = other.paths.iter().any(|path| conditions.paths.contains(path));
            (passed_over && !longer && !other_draft.requires_certificate).then_some((name, *other_route))
        });
        if let Some((name, other)) = around {
            let line = report.line(other);
            let path = conditions.paths.first().map(ToString::to_string).unwrap_or_default();
            let message = format!(
                "requests for `{name}` reach {path} without a certificate: the route in line {line} is more specific by its name"
            );
            let spot = route.require_client_cert.or(*route, "require_client_cert");
            report
                .warning(spot, message)
                .hint("give that name a route with this path and require_client_cert too");
        }
    }
}

/// Names to look at for ways around a route.
const MOST_NAMES: usize = 1_000;

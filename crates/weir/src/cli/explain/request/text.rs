//! The fate of a request as text.

use super::{Asked, OwnAnswer, Requested, Stays};
use crate::cli::table::Table;
use std::net::IpAddr;
use weir_core::route::requests::{Rule, Verdict};

/// The lines about a request under its listener, each a key and a value. `source` is the address of its connection.
pub(in crate::cli::explain) fn lines(
    asked: &Asked,
    told: &Requested,
    source: Option<IpAddr>,
) -> Vec<(&'static str, String)> {
    let mut lines = vec![("request", format!("{} {}{}", asked.method, asked.host, asked.path))];
    lines.extend(asked.headers.iter().map(|field| ("", field.clone())));
    if let Some(client) = told.client.filter(|client| Some(*client) != source) {
        lines.push(("client", format!("{client}, as a trusted proxy tells")));
    }
    match (&told.route, &told.pool) {
        (Some(route), _) => lines.push(("route", format!("{}: {}", route.number, route.conditions))),
        (None, Some(_)) => lines.push(("route", "none: default_pool".to_owned())),
        (None, None) => {}
    }
    if told.requires_certificate {
        lines.push(("needs", "a verified client certificate; without one 403 (outcome denied)".to_owned()));
    }
    if let Some(limit) = &told.limit {
        let (interval, burst) = (limit.interval, limit.burst);
        let text =
            format!("a request every {interval:?} and {burst} at once, for each client; beyond that 429");
        lines.push(("limit", text));
    }
    if let Some(OwnAnswer { status, outcome, location, why }) = &told.answer {
        let to = location.as_ref().map(|location| format!(" to {location}")).unwrap_or_default();
        lines.push(("answer", format!("{status}{to}: {why} (outcome {outcome})")));
    }
    if let Some(pool) = &told.pool {
        lines.push(("pool", pool.name.to_string()));
    }
    lines.extend(told.sticky.as_ref().map(|sticky| ("sticky", stays(sticky))));
    lines.extend(told.pool.as_ref().map(|pool| ("balance", super::super::text::balance(pool))));
    lines
}

fn stays(Stays { by, name, backend }: &Stays) -> String {
    match (by, backend) {
        (_, Some(backend)) => format!("{by} {name}: the request names {backend}, which is tried first"),
        (&"header", None) => format!("{by} {name}: its value says which backend; without it, `balance` does"),
        (_, None) => format!("{by} {name}: a client with a valid one goes to its own backend first"),
    }
}

/// The routes that do not serve the request, if any.
pub(in crate::cli::explain) fn lost(told: &Requested) -> Option<String> {
    let default = told.default_pool.as_ref().filter(|_| told.route.is_some());
    if told.lost.is_empty() && told.name_differs == 0 && default.is_none() {
        return None;
    }
    let mut table = Table::new(["  ROUTE", "MATCH", "POOL", "LOST BECAUSE"]);
    let winner = told.route.as_ref().map_or(0, |route| route.number);
    for lost in &told.lost {
        let pool = lost.pool.as_ref().map_or_else(|| lost.instead.clone(), ToString::to_string);
        let why = because(lost.why, winner);
        table.row([format!("  {}", lost.route.number), lost.route.conditions.clone(), pool, why]);
    }
    if let Some(pool) = default {
        let why = "a route matched".to_owned();
        table.row(["  -".to_owned(), "default_pool".to_owned(), pool.to_string(), why]);
    }
    let more = match told.name_differs {
        0 => String::new(),
        1 => "\n  and 1 that wants another host (--all)".to_owned(),
        count => format!("\n  and {count} that want another host (--all)"),
    };
    Some(format!("{table}{more}"))
}

fn because(why: Verdict, winner: usize) -> String {
    let rule = match why {
        Verdict::NameDiffers => return "it wants another host".to_owned(),
        Verdict::PathDiffers => return "the path begins in another way".to_owned(),
        Verdict::MethodDiffers => return "it is for other methods".to_owned(),
        Verdict::FieldDiffers => return "the request has no such header field".to_owned(),
        Verdict::AlpnNotOffered => return "the client offers no such protocol".to_owned(),
        Verdict::SourceOutside => return "the client is not in such a network".to_owned(),
        Verdict::Matched => return "it serves".to_owned(),
        Verdict::LessSpecific(Rule::Name) => "host",
        Verdict::LessSpecific(Rule::Path) => "path",
        Verdict::LessSpecific(Rule::Method) => "method",
        Verdict::LessSpecific(Rule::Fields) => "header fields",
        Verdict::LessSpecific(Rule::Alpn) => "protocol, in the client's order",
        Verdict::LessSpecific(Rule::Source) => "network",
    };
    format!("less specific than {winner}: {rule}")
}

//! The answer as text.

use super::answer::{Answer, Client, Considered, Destination, HTTP, Lost, Member};
use super::request::{self, Asked};
use crate::cli::table::Table;
use std::net::IpAddr;
use weir_core::address::NO_ADDRESS;
use weir_core::route::{Rule, Verdict};
use weir_pool::pick::Order;

/// The whole answer, without a line break at its end. A listener that refuses the client gets one line if another
/// listener accepts it.
pub(super) fn text(answer: &Answer, rows: usize) -> String {
    let line = answer.line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let mut parts = vec![format!("{line}{}", client(answer))];
    let accepted = answer.listeners.iter().any(|at| at.refused.is_none());
    for at in &answer.listeners {
        parts.push(listener(at, answer.request.as_ref(), answer.source));
        if at.refused.is_some() && accepted {
            continue;
        }
        let pool = at.pool.as_ref().or_else(|| at.request.as_ref()?.pool());
        parts.extend(pool.filter(|_| at.refused.is_none()).map(|pool| backends(pool, rows)));
        parts.extend(match &at.request {
            Some(told) => request::lost(told),
            None => lost(at, answer.client.as_ref()),
        });
    }
    parts.join("\n\n")
}

fn client(answer: &Answer) -> String {
    let mut text = match &answer.client {
        None => "a client whose first bytes are no ClientHello".to_owned(),
        Some(Client { sni, alpn, version, ech }) => {
            let name = sni.as_ref().map_or_else(|| "no name".to_owned(), |name| name.to_string());
            let offers = if alpn.is_empty() { "no protocol".to_owned() } else { alpn.join(", ") };
            let outer = if *ech { " (the outer name: an encrypted hello is inside)" } else { "" };
            format!("a client that asks for {name}{outer}, offers {offers}, speaks {version}")
        }
    };
    match answer.source {
        Some(NO_ADDRESS) => text.push_str(", from a Unix socket"),
        Some(source) => text.push_str(&format!(", from {source}")),
        None => text.push_str(", from an address that was not given (--source)"),
    }
    text
}

fn listener(at: &Considered, asked: Option<&Asked>, source: Option<IpAddr>) -> String {
    let mut text = format!("LISTENER {}, {}", at.listener, at.addresses.join(", "));
    let mut say = |key: &str, value: String| text.push_str(&format!("\n  {key:<8} {value}"));
    if !at.peeked {
        say("peek", "false: nothing is read, the source alone decides".to_owned());
    }
    let has_requests = at.protocol == HTTP;
    match (&at.route, &at.pool) {
        // Its requests have routes of their own.
        _ if has_requests && at.refused.is_none() => {}
        (Some(route), _) => say("route", format!("{}: {}", route.number, route.conditions)),
        (None, Some(_)) => say("route", "none: default_pool".to_owned()),
        (None, None) => {}
    }
    if at.pool.is_some() || has_requests {
        let own = if at.mode == at.listener_mode {
            String::new()
        } else {
            format!(": the route's own, the listener's is {}", at.listener_mode)
        };
        say("mode", format!("{}{own}", at.mode));
    }
    if has_requests && at.refused.is_none() {
        say("protocol", "http: each request has a route and a pool of its own".to_owned());
        match (asked, &at.request) {
            (Some(asked), Some(told)) => {
                request::lines(asked, told, source).into_iter().for_each(|(key, value)| say(key, value));
            }
            _ => say("request", "none: a request needs a host (--host)".to_owned()),
        }
    }
    if let Some(pool) = &at.pool {
        say("pool", pool.name.to_string());
    }
    if let Some(refused) = &at.refused {
        say("refused", format!("{} (outcome {})", refused.why, refused.outcome));
    } else if let Some(pool) = &at.pool {
        say("balance", balance(pool));
    }
    text
}

pub(super) fn balance(pool: &Destination) -> String {
    let exact_below_bound = pool.order == Order::Exact && pool.bounded_load.is_some();
    let unless = if exact_below_bound { ", while none is over its bound" } else { "" };
    let bound = pool.bounded_load.map(|percent| format!(", none for over its bound of {percent}%"));
    let tries = match pool.tries {
        1 => "one is tried".to_owned(),
        tries => format!("at most {tries} are tried"),
    };
    let (balance, how, bound) = (pool.balance, pool.how, bound.unwrap_or_default());
    format!("{balance}: {how}{unless}; {tries}, all taken for up{bound}")
}

fn backends(pool: &Destination, rows: usize) -> String {
    let mut table = Table::new(["  TRY", "BACKEND", "ADDRESS", "WEIGHT", "NOTE"]);
    let mut row = |place: String, backend: &Member, note: &str| {
        // A backend without a name is already shown by its address.
        let address = &backend.address;
        let address = if *backend.name == **address { String::new() } else { address.clone() };
        let weight = backend.weight.to_string();
        table.row([format!("  {place}"), backend.name.to_string(), address, weight, note.to_owned()]);
    };
    for (place, backend) in (1..).zip(&pool.backends).take(rows) {
        row(place.to_string(), backend, if backend.backup { "backup" } else { "" });
    }
    for backend in pool.unusable.iter().take(rows) {
        let note = if backend.weight == 0 { "weight 0: no new connections" } else { "not usable" };
        row("-".to_owned(), backend, note);
    }
    for name in &pool.not_resolved {
        let cells = ["  -", name, "", "", "a name: not resolved here"];
        table.row(cells.map(str::to_owned));
    }
    let more = pool.backends.len().saturating_sub(rows) + pool.unusable.len().saturating_sub(rows);
    let more = if more == 0 { String::new() } else { format!("\n  and {more} more (--all)") };
    format!("{table}{more}")
}

/// The routes that do not serve the client, if any.
fn lost(at: &Considered, client: Option<&Client>) -> Option<String> {
    let default = at.default_pool.as_ref().filter(|_| at.route.is_some());
    if at.lost.is_empty() && at.name_differs == 0 && default.is_none() {
        return None;
    }
    let mut table = Table::new(["  ROUTE", "MATCH", "POOL", "LOST BECAUSE"]);
    for Lost { route, pool, why } in &at.lost {
        let why = because(*why, at, client);
        table.row([
            format!("  {}", route.number),
            route.conditions.clone(),
            pool.as_deref().unwrap_or_default().to_owned(),
            why,
        ]);
    }
    if let Some(pool) = default {
        let why = "a route matched".to_owned();
        table.row(["  -".to_owned(), "default_pool".to_owned(), pool.to_string(), why]);
    }
    let more = match at.name_differs {
        0 => String::new(),
        1 => "\n  and 1 that wants another name (--all)".to_owned(),
        count => format!("\n  and {count} that want another name (--all)"),
    };
    Some(format!("{table}{more}"))
}

fn because(why: Verdict, at: &Considered, client: Option<&Client>) -> String {
    let winner = at.route.as_ref().map_or(0, |route| route.number);
    let rule = match why {
        Verdict::NameDiffers if client.is_none_or(|client| client.sni.is_none()) => {
            return "it wants a name".to_owned();
        }
        Verdict::NameDiffers => return "it wants another name".to_owned(),
        Verdict::AlpnNotOffered => return "the client offers no such protocol".to_owned(),
        Verdict::SourceOutside => return "the client is not in such a network".to_owned(),
        Verdict::Matched => return "it serves".to_owned(),
        Verdict::LessSpecific(Rule::Challenge) => {
            return format!("the client offers acme-tls/1 alone: {winner} is for that, before any name");
        }
        Verdict::LessSpecific(Rule::Name) => "name",
        Verdict::LessSpecific(Rule::Alpn) => "protocol, in the client's order",
        Verdict::LessSpecific(Rule::Source) => "network",
    };
    format!("less specific than {winner}: {rule}")
}

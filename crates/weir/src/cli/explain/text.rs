//! The answer for people.

use super::answer::{Answer, Client, Considered, Destination, Lost, Member, Order};
use crate::cli::table::Table;
use weir_core::route::{Rule, Verdict};

/// The whole answer, without a line break at its end. Listeners that refuse the client get a line each where another
/// one takes it.
pub(super) fn text(answer: &Answer, rows: usize) -> String {
    let line = answer.line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let mut parts = vec![format!("{line}{}", client(answer))];
    let somebody = answer.listeners.iter().any(|at| at.refused.is_none());
    for at in &answer.listeners {
        parts.push(listener(at));
        if at.refused.is_some() && somebody {
            continue;
        }
        parts.extend(at.pool.as_ref().filter(|_| at.refused.is_none()).map(|pool| backends(pool, rows)));
        parts.extend(lost(at, answer.client.as_ref()));
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
        Some(source) => text.push_str(&format!(", from {source}")),
        None => text.push_str(", from an address that was not given (--source)"),
    }
    text
}

fn listener(at: &Considered) -> String {
    let mut text = format!("LISTENER {}, {}", at.listener, at.addresses.join(", "));
    let mut say = |key: &str, value: String| text.push_str(&format!("\n  {key:<8} {value}"));
    if !at.peeked {
        say("peek", "false: nothing is read, the source alone decides".to_owned());
    }
    match (&at.route, &at.pool) {
        (Some(route), _) => say("route", format!("{}: {}", route.number, route.conditions)),
        (None, Some(_)) => say("route", "none: default_pool".to_owned()),
        (None, None) => {}
    }
    if at.pool.is_some() {
        let own = if at.mode == at.listener_mode {
            String::new()
        } else {
            format!(": the route's own, the listener's is {}", at.listener_mode)
        };
        say("mode", format!("{}{own}", at.mode));
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

fn balance(pool: &Destination) -> String {
    let how = match (pool.balance, pool.order) {
        ("least_connections", Order::Rotation) => "fewest connections first; here nobody has any, so in turn",
        ("least_connections", _) => {
            "fewest connections for the weight first; here nobody has any, so the heaviest first, equals in turn"
        }
        (_, Order::Rotation) => "in turn; the rotation starts anywhere",
        ("random_two", _) => "by chance; this is one sample",
        (_, Order::Sample) => "by the client's address, which was not given; this is a sample",
        (_, Order::Exact) if pool.bounded_load.is_some() => {
            "the same for every connection of this client, while none is over its bound"
        }
        (_, Order::Exact) => "the same for every connection of this client",
    };
    let bound = pool.bounded_load.map(|percent| format!(", none for over its bound of {percent}%"));
    let tries = match pool.tries {
        1 => "one is tried".to_owned(),
        tries => format!("at most {tries} are tried"),
    };
    format!("{}: {how}; {tries}, all taken for up{}", pool.balance, bound.unwrap_or_default())
}

fn backends(pool: &Destination, rows: usize) -> String {
    let mut table = Table::new(["  TRY", "BACKEND", "ADDRESS", "WEIGHT", "NOTE"]);
    let mut row = |place: String, backend: &Member, note: &str| {
        // Without a name it is called by its address already.
        let address = backend.address.to_string();
        let address = if *backend.name == *address { String::new() } else { address };
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

/// The routes that do not serve, if there are any.
fn lost(at: &Considered, client: Option<&Client>) -> Option<String> {
    let default = at.default_pool.as_ref().filter(|_| at.route.is_some());
    if at.lost.is_empty() && at.name_differs == 0 && default.is_none() {
        return None;
    }
    let mut table = Table::new(["  ROUTE", "MATCH", "POOL", "LOST BECAUSE"]);
    for Lost { route, pool, why } in &at.lost {
        let why = because(*why, at, client);
        table.row([format!("  {}", route.number), route.conditions.clone(), pool.to_string(), why]);
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
        Verdict::LessSpecific(Rule::Name) => "name",
        Verdict::LessSpecific(Rule::Alpn) => "protocol, in the client's order",
        Verdict::LessSpecific(Rule::Source) => "network",
    };
    format!("less specific than {winner}: {rule}")
}

//! The text of `weir status`: a head, and tables.

use super::Shown;
use super::why::why;
use crate::cli::format::spoken;
use crate::cli::table::{Table, counted, printable, wrapped};
use std::collections::HashMap;
use weir_admin::api::certificates::{Certificate, RefusedFile};
use weir_admin::api::status::{Backend, Listener, OwnServer, Pool, Status};

/// What runs, since when, and how many connections it has.
pub(super) fn head(status: &Status, width: usize) -> String {
    let active: u64 = status.listeners.iter().map(|listener| listener.active).sum();
    let past = status.generations.iter().filter(|g| g.generation < status.generation);
    let old = match past.map(|g| g.connections).sum() {
        0_usize => String::new(),
        count => format!(", {count} of them from before a reload"),
    };
    let (phase, uptime) = (&status.phase, spoken(status.uptime_seconds));
    let mut lines =
        vec![format!("weir {}: {phase}, generation {}, for {uptime}", status.version, status.generation)];
    lines.extend(status.draining.as_ref().map(|drain| {
        let rest = drain.ends_in_seconds.map(|left| format!("; the rest is closed in {}", spoken(left)));
        let lasted = spoken(drain.seconds);
        format!("draining for {lasted}, since {}{}", drain.since, rest.unwrap_or_default())
    }));
    lines.extend(status.key_log.as_ref().map(|file| {
        let file = file.escape_debug();
        format!("WARNING: the secrets of all TLS sessions are written to {file} (weir run --key-log)")
    }));
    lines.extend(status.refused_files.iter().take(MOST_REFUSED).map(refused));
    if let Some(more @ 1..) = status.refused_files.len().checked_sub(MOST_REFUSED) {
        lines.push(format!("WARNING: further changes were refused (/api/v1/status): {more}"));
    }
    let workers = counted(status.workers.len(), "worker");
    lines.push(format!("{active} of at most {} connections{old}, {workers}", status.max_connections));
    let servers = [("admin", &status.admin), ("metrics", &status.metrics)];
    let servers: Vec<_> =
        servers.iter().filter_map(|(name, one)| Some(server(name, one.as_ref()?))).collect();
    if !servers.is_empty() {
        lines.push(servers.join(", "));
    }
    lines.iter().flat_map(|line| wrapped(line, width)).collect::<Vec<_>>().join("\n")
}

/// A server of weir's own, with its address and what it asks of callers.
fn server(name: &str, server: &OwnServer) -> String {
    let how = match (server.tls, server.client_certificate) {
        (false, _) => "",
        (true, false) => " over TLS",
        (true, true) => " over TLS with client certificates",
    };
    format!("{name} on {}{how}", printable(&server.address))
}

/// A changed file that is not in force.
fn refused(file: &RefusedFile) -> String {
    let of = match (&file.listener, &file.pool) {
        (Some(listener), _) => format!("of {} ", printable(listener)),
        (None, Some(pool)) => format!("of the pool {} ", printable(pool)),
        (None, None) => String::new(),
    };
    let (path, reason) = (printable(&file.path), printable(&file.reason));
    format!("WARNING: a change {of}was refused at {}: {path}: {reason}", file.at)
}

pub(super) fn listeners_table(listeners: &[Listener]) -> Table<7> {
    let mut table = Table::new(["LISTENER", "MODE", "ADDRESS", "ACTIVE", "OPENED", "ROUTES", "DEFAULT POOL"]);
    for listener in listeners {
        table.row([
            listener.name.to_string(),
            listener.mode.to_string(),
            listener.addresses.join(", "),
            listener.active.to_string(),
            listener.opened.to_string(),
            listener.routes.to_string(),
            listener.default_pool.as_deref().unwrap_or_default().to_owned(),
        ]);
    }
    table
}

pub(super) fn pools_table(shown: &[Shown<'_>]) -> Table<5> {
    let mut table = Table::new(["POOL", "BALANCE", "USABLE", "CHECK", "NOTE"]);
    for Shown { pool, .. } in shown {
        table.row([
            pool.name.to_string(),
            pool.balance.to_string(),
            format!("{} of {}", pool.usable, pool.backends.len()),
            pool.health_check.to_string(),
            notes(pool),
        ]);
    }
    table
}

fn notes(pool: &Pool) -> String {
    let mut notes = Vec::new();
    if pool.panic {
        notes.push("panic: too few are healthy, so health is ignored".to_owned());
    }
    if pool.verify == Some(false) {
        notes.push("backend certificates are NOT verified".to_owned());
    }
    for name in &pool.names {
        notes.extend(name.failure.as_ref().map(|why| format!("cannot resolve {}: {why}", name.name)));
        if !name.dropped.is_empty() {
            notes.push(format!("{}: never dialled are {}", name.name, name.dropped.join(", ")));
        }
    }
    notes.join("; ")
}

/// The shown backends of these pools; `None` if there is none.
pub(super) fn backends_table(shown: &[Shown<'_>]) -> Option<Table<8>> {
    let mut table = Table::new(["POOL", "BACKEND", "ADDRESS", "STATE", "WEIGHT", "ACTIVE", "TOTAL", "WHY"]);
    for Shown { pool, backends } in shown {
        for backend in backends {
            // A backend without a name is called by its address already.
            let address = if *backend.name == *backend.address { "" } else { &backend.address };
            table.row([
                pool.name.to_string(),
                backend.name.to_string(),
                address.to_owned(),
                backend.state().to_owned(),
                weight(backend),
                backend.active.to_string(),
                backend.connections.to_string(),
                why(backend),
            ]);
        }
    }
    shown.iter().any(|pool| !pool.backends.is_empty()).then_some(table)
}

fn weight(backend: &Backend) -> String {
    let weight = match backend.hand_weight {
        Some(weight) => format!("{weight} by hand"),
        None => backend.weight.to_string(),
    };
    if backend.backup { format!("{weight}, backup") } else { weight }
}

/// The certificates that end first, each with the listeners that show it; `None` if there is none.
pub(super) fn certificates_table(certificates: &[Certificate]) -> Option<Table<5>> {
    let mut files: Vec<(&Certificate, Vec<&str>)> = Vec::new();
    // Not by the file's name alone: many folders may have a fullchain.pem.
    let mut places: HashMap<(&str, &str, &[String]), usize> = HashMap::new();
    for shown in certificates {
        let same = (&*shown.file, &*shown.not_after, &*shown.names);
        let place = *places.entry(same).or_insert(files.len());
        match files.get_mut(place) {
            Some((_, listeners)) if listeners.contains(&&*shown.listener) => {}
            Some((_, listeners)) => listeners.push(&shown.listener),
            None => files.push((shown, vec![&shown.listener])),
        }
    }
    files.sort_by(|(a, _), (b, _)| a.not_after.cmp(&b.not_after));
    let mut table = Table::new(["CERTIFICATE", "LISTENER", "ENDS", "DAYS LEFT", "NAMES"]);
    let more = files.len().saturating_sub(MOST_CERTIFICATES);
    for (certificate, listeners) in files.iter().take(MOST_CERTIFICATES) {
        let day = certificate.not_after.split('T').next().unwrap_or_default();
        let left = match certificate.days_left {
            Some(days) if days < 0 => "expired".to_owned(),
            Some(days) => days.to_string(),
            None => String::new(),
        };
        let names = certificate.names.join(", ");
        table.row([certificate.file.clone(), listeners.join(", "), day.to_owned(), left, names]);
    }
    if more > 0 {
        table.row([&*format!("{more} more"), "", "later", "", ""].map(str::to_owned));
    }
    (!files.is_empty()).then_some(table)
}

/// The refused files that are shown.
const MOST_REFUSED: usize = 5;
/// Of many certificates, this many of those that end first are shown; the JSON has all.
const MOST_CERTIFICATES: usize = 20;

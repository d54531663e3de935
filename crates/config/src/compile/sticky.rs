//! Clients that stay with a backend: the three ways of `sticky`, the names that cookies and fields may have, and what
//! cannot work as it is written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use weir_pool::{Sticky, StickyCookie};

use super::compiler::Compiler;
use crate::diagnostics::Report;
use crate::key::{Item, Key, PlaceId};
use crate::ranges;
use crate::schema::{self, Protocol};
use crate::units::Time;

/// Drafts how the clients of a pool stay with a backend.
pub(super) fn draft(compiler: &mut Compiler<'_>, pool: &schema::Pool) -> Option<Sticky> {
    let (written, place) = (pool.sticky.get()?, pool.sticky.place()?);
    let report = &mut compiler.report;
    let ways = [written.cookie.is_written(), written.app_cookie.is_written(), written.header.is_written()];
    match ways.into_iter().filter(|way| *way).count() {
        1 => {}
        0 => {
            let message = "`sticky` does not say by what a client stays with its backend";
            report.error_at_key(place, message).hint(EXAMPLE);
            return None;
        }
        _ => {
            let message = "a client stays with its backend by one of `cookie`, `app_cookie` and `header`";
            report.error_at_key(place, message).hint(EXAMPLE);
            return None;
        }
    }
    if let Some(place) = written.duration.place()
        && !written.app_cookie.is_written()
    {
        let hint =
            if written.cookie.is_written() { "write `cookie: {duration: …}`" } else { "leave it out" };
        report.error_at_key(place, "this `duration` needs `app_cookie`").hint(hint);
    }
    let keys = compiler.sessions.cookie_keys();
    let cookie = |name: String, duration| StickyCookie { name: name.into(), duration, keys };
    if let Some(own) = written.cookie.get() {
        check_cookie(report, &own.name);
        let duration = duration(report, "StickyCookie", &own.duration, own.duration());
        return Some(Sticky::Cookie(cookie(own.name(), duration)));
    }
    if let Some(app) = written.app_cookie.get() {
        check_cookie(report, &written.app_cookie);
        let duration = duration(report, "Sticky", &written.duration, written.duration());
        return Some(Sticky::AppCookie { app: app.as_str().into(), cookie: cookie(beside(app), duration) });
    }
    let (name, place) = (written.header.get()?, written.header.place()?);
    field(report, place, name).map(Sticky::Header)
}

/// The name of weir's own cookie beside that of an application: a prefix such as `__Host-` binds the one as the other.
fn beside(app: &str) -> String {
    format!("{DEFAULT_NAME}-{app}")
}

/// Refuses a name that no cookie can have (RFC 6265 §4.1.1: a token).
fn check_cookie(report: &mut Report<'_>, key: &Key<String>) {
    let (Some(name), Some(place)) = (key.get(), key.place()) else { return };
    if name.len() > LONGEST_NAME {
        report.error(place, format!("the name of a cookie has at most {LONGEST_NAME} bytes here"));
    } else if name.is_empty() || !name.bytes().all(is_token) {
        let message = format!("`{}` is no name of a cookie", name.escape_default());
        report.error(place, message).hint("letters, digits, `-` and `_`, such as WEIRLB or __Host-WEIRLB");
    }
}

/// Reads the name of the header field that keeps a client with its backend; in lower case.
fn field(report: &mut Report<'_>, place: PlaceId, name: &str) -> Option<Box<str>> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_token) {
        let message = format!("`{}` is no name of a header field", name.escape_default());
        report.error(place, message).hint("such as X-User");
        return None;
    }
    if lower.contains('_') {
        let message = format!("fields whose name has a `_` are dropped, so `{name}` is never there");
        report.error(place, message).hint(format!("write `{}`", name.replace('_', "-")));
        return None;
    }
    if lower == "cookie" {
        let message = "all cookies together are no key: each that changes would move the client";
        report.error(place, message).hint("`app_cookie: NAME` names one of them");
        return None;
    }
    if HOP_BY_HOP.contains(&&*lower) {
        report.error(place, format!("`{name}` is about a connection, not about a client"));
        return None;
    }
    Some(lower.into())
}

/// The characters of tokens (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn duration(report: &mut Report<'_>, section: &str, key: &Key<Time>, value: Time) -> Duration {
    let range = ranges::times(section, "duration");
    if let Some(place) = key.place()
        && !range.contains(value)
    {
        report
            .error(place, format!("a client cannot stay for {value}"))
            .hint(format!("from {} to {}", range.least, range.most));
    }
    value.0
}

/// Warns of what cannot work, and advises on what works less well than it seems.
pub(super) fn warn(report: &mut Report<'_>, file: &schema::File) {
    // With errors the checks are skipped: a refused value may have been what is missed.
    if report.errors() > 0 {
        return;
    }
    let pools: HashMap<&str, &Item<schema::Pool>> = file
        .pools
        .items()
        .iter()
        .filter(|pool| pool.sticky.is_some())
        .filter_map(|pool| Some((pool.name.get()?.as_str(), pool)))
        .collect();
    let mut asked: HashSet<&str> = HashSet::new();
    for listener in file.listeners.items() {
        if listener.protocol().0 != Protocol::Http {
            continue;
        }
        let routes = listener.routes.items().iter().filter_map(|route| route.pool.get());
        let names = routes.chain(listener.default_pool.get()).map(String::as_str);
        let used: BTreeMap<&str, &Item<schema::Pool>> =
            names.filter_map(|name| Some((name, *pools.get(name)?))).collect();
        asked.extend(used.keys());
        warn_of_one_name(report, &used);
    }
    for (name, pool) in &pools {
        let (Some(sticky), Some(place)) = (pool.sticky.get(), pool.sticky.place()) else { continue };
        if !asked.contains(name) {
            let message =
                format!("no listener asks the pool `{name}` for requests, so no client stays with a backend");
            let hint =
                "`protocol: http` in the listener; for connections `balance: source_ip` does nearly the same";
            report.warning(place, message).hint(hint);
        } else if !file.fleet.is_some() && !sticky.header.is_written() {
            let message =
                "without a `fleet`, cookies are good in this process alone: each restart moves all clients";
            let hint = "fleet: {secret_files: [fleet.key]}; `weir secret new fleet.key` writes the file";
            report.warning(place, message).as_advice().hint(hint);
        }
    }
}

/// A client has one cookie of a name for a host: the answers of two pools would replace each other's.
fn warn_of_one_name(report: &mut Report<'_>, used: &BTreeMap<&str, &Item<schema::Pool>>) {
    let mut names: HashMap<String, &str> = HashMap::new();
    for (name, pool) in used {
        let Some(sticky) = pool.sticky.get() else { continue };
        let cookie = match (sticky.cookie.get(), sticky.app_cookie.get()) {
            (Some(own), _) => own.name(),
            (None, Some(app)) => beside(app),
            (None, None) => continue,
        };
        if let Some(other) = names.insert(cookie.clone(), name)
            && let Some(place) = pool.sticky.place()
        {
            let message = format!(
                "the pools `{other}` and `{name}` have one cookie `{cookie}`: a client of both on one host leaves its backend each time"
            );
            let hint = "give the pools of one host different names, such as cookie: {name: WEIRLB-2}";
            report.warning(place, message).as_advice().hint(hint);
        }
    }
}

const EXAMPLE: &str = "such as sticky: {cookie: {name: WEIRLB, duration: 1d}}";
const DEFAULT_NAME: &str = "WEIRLB";
/// Browsers refuse cookies of more than 4 KiB; names are a part of that.
const LONGEST_NAME: usize = 128;
/// RFC 9110 §7.6.1.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

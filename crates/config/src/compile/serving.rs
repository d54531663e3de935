//! How a pool serves: its policy, its passive checks, and how backends join and leave.

use weir_pool::{HealthCheck, HttpSettings, HttpVersion, Origin, PassiveCheck, SendProxyProtocol, Settings};

use super::compiler::Compiler;
use super::deadline::deadline;
use super::profiles::{H2, HTTP1};
use super::sticky;
use crate::diagnostics::Report;
use crate::key::Key;
use crate::schema::{self, BackendAlpn};
use crate::units::Percent;
use crate::word::Words;

/// Drafts a pool's settings.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    pool: &schema::Pool,
    health_check: HealthCheck,
    origin: Origin,
    verifies: bool,
) -> Settings {
    let sticky = sticky::draft(compiler, pool);
    let report = &mut compiler.report;
    Settings {
        balance: pool.balance().0,
        bounded_load: bounded_load(report, pool),
        retries: usize::try_from(pool.retries()).unwrap_or(usize::MAX),
        hello_replay: pool.hello_replay().0,
        health_check,
        passive_check: passive_check(report, pool),
        on_unhealthy: pool.on_unhealthy().0,
        slow_start: pool.slow_start().0,
        panic_threshold: part_of_all(report, &pool.panic_threshold, pool.panic_threshold()),
        drain_timeout: pool.drain_timeout().0,
        family: pool.family().0,
        origin,
        rebalance: rebalance(report, pool),
        verifies,
        send_proxy_protocol: pool.send_proxy_protocol().0,
        http: requests(report, pool),
        sticky,
    }
}

/// The part of the connections that may end in a second. Where the client decides on the backend it would come back to it.
fn rebalance(report: &mut Report<'_>, pool: &schema::Pool) -> Option<f64> {
    let (pace, place) = (*pool.rebalance.get()?, pool.rebalance.place()?);
    let balance = pool.balance();
    if balance.0.is_keyed() {
        let message = format!(
            "`rebalance` has no use with `balance: {}`: clients come back to their backend",
            balance.0.label()
        );
        report.error_at_key(place, message).hint("leave it out, or balance: least_connections");
    } else if pace.share.0 > 100 {
        report
            .error(place, format!("{pace} is more than there is"))
            .hint("1%/m closes a hundredth of all each minute");
    }
    Some(pace.a_second())
}

/// How requests are spoken to the backends. A written list of `tls.alpn` may narrow the version.
fn requests(report: &mut Report<'_>, pool: &schema::Pool) -> HttpSettings {
    let written = pool.http();
    let max_idle = written.max_idle();
    if let Some(place) = written.max_idle.place()
        && max_idle > MOST_IDLE
    {
        report.error(place, format!("`max_idle` is at most {MOST_IDLE}"));
    }
    let version = version(pool);
    let idle_timeout = deadline(report, &written.idle_timeout, written.idle_timeout());
    let of_one_client = pool.send_proxy_protocol().0 != SendProxyProtocol::Off || pool.transparent();
    let max_idle = usize::try_from(max_idle).unwrap_or(usize::MAX);
    HttpSettings { version, max_idle, idle_timeout, of_one_client }
}

/// The version of HTTP spoken to the backends.
pub(super) fn version(pool: &schema::Pool) -> HttpVersion {
    let offers = |protocol: &str| match pool.tls.get().map(schema::PoolTls::alpn) {
        Some(BackendAlpn::List(list)) => list.iter().any(|one| **one == protocol),
        _ => true,
    };
    match (pool.http().version().0, offers(H2), offers(HTTP1)) {
        (HttpVersion::Auto, true, false) => HttpVersion::Http2,
        (HttpVersion::Auto, false, true) => HttpVersion::Http1,
        (version, ..) => version,
    }
}

/// Refuses a list of `tls.alpn` in which the version is not, if listeners speak HTTP to the pool or the version is written.
pub(super) fn refuse_contradiction(report: &mut Report<'_>, pool: &schema::Pool, for_requests: bool) {
    let http = pool.http();
    let Some((tls, place)) = pool.tls.get().and_then(|tls| Some((tls, tls.alpn.place()?))) else { return };
    let BackendAlpn::List(list) = tls.alpn() else { return };
    let version = http.version();
    let names = version.0.offered();
    let fits = list.iter().any(|one| names.contains(&one.as_bytes()));
    if fits || tls.alpn.has_refused() || !(for_requests || http.version.is_some()) {
        return;
    }
    let wanted = match version.0 {
        HttpVersion::Http1 => "`http/1.1`",
        HttpVersion::Http2 => "`h2`",
        HttpVersion::Auto => "`h2` or `http/1.1`",
    };
    let message = format!("requests need {wanted} in this list: `http.version` is `{}`", version.0.word());
    report.error_at_key(place, message).hint("leave `alpn` out: requests offer what `http.version` says");
}

fn bounded_load(report: &mut Report<'_>, pool: &schema::Pool) -> Option<u32> {
    let (Percent(percent), place) = (*pool.bounded_load.get()?, pool.bounded_load.place()?);
    if percent < 100 {
        report
            .error(
                place,
                "a backend must be able to take at least the average: `bounded_load` is at least 100%",
            )
            .hint("such as 125%");
    }
    // If the policy was refused, it may have been one of these.
    let known = pool.balance.is_some() || !pool.balance.is_written();
    let by_field = pool.sticky.get().is_some_and(|sticky| sticky.header.is_written());
    if known && !by_field && !pool.balance().0.is_keyed() {
        let message = "`bounded_load` needs `balance: source_ip`, `balance: sni`, or `sticky: {header: …}`";
        report.error_at_key(place, message);
    }
    Some(percent)
}

fn passive_check(report: &mut Report<'_>, pool: &schema::Pool) -> Option<PassiveCheck> {
    let written = pool.passive_check()?;
    let failures = written.failures();
    if let Some(place) = written.failures.place() {
        if failures == 0 {
            let hint = "passive_check: null turns it off";
            report.error(place, "`failures` is at least 1").hint(hint);
        }
        if failures > MOST_FAILURES {
            report.error(place, format!("`failures` is at most {MOST_FAILURES}"));
        }
    }
    Some(PassiveCheck {
        failures,
        window: deadline(report, &written.window, written.window()),
        eject: deadline(report, &written.eject, written.eject()),
        max_ejected: part_of_all(report, &written.max_ejected, written.max_ejected()),
    })
}

/// A percentage of the pool.
fn part_of_all(report: &mut Report<'_>, key: &Key<Percent>, share: Percent) -> u32 {
    if let Some(place) = key.place()
        && share.0 > 100
    {
        report
            .error(place, format!("`{share}` is more than all of the pool"))
            .hint("a share from 0% to 100%");
    }
    share.0
}

/// Descriptors that a worker keeps for each backend, at most.
const MOST_IDLE: u32 = 10_000;

/// Failures that a pool counts for each backend, at most.
const MOST_FAILURES: u32 = 10_000;

//! How a pool serves: its policy, what real traffic says of its backends, and how they come and go.

use weir_pool::{Balance, HealthCheck, HelloReplay, OnUnhealthy, PassiveCheck, Settings};

use super::deadline::refuse_zero;
use crate::defaults;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema;
use crate::units::Percent;

/// Drafts a pool's settings.
pub(super) fn draft(
    report: &mut Report<'_>,
    place: &Place<'_>,
    pool: &schema::Pool,
    health_check: HealthCheck,
    verifies: bool,
) -> Settings {
    let balance = pool.balance.unwrap_or(defaults::BALANCE);
    let panic_threshold = pool.panic_threshold.unwrap_or(defaults::PANIC_THRESHOLD);
    refuse_more_than_all(report, &place.key("panic_threshold"), panic_threshold);
    Settings {
        balance: match balance {
            schema::Balance::RoundRobin => Balance::RoundRobin,
            schema::Balance::LeastConnections => Balance::LeastConnections,
            schema::Balance::RandomTwo => Balance::RandomTwo,
            schema::Balance::SourceIp => Balance::SourceIp,
            schema::Balance::Sni => Balance::Sni,
        },
        bounded_load: bounded_load(report, place, pool, balance),
        retries: usize::try_from(pool.retries.unwrap_or(defaults::RETRIES)).unwrap_or(usize::MAX),
        hello_replay: match pool.hello_replay.unwrap_or(defaults::HELLO_REPLAY) {
            schema::HelloReplay::Always => HelloReplay::OnAnyEnd,
            schema::HelloReplay::ResetOnly => HelloReplay::OnReset,
            schema::HelloReplay::Never => HelloReplay::Never,
        },
        health_check,
        passive_check: passive_check(report, &place.key("passive_check"), pool),
        on_unhealthy: match pool.on_unhealthy.unwrap_or(defaults::ON_UNHEALTHY) {
            schema::OnUnhealthy::Keep => OnUnhealthy::Keep,
            schema::OnUnhealthy::Close => OnUnhealthy::Close,
        },
        slow_start: pool.slow_start.unwrap_or(defaults::SLOW_START).0,
        panic_threshold: panic_threshold.0,
        drain_timeout: pool.drain_timeout.unwrap_or(defaults::POOL_DRAIN_TIMEOUT).0,
        verifies,
    }
}

fn bounded_load(
    report: &mut Report<'_>,
    pool_place: &Place<'_>,
    pool: &schema::Pool,
    balance: schema::Balance,
) -> Option<u32> {
    let Percent(percent) = pool.bounded_load?;
    let place = &pool_place.key("bounded_load");
    if percent < 100 {
        report
            .error(
                place,
                "a backend must be able to take at least the average: `bounded_load` is at least 100%",
            )
            .hint("such as 125%");
    }
    // A policy that was refused may be one of them.
    let known = pool.balance.is_some() || !report.mentions(&pool_place.key("balance"));
    if known && !matches!(balance, schema::Balance::SourceIp | schema::Balance::Sni) {
        report.error_at_key(place, "`bounded_load` needs `balance: source_ip` or `balance: sni`");
    }
    Some(percent)
}

fn passive_check(report: &mut Report<'_>, place: &Place<'_>, pool: &schema::Pool) -> Option<PassiveCheck> {
    let written = match &pool.passive_check {
        Some(None) => return None,
        Some(Some(written)) => written.clone(),
        None => schema::PassiveCheck::default(),
    };
    let failures = written.failures.unwrap_or(defaults::PASSIVE_FAILURES);
    if failures == 0 {
        let hint = "passive_check: null turns it off";
        report.error(&place.key("failures"), "`failures` is at least 1").hint(hint);
    }
    let (most, key) = (10_000, place.key("failures"));
    if failures > most {
        report.error(&key, format!("`failures` is at most {most}"));
    }
    let window = written.window.unwrap_or(defaults::PASSIVE_WINDOW);
    let eject = written.eject.unwrap_or(defaults::PASSIVE_EJECT);
    refuse_zero(report, &place.key("window"), window);
    refuse_zero(report, &place.key("eject"), eject);
    let max_ejected = written.max_ejected.unwrap_or(defaults::PASSIVE_MAX_EJECTED);
    refuse_more_than_all(report, &place.key("max_ejected"), max_ejected);
    Some(PassiveCheck { failures, window: window.0, eject: eject.0, max_ejected: max_ejected.0 })
}

fn refuse_more_than_all(report: &mut Report<'_>, place: &Place<'_>, share: Percent) {
    if share.0 > 100 {
        report
            .error(place, format!("`{share}` is more than all of the pool"))
            .hint("a share from 0% to 100%");
    }
}

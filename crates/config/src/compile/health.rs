//! Health checks of a pool: which questions, with which answers, how often.

use std::ops::RangeInclusive;

use weir_pool::{CheckKind, HealthCheck};
use weir_tls::BackendTls;

use super::compiler::{Compiler, Refusal, accept};
use super::deadline::refuse_zero;
use super::{misspelt, routes};
use crate::defaults;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema::{self, HealthType};

/// Drafts a pool's health check. `tls` is how the pool speaks TLS to its backends, if it does.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    pool: &schema::Pool,
    tls: Option<&BackendTls>,
) -> HealthCheck {
    let report = &mut compiler.report;
    let written = pool.health_check.clone().unwrap_or_default();
    let kind = written.kind.unwrap_or(defaults::HEALTH_TYPE);
    // The settings below may belong to the refused type.
    if written.kind.is_some() || !report.mentions(&place.key("type")) {
        refuse_strays(report, place, &written, kind, pool.tls.is_some());
    }
    if written.port == Some(0) {
        report.error(&place.key("port"), "port 0 is not a port to connect to");
    }
    for (key, count) in [("rise", written.rise), ("fall", written.fall)] {
        if count == Some(0) {
            report.error(&place.key(key), format!("`{key}` is at least 1"));
        }
    }
    let interval = written.interval.unwrap_or(defaults::HEALTH_INTERVAL);
    let timeout = written.timeout.unwrap_or(defaults::HEALTH_TIMEOUT);
    refuse_zero(report, &place.key("interval"), interval);
    refuse_zero(report, &place.key("timeout"), timeout);
    if let Some(name) = &written.server_name {
        accept(report, &place.key("server_name"), check_server_name(name));
    }
    HealthCheck {
        kind: check_kind(report, place, &written, kind, tls),
        port: written.port,
        interval: interval.0,
        timeout: timeout.0,
        rise: written.rise.unwrap_or(defaults::HEALTH_RISE),
        fall: written.fall.unwrap_or(defaults::HEALTH_FALL),
    }
}

fn check_kind(
    report: &mut Report<'_>,
    place: &Place<'_>,
    written: &schema::HealthCheck,
    kind: HealthType,
    tls: Option<&BackendTls>,
) -> CheckKind {
    let server_name = written.server_name.clone();
    match kind {
        HealthType::None => CheckKind::None,
        HealthType::Tcp => CheckKind::Tcp,
        HealthType::Tls => {
            // A pool that weir sends no TLS to still shows whether its backends speak it.
            let probe = tls.map_or_else(|| BackendTls::unjudged().probe(), BackendTls::probe);
            CheckKind::Tls { server_name, probe }
        }
        HealthType::Http => {
            let path = written.path.as_deref().unwrap_or(defaults::HEALTH_PATH);
            accept(report, &place.key("path"), check_path(path));
            if let Some(host) = &written.host {
                accept(report, &place.key("host"), check_host(host));
            }
            let status = written.status.as_ref().map_or(defaults::HEALTH_STATUS, |status| status.0.as_str());
            let status = accept(report, &place.key("status"), statuses(status)).unwrap_or_default();
            let probe = tls.map(BackendTls::probe);
            CheckKind::Http { path: path.to_owned(), host: written.host.clone(), status, server_name, probe }
        }
    }
}

/// Keys that the check's type does not read would be silently ignored.
fn refuse_strays(
    report: &mut Report<'_>,
    place: &Place<'_>,
    written: &schema::HealthCheck,
    kind: HealthType,
    tls_pool: bool,
) {
    let http_keys = [
        ("path", written.path.is_some()),
        ("host", written.host.is_some()),
        ("status", written.status.is_some()),
    ];
    for (key, present) in http_keys {
        if present && kind != HealthType::Http {
            report.error_at_key(&place.key(key), format!("`{key}` needs `type: http`"));
        }
    }
    let speaks_tls = kind == HealthType::Tls || (kind == HealthType::Http && tls_pool);
    if written.server_name.is_some() && !speaks_tls {
        let message = "`server_name` needs `type: tls`, or `type: http` in a pool with `tls`";
        report.error_at_key(&place.key("server_name"), message);
    }
}

fn check_path(path: &str) -> Result<(), Refusal> {
    if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let message = format!("`{}` is not a path to ask for", path.escape_debug());
    Err(Refusal::new(message).hint("it begins with / and has neither spaces nor control characters"))
}

fn check_host(host: &str) -> Result<(), Refusal> {
    if !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Refusal::new(format!("`{}` is not a host", host.escape_debug())).hint("such as example.com"))
}

/// A DNS name that a backend is asked for.
fn check_server_name(name: &str) -> Result<(), Refusal> {
    routes::exact_name(name).map(|_| ()).map_err(|refusal| refusal.hint("such as backend.internal"))
}

/// Reads `200`, `200-399`, `200-299,404`.
fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, Refusal> {
    let code = |text: &str| text.trim().parse().ok().filter(|code| STATUS_CODES.contains(code));
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (code(first)?, code(last)?);
        (first <= last).then_some(first..=last)
    };
    text.split(',').map(range).collect::<Option<Vec<_>>>().ok_or_else(|| {
        let message = format!("`{}` is not a range of status codes", text.escape_debug());
        let written = misspelt::statuses(text, &|text| statuses(text).is_ok());
        Refusal::new(message)
            .hint(written.unwrap_or_else(|| "such as 200, 200-399 or 200-299,404".to_owned()))
    })
}

/// RFC 9110 §15.
const STATUS_CODES: RangeInclusive<u16> = 100..=599;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_and_ranges() {
        assert_eq!(statuses("200").unwrap(), [200..=200]);
        assert_eq!(statuses("200-399").unwrap(), [200..=399]);
        assert_eq!(statuses("200-299, 404").unwrap(), [200..=299, 404..=404]);
        for bad in ["", "2xx", "399-200", "99", "600", "200-", "-1"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_and_hosts_cannot_carry_a_second_request() {
        assert!(check_path("/healthz?deep=1").is_ok());
        for bad in ["", "healthz", "/a b", "/a\r\nX: y", "/ü"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        assert!(
            check_host("example.com:80").is_ok() && check_host("a\r\nb").is_err() && check_host("").is_err()
        );
    }
}

//! Health checks of a pool: type, expected answers, intervals.

use std::ops::RangeInclusive;

use weir_pool::{CheckKind, HealthCheck, HttpVersion, SendProxyProtocol};
use weir_tls::{BackendTls, Sessions};

use super::compiler::{Compiler, Refusal, accept};
use super::deadline::deadline;
use super::dns_name::exact_name;
use super::misspelt;
use crate::diagnostics::Report;
use crate::key::ROOT;
use crate::schema::{self, HealthType};

/// Drafts a pool's health check. `tls` holds the pool's TLS settings towards its backends, if it has any.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    pool: &schema::Pool,
    tls: Option<&BackendTls>,
    version: HttpVersion,
) -> HealthCheck {
    let (report, sessions) = (&mut compiler.report, compiler.sessions);
    let written = pool.health_check();
    let kind = written.kind().0;
    // If the type was refused, the settings below may belong to it.
    if written.kind.is_some() || !written.kind.is_written() {
        refuse_strays(report, &written, kind, pool.tls.is_some());
    }
    if let (Some(0), Some(place)) = (written.port.get(), written.port.place()) {
        report.error(place, "port 0 is not a port to connect to");
    }
    for (name, key) in [("rise", &written.rise), ("fall", &written.fall)] {
        if let (Some(0), Some(place)) = (key.get(), key.place()) {
            report.error(place, format!("`{name}` is at least 1"));
        }
    }
    let interval = deadline(report, &written.interval, written.interval());
    let timeout = deadline(report, &written.timeout, written.timeout());
    if let (Some(name), Some(place)) = (written.server_name.get(), written.server_name.place()) {
        accept(report, place, check_server_name(name));
    }
    HealthCheck {
        kind: check_kind(report, &written, kind, version, (tls, sessions)),
        port: written.port.get().copied(),
        interval,
        timeout,
        rise: written.rise(),
        fall: written.fall(),
        // Another port is another service.
        proxy_protocol: match written.port.get() {
            None => pool.send_proxy_protocol().0,
            Some(_) => SendProxyProtocol::Off,
        },
    }
}

fn check_kind(
    report: &mut Report<'_>,
    written: &schema::HealthCheck,
    kind: HealthType,
    version: HttpVersion,
    (tls, sessions): (Option<&BackendTls>, &Sessions),
) -> CheckKind {
    let server_name = written.server_name.get().cloned();
    match kind {
        HealthType::None => CheckKind::None,
        HealthType::Tcp => CheckKind::Tcp,
        HealthType::Tls => {
            // A check can use TLS even if the pool itself sends none; it then only shows whether the backends
            // speak TLS.
            let of_checks = || BackendTls::unverified().keeping(sessions).probe();
            let probe = tls.map_or_else(of_checks, BackendTls::probe);
            CheckKind::Tls { server_name, probe }
        }
        HealthType::Http => {
            let path = written.path();
            if let Some(place) = written.path.place() {
                accept(report, place, check_path(&path));
            }
            let host = host(report, written);
            let status = statuses(&written.status().0);
            let status = accept(report, written.status.place().unwrap_or(ROOT), status).unwrap_or_default();
            let probe = tls.map(BackendTls::probe);
            CheckKind::Http { path, host, status, server_name, probe, version }
        }
        HealthType::Grpc => {
            let (host, probe) = (host(report, written), tls.map(BackendTls::probe));
            CheckKind::Grpc { host, server_name, probe }
        }
    }
}

fn host(report: &mut Report<'_>, written: &schema::HealthCheck) -> Option<String> {
    let (host, place) = (written.host.get()?, written.host.place()?);
    accept(report, place, check_host(host));
    Some(host.clone())
}

/// Refuses keys that the check's type does not read, because they would be silently ignored.
fn refuse_strays(report: &mut Report<'_>, written: &schema::HealthCheck, kind: HealthType, tls_pool: bool) {
    let keys = [
        ("path", written.path.get().and(written.path.place()), false),
        ("host", written.host.get().and(written.host.place()), true),
        ("status", written.status.get().and(written.status.place()), false),
    ];
    for (name, place, of_grpc) in keys {
        let used = kind == HealthType::Http || kind == HealthType::Grpc && of_grpc;
        if let Some(place) = place.filter(|_| !used) {
            report.error_at_key(place, format!("`{name}` needs `type: http`"));
        }
    }
    let asks = matches!(kind, HealthType::Http | HealthType::Grpc);
    let speaks_tls = kind == HealthType::Tls || (asks && tls_pool);
    if let (Some(_), Some(place)) = (written.server_name.get(), written.server_name.place())
        && !speaks_tls
    {
        let message = "`server_name` needs `type: tls`, or `type: http` or `type: grpc` in a pool with `tls`";
        report.error_at_key(place, message);
    }
}

fn check_path(path: &str) -> Result<(), Refusal> {
    if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let message = format!("`{}` is not a request path", path.escape_debug());
    Err(Refusal::new(message).hint("it begins with / and has neither spaces nor control characters"))
}

fn check_host(host: &str) -> Result<(), Refusal> {
    if !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Refusal::new(format!("`{}` is not a host", host.escape_debug())).hint("such as example.com"))
}

/// Checks the DNS name that is sent to a backend as SNI.
fn check_server_name(name: &str) -> Result<(), Refusal> {
    exact_name(name).map(|_| ()).map_err(|refusal| refusal.hint("such as backend.internal"))
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

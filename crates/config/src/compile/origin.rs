//! Where connections to the backends of a pool come from: `source` and `transparent`.

use std::net::SocketAddr;

use weir_pool::source::Source;
use weir_pool::{BackendSpec, Origin};

use super::compiler::accept;
use super::{address, machine};
use crate::diagnostics::Report;
use crate::schema;

/// Drafts the origin of connections to these backends.
pub(super) fn draft(report: &mut Report<'_>, pool: &schema::Pool, backends: &[BackendSpec]) -> Origin {
    if let Some(place) = pool.transparent.place().filter(|_| pool.transparent()) {
        if !pool.source().is_empty() {
            let message = "`transparent` and `source` exclude each other";
            report
                .error_at_key(place, message)
                .hint("connections come from the client, or from these addresses");
        }
        if let Some(why) = machine::refuses_transparent() {
            report.warning(place, format!("this process cannot connect from clients' addresses: {why}"));
        }
        return Origin::Client;
    }
    let errors = report.errors();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for (place, text) in pool.source.texts() {
        let Some(address) = accept(report, place, address::source(text)) else { continue };
        if let Some(why) = machine::absent(address) {
            report.warning(place, format!("this machine cannot connect from `{text}`: {why}"));
        }
        if addresses.contains(&address) {
            report.error(place, format!("`{text}` is there twice"));
        }
        addresses.push(address);
    }
    let origin: Origin = addresses.into_iter().collect();
    if report.errors() == errors {
        check_families(report, pool, backends, &origin);
    }
    origin
}

/// A list of addresses that serves none of the backends is an error; for some of them, worth a warning.
fn check_families(report: &mut Report<'_>, pool: &schema::Pool, backends: &[BackendSpec], origin: &Origin) {
    let Some(place) = pool.source.place() else { return };
    let fixed = |spec: &BackendSpec| match &spec.source {
        Source::Static(address) => address.endpoint().tcp(),
        Source::Dns { .. } | Source::Srv { .. } => None,
    };
    let (reached, others): (Vec<_>, Vec<_>) =
        backends.iter().filter_map(fixed).partition(|address| origin.reaches(address.ip()));
    let Some(other) = others.first() else { return };
    let family = if other.is_ipv4() { "IPv4" } else { "IPv6" };
    let all_are_fixed = backends.iter().all(|spec| fixed(spec).is_some());
    if reached.is_empty() && all_are_fixed {
        let message = format!("`source` has no {family} address, and every backend has one");
        report.error_at_key(place, message).hint("an address is used for backends of its family alone");
    } else {
        let message =
            format!("`source` has no {family} address: connections to `{other}` come from any address");
        report.warning(place, message);
    }
}

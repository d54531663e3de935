//! The plain words before TLS: `starttls` of a listener.

use weir_core::starttls::StartTls;

use super::compiler::Compiler;
use super::http;
use super::known::Known;
use super::pools::PoolDraft;
use crate::key::Item;
use crate::schema::{self, NonTls};

/// Drafts the protocol of the plain words; `None` = TLS begins at once.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    listener: &Item<schema::Listener>,
    known: &Known<'_, '_>,
) -> Option<StartTls> {
    let place = listener.starttls.place()?;
    let report = &mut compiler.report;
    let protocol = match listener.starttls().0 {
        schema::StartTls::Off => return None,
        schema::StartTls::Postgres => StartTls::Postgres,
        schema::StartTls::Smtp => StartTls::Smtp,
        schema::StartTls::Imap => StartTls::Imap,
        schema::StartTls::Ldap => StartTls::Ldap,
    };
    if !listener.peek() {
        report.error_at_key(place, "`starttls` needs the hello, and `peek: false` reads nothing");
    }
    if http::speaks(listener) {
        report
            .error_at_key(place, "`protocol: http` has no plain words before TLS")
            .hint("leave `starttls` out");
    }
    if listener.non_tls().0 == NonTls::Allow {
        let message =
            "`non_tls: allow` cannot be together with `starttls`: weir itself answers the plain words";
        report.error_at_key(place, message);
    }
    let routed = listener.routes.items().iter().filter_map(|route| route.pool.get());
    for name in routed.chain(listener.default_pool.get()) {
        if known.pools.get(name).is_some_and(PoolDraft::is_checked_by_tls) {
            let message = format!("the pool `{name}` is checked by TLS without the plain words before it");
            report.error_at_key(place, message).hint("health_check: {type: tcp} in that pool");
            break;
        }
    }
    Some(protocol)
}

//! What works, and not as most people would think: protocols that a listener leaves to its clients and backends. All of
//! it is advice for the author of the file: `weir check`, `weir plan` and the answer to a reload warn, the log of a start does not.

use super::compiler::Compiler;
use super::known::Known;
use super::pools::PoolDraft;
use crate::defaults;
use crate::place::Place;
use crate::schema::{self, Mode, NonTls};

/// Warns of what a listener's protocols may come to.
pub(super) fn warn(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    listener: &schema::Listener,
    known: &Known<'_, '_>,
) {
    warn_of_waiting(compiler, place, listener, known);
    warn_of_h2(compiler, place, listener, known);
}

/// Where a server speaks first (SMTP, MySQL), its client says nothing, and `peek` waits for a hello until its deadline.
/// Where names or protocols are asked for, or checks speak TLS, clients do too; and `non_tls: refuse` says so.
fn warn_of_waiting(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    listener: &schema::Listener,
    known: &Known<'_, '_>,
) {
    let peeks = listener.peek.unwrap_or(defaults::PEEK);
    if listener.mode != Some(Mode::Passthrough) || !peeks || listener.non_tls == Some(NonTls::Refuse) {
        return;
    }
    let asks = |route: &schema::Route| {
        let conditions = route.matches.as_ref();
        conditions.is_some_and(|conditions| conditions.sni.is_some() || conditions.alpn.is_some())
            || route.mode.is_some_and(|mode| mode != Mode::Passthrough)
    };
    let pools = listener.routes.iter().filter_map(|route| route.pool.as_ref()).chain(&listener.default_pool);
    let mut pools = pools.filter_map(|name| known.pools.get(name));
    if !listener.routes.iter().any(asks) && !pools.any(PoolDraft::is_for_tls) {
        let message = "every connection waits for a ClientHello here, and nothing asks for what is in it";
        compiler.report.warning(&place.key("mode"), message).as_advice().hint(
            "`non_tls: refuse` says that clients speak TLS; where they do not, or the server speaks first: `peek: false`",
        );
    }
}

/// Offload passes on what clients say: HTTP/2 without TLS, once they have agreed on it, to backends that most often
/// speak HTTP/1.1 alone. A route for `h2` knows.
fn warn_of_h2(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    listener: &schema::Listener,
    known: &Known<'_, '_>,
) {
    let for_h2 = |route: &schema::Route| {
        let conditions = route.matches.as_ref();
        conditions
            .and_then(|conditions| conditions.alpn.as_ref())
            .is_some_and(|alpn| alpn.0.iter().any(|p| p == H2))
    };
    if listener.routes.iter().any(for_h2) {
        return;
    }
    let offers = |choice: Option<&schema::TlsChoice>| match choice {
        Some(schema::TlsChoice::Inline(profile)) => offers_h2(profile),
        Some(schema::TlsChoice::Named(name)) => {
            let profile =
                known.profiles.names.number(name).and_then(|number| known.profiles.list.get(number));
            profile.is_some_and(|profile| profile.offers_h2)
        }
        None => false,
    };
    let list = place.key("routes");
    let routes = listener.routes.iter().enumerate().find_map(|(index, route)| {
        let offload = route.mode.or(listener.mode) == Some(Mode::Offload);
        (offload && offers(route.tls.as_ref().or(listener.tls.as_ref())))
            .then_some((index, route.pool.as_ref()))
    });
    let default = || {
        let offload = listener.mode == Some(Mode::Offload) && offers(listener.tls.as_ref());
        listener.default_pool.as_ref().filter(|_| offload)
    };
    let warn = |compiler: &mut Compiler<'_>, place: &Place<'_>, pool: &str| {
        let message = format!(
            "clients that agree on `h2` speak HTTP/2 to the pool `{pool}`, as it comes out of their TLS"
        );
        compiler.report
            .warning(place, message)
            .as_advice()
            .hint("leave h2 out of the profile's `alpn`, unless these backends speak HTTP/2 without TLS; then a route with match: {alpn: h2} says so");
    };
    if let Some((index, Some(pool))) = routes {
        let element = list.index(index);
        warn(compiler, &element.key("pool"), pool);
    } else if let Some(pool) = default() {
        warn(compiler, &place.key("default_pool"), pool);
    }
}

/// Does a profile offer HTTP/2?
pub(super) fn offers_h2(profile: &schema::Profile) -> bool {
    profile.alpn.iter().flatten().any(|protocol| protocol == H2)
}

/// RFC 9113 §3.2.
const H2: &str = "h2";

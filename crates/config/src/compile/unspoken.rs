//! Settings that work, but not as most people expect: protocols that a listener leaves to its clients and
//! backends. All of these are advice for the author of the file: `weir check`, `weir plan` and the answer to
//! a reload show them, the log of a start does not.

use std::collections::{BTreeMap, BTreeSet};

use super::compiler::Compiler;
use super::http;
use super::known::Known;
use super::modes::RouteDraft;
use super::pools::PoolDraft;
use super::profiles::{H2, offers_h2};
use weir_core::plan::{Mode, ModeName};
use weir_core::route::{CHALLENGE, Match};
use weir_tls::ClientAuthMode;

use crate::key::{Item, Key, PlaceId};
use crate::schema::{self, NonTls};
use crate::word::Word;

/// Warns about side effects of a listener's protocols.
pub(super) fn warn(compiler: &mut Compiler<'_>, listener: &Item<schema::Listener>, known: &Known<'_, '_>) {
    warn_of_waiting(compiler, listener, known);
    warn_of_h2(compiler, listener, known);
    warn_of_ended_challenges(compiler, listener);
}

/// A challenge (RFC 8737) is answered with a certificate made for it, which only its responder has: weir must not
/// end TLS in front of that.
fn warn_of_ended_challenges(compiler: &mut Compiler<'_>, listener: &Item<schema::Listener>) {
    for route in listener.routes.items() {
        let mode = route.mode.get().or(listener.mode.get());
        let Some(alpn) = route.matches.get().and_then(|conditions| conditions.alpn.get()) else { continue };
        if alpn.iter().any(|protocol| protocol.as_bytes() == CHALLENGE)
            && let Some(Word(mode @ (ModeName::Offload | ModeName::Bridging))) = mode
        {
            let message = format!(
                "mode {} answers challenges for `acme-tls/1` with weir's own certificate, and they fail",
                mode.label()
            );
            compiler
                .report
                .warning(route.mode.or(route, "match"), message)
                .hint("`mode: passthrough` in this route lets the responder of the pool answer");
        }
    }
}

/// If a server speaks first (SMTP, MySQL), its client stays silent, and `peek` waits for a hello until the
/// deadline. No warning if a route asks for names or protocols, if checks speak TLS, or with `non_tls:
/// refuse`: clients then speak TLS.
fn warn_of_waiting(compiler: &mut Compiler<'_>, listener: &Item<schema::Listener>, known: &Known<'_, '_>) {
    let passthrough = listener.mode.get() == Some(&Word(ModeName::Passthrough));
    let refuses = listener.non_tls.get() == Some(&Word(NonTls::Refuse));
    let Some(place) = listener.mode.place().filter(|_| passthrough && listener.peek() && !refuses) else {
        return;
    };
    let routes = listener.routes.items();
    let asks = |route: &Item<schema::Route>| {
        let conditions = route.matches.get();
        conditions.is_some_and(|conditions| conditions.sni.is_some() || conditions.alpn.is_some())
            || route.mode.get().is_some_and(|mode| mode.0 != ModeName::Passthrough)
    };
    let pools = routes.iter().filter_map(|route| route.pool.get()).chain(listener.default_pool.get());
    let mut pools = pools.filter_map(|name| known.pools.get(name));
    if !routes.iter().any(asks) && !pools.any(PoolDraft::is_for_tls) {
        let message = "every connection waits for a ClientHello here, and nothing uses its content";
        compiler.report.warning(place, message).as_advice().hint(
            "`non_tls: refuse` says that clients speak TLS; where they do not, or the server speaks first: `peek: false`",
        );
    }
}

/// Offload passes on the clients' protocol: once they have agreed on HTTP/2, the backends get it without TLS,
/// and most backends speak only HTTP/1.1. A route for `h2` shows that this is intended.
fn warn_of_h2(compiler: &mut Compiler<'_>, listener: &Item<schema::Listener>, known: &Known<'_, '_>) {
    if http::speaks(listener) {
        return;
    }
    let routes = listener.routes.items();
    let for_h2 = |route: &Item<schema::Route>| {
        let conditions = route.matches.get();
        conditions
            .and_then(|conditions| conditions.alpn.get())
            .is_some_and(|alpn| alpn.iter().any(|p| p == H2))
    };
    if routes.iter().any(for_h2) {
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
    let offload = |mode: Option<&Word<ModeName>>| mode == Some(&Word(ModeName::Offload));
    let route = routes.iter().find(|route| {
        offload(route.mode.get().or(listener.mode.get())) && offers(route.tls.get().or(listener.tls.get()))
    });
    let default = offload(listener.mode.get()) && offers(listener.tls.get());
    let mut warn = |place: PlaceId, pool: &str| {
        let message = format!("clients that agree on `h2` speak HTTP/2 to the pool `{pool}`, without TLS");
        compiler.report
            .warning(place, message)
            .as_advice()
            .hint("leave h2 out of the profile's `alpn`, unless these backends speak HTTP/2 without TLS; then a route with match: {alpn: h2} says so");
    };
    let named = |key: &Key<String>| key.get().cloned().zip(key.place());
    if let Some((pool, place)) = route.and_then(|route| named(&route.pool)) {
        warn(place, &pool);
    } else if let Some((pool, place)) = named(&listener.default_pool).filter(|_| default) {
        warn(place, &pool);
    }
}

/// A name in a hello is a claim: inside of the session a client may ask a backend for any other. So a pool that clients
/// reach under a policy by one name, and without it by another, is reached without. Where weir sees requests, it
/// answers 421 instead.
pub(super) fn warn_of_shared_pools(
    compiler: &mut Compiler<'_>,
    listener: &Item<schema::Listener>,
    known: &Known<'_, '_>,
    routes: &[(Match, RouteDraft)],
    default: Option<&RouteDraft>,
) {
    if http::speaks(listener) {
        return;
    }
    let mut asks: BTreeMap<usize, BTreeSet<bool>> = BTreeMap::new();
    for draft in routes.iter().map(|(_, draft)| draft).chain(default) {
        let (Mode::Offload(tls) | Mode::Bridging(tls)) = &draft.mode else { continue };
        let Some(pool) = draft.pool else { continue };
        let required = tls.profile.client_auth().is_some_and(|auth| auth.mode() == ClientAuthMode::Required);
        asks.entry(pool).or_default().insert(required);
    }
    let mut warn = |pool: usize, what: &str, hint: &str| {
        let Some(pool) = known.pools.list.get(pool) else { return };
        let message = format!("clients reach the pool `{}` {what}", pool.name);
        compiler.report.warning(listener.routes.or(listener, "routes"), message).as_advice().hint(hint);
    };
    for (pool, _) in asks.iter().filter(|(_, answers)| answers.len() > 1) {
        let what = "with a certificate by one route of this listener, and without by another";
        let hint = "inside of its session a client may ask for any name: give routes with different `client_auth` pools of their own";
        warn(*pool, what, hint);
    }
    for pool in pools_around_a_source(routes, default) {
        let what = "by a route for some networks, and from elsewhere by a route for another name";
        let hint = "inside of its session a client may ask for any name: give routes with `source` pools of their own, or use `protocol: http`, which answers 421";
        warn(pool, what, hint);
    }
}

/// The pools that clients reach by a name from some networks alone, and by another name from anywhere. Passthrough leaves
/// the name in the session to its backends, which see both.
fn pools_around_a_source(routes: &[(Match, RouteDraft)], default: Option<&RouteDraft>) -> BTreeSet<usize> {
    let decrypts = |draft: &RouteDraft| !matches!(draft.mode, Mode::Passthrough);
    let routes = || routes.iter().filter(|(_, draft)| decrypts(draft));
    let mut guarded: BTreeMap<usize, &Match> = BTreeMap::new();
    for (conditions, draft) in routes().filter(|(one, _)| !one.source.is_empty() && !one.names.is_empty()) {
        if let Some(pool) = draft.pool {
            guarded.entry(pool).or_insert(conditions);
        }
    }
    let open = routes().filter(|(one, _)| one.source.is_empty()).map(|(one, draft)| (Some(one), draft));
    let open = open.chain(default.filter(|draft| decrypts(draft)).map(|draft| (None, draft)));
    open.filter_map(|(conditions, draft)| {
        let named = guarded.get(&draft.pool?)?;
        let another = conditions.is_none_or(|open| open.names != named.names);
        draft.pool.filter(|_| another)
    })
    .collect()
}

//! Requirements of each mode: a TLS profile to end TLS, a pool with `tls` to begin it anew, a peeked hello
//! for either.

use weir_core::plan::{ClientTls, Mode, ModeName};

use super::compiler::Compiler;
use super::known::Known;
use super::{http, profiles};
use crate::key::{Item, Key, Spot};
use crate::schema::{self, NonTls, Protocol, TlsChoice};

/// A route without its conditions, and with its pool by index.
pub(super) struct RouteDraft {
    /// Its place in the file, from 1; 0 if it has none.
    pub(super) number: usize,
    pub(super) mode: Mode,
    /// `None` if weir answers its requests by itself.
    pub(super) pool: Option<usize>,
}

/// A `tls` key.
#[derive(Clone)]
pub(super) enum Tls {
    Absent,
    /// It is there, and its error is reported.
    Refused,
    Ready(ClientTls),
}

/// The modes that a listener and its routes use.
pub(super) struct ListenerModes<'m, 'f> {
    listener: &'m Item<schema::Listener>,
    known: &'m Known<'m, 'f>,
    tls: Tls,
    /// Something on the listener ends TLS with the listener's own profile.
    tls_used: bool,
    /// Something in the listener's own mode lacks a profile.
    tls_missed: bool,
}

impl<'m, 'f> ListenerModes<'m, 'f> {
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        listener: &'m Item<schema::Listener>,
        known: &'m Known<'m, 'f>,
    ) -> Self {
        let tls = resolve(compiler, &listener.tls, known.profiles, http::speaks(listener));
        let modes = Self { listener, known, tls, tls_used: false, tls_missed: false };
        modes.refuse_passthrough_keys(compiler);
        modes
    }

    /// Refuses the keys that belong to passthrough alone.
    fn refuse_passthrough_keys(&self, compiler: &mut Compiler<'_>) {
        let listener = self.listener;
        let elsewhere = listener.mode.get().is_some_and(|mode| mode.0 != ModeName::Passthrough);
        if let Some(place) = listener.peek.place()
            && !listener.peek()
            && elsewhere
        {
            let message = "`peek: false` needs `mode: passthrough`: TLS begins with the hello";
            compiler.report.error_at_key(place, message);
        }
        let Some(place) = listener.non_tls.place().filter(|_| listener.non_tls().0 == NonTls::Allow) else {
            return;
        };
        if elsewhere {
            compiler.report.error_at_key(place, "`non_tls: allow` needs `mode: passthrough`");
        } else if !listener.default_pool.is_written() {
            let message = "`non_tls: allow` needs a `default_pool`, which gets such connections";
            compiler.report.error_at_key(place, message);
        }
    }

    /// Drafts the route of `default_pool`.
    pub(super) fn default(&mut self, compiler: &mut Compiler<'_>) -> Option<RouteDraft> {
        let key = &self.listener.default_pool;
        let (pool, place) = (key.get()?, key.place()?);
        let pool = self.known.pools.names.find(&mut compiler.report, place, pool);
        let mode = self.listener.mode.get()?.0;
        let tls = self.own_tls(mode);
        let mode = self.mode(mode, tls);
        self.draft(compiler, place.into(), Some(pool?), mode)
    }

    /// Drafts the route of connections that carry requests and match no other, if there is no `default_pool`: which
    /// requests match is seen later.
    pub(super) fn entry(&mut self) -> Option<RouteDraft> {
        let mode = self.listener.mode.get()?.0;
        let tls = self.own_tls(mode);
        let (_, built) = self.mode(mode, tls);
        Some(RouteDraft { number: 0, mode: built?, pool: None })
    }

    /// Finds the pool of a route that only requests go by. They come over connections in the listener's mode.
    pub(super) fn pool_of_requests(
        &mut self,
        compiler: &mut Compiler<'_>,
        route: &Item<schema::Route>,
    ) -> Option<usize> {
        let key = route.pool.or(route, "pool");
        let pool = self.known.pools.names.find(&mut compiler.report, key, route.pool.get()?)?;
        let mode = self.listener.mode.get()?.0;
        self.check_pool(compiler, key, pool, mode);
        Some(pool)
    }

    /// The listener's profile.
    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Drafts a route's target.
    pub(super) fn route(
        &mut self,
        compiler: &mut Compiler<'_>,
        route: &Item<schema::Route>,
    ) -> Option<RouteDraft> {
        let key = route.pool.or(route, "pool");
        let answers = route.redirect.is_written() || route.respond.is_written();
        let pool = match route.pool.get() {
            Some(pool) => self.known.pools.names.find(&mut compiler.report, key, pool).map(Some),
            // A listener without requests has refused these keys.
            None if answers => Some(None),
            None => {
                if route.is_whole() {
                    compiler.report.error(route, "this route has no `pool`").hint("pool: the name of a pool");
                }
                None
            }
        };
        let tls = resolve(compiler, &route.tls, self.known.profiles, http::speaks(self.listener));
        let own_mode = route.mode.get().map(|mode| mode.0);
        let mode = own_mode.or(self.listener.mode.get().map(|mode| mode.0))?;
        let terminates = mode != ModeName::Passthrough;
        let mode_spot = route.mode.or(route, "mode");
        if terminates && !self.listener.peek() && own_mode.is_some() {
            compiler.report.error(mode_spot, "`peek: false` on the listener allows passthrough alone");
        }
        if let (Some(_), Some(place)) = (route.tls.get(), route.tls.place())
            && !terminates
        {
            compiler.report.warning(place, "`tls` is not used here: the route's mode is passthrough");
        }
        let tls = match (tls, own_mode) {
            (Tls::Absent, None) => self.own_tls(mode),
            (Tls::Absent, Some(_)) => {
                self.tls_used |= terminates;
                if terminates && matches!(self.tls, Tls::Absent) {
                    let message = format!("mode {} needs `tls`, here or on the listener", mode.label());
                    compiler.report.error(mode_spot, message).hint("tls: the name of a TLS profile");
                }
                self.tls.clone()
            }
            (own, _) => own,
        };
        let mode = self.mode(mode, tls);
        self.draft(compiler, key, pool?, mode)
    }

    /// Reports mistakes of the listener itself, once all its routes are known.
    pub(super) fn finish(self, compiler: &mut Compiler<'_>) {
        let (Some(mode), Some(place)) = (self.listener.mode.get(), self.listener.mode.place()) else {
            return;
        };
        if self.tls_missed {
            let message = format!("mode {} needs `tls`", mode.0.label());
            compiler.report.error(place, message).hint("tls: the name of a TLS profile");
        }
        if let (Tls::Ready(_), Some(place)) = (&self.tls, self.listener.tls.place())
            && !self.tls_used
        {
            let message = "`tls` is not used: nothing on this listener ends TLS with it";
            compiler.report.warning(place, message);
        }
    }

    /// The listener's profile, used by routes in the listener's own mode.
    fn own_tls(&mut self, mode: ModeName) -> Tls {
        if mode != ModeName::Passthrough {
            self.tls_used = true;
            self.tls_missed |= matches!(self.tls, Tls::Absent);
        }
        self.tls.clone()
    }

    /// The mode is `None` if its profile is missing, which is reported elsewhere. The written mode is kept
    /// for the pool check.
    fn mode(&self, mode: ModeName, tls: Tls) -> (ModeName, Option<Mode>) {
        let built = match (mode, tls) {
            (ModeName::Passthrough, _) => Some(Mode::Passthrough),
            (ModeName::Offload, Tls::Ready(tls)) => Some(Mode::Offload(tls)),
            (ModeName::Bridging, Tls::Ready(tls)) => Some(Mode::Bridging(tls)),
            (_, Tls::Absent | Tls::Refused) => None,
        };
        (mode, built)
    }

    /// Checks that mode and pool go together. `spot` is where the pool is named.
    fn draft(
        &self,
        compiler: &mut Compiler<'_>,
        spot: Spot,
        pool: Option<usize>,
        (written, built): (ModeName, Option<Mode>),
    ) -> Option<RouteDraft> {
        if let Some(pool) = pool {
            self.check_pool(compiler, spot, pool, written);
        }
        built.map(|mode| RouteDraft { number: 0, mode, pool })
    }

    /// Checks that a pool can serve in this mode. `spot` is where the pool is named.
    fn check_pool(&self, compiler: &mut Compiler<'_>, spot: Spot, pool: usize, mode: ModeName) {
        let Some(draft) = self.known.pools.list.get(pool) else { return };
        let requests = http::speaks(self.listener) && mode != ModeName::Passthrough;
        draft.is_used_for(if requests { Protocol::Http } else { Protocol::Tcp });
        let name = draft.name;
        match (mode, draft.has_tls) {
            (ModeName::Bridging, false) => {
                let message = format!("mode bridging needs a `tls` section in the pool `{name}`");
                compiler
                    .report
                    .error(spot, message)
                    .hint("it may be empty: `tls: {}` verifies by the system's roots");
            }
            (ModeName::Offload, true) => {
                let message = format!(
                    "the pool `{name}` has a `tls` section, and mode offload would send it plaintext"
                );
                compiler.report.error(spot, message).hint("use mode bridging, or a pool without `tls`");
            }
            _ => {}
        }
    }
}

/// Builds the profile of a `tls` key, or finds it among the named ones; `for_requests` with `protocol: http`.
pub(super) fn resolve(
    compiler: &mut Compiler<'_>,
    key: &Key<TlsChoice>,
    profiles: &profiles::Drafts<'_>,
    for_requests: bool,
) -> Tls {
    let built = match (key.get(), key.place()) {
        _ if key.is_none() && key.is_written() => return Tls::Refused,
        (None, _) | (_, None) => return Tls::Absent,
        (Some(TlsChoice::Inline(profile)), Some(place)) => {
            profiles::build(compiler, place, profile, for_requests).map(|(tls, _)| tls)
        }
        (Some(TlsChoice::Named(name)), Some(place)) => {
            let found = profiles.names.find(&mut compiler.report, place, name);
            found.and_then(|index| profiles.list.get(index)).and_then(|profile| {
                profile.used.set(true);
                if for_requests { profile.for_requests(compiler) } else { profile.tls.clone() }
            })
        }
    };
    built.map_or(Tls::Refused, Tls::Ready)
}

//! What each mode needs: a TLS profile to end TLS, a pool with `tls` to begin it anew, a peeked hello to do either.

use weir_core::plan::{ClientTls, Mode};

use super::compiler::Compiler;
use super::known::Known;
use super::profiles;
use crate::place::Place;
use crate::schema::{self, NonTls, TlsChoice};

/// A route without its conditions, and with its pool by number.
pub(super) struct RouteDraft {
    pub(super) mode: Mode,
    pub(super) pool: usize,
}

/// A `tls` key.
#[derive(Clone)]
enum Tls {
    Absent,
    /// It is there, and what is wrong with it is reported.
    Refused,
    Ready(ClientTls),
}

/// The modes that a listener and its routes use.
pub(super) struct ListenerModes<'m, 'f> {
    place: &'m Place<'m>,
    listener: &'m schema::Listener,
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
        place: &'m Place<'m>,
        listener: &'m schema::Listener,
        known: &'m Known<'m, 'f>,
    ) -> Self {
        let tls = resolve(compiler, &place.key("tls"), listener.tls.as_ref(), known);
        let modes = Self { place, listener, known, tls, tls_used: false, tls_missed: false };
        modes.refuse_passthrough_keys(compiler);
        modes
    }

    /// The keys that only passthrough knows.
    fn refuse_passthrough_keys(&self, compiler: &mut Compiler<'_>) {
        let (place, listener) = (self.place, self.listener);
        let elsewhere = listener.mode.is_some_and(|mode| mode != schema::Mode::Passthrough);
        if listener.peek == Some(false) && elsewhere {
            let message = "`peek: false` needs `mode: passthrough`: TLS begins with the hello";
            compiler.report.error_at_key(&place.key("peek"), message);
        }
        if listener.non_tls != Some(NonTls::Allow) {
            return;
        }
        let key = place.key("non_tls");
        if elsewhere {
            compiler.report.error_at_key(&key, "`non_tls: allow` needs `mode: passthrough`");
        } else if listener.default_pool.is_none() && !compiler.report.mentions(&place.key("default_pool")) {
            let message = "`non_tls: allow` needs a `default_pool`: that is where such connections go";
            compiler.report.error_at_key(&key, message);
        }
    }

    /// Drafts what `default_pool` means.
    pub(super) fn default(&mut self, compiler: &mut Compiler<'_>, pool: &str) -> Option<RouteDraft> {
        let place = self.place.key("default_pool");
        let pool = self.known.pools.names.find(&mut compiler.report, &place, pool);
        let mode = self.listener.mode?;
        let tls = self.own_tls(mode);
        let mode = self.mode(mode, tls);
        self.draft(compiler, &place, pool?, mode)
    }

    /// Drafts where a route leads.
    pub(super) fn route(
        &mut self,
        compiler: &mut Compiler<'_>,
        place: &Place<'_>,
        route: &schema::Route,
    ) -> Option<RouteDraft> {
        let key = place.key("pool");
        let pool = match &route.pool {
            Some(pool) => self.known.pools.names.find(&mut compiler.report, &key, pool),
            None => {
                if compiler.report.is_whole(place) {
                    compiler.report.error(place, "this route has no `pool`").hint("pool: the name of a pool");
                }
                None
            }
        };
        let tls = resolve(compiler, &place.key("tls"), route.tls.as_ref(), self.known);
        let mode = route.mode.or(self.listener.mode)?;
        let terminates = mode != schema::Mode::Passthrough;
        if terminates && self.listener.peek == Some(false) && route.mode.is_some() {
            compiler
                .report
                .error(&place.key("mode"), "`peek: false` on the listener allows passthrough alone");
        }
        if !terminates && route.tls.is_some() {
            let message = "`tls` is not used here: the route's mode is passthrough";
            compiler.report.warning(&place.key("tls"), message);
        }
        let tls = match (tls, route.mode) {
            (Tls::Absent, None) => self.own_tls(mode),
            (Tls::Absent, Some(_)) => {
                self.tls_used |= terminates;
                if terminates && matches!(self.tls, Tls::Absent) {
                    let message = format!("mode {} needs `tls`, here or on the listener", word(mode));
                    compiler.report.error(&place.key("mode"), message).hint("tls: the name of a TLS profile");
                }
                self.tls.clone()
            }
            (own, _) => own,
        };
        let mode = self.mode(mode, tls);
        self.draft(compiler, &key, pool?, mode)
    }

    /// Says what is wrong with the listener itself, once all its routes are known.
    pub(super) fn finish(self, compiler: &mut Compiler<'_>) {
        let Some(mode) = self.listener.mode else { return };
        if self.tls_missed {
            let message = format!("mode {} needs `tls`", word(mode));
            compiler.report.error(&self.place.key("mode"), message).hint("tls: the name of a TLS profile");
        }
        if matches!(self.tls, Tls::Ready(_)) && !self.tls_used {
            let message = "`tls` is not used: nothing on this listener ends TLS with it";
            compiler.report.warning(&self.place.key("tls"), message);
        }
    }

    /// The listener's profile, for what runs in the listener's own mode.
    fn own_tls(&mut self, mode: schema::Mode) -> Tls {
        if mode != schema::Mode::Passthrough {
            self.tls_used = true;
            self.tls_missed |= matches!(self.tls, Tls::Absent);
        }
        self.tls.clone()
    }

    /// `None` where the profile is missing, which is reported elsewhere. The written mode stays, for the pool.
    fn mode(&self, mode: schema::Mode, tls: Tls) -> (schema::Mode, Option<Mode>) {
        let built = match (mode, tls) {
            (schema::Mode::Passthrough, _) => Some(Mode::Passthrough),
            (schema::Mode::Offload, Tls::Ready(tls)) => Some(Mode::Offload(tls)),
            (schema::Mode::Bridging, Tls::Ready(tls)) => Some(Mode::Bridging(tls)),
            (_, Tls::Absent | Tls::Refused) => None,
        };
        (mode, built)
    }

    /// Checks that mode and pool go together. `place` is where the pool is named.
    fn draft(
        &self,
        compiler: &mut Compiler<'_>,
        place: &Place<'_>,
        pool: usize,
        (written, built): (schema::Mode, Option<Mode>),
    ) -> Option<RouteDraft> {
        let draft = self.known.pools.list.get(pool)?;
        draft.used.set(true);
        let name = draft.name;
        match (written, draft.has_tls) {
            (schema::Mode::Bridging, false) => {
                let message = format!("mode bridging needs a `tls` section in the pool `{name}`");
                compiler
                    .report
                    .error(place, message)
                    .hint("it may be empty: `tls: {}` verifies by the system's roots");
            }
            (schema::Mode::Offload, true) => {
                let message = format!(
                    "the pool `{name}` has a `tls` section, and mode offload would send it plaintext"
                );
                compiler.report.error(place, message).hint("use mode bridging, or a pool without `tls`");
            }
            _ => {}
        }
        built.map(|mode| RouteDraft { mode, pool })
    }
}

fn resolve(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    choice: Option<&TlsChoice>,
    known: &Known<'_, '_>,
) -> Tls {
    let built = match choice {
        None if compiler.report.mentions(place) && !compiler.report.is_whole(place) => return Tls::Refused,
        None => return Tls::Absent,
        Some(TlsChoice::Inline(profile)) => profiles::build(compiler, place, profile),
        Some(TlsChoice::Named(name)) => {
            let found = known.profiles.names.find(&mut compiler.report, place, name);
            found.and_then(|index| known.profiles.list.get(index)).and_then(|profile| {
                profile.used.set(true);
                profile.tls.clone()
            })
        }
    };
    built.map_or(Tls::Refused, Tls::Ready)
}

fn word(mode: schema::Mode) -> &'static str {
    match mode {
        schema::Mode::Passthrough => weir_core::plan::PASSTHROUGH,
        schema::Mode::Offload => weir_core::plan::OFFLOAD,
        schema::Mode::Bridging => weir_core::plan::BRIDGING,
    }
}

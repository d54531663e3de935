//! A pool: a named set of backends, how it treats them, and which of them are in service.
//!
//! Members change while a plan lives, when DNS answers anew or a weight is set by hand: they are swapped as a whole.

use crate::backend::{Backend, Reserved};
use crate::dialable::OwnAddresses;
use crate::endpoint::BackendAddr;
use crate::identity::{BackendIdentity, PoolIdentity};
use crate::load::Load;
use crate::pick::Maglev;
use crate::registry::BackendRegistry;
use crate::settings::{Family, Settings, Sticky};
use crate::source::{Found, Source};
use crate::state::{BackendState, OutOfService};
use arc_swap::{ArcSwap, Guard};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_log::throttle::LogThrottle;
use weir_metrics::PoolMetrics;
use weir_metrics::labels::DialResult;
use weir_tls::BackendTls;

/// A named set of backends.
#[derive(Debug)]
pub struct Pool {
    /// Different for every pool of the process, and the same over reloads: workers key their rotations by it.
    pub id: u64,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its name for clients, the same on every node.
    pub identity: PoolIdentity,
    /// How it treats its backends.
    pub settings: Settings,
    /// Its counters.
    pub metrics: PoolMetrics,
    specs: Vec<BackendSpec>,
    tls: Option<BackendTls>,
    registry: Arc<BackendRegistry>,
    members: ArcSwap<Members>,
    in_panic: AtomicBool,
    /// Serialises panic decisions, so that the last one sees the newest state and the second of two simultaneous
    /// ejections sees the first.
    panic_update: Mutex<()>,
    /// The last answer of each source that is followed. Locked while members are made anew.
    answers: Mutex<HashMap<Source, Vec<Found>>>,
    /// Log lines that may repeat.
    panic_lines: LogThrottle,
    ejection_lines: LogThrottle<Ejected>,
    /// Each with the number of backends.
    return_lines: LogThrottle<usize>,
}

/// An ejection, for the log.
#[derive(Debug)]
struct Ejected {
    backend: Arc<str>,
    address: BackendAddr,
    why: DialResult,
    length: Duration,
}

/// An element of the pool's `backends`.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// Its name in the configuration, if it has one.
    pub name: Option<Arc<str>>,
    /// Its address, as the configuration writes it.
    pub written: Arc<str>,
    /// Where its addresses come from.
    pub source: Source,
    /// Its share.
    pub weight: u16,
    /// The most connections that each of its addresses gets.
    pub max_connections: Option<u32>,
    /// Serves only when no other can.
    pub backup: bool,
}

/// The backends of a pool at one time.
#[derive(Debug, Default)]
pub struct Members {
    /// Changes whenever the backends or their weights do.
    pub version: u64,
    /// Those that serve.
    pub primaries: Tier,
    /// Those that serve when none of the primaries can.
    pub backups: Tier,
    /// All of them by what clients have of them; empty in a pool without cookies.
    by_identity: HashMap<BackendIdentity, Arc<Backend>>,
}

impl Members {
    /// All backends, the primaries first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.primaries.backends.iter().chain(&self.backups.backends)
    }
}

/// Backends that can take each other's place.
#[derive(Debug, Default)]
pub struct Tier {
    /// In the order of the file, and of DNS answers sorted.
    pub backends: Vec<Arc<Backend>>,
    /// Their connections, for a policy that looks at all of them.
    pub(crate) loads: Vec<Load>,
    /// Where the pool's policy is keyed.
    pub maglev: Option<Maglev>,
}

/// What a pool is made from.
#[derive(Debug)]
pub struct Parts {
    /// Its name.
    pub name: Arc<str>,
    /// How it treats its backends.
    pub settings: Settings,
    /// Its backends.
    pub specs: Vec<BackendSpec>,
    /// How TLS is spoken to them.
    pub tls: Option<BackendTls>,
    /// Its counters.
    pub metrics: PoolMetrics,
}

impl Pool {
    /// A pool with the backend states that `registry` has for it. `answers` is what is known of its names.
    pub fn new(
        parts: Parts,
        registry: &Arc<BackendRegistry>,
        answers: &dyn Fn(&Source) -> Vec<Found>,
    ) -> Self {
        let Parts { name, settings, specs, tls, metrics } = parts;
        let empty = Members::default();
        let pool = Self {
            id: registry.pool_id(&name),
            identity: PoolIdentity::of(&name),
            name,
            settings,
            metrics,
            specs,
            tls,
            registry: Arc::clone(registry),
            members: ArcSwap::from_pointee(empty),
            in_panic: AtomicBool::new(false),
            panic_update: Mutex::default(),
            answers: Mutex::default(),
            panic_lines: LogThrottle::new(4, LINES_WITHIN),
            ejection_lines: LogThrottle::new(10, LINES_WITHIN),
            return_lines: LogThrottle::new(4, LINES_WITHIN),
        };
        let known = pool.sources().map(|source| (source.clone(), answers(source))).collect();
        *pool.answers() = known;
        pool.make_members(&pool.answers());
        // Not logged: the pool is not in use yet.
        pool.update_panic();
        pool.metrics.verify_disabled.set(i64::from(!pool.settings.verifies));
        pool
    }

    /// The backends now.
    pub fn members(&self) -> Guard<Arc<Members>> {
        self.members.load()
    }

    /// Takes a place at the backend that a client stays with. A backend that is drained by hand is one still until
    /// `drain_timeout` is over, and so is one of weight 0; one that fails its checks, or is ejected, is not, unless the
    /// pool panics. `None` where the client must be given another one: the backend is gone, out of service, or at its
    /// cap. Always `None` in a pool without sticky cookies.
    pub fn reserve_again(&self, identity: &BackendIdentity) -> Option<Reserved> {
        let members = self.members();
        let backend = members.by_identity.get(identity)?;
        let stays = backend.state.keeps_clients(self.is_in_panic(), self.settings.drain_timeout);
        stays.then(|| backend.reserve())?
    }

    /// How TLS is spoken to the backends; `None` in a pool without a `tls` section.
    pub fn tls(&self) -> Option<&BackendTls> {
        self.tls.as_ref()
    }

    /// The addresses on which the process listens, and which it never dials.
    pub fn own_addresses(&self) -> &OwnAddresses {
        &self.registry.own_addresses
    }

    /// The sources of its backends that must be followed.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.specs.iter().map(|spec| &spec.source).filter(|source| source.is_followed())
    }

    /// Takes new answers for those of the sources that the pool has, and makes the members anew once if any differs.
    /// Gives the states of backends that have gone with the old answers.
    pub fn resolved<'s>(
        &self,
        found: impl IntoIterator<Item = (&'s Source, Vec<Found>)>,
    ) -> Vec<Arc<BackendState>> {
        let mut answers = self.answers();
        let mut changed = false;
        for (source, found) in found {
            if let Some(known) = answers.get_mut(source).filter(|known| **known != found) {
                *known = found;
                changed = true;
            }
        }
        if !changed {
            return Vec::new();
        }
        // With the answers still locked: a `renew` in between would take the list of the removed backends.
        let gone = self.make_members(&answers);
        drop(answers);
        self.reassess();
        gone
    }

    /// Makes the members anew, with what was set by hand. All of them stay.
    pub fn renew(&self) {
        self.make_members(&self.answers());
        self.reassess();
    }

    /// Makes the members from the specs, the answers and what was set by hand. Gives the backend states that are not
    /// among them any more.
    fn make_members(&self, answers: &HashMap<Source, Vec<Found>>) -> Vec<Arc<BackendState>> {
        let before = self.members.load_full();
        // A pool may have hundreds of thousands of members: found by hash, so that the cost stays linear.
        let key = |b: &Arc<Backend>| (Arc::clone(&b.name), b.address.clone());
        let known: HashMap<(Arc<str>, BackendAddr), &Arc<Backend>> =
            before.all().map(|b| (key(b), b)).collect();
        let mut seen: HashSet<(Arc<str>, BackendAddr)> = HashSet::new();
        let mut primaries = Vec::new();
        let mut backups = Vec::new();
        for spec in &self.specs {
            for place in places(spec, answers, self.settings.family) {
                let key = (Arc::clone(&place.name), place.address.clone());
                let last = known.get(&key).copied();
                if !seen.insert(key) {
                    continue;
                }
                let backup = spec.backup || place.backup;
                let backend = self.backend(spec, place, last);
                if backup { backups.push(backend) } else { primaries.push(backend) }
            }
        }
        let named = self.settings.sticky.as_ref().is_some_and(|sticky| sticky.cookie().is_some());
        let by_identity = primaries.iter().chain(&backups).filter(|_| named);
        let members = Members {
            version: self.registry.version(),
            by_identity: by_identity.map(|backend| (backend.identity, Arc::clone(backend))).collect(),
            primaries: self.tier(primaries),
            backups: self.tier(backups),
        };
        let stays: HashSet<usize> = members.all().map(|b| Arc::as_ptr(&b.state).addr()).collect();
        let gone = before.all().filter(|b| !stays.contains(&Arc::as_ptr(&b.state).addr()));
        let gone = gone.map(|b| Arc::clone(&b.state)).collect();
        self.members.store(Arc::new(members));
        gone
    }

    fn backend(&self, spec: &BackendSpec, place: Place, before: Option<&Arc<Backend>>) -> Arc<Backend> {
        let Place { name, address, host, weight, backup: _ } = place;
        let state = self.registry.backend(&self.name, &name, address.clone());
        let configured = spec.weight.saturating_mul(weight);
        let weight = state.hand_weight().unwrap_or(configured);
        state.show(weight);
        // Sessions of one backend are worthless at another; a backend that stays keeps its own.
        let tls = match before {
            Some(before) => before.tls.clone(),
            None => self.tls.as_ref().map(|tls| tls.client_for(&address.to_string())),
        };
        // A text without a name of its own may be written in several ways, and the address is one.
        let named = if spec.name.is_some() { &*name } else { "" };
        Arc::new(Backend {
            identity: BackendIdentity::of(named, &address),
            name,
            entry: Arc::clone(spec.name.as_ref().unwrap_or(&spec.written)),
            address,
            host,
            weight,
            max_connections: spec.max_connections,
            tls,
            state,
        })
    }

    fn tier(&self, backends: Vec<Arc<Backend>>) -> Tier {
        let by_field = matches!(self.settings.sticky, Some(Sticky::Header(_)));
        let keyed = self.settings.balance.is_keyed() || by_field;
        let maglev = keyed.then(|| {
            let shares: Vec<(&str, u16)> = backends.iter().map(|b| (&*b.name, b.weight)).collect();
            Maglev::build(&shares)
        });
        let loads = backends.iter().map(|b| b.state.load().clone()).collect();
        Tier { backends, loads, maglev }
    }

    /// Backends that may take a connection now.
    pub fn usable(&self) -> usize {
        let panic = self.is_in_panic();
        self.members().all().filter(|b| b.is_usable(panic)).count()
    }

    /// Healthy backends, at their caps or not.
    pub fn healthy(&self) -> usize {
        self.members().all().filter(|b| b.is_healthy()).count()
    }

    /// Whether any backend may take connections, at its cap or not.
    pub fn can_serve(&self) -> bool {
        let panic = self.is_in_panic();
        self.members().all().any(|b| b.weight > 0 && b.serves(panic))
    }

    /// Whether health is ignored, because too few primaries and no backup are in service.
    pub fn is_in_panic(&self) -> bool {
        self.in_panic.load(Ordering::Relaxed)
    }

    /// Sets the gauges to this pool's values: a plan that was rejected may have set them.
    pub fn show(&self) {
        self.metrics.verify_disabled.set(i64::from(!self.settings.verifies));
        for backend in self.members().all() {
            backend.state.show(backend.weight);
        }
        self.reassess();
    }

    /// Decides anew on the panic: called whenever the set of backends in service may have changed.
    pub fn reassess(&self) {
        let changed = self.update_panic().is_some();
        if changed {
            self.panic_lines.note(());
        }
        if let Some((changes, ())) = self.panic_lines.take() {
            let panic = self.is_in_panic();
            let (healthy, threshold) = (self.healthy(), self.settings.panic_threshold);
            tracing::warn!(pool = %self.name, panic, healthy, threshold, changes, "the pool's panic changed: in a panic, health is ignored");
        }
    }

    /// Sets the panic; gives the new one if it changed.
    fn update_panic(&self) -> Option<bool> {
        let _held = self.panic_update();
        let members = self.members();
        let weighted = members.primaries.backends.iter().filter(|b| b.weight > 0);
        let (all, healthy) =
            weighted.fold((0, 0), |(all, well), b| (all + 1, well + usize::from(b.state.is_in_service())));
        let few = healthy * 100 < all * usize::try_from(self.settings.panic_threshold).unwrap_or(0);
        let panic = few && !members.backups.backends.iter().any(|b| b.is_healthy());
        drop(members);
        let changed = self.in_panic.swap(panic, Ordering::Relaxed) != panic;
        self.metrics.panic.set(i64::from(panic));
        self.metrics.usable.set(i64::try_from(self.usable()).unwrap_or(i64::MAX));
        changed.then_some(panic)
    }

    /// Notes that real traffic could not reach the backend, through no fault of a client. Ejects the backend when that
    /// happens too often.
    pub fn failed(&self, backend: &Backend, why: DialResult) {
        let Some(check) = &self.settings.passive_check else { return };
        let may_eject = || {
            let members = self.members();
            let out = members.all().filter(|b| b.state.is(OutOfService::Ejected)).count();
            (out + 1) * 100 <= members.all().count() * usize::try_from(check.max_ejected).unwrap_or(0)
        };
        let held = self.panic_update();
        let ejected = backend.state.failed(Instant::now(), check, may_eject);
        drop(held);
        if let Some(length) = ejected {
            self.ejected(backend, why, length);
        }
    }

    fn ejected(&self, backend: &Backend, why: DialResult, length: Duration) {
        backend.state.metrics.ejected(why);
        backend.state.note_failure(format!("ejected for {length:?}: connections failed ({})", why.label()));
        let (name, address) = (Arc::clone(&backend.name), backend.address.clone());
        self.ejection_lines.note(Ejected { backend: name, address, why, length });
        self.log_ejections();
        self.reassess();
    }

    /// Logs the ejections and the returns since the last line, if a line is due.
    fn log_ejections(&self) {
        if let Some((ejections, Ejected { backend, address, why, length })) = self.ejection_lines.take() {
            tracing::info!(
                pool = %self.name, %backend, %address, why = why.label(), ?length, ejections,
                "ejected a backend that connections cannot reach"
            );
        }
        if let Some((times, backends)) = self.return_lines.take() {
            tracing::info!(pool = %self.name, backends, times, "ejected backends are back");
        }
    }

    /// Ends the ejections whose time is over and decides anew on the panic, because a connection of an older plan
    /// reports an ejection to that plan's pool only. Also logs suppressed lines. Called every second.
    pub fn end_ejections(&self, now: Instant) {
        let back = self.members().all().filter(|b| b.state.end_ejection(now)).count();
        if back > 0 {
            self.return_lines.note(back);
        }
        self.log_ejections();
        self.reassess();
    }

    fn panic_update(&self) -> MutexGuard<'_, ()> {
        self.panic_update.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Source, Vec<Found>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The period for which each kind of a pool's log lines is limited.
const LINES_WITHIN: Duration = Duration::from_secs(10);

/// Where an element of `backends` has a backend.
struct Place {
    name: Arc<str>,
    address: BackendAddr,
    host: Arc<str>,
    /// What DNS says of it.
    weight: u16,
    backup: bool,
}

/// Where an element has its backends now.
fn places(spec: &BackendSpec, answers: &HashMap<Source, Vec<Found>>, family: Family) -> Vec<Place> {
    if let Source::Static(address) = &spec.source {
        let name = Arc::clone(spec.name.as_ref().unwrap_or(&spec.written));
        return vec![Place {
            name,
            address: address.clone(),
            host: address.host(),
            weight: 1,
            backup: false,
        }];
    }
    let place = |found: &Found| Place {
        name: match &spec.name {
            Some(name) => format!("{name}@{}", found.address).into(),
            None => found.address.to_string().into(),
        },
        address: found.address.into(),
        host: Arc::clone(&found.host),
        weight: found.weight,
        backup: found.backup,
    };
    let found = answers.get(&spec.source).into_iter().flatten();
    found.filter(|found| family.has(found.address.ip())).map(place).collect()
}

#[cfg(test)]
mod tests;

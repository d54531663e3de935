//! A pool: a named set of backends, how it treats them, and who of them is in service.
//!
//! Members change while a plan lives, when DNS answers anew or a weight is set by hand: they are swapped as a whole.

use crate::backend::Backend;
use crate::dialable::OwnAddresses;
use crate::load::Load;
use crate::pick::Maglev;
use crate::registry::Lives;
use crate::settings::Settings;
use crate::source::{Found, Target};
use crate::state::{Live, Reason};
use arc_swap::{ArcSwap, Guard};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_log::throttle::LogThrottle;
use weir_metrics::PoolMetrics;
use weir_tls::BackendTls;

/// A named set of backends.
#[derive(Debug)]
pub struct Pool {
    /// Different for every pool of the process, and the same over reloads: workers key their cursors by it.
    pub id: u64,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How it treats its backends.
    pub settings: Settings,
    /// Its counters.
    pub metrics: PoolMetrics,
    entries: Vec<Entry>,
    tls: Option<BackendTls>,
    lives: Arc<Lives>,
    members: ArcSwap<Members>,
    in_panic: AtomicBool,
    /// Held while it is judged who is in service: the last judgement is by the newest state, and of two ejections at
    /// once the second sees the first.
    judging: Mutex<()>,
    /// Held while members are made anew: what each name stands for.
    answers: Mutex<HashMap<Target, Vec<Found>>>,
    /// For lines of the log that may repeat.
    panic_lines: LogThrottle,
    ejection_lines: LogThrottle<Ejected>,
    /// Each with the number of backends.
    return_lines: LogThrottle<usize>,
}

/// An ejection, as the log tells it.
#[derive(Debug)]
struct Ejected {
    backend: Arc<str>,
    address: SocketAddr,
    why: String,
    length: Duration,
}

/// An element of the pool's `backends`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in the configuration, if it has one.
    pub name: Option<Arc<str>>,
    /// Where it is.
    pub place: Place,
    /// Its share.
    pub weight: u16,
    /// More connections than this each of its addresses does not get.
    pub max_connections: Option<u32>,
    /// Serves only when no other can.
    pub backup: bool,
}

/// Where a backend is.
#[derive(Clone, Debug)]
pub enum Place {
    /// At this address, written like this.
    Address(SocketAddr, Arc<str>),
    /// At whatever addresses a name has.
    Named(Target),
}

/// The backends of a pool at one time.
#[derive(Debug)]
pub struct Members {
    /// Different whenever the backends or their weights are.
    pub version: u64,
    /// Those that serve.
    pub primaries: Tier,
    /// Those that serve when none of the primaries can.
    pub backups: Tier,
}

impl Members {
    /// All backends, the primaries first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.primaries.backends.iter().chain(&self.backups.backends)
    }
}

/// Backends that stand for each other.
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
    pub entries: Vec<Entry>,
    /// How TLS is spoken to them.
    pub tls: Option<BackendTls>,
    /// Its counters.
    pub metrics: PoolMetrics,
}

impl Pool {
    /// A pool with the live states that `lives` has for it. `answers` is what is known of its names.
    pub fn new(parts: Parts, lives: &Arc<Lives>, answers: &dyn Fn(&Target) -> Vec<Found>) -> Self {
        let Parts { name, settings, entries, tls, metrics } = parts;
        let empty = Members { version: 0, primaries: Tier::default(), backups: Tier::default() };
        let pool = Self {
            id: lives.pool_id(&name),
            name,
            settings,
            metrics,
            entries,
            tls,
            lives: Arc::clone(lives),
            members: ArcSwap::from_pointee(empty),
            in_panic: AtomicBool::new(false),
            judging: Mutex::default(),
            answers: Mutex::default(),
            panic_lines: LogThrottle::new(4, LINES_WITHIN),
            ejection_lines: LogThrottle::new(10, LINES_WITHIN),
            return_lines: LogThrottle::new(4, LINES_WITHIN),
        };
        let known = pool.targets().map(|t| (t.clone(), answers(t))).collect();
        *pool.answers() = known;
        pool.make_members(&pool.answers());
        // Nobody uses it yet, so that its panic is no news.
        pool.judge();
        pool.metrics.verify_disabled.set(i64::from(!pool.settings.verifies));
        pool
    }

    /// The backends now.
    pub fn members(&self) -> Guard<Arc<Members>> {
        self.members.load()
    }

    /// The addresses on which the process listens, and which it never dials.
    pub fn own_addresses(&self) -> &OwnAddresses {
        &self.lives.own_addresses
    }

    /// The names among its backends.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.entries.iter().filter_map(|e| match &e.place {
            Place::Named(target) => Some(target),
            Place::Address(..) => None,
        })
    }

    /// Takes a new answer for a name, if the pool has it. Gives the live states that are in no entry any more.
    pub fn resolved(&self, target: &Target, found: &[Found]) -> Vec<Arc<Live>> {
        let mut answers = self.answers();
        match answers.get_mut(target) {
            Some(known) if *known != found => found.clone_into(known),
            _ => return Vec::new(),
        }
        // With the answers still held: whoever makes the members anew in between would be told who is gone.
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

    /// Makes the members from the entries, the answers and what was set by hand. Gives the live states that are not
    /// among them any more.
    fn make_members(&self, answers: &HashMap<Target, Vec<Found>>) -> Vec<Arc<Live>> {
        let before = self.members.load_full();
        // A pool may have hundreds of thousands of members: none is compared with each of the others.
        let key = |b: &Arc<Backend>| (Arc::clone(&b.name), b.address);
        let known: HashMap<(Arc<str>, SocketAddr), &Arc<Backend>> =
            before.all().map(|b| (key(b), b)).collect();
        let mut seen: HashSet<(Arc<str>, SocketAddr)> = HashSet::new();
        let mut primaries = Vec::new();
        let mut backups = Vec::new();
        for entry in &self.entries {
            for (name, found) in addresses(entry, answers) {
                let key = (Arc::clone(&name), found.address);
                let last = known.get(&key).copied();
                if !seen.insert(key) {
                    continue;
                }
                let backup = entry.backup || found.backup;
                let backend = self.backend(entry, name, &found, last);
                if backup { backups.push(backend) } else { primaries.push(backend) }
            }
        }
        let members = Members {
            version: self.lives.version(),
            primaries: self.tier(primaries),
            backups: self.tier(backups),
        };
        let stays: HashSet<usize> = members.all().map(|b| Arc::as_ptr(&b.live).addr()).collect();
        let gone = before.all().filter(|b| !stays.contains(&Arc::as_ptr(&b.live).addr()));
        let gone = gone.map(|b| Arc::clone(&b.live)).collect();
        self.members.store(Arc::new(members));
        gone
    }

    fn backend(
        &self,
        entry: &Entry,
        name: Arc<str>,
        found: &Found,
        before: Option<&Arc<Backend>>,
    ) -> Arc<Backend> {
        let live = self.lives.backend(&self.name, &name, found.address);
        let configured = entry.weight.saturating_mul(found.weight);
        let weight = live.hand_weight().unwrap_or(configured);
        live.show(weight);
        // Sessions of one backend are worthless at another, and those that there are stay.
        let tls = match before {
            Some(before) => before.tls.clone(),
            None => self.tls.as_ref().map(|tls| tls.client_for(found.address)),
        };
        Arc::new(Backend {
            name,
            address: found.address,
            host: Arc::clone(&found.host),
            weight,
            max_connections: entry.max_connections,
            tls,
            live,
        })
    }

    fn tier(&self, backends: Vec<Arc<Backend>>) -> Tier {
        let keyed = self.settings.balance.is_keyed();
        let maglev = keyed.then(|| {
            let shares: Vec<(&str, u16)> = backends.iter().map(|b| (&*b.name, b.weight)).collect();
            Maglev::build(&shares)
        });
        let loads = backends.iter().map(|b| b.live.load().clone()).collect();
        Tier { backends, loads, maglev }
    }

    /// Backends that may take a connection now.
    pub fn usable(&self) -> usize {
        let panic = self.is_in_panic();
        self.members().all().filter(|b| b.is_usable(panic)).count()
    }

    /// Backends that are well, whether or not they are at their caps.
    pub fn healthy(&self) -> usize {
        self.members().all().filter(|b| b.is_healthy()).count()
    }

    /// Whether any backend may take connections, at its cap or not.
    pub fn can_serve(&self) -> bool {
        let panic = self.is_in_panic();
        self.members().all().any(|b| b.weight > 0 && b.serves(panic))
    }

    /// Are so few primaries in service, and no backup, that health is ignored?
    pub fn is_in_panic(&self) -> bool {
        self.in_panic.load(Ordering::Relaxed)
    }

    /// Sets the gauges to what this pool is: a plan that came to nothing may have set them.
    pub fn show(&self) {
        self.metrics.verify_disabled.set(i64::from(!self.settings.verifies));
        for backend in self.members().all() {
            backend.live.show(backend.weight);
        }
        self.reassess();
    }

    /// Looks again who is in service: called whenever that may have changed.
    pub fn reassess(&self) {
        let changed = self.judge().is_some();
        if changed {
            self.panic_lines.note(());
        }
        if let Some((changes, ())) = self.panic_lines.take() {
            let panic = self.is_in_panic();
            let (healthy, threshold) = (self.healthy(), self.settings.panic_threshold);
            tracing::warn!(pool = %self.name, panic, healthy, threshold, changes, "the pool's panic changed: in a panic, health is ignored");
        }
    }

    /// Sets the panic; gives it where it has changed.
    fn judge(&self) -> Option<bool> {
        let _held = self.judging();
        let members = self.members();
        let weighted = members.primaries.backends.iter().filter(|b| b.weight > 0);
        let (all, healthy) =
            weighted.fold((0, 0), |(all, well), b| (all + 1, well + usize::from(b.live.is_in_service())));
        let few = healthy * 100 < all * usize::try_from(self.settings.panic_threshold).unwrap_or(0);
        let panic = few && !members.backups.backends.iter().any(|b| b.is_healthy());
        drop(members);
        let changed = self.in_panic.swap(panic, Ordering::Relaxed) != panic;
        self.metrics.panic.set(i64::from(panic));
        self.metrics.usable.set(i64::try_from(self.usable()).unwrap_or(i64::MAX));
        changed.then_some(panic)
    }

    /// Notes that real traffic could not reach the backend, by no fault of a client's. Ejects it when that happens
    /// too often.
    pub fn failed(&self, backend: &Backend, why: &str) {
        let Some(check) = &self.settings.passive_check else { return };
        let may_eject = || {
            let members = self.members();
            let out = members.all().filter(|b| b.live.is(Reason::Ejected)).count();
            (out + 1) * 100 <= members.all().count() * usize::try_from(check.max_ejected).unwrap_or(0)
        };
        let held = self.judging();
        let ejected = backend.live.failed(Instant::now(), check, may_eject);
        drop(held);
        if let Some(length) = ejected {
            self.ejected(backend, why, length);
        }
    }

    fn ejected(&self, backend: &Backend, why: &str, length: Duration) {
        backend.live.metrics.ejected(why);
        backend.live.note_failure(format!("ejected for {length:?}: connections failed ({why})"));
        let (name, address, why) = (Arc::clone(&backend.name), backend.address, why.to_owned());
        self.ejection_lines.note(Ejected { backend: name, address, why, length });
        self.tell_ejections();
        self.reassess();
    }

    /// Logs the ejections, and the returns, since the last line, where a line is due.
    fn tell_ejections(&self) {
        if let Some((ejections, Ejected { backend, address, why, length })) = self.ejection_lines.take() {
            tracing::info!(
                pool = %self.name, %backend, %address, why, ?length, ejections,
                "ejected a backend that connections cannot reach"
            );
        }
        if let Some((times, backends)) = self.return_lines.take() {
            tracing::info!(pool = %self.name, backends, times, "ejected backends are back");
        }
    }

    /// Ends the ejections whose time is over, and looks again who is in service: ejected are live states, and a
    /// connection of an older plan tells only that plan's pool. Logs what was held back, too: called every second.
    pub fn end_ejections(&self, now: Instant) {
        let back = self.members().all().filter(|b| b.live.end_ejection(now)).count();
        if back > 0 {
            self.return_lines.note(back);
        }
        self.tell_ejections();
        self.reassess();
    }

    fn judging(&self) -> MutexGuard<'_, ()> {
        self.judging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Target, Vec<Found>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The period for which each kind of a pool's log lines is limited.
const LINES_WITHIN: Duration = Duration::from_secs(10);

/// The addresses of an entry, each with the backend's name.
fn addresses(entry: &Entry, answers: &HashMap<Target, Vec<Found>>) -> Vec<(Arc<str>, Found)> {
    match &entry.place {
        Place::Address(address, written) => {
            let name = entry.name.as_ref().unwrap_or(written);
            let host = address.ip().to_string().into();
            vec![(Arc::clone(name), Found { address: *address, host, weight: 1, backup: false })]
        }
        Place::Named(target) => {
            let named = |found: &Found| match &entry.name {
                Some(name) => format!("{name}@{}", found.address).into(),
                None => found.address.to_string().into(),
            };
            answers.get(target).into_iter().flatten().map(|f| (named(f), f.clone())).collect()
        }
    }
}

#[cfg(test)]
mod tests;

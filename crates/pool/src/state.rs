//! What changes about a backend while plans come and go: its connections, and whether it is in service.
//!
//! A [`Live`] belongs to a pool's name, a backend's name and its address, and outlives plans: a reload that keeps the
//! backend keeps this. All of it is atomics, or locks that are held for a few instructions.

use crate::ejection::Failures;
use crate::load::Load;
use crate::pick::Share;
use crate::settings::PassiveCheck;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_log::foreign::tamed;
use weir_metrics::BackendMetrics;

/// The live state of one backend.
#[derive(Debug)]
pub struct Live {
    /// Its pool's name.
    pub pool: Arc<str>,
    /// Its name in the pool.
    pub backend: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its counters.
    pub metrics: BackendMetrics,
    active: Load,
    reasons: AtomicU8,
    /// The weight set by hand; `NO_WEIGHT` where there is none.
    hand_weight: AtomicU32,
    /// Changes whenever a drain begins or ends, so that the end of an old drain closes nothing of a new life.
    drains: AtomicU32,
    notes: Mutex<Notes>,
}

/// What only the control plane and failures touch.
#[derive(Debug, Default)]
struct Notes {
    last: LastCheck,
    checked: bool,
    recovered: Option<Instant>,
    failures: Failures,
    dials: Option<DialFailures>,
}

/// Why a backend is out of service; each is a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It fails its checks.
    Down = 1,
    /// Real traffic failed too often.
    Ejected = 2,
    /// Drained by hand.
    Drained = 4,
    /// The configuration or DNS does not have it any more.
    Retired = 8,
}

/// Not a reason: it has become healthy again a short while ago.
const WARMING: u8 = 16;
/// Reasons that a panic ignores.
const HEALTH: u8 = Reason::Down as u8 | Reason::Ejected as u8;
/// Reasons that keep new connections away. Not that it is retired: no new plan has it then, and a connection that began
/// with an older one, and is still in its handshake, may have no other backend.
const ALL: u8 = HEALTH | Reason::Drained as u8;
/// Reasons that end its connections.
const DRAINS: u8 = Reason::Drained as u8 | Reason::Retired as u8;
const NO_WEIGHT: u32 = u32::MAX;

/// The last result of a check, for the status API.
#[derive(Clone, Debug, Default)]
pub struct LastCheck {
    /// When it ended; `None` before the first.
    pub at: Option<Instant>,
    /// Why the last failed one failed. Kept after recovery, for whoever asks what was wrong.
    pub failure: Option<String>,
}

/// The latest run of dials that failed, with at most [`APART`] between one and the next. Only the status API reads it; a
/// dial that succeeds writes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailures {
    /// When the first of them failed.
    pub since: Instant,
    /// When the last one did.
    pub at: Instant,
    /// How many they are.
    pub count: u64,
    /// Why the last one failed.
    pub why: String,
}

/// Failures with more time than this between them have nothing to do with each other.
const APART: Duration = Duration::from_secs(300);

impl Live {
    /// In service, until something says otherwise.
    pub(crate) fn new(
        pool: Arc<str>,
        backend: Arc<str>,
        address: SocketAddr,
        metrics: BackendMetrics,
        active: Load,
    ) -> Self {
        Self {
            pool,
            backend,
            address,
            metrics,
            active,
            reasons: AtomicU8::new(0),
            hand_weight: AtomicU32::new(NO_WEIGHT),
            drains: AtomicU32::new(0),
            notes: Mutex::default(),
        }
    }

    /// Connections that it serves now.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Where they are counted.
    pub(crate) fn load(&self) -> &Load {
        &self.active
    }

    /// Takes a place, unless `cap` are taken.
    pub(crate) fn enter(&self, cap: u32) -> bool {
        let entered = self.active.add(cap);
        if entered {
            self.metrics.active.inc();
        }
        entered
    }

    pub(crate) fn leave(&self) {
        self.active.remove();
        self.metrics.active.dec();
    }

    /// True where nothing keeps it from new connections.
    pub fn is_in_service(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & ALL == 0
    }

    /// The same, whatever its health.
    pub fn is_in_service_but_for_health(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & ALL & !HEALTH == 0
    }

    /// Is it out of service for this reason?
    pub fn is(&self, reason: Reason) -> bool {
        self.reasons.load(Ordering::Relaxed) & reason as u8 != 0
    }

    /// The word for its state: `up`, `down`, `ejected`, `drained` or `retired`.
    pub fn state(&self) -> &'static str {
        [Reason::Retired, Reason::Drained, Reason::Down, Reason::Ejected]
            .into_iter()
            .find(|r| self.is(*r))
            .map_or("up", Reason::label)
    }

    /// Takes it out of service; true if that is a change.
    pub fn out(&self, reason: Reason) -> bool {
        let _held = self.notes();
        let before = self.reasons.fetch_or(reason as u8, Ordering::Relaxed);
        if reason.is_of_health() {
            self.reasons.fetch_and(!WARMING, Ordering::Relaxed);
        }
        self.changed(reason, before & reason as u8 == 0)
    }

    /// Takes the reason away; true if that is a change. Where it was the last one that speaks of its health, the
    /// slow start begins.
    pub fn back(&self, reason: Reason) -> bool {
        let mut notes = self.notes();
        let before = self.reasons.fetch_and(!(reason as u8), Ordering::Relaxed);
        let changed = before & reason as u8 != 0;
        if changed && before & HEALTH == reason as u8 {
            notes.recovered = Some(Instant::now());
            self.reasons.fetch_or(WARMING, Ordering::Relaxed);
        }
        self.changed(reason, changed)
    }

    /// With the notes held: changes go one by one, so that what follows from one is never older than it is.
    fn changed(&self, reason: Reason, changed: bool) -> bool {
        let others = self.reasons.load(Ordering::Relaxed) & DRAINS & !(reason as u8);
        // One that drains for two reasons goes on with its drain when one of them goes.
        if changed && !reason.is_of_health() && others == 0 {
            self.drains.fetch_add(1, Ordering::Relaxed);
        }
        self.show_health();
        changed
    }

    /// Sets the gauge. One that is retired leaves it to its namesake, which may be at another address by now.
    fn show_health(&self) {
        if !self.is(Reason::Retired) {
            self.metrics.up.set(i64::from(self.reasons.load(Ordering::Relaxed) & HEALTH == 0));
        }
    }

    /// Sets the gauges to what this is, with this weight: another plan, or a namesake, may have set them.
    pub(crate) fn show(&self, weight: u16) {
        let _held = self.notes();
        self.show_health();
        self.metrics.weight.set(i64::from(weight));
    }

    /// Which drain this is: differs from drain to drain.
    pub fn drain_number(&self) -> u32 {
        self.drains.load(Ordering::Relaxed)
    }

    /// Its part of its weight `now`: the whole, but for a while after it has become healthy again.
    pub fn share(&self, slow_start: Duration) -> Share {
        if slow_start.is_zero() || self.reasons.load(Ordering::Relaxed) & WARMING == 0 {
            return Share::WHOLE;
        }
        let notes = self.notes();
        let since = notes.recovered.map_or(slow_start, |at| at.elapsed());
        if since >= slow_start {
            self.reasons.fetch_and(!WARMING, Ordering::Relaxed);
            return Share::WHOLE;
        }
        Share::part(since.as_secs_f64() / slow_start.as_secs_f64())
    }

    /// The weight set by hand.
    pub fn hand_weight(&self) -> Option<u16> {
        u16::try_from(self.hand_weight.load(Ordering::Relaxed)).ok()
    }

    /// Sets or takes away the weight set by hand.
    pub fn set_hand_weight(&self, weight: Option<u16>) {
        self.hand_weight.store(weight.map_or(NO_WEIGHT, u32::from), Ordering::Relaxed);
    }

    /// Notes a finished check and, if it failed, why. True if it is the first of all.
    pub fn note(&self, at: Instant, failure: Option<String>) -> bool {
        let mut notes = self.notes();
        notes.last.at = Some(at);
        if failure.is_some() {
            notes.last.failure = failure;
        }
        !std::mem::replace(&mut notes.checked, true)
    }

    /// Notes why it is out of service, without a check.
    pub(crate) fn note_failure(&self, failure: String) {
        self.notes().last.failure = Some(failure);
    }

    /// Notes that a connection could not be made.
    pub fn note_dial_failure(&self, now: Instant, why: &dyn Display) {
        let why = tamed(&why.to_string());
        let mut notes = self.notes();
        let goes_on = notes.dials.as_ref().filter(|dials| now.duration_since(dials.at) <= APART);
        let (since, count) = goes_on.map_or((now, 1), |dials| (dials.since, dials.count.saturating_add(1)));
        notes.dials = Some(DialFailures { since, at: now, count, why });
    }

    /// The last connections that could not be made.
    pub fn dial_failures(&self) -> Option<DialFailures> {
        self.notes().dials.clone()
    }

    /// Notes a failure of real traffic. `Some` when that ejects it: for how long. `may_eject` is asked last, and says
    /// whether the pool can spare one more.
    pub(crate) fn failed(
        &self,
        now: Instant,
        check: &PassiveCheck,
        may_eject: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let mut notes = self.notes();
        if self.is(Reason::Ejected) || !notes.failures.failed(now, check) || !may_eject() {
            return None;
        }
        let length = notes.failures.eject(now, check);
        drop(notes);
        self.out(Reason::Ejected).then_some(length)
    }

    /// Ends an ejection whose time is over. True if it ended one.
    pub fn end_ejection(&self, now: Instant) -> bool {
        if !self.is(Reason::Ejected) {
            return false;
        }
        let over = self.notes().failures.is_over(now);
        over && self.back(Reason::Ejected)
    }

    /// The last result.
    pub fn last(&self) -> LastCheck {
        self.notes().last.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reason {
    fn is_of_health(self) -> bool {
        HEALTH & self as u8 != 0
    }

    /// Its word in the status API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Drained => "drained",
            Self::Retired => "retired",
        }
    }
}

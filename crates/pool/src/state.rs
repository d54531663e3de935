//! What outlives the plans about a backend: its connections, its health, and what an operator set.
//!
//! A [`BackendState`] belongs to a pool's name, a backend's name and its address, and outlives plans: a reload that
//! keeps the backend keeps its state. All of it is atomics, or locks that are held for a few instructions.

use crate::ejection::EjectionTracker;
use crate::endpoint::BackendAddr;
use crate::load::Load;
use crate::origin::Turns;
use crate::pick::Share;
use crate::settings::PassiveCheck;
use std::fmt::Display;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_log::foreign::tamed;
use weir_metrics::BackendMetrics;

/// The backend state of one backend.
#[derive(Debug)]
pub struct BackendState {
    /// Its pool's name.
    pub pool: Arc<str>,
    /// Its name in the pool.
    pub backend: Arc<str>,
    /// Where it listens.
    pub address: BackendAddr,
    /// Its counters.
    pub metrics: BackendMetrics,
    /// Which address of this machine its next connection comes from.
    pub turns: Turns,
    active: Load,
    reasons: AtomicU8,
    /// The weight set by hand, or `NO_WEIGHT`.
    hand_weight: AtomicU32,
    /// Changes whenever a drain begins or ends, so that the end of an old drain closes no connections made after it.
    drains: AtomicU32,
    notes: Mutex<Notes>,
}

/// What only the control plane and failed connections touch.
#[derive(Debug, Default)]
struct Notes {
    last: LastCheck,
    checked: bool,
    recovered: Option<Instant>,
    ejections: EjectionTracker,
    dials: Option<DialFailures>,
    /// When the present drain by hand began.
    drained: Option<Instant>,
}

/// Why a backend is out of service. Each reason is a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OutOfService {
    /// It fails its checks.
    Down = 1,
    /// Real traffic failed too often.
    Ejected = 2,
    /// Drained by hand.
    Drained = 4,
    /// The configuration or DNS no longer has it.
    Retired = 8,
}

/// Not a reason, but a bit beside them: the backend has recovered and is in slow start.
const WARMING: u8 = 16;
/// Reasons that a panic ignores.
const HEALTH: u8 = OutOfService::Down as u8 | OutOfService::Ejected as u8;
/// Reasons that keep new connections away. Being retired does not: no new plan has the backend then, and a connection
/// that began with an older plan and is still in its handshake may have no other backend.
const ALL: u8 = HEALTH | OutOfService::Drained as u8;
/// Reasons that end a backend's connections.
const DRAINS: u8 = OutOfService::Drained as u8 | OutOfService::Retired as u8;
const NO_WEIGHT: u32 = u32::MAX;

/// The last result of a check, for the status API.
#[derive(Clone, Debug, Default)]
pub struct LastCheck {
    /// When it ended; `None` before the first.
    pub at: Option<Instant>,
    /// Why the last failed check failed. Kept after recovery, so that operators can see what was wrong.
    pub failure: Option<String>,
}

/// The latest run of failed dials, with at most [`APART`] between one and the next. Only the status API reads it; a
/// successful dial writes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailures {
    /// When the first dial failed.
    pub since: Instant,
    /// When the last one did.
    pub at: Instant,
    /// How many failed.
    pub count: u64,
    /// Why the last one failed.
    pub why: String,
}

/// Failed dials with more time between them belong to different runs.
const APART: Duration = Duration::from_secs(300);

impl BackendState {
    /// In service until something takes it out.
    pub(crate) fn new(
        pool: Arc<str>,
        backend: Arc<str>,
        address: BackendAddr,
        metrics: BackendMetrics,
        active: Load,
    ) -> Self {
        Self {
            pool,
            backend,
            address,
            metrics,
            turns: Turns::default(),
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

    /// Whether it may take new connections.
    pub fn is_in_service(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & ALL == 0
    }

    /// The same, whatever its health.
    pub fn is_in_service_but_for_health(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & ALL & !HEALTH == 0
    }

    /// Whether failures of real traffic are all that keeps new connections away.
    pub(crate) fn is_ejected_alone(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & ALL == OutOfService::Ejected as u8
    }

    /// Whether clients that stay with this backend may still come: until a drain by hand has lasted for `drain`. In a
    /// `panic` its health is ignored.
    pub(crate) fn keeps_clients(&self, panic: bool, drain: Duration) -> bool {
        let reasons = self.reasons.load(Ordering::Relaxed) & ALL;
        if reasons & HEALTH != 0 && !panic {
            return false;
        }
        // The lock is taken only while it drains.
        reasons & OutOfService::Drained as u8 == 0
            || self.notes().drained.is_none_or(|since| since.elapsed() < drain)
    }

    /// Whether it is out of service for this reason.
    pub fn is(&self, reason: OutOfService) -> bool {
        self.reasons.load(Ordering::Relaxed) & reason as u8 != 0
    }

    /// The word for its state: `up`, `down`, `ejected`, `drained` or `retired`.
    pub fn label(&self) -> &'static str {
        [OutOfService::Retired, OutOfService::Drained, OutOfService::Down, OutOfService::Ejected]
            .into_iter()
            .find(|r| self.is(*r))
            .map_or("up", OutOfService::label)
    }

    /// Takes it out of service; true if the reason is new.
    pub fn out(&self, reason: OutOfService) -> bool {
        let mut notes = self.notes();
        let before = self.reasons.fetch_or(reason as u8, Ordering::Relaxed);
        if reason == OutOfService::Drained && before & reason as u8 == 0 {
            notes.drained = Some(Instant::now());
        }
        if reason.is_of_health() {
            self.reasons.fetch_and(!WARMING, Ordering::Relaxed);
        }
        self.changed(reason, before & reason as u8 == 0)
    }

    /// Takes the reason away; true if it was there. Slow start begins when the last reason of health goes.
    pub fn back(&self, reason: OutOfService) -> bool {
        let mut notes = self.notes();
        let before = self.reasons.fetch_and(!(reason as u8), Ordering::Relaxed);
        let changed = before & reason as u8 != 0;
        if changed && before & HEALTH == reason as u8 {
            notes.recovered = Some(Instant::now());
            self.reasons.fetch_or(WARMING, Ordering::Relaxed);
        }
        self.changed(reason, changed)
    }

    /// Called with the notes locked, so that the gauge and the drain's number follow each change in its order.
    fn changed(&self, reason: OutOfService, changed: bool) -> bool {
        let others = self.reasons.load(Ordering::Relaxed) & DRAINS & !(reason as u8);
        // A backend that drains for two reasons continues to drain when one of them goes.
        if changed && !reason.is_of_health() && others == 0 {
            self.drains.fetch_add(1, Ordering::Relaxed);
        }
        self.show_health();
        changed
    }

    /// Sets the gauge. A retired backend leaves it to its namesake, which may be at another address by now.
    fn show_health(&self) {
        if !self.is(OutOfService::Retired) {
            self.metrics.up.set(i64::from(self.reasons.load(Ordering::Relaxed) & HEALTH == 0));
        }
    }

    /// Sets the gauges to this state and this weight: another plan or a namesake may have set them.
    pub(crate) fn show(&self, weight: u16) {
        let _held = self.notes();
        self.show_health();
        self.metrics.weight.set(i64::from(weight));
    }

    /// The number of the present drain: it differs from drain to drain.
    pub fn drain_number(&self) -> u32 {
        self.drains.load(Ordering::Relaxed)
    }

    /// The part of its weight that it gets now: all of it, except in slow start.
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

    /// Notes a finished check and why it failed, if it did. True for the first check.
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
        if self.is(OutOfService::Ejected) || !notes.ejections.failed(now, check) || !may_eject() {
            return None;
        }
        let length = notes.ejections.eject(now, check);
        drop(notes);
        self.out(OutOfService::Ejected).then_some(length)
    }

    /// Ends an ejection whose time is over. True if it ended one.
    pub fn end_ejection(&self, now: Instant) -> bool {
        if !self.is(OutOfService::Ejected) {
            return false;
        }
        let over = self.notes().ejections.is_over(now);
        over && self.back(OutOfService::Ejected)
    }

    /// The last result.
    pub fn last(&self) -> LastCheck {
        self.notes().last.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutOfService {
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

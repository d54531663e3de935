//! `limits.bandwidth`: how many bytes a second a connection moves, and all connections of a listener together, in each
//! direction.
//!
//! Of each limit only one moment is kept: when everything that was reserved so far is paid for (GCRA, ITU-T I.371, as in
//! [`rates`](crate::rates)). A flow reserves a chunk behind all others, waits for its time, and moves at most that chunk.
//! Reservations are served in their order and have the same size, so the connections of a listener take turns, and a flow that
//! was woken late makes up for it. What was reserved and not used is given back.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use weir_metrics::ListenerMetrics;
use weir_metrics::labels::{Direction, Limit};

/// The limits of a listener, in bytes a second in each direction; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speeds {
    /// Of one connection.
    pub connection: u64,
    /// Of all its connections together.
    pub listener: u64,
}

/// A listener's limits while it runs, on all workers. They outlive plans, and open connections follow a change.
#[derive(Debug)]
pub struct Bandwidth {
    connection: AtomicU64,
    listener: AtomicU64,
    /// When the reservations up, and those down, are paid for.
    paid: [AtomicU64; 2],
    /// Times are nanoseconds since then.
    begun: Instant,
}

impl Bandwidth {
    /// Limits with nothing reserved.
    pub fn new(speeds: Speeds) -> Self {
        let paid = [AtomicU64::new(0), AtomicU64::new(0)];
        let bandwidth =
            Self { connection: AtomicU64::new(0), listener: AtomicU64::new(0), paid, begun: Instant::now() };
        bandwidth.set(speeds);
        bandwidth
    }

    /// Changes the limits.
    pub fn set(&self, speeds: Speeds) {
        self.connection.store(speeds.connection, Ordering::Relaxed);
        self.listener.store(speeds.listener, Ordering::Relaxed);
    }

    /// The limits.
    pub fn speeds(&self) -> Speeds {
        let of = |speed: &AtomicU64| speed.load(Ordering::Relaxed);
        Speeds { connection: of(&self.connection), listener: of(&self.listener) }
    }

    /// The pace of a new connection; `None` without a limit, for connections that then have none to their end.
    pub fn pace(self: &Arc<Self>, metrics: &Arc<ListenerMetrics>) -> Option<Box<Pace>> {
        if self.speeds() == Speeds::default() {
            return None;
        }
        let (bandwidth, metrics) = (Arc::clone(self), Arc::clone(metrics));
        Some(Box::new(Pace { bandwidth, metrics, lanes: Default::default(), counted: Cell::new(false) }))
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }
}

/// The pace of one connection.
#[derive(Debug)]
pub struct Pace {
    bandwidth: Arc<Bandwidth>,
    metrics: Arc<ListenerMetrics>,
    /// Up and down.
    lanes: [Lane; 2],
    /// It has been held back, and counted for that.
    counted: Cell<bool>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Lane {
    /// When its own reservations are paid for.
    paid: Cell<u64>,
    turn: Cell<Option<Turn>>,
    /// It was held back when it last asked.
    waits: Cell<bool>,
}

/// What a direction has reserved.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// When it may move,
    at: u64,
    /// as many bytes,
    bytes: u64,
    /// at these limits.
    speeds: Speeds,
}

impl Pace {
    /// How many bytes may move now.
    ///
    /// # Errors
    /// When some may move, if none may now. The caller holds the direction back until then.
    pub fn allows(&self, direction: Direction) -> Result<usize, Instant> {
        let (lane, shared) = self.of(direction);
        let now = self.bandwidth.now();
        let Some(turn) = lane.turn.get().or_else(|| {
            lane.turn.set(lane.reserve(shared, self.bandwidth.speeds(), now));
            lane.turn.get()
        }) else {
            lane.waits.set(false);
            return Ok(usize::MAX);
        };
        lane.waits.set(turn.at > now + EARLY);
        if !lane.waits.get() {
            return Ok(usize::try_from(turn.bytes).unwrap_or(usize::MAX));
        }
        if !self.counted.replace(true) {
            self.metrics.limited(Limit::Bandwidth);
        }
        Err(self.bandwidth.begun + Duration::from_nanos(turn.at))
    }

    /// Records that so many bytes have moved, which may be more than allowed, or none: then what was reserved for others can
    /// be used by them.
    pub fn moved(&self, direction: Direction, bytes: usize) {
        let (lane, shared) = self.of(direction);
        lane.waits.set(false);
        let Some(turn) = lane.turn.take() else { return };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        lane.paid.set(settled(lane.paid.get(), turn, bytes, turn.speeds.connection));
        if turn.speeds.listener > 0 {
            let settle = |paid| Some(settled(paid, turn, bytes, turn.speeds.listener));
            // It never fails: there is always a next value.
            let _before = shared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, settle);
        }
    }

    /// Whether a direction is held back: some bytes were not allowed when it last asked.
    pub fn holds_back(&self, direction: Direction) -> bool {
        self.of(direction).0.waits.get()
    }

    /// When the first direction that is held back may go on, which may be in the past; `None` if none is.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.lanes.iter().filter(|lane| lane.waits.get());
        let at = waiting.filter_map(|lane| lane.turn.get()).map(|turn| turn.at).min()?;
        Some(self.bandwidth.begun + Duration::from_nanos(at))
    }

    fn of(&self, direction: Direction) -> (&Lane, &AtomicU64) {
        let ([up, down], [shared_up, shared_down]) = (&self.lanes, &self.bandwidth.paid);
        match direction {
            Direction::Up => (up, shared_up),
            Direction::Down => (down, shared_down),
        }
    }
}

impl Drop for Pace {
    /// What a connection has reserved is for the others.
    fn drop(&mut self) {
        self.moved(Direction::Up, 0);
        self.moved(Direction::Down, 0);
    }
}

impl Lane {
    /// Reserves a chunk within both limits; `None` if there is none any more.
    fn reserve(&self, shared: &AtomicU64, speeds: Speeds, now: u64) -> Option<Turn> {
        let bytes =
            [speeds.connection, speeds.listener].into_iter().filter(|speed| *speed > 0).map(chunk).min()?;
        let begins = |paid: u64| paid.max(now.saturating_sub(SLACK));
        let mut at = now;
        if speeds.connection > 0 {
            let begin = begins(self.paid.get());
            self.paid.set(begin + cost(bytes, speeds.connection));
            at = at.max(begin);
        }
        if speeds.listener > 0 {
            let take = |paid| Some(begins(paid) + cost(bytes, speeds.listener));
            let before = shared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            at = at.max(begins(before.unwrap_or(now)));
        }
        Some(Turn { at, bytes, speeds })
    }
}

/// When all is paid for, once a turn has moved `bytes` in place of what it had reserved.
fn settled(paid: u64, turn: Turn, bytes: u64, speed: u64) -> u64 {
    if bytes >= turn.bytes {
        paid.saturating_add(cost(bytes - turn.bytes, speed))
    } else {
        paid.saturating_sub(cost(turn.bytes - bytes, speed))
    }
}

/// The bytes that are reserved at once: those of some milliseconds.
fn chunk(speed: u64) -> u64 {
    (speed / CHUNKS_A_SECOND).clamp(LEAST_CHUNK, MOST_CHUNK)
}

/// Nanoseconds for so many bytes; none without a limit.
fn cost(bytes: u64, speed: u64) -> u64 {
    let whole = u128::from(bytes) * u128::from(NANOS);
    whole.checked_div(u128::from(speed)).map_or(0, |cost| u64::try_from(cost).unwrap_or(u64::MAX))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS: u64 = 1_000_000_000;
/// A connection is woken as often, if it is held back all the time.
const CHUNKS_A_SECOND: u64 = 200;
/// Smaller chunks would cost more calls than they move bytes,
const LEAST_CHUNK: u64 = 4 << 10;
/// and larger ones let others wait.
const MOST_CHUNK: u64 = 256 << 10;
/// Timers are no finer than this: a turn that is nearer begins at once, and the next is as much later.
const EARLY: u64 = NANOS / 1000;
/// A flow that was idle, or woken late, may make up for so much time.
const SLACK: u64 = NANOS / 10;

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Down, Up};
    use tokio::time::{advance, sleep_until};
    use weir_metrics::Metrics;

    const MIB: u64 = 1 << 20;

    fn bandwidth(connection: u64, listener: u64) -> (Arc<Bandwidth>, Arc<ListenerMetrics>) {
        let metrics = Arc::new(Metrics::new("0", "r", "c").unwrap().listener("edge"));
        (Arc::new(Bandwidth::new(Speeds { connection, listener })), metrics)
    }

    /// Moves as much as it may until then, in steps that other flows interrupt. Each step is woken `late`.
    async fn moves(pace: &Pace, direction: Direction, until: Instant, late: Duration) -> u64 {
        let mut sum = 0;
        while Instant::now() < until {
            match pace.allows(direction) {
                Ok(bytes) => {
                    pace.moved(direction, bytes);
                    sum += bytes as u64;
                }
                Err(at) => sleep_until(at + late).await,
            }
        }
        sum
    }

    fn is_near(bytes: u64, wanted: u64) {
        assert!(bytes.abs_diff(wanted) * 50 < wanted, "{bytes} of {wanted}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_of_a_connection_keeps_its_speed() {
        for speed in [16 << 10, 100 << 10, MIB, 10 * MIB, 1000 * MIB] {
            let (bandwidth, metrics) = bandwidth(speed, 0);
            let [one, other] = [(); 2].map(|()| bandwidth.pace(&metrics).unwrap());
            let until = Instant::now() + Duration::from_secs(10);
            let late = Duration::from_millis(3);
            let all = tokio::join!(
                moves(&one, Up, until, late),
                moves(&one, Down, until, Duration::ZERO),
                moves(&other, Down, until, late)
            );
            for bytes in [all.0, all.1, all.2] {
                is_near(bytes, speed * 10);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_a_listener_share_its_speed() {
        let (bandwidth, metrics) = bandwidth(0, 50 * MIB);
        let paces: Vec<_> = (0..40).map(|_| bandwidth.pace(&metrics).unwrap()).collect();
        let until = Instant::now() + Duration::from_secs(5);
        let tasks = tokio::task::LocalSet::new();
        let late = Duration::from_millis(1);
        let moving: Vec<_> = paces
            .into_iter()
            .map(|pace| tasks.spawn_local(async move { moves(&pace, Down, until, late).await }))
            .collect();
        tasks.await;
        let mut all = Vec::new();
        for one in moving {
            all.push(one.await.unwrap());
        }
        is_near(all.iter().sum(), 250 * MIB);
        for bytes in all {
            assert!(bytes.abs_diff(250 * MIB / 40) < MIB, "an unfair share: {bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_given_back() {
        let (bandwidth, metrics) = bandwidth(MIB, MIB);
        let [busy, idle, gone] = [(); 3].map(|()| bandwidth.pace(&metrics).unwrap());
        for _ in 0..1000 {
            assert!(idle.allows(Up).is_ok());
            idle.moved(Up, 0);
        }
        assert!(gone.allows(Up).is_ok());
        drop(gone);
        let until = Instant::now() + Duration::from_secs(5);
        is_near(moves(&busy, Up, until, Duration::ZERO).await, 5 * MIB);
        assert!(idle.next().is_none() && !idle.holds_back(Up), "a turn that is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_too_much_waits_for_it() {
        let (bandwidth, metrics) = bandwidth(MIB, 0);
        let pace = bandwidth.pace(&metrics).unwrap();
        assert!(pace.allows(Down).is_ok());
        pace.moved(Down, 1 << 20);
        let at = pace.allows(Down).unwrap_err();
        assert!(at.duration_since(Instant::now()).as_millis().abs_diff(1000) < 10, "{at:?}");
        assert!(pace.holds_back(Down) && !pace.holds_back(Up) && pace.next() == Some(at));
        advance(Duration::from_secs(1)).await;
        assert!(pace.allows(Down).is_ok());
        assert!(!pace.holds_back(Down));
    }

    #[tokio::test(start_paused = true)]
    async fn open_connections_follow_a_change() {
        let (bandwidth, metrics) = bandwidth(MIB, 0);
        let pace = bandwidth.pace(&metrics).unwrap();
        let second = || Instant::now() + Duration::from_secs(1);
        is_near(moves(&pace, Up, second(), Duration::ZERO).await, MIB);
        bandwidth.set(Speeds { connection: 0, listener: 4 * MIB });
        moves(&pace, Up, Instant::now() + Duration::from_millis(10), Duration::ZERO).await;
        is_near(moves(&pace, Up, second(), Duration::ZERO).await, 4 * MIB);
        bandwidth.set(Speeds::default());
        pace.moved(Up, 0);
        assert_eq!(pace.allows(Up), Ok(usize::MAX));
        assert!(bandwidth.pace(&metrics).is_none(), "none for new ones");
    }
}

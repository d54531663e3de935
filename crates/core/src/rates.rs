//! Rates of clients: how often each may do a thing, in one table of bounded size for the whole process.
//!
//! The algorithm is GCRA (ITU-T I.371): of each client only one moment is kept, the time at which it would be back to its
//! full burst.
//! The table forgets the clients that were not seen for longest. Forgetting one whose burst is full again changes
//! nothing; if the table is full of others, their limits begin anew, and a metric counts it.

use lru::LruCache;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_metrics::RateMetrics;

/// How often one client may do a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time for which once counts: a rate of 100 a second is 10 ms.
    pub interval: Duration,
    /// How often at once; at least 1.
    pub burst: u32,
}

/// What is limited: a route, a listener. The same over reloads, as long as its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(u64);

impl Scope {
    /// The scope that these parts name, such as a listener's name and a route's conditions. Parts come from the
    /// configuration, never from a client. Equal parts name the same scope as long as the process lives.
    pub fn of(parts: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Clients that share a limit: a network of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// The first bits of an IPv4 address, and their number.
    V4(u32, u8),
    /// The first bits of the first half of an IPv6 address, and their number.
    V6(u64, u8),
}

/// The bits of an address that name a client: of IPv4, 1 to 32; of IPv6, 1 to 64.
pub type Prefixes = (u8, u8);

/// An IPv4 address, or an IPv6 network of 64 bits, because each host may use any address of it.
pub const ONE_CLIENT: Prefixes = (32, 64);

impl Network {
    /// The client with this address. A v4-mapped IPv6 address counts as the IPv4 one.
    pub fn of(ip: IpAddr, (v4, v6): Prefixes) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let length = v4.min(32);
                Self::V4(ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0), length)
            }
            IpAddr::V6(ip) => {
                let length = v6.min(64);
                #[allow(clippy::cast_possible_truncation, reason = "the first 64 of 128 bits")]
                let half = (ip.to_bits() >> 64) as u64;
                Self::V6(half & u64::MAX.checked_shl(64 - u32::from(length)).unwrap_or(0), length)
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(bits, 32) => Ipv4Addr::from_bits(bits).fmt(f),
            Self::V4(bits, length) => write!(f, "{}/{length}", Ipv4Addr::from_bits(bits)),
            Self::V6(half, length) => write!(f, "{}/{length}", Ipv6Addr::from_bits(u128::from(half) << 64)),
        }
    }
}

/// Nanoseconds since the table was made, at which a client is back to its full burst.
type Full = u64;

type Shard = LruCache<Key, Full, BuildHasherDefault<Hashed>>;

/// A client in a scope. Its hash is keyed, so that nobody can choose addresses that meet, and taken once: it finds the part of
/// the table, and the place within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    hash: u64,
    scope: Scope,
    client: Network,
}

impl Key {
    fn of(scope: Scope, client: Network, hasher: &RandomState) -> Self {
        let (bits, length) = match client {
            Network::V4(bits, length) => (u64::from(bits), u64::from(length)),
            Network::V6(half, length) => (half, V6 | u64::from(length)),
        };
        // Whole words, which are hashed in one go.
        Self { hash: hasher.hash_one([scope.0, bits, length]), scope, client }
    }
}

/// Tells the lengths of IPv6 networks from those of IPv4.
const V6: u64 = 1 << 8;

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Hands on what has been hashed already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used: a key is one word.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The table. One for the process; workers share it.
#[derive(Debug)]
pub struct Rates {
    /// Each is locked for a look-up, never over a wait.
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    made: Instant,
    /// The most clients of a shard.
    most: usize,
    metrics: RateMetrics,
}

/// The most clients that are remembered, about 13 MiB.
pub const MOST_CLIENTS: usize = 1 << 17;
/// With so many parts, workers seldom meet at one.
const SHARDS: usize = 64;
/// Clients with a full burst that are forgotten for each new one: more than one, so that the table shrinks after a flood.
const SWEPT: usize = 2;

impl Rates {
    /// A table that remembers at most [`MOST_CLIENTS`] clients.
    pub fn new(metrics: RateMetrics) -> Self {
        Self::of_at_most(MOST_CLIENTS, metrics)
    }

    fn of_at_most(clients: usize, metrics: RateMetrics) -> Self {
        let hasher = RandomState::new();
        // Unbounded, because a bounded one allocates its whole size at once; `take` bounds it.
        let shard = || Mutex::new(LruCache::unbounded_with_hasher(BuildHasherDefault::default()));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher,
            made: Instant::now(),
            most: clients.div_ceil(SHARDS),
            metrics,
        }
    }

    /// Counts once for a client.
    ///
    /// # Errors
    /// It is over its rate; nothing was counted. The time after which it may try again.
    pub fn take(&self, scope: Scope, client: Network, rate: Rate) -> Result<(), Duration> {
        self.take_at(Instant::now(), scope, client, rate)
    }

    /// Whether a client is at its rate: once more would be over it. Counts nothing.
    pub fn is_full(&self, scope: Scope, client: Network, rate: Rate) -> bool {
        let now = nanos(Instant::now().saturating_duration_since(self.made));
        let once = nanos(rate.interval).max(1);
        let whole = once.saturating_mul(u64::from(rate.burst.max(1)));
        let key = Key::of(scope, client, &self.hasher);
        let Some(shard) = self.shard(key) else { return false };
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.peek(&key).is_some_and(|full| {
            (*full).clamp(now, now.saturating_add(whole)).saturating_add(once) > now.saturating_add(whole)
        })
    }

    fn shard(&self, key: Key) -> Option<&Mutex<Shard>> {
        // The part's own table looks at the lowest and the highest bits.
        self.shards.get(usize::try_from(key.hash >> 32).unwrap_or(usize::MAX) % SHARDS)
    }

    fn take_at(&self, now: Instant, scope: Scope, client: Network, rate: Rate) -> Result<(), Duration> {
        let now = nanos(now.saturating_duration_since(self.made));
        let once = nanos(rate.interval).max(1);
        let whole = once.saturating_mul(u64::from(rate.burst.max(1)));
        let key = Key::of(scope, client, &self.hasher);
        let Some(shard) = self.shard(key) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = shard.get_mut(&key) {
            // After a change of the rate, the client may have to wait for longer than it now can have to.
            *full = (*full).clamp(now, now.saturating_add(whole));
            let next = full.saturating_add(once);
            let over = next.saturating_sub(now).saturating_sub(whole);
            if over > 0 {
                return Err(Duration::from_nanos(over));
            }
            *full = next;
            return Ok(());
        }
        self.make_room(&mut shard, now);
        shard.put(key, now.saturating_add(once));
        self.metrics.clients.inc();
        Ok(())
    }

    fn make_room(&self, shard: &mut Shard, now: u64) {
        for _ in 0..SWEPT {
            let Some((_, full)) = shard.peek_lru() else { return };
            let early = *full > now;
            if early && shard.len() < self.most {
                return;
            }
            shard.pop_lru();
            self.metrics.clients.dec();
            self.metrics.forgotten.inc_by(u64::from(early));
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_metrics::Metrics;

    fn rates(most: usize) -> Rates {
        Rates::of_at_most(most, Metrics::new("0", "r", "c").unwrap().rates())
    }

    fn ip(text: &str) -> Network {
        Network::of(text.parse().unwrap(), ONE_CLIENT)
    }

    const TEN_A_SECOND: Rate = Rate { interval: Duration::from_millis(100), burst: 3 };

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let rates = rates(100);
        let (scope, now) = (Scope::of(["edge", "/"]), rates.made);
        let take = |ms| rates.take_at(now + Duration::from_millis(ms), scope, ip("192.0.2.1"), TEN_A_SECOND);
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!(take(0), Err(Duration::from_millis(100)));
        assert_eq!(take(60), Err(Duration::from_millis(40)), "a refusal costs nothing");
        assert_eq!(take(100), Ok(()));
        assert_eq!(take(100), Err(Duration::from_millis(100)));
        assert_eq!([take(900), take(900), take(900)], [Ok(()); 3], "no more than the burst is saved");
        assert!(take(900).is_err());
    }

    #[test]
    fn a_change_of_the_rate_counts_what_was_taken_before() {
        let rates = rates(100);
        let (scope, client) = (Scope::of(["edge", "/"]), ip("192.0.2.1"));
        let take = |ms, rate| rates.take_at(rates.made + Duration::from_millis(ms), scope, client, rate);
        let slow = Rate { interval: Duration::from_secs(3600), burst: 2 };
        assert_eq!([take(0, slow), take(0, slow)], [Ok(()); 2]);
        assert_eq!(take(0, slow), Err(slow.interval));
        // Hours of the old rate are not waited for under the new one: its burst is used up, and no more than that.
        assert_eq!(take(0, TEN_A_SECOND), Err(TEN_A_SECOND.interval));
        assert_eq!(take(100, TEN_A_SECOND), Ok(()));
    }

    #[test]
    fn clients_and_scopes_are_apart() {
        let rates = rates(1000);
        let (one, other) = (Scope::of(["edge", "/a"]), Scope::of(["edge", "/b"]));
        let once = Rate { burst: 1, ..TEN_A_SECOND };
        let take = |scope, client| rates.take_at(rates.made, scope, ip(client), once).is_ok();
        assert!(take(one, "192.0.2.1") && take(one, "192.0.2.2") && take(other, "192.0.2.1"));
        assert!(!take(one, "::ffff:192.0.2.1"), "an IPv4 client over an IPv6 socket");
        assert!(take(one, "2001:db8:0:1::1") && take(one, "2001:db8:0:2::1"));
        assert!(!take(one, "2001:db8:0:1:ffff::9"), "a host may use any address of its network");
    }

    #[test]
    fn networks_of_any_length_are_one_client() {
        let of = |text: &str, prefixes| Network::of(text.parse().unwrap(), prefixes);
        assert_eq!(of("192.0.2.1", (24, 56)), of("192.0.2.200", (24, 56)));
        assert_ne!(of("192.0.2.1", (24, 56)), of("192.0.3.1", (24, 56)));
        assert_eq!(of("2001:db8:0:1ff::1", (24, 56)), of("2001:db8:0:100::", (24, 56)));
        for (text, prefixes, shown) in [
            ("192.0.2.1", (32, 64), "192.0.2.1"),
            ("192.0.2.1", (24, 64), "192.0.2.0/24"),
            ("2001:db8:0:1:2::3", (32, 64), "2001:db8:0:1::/64"),
            ("2001:db8:0:1ff::3", (32, 56), "2001:db8:0:100::/56"),
            ("::ffff:192.0.2.1", (32, 64), "192.0.2.1"),
        ] {
            assert_eq!(of(text, prefixes).to_string(), shown);
        }
    }

    #[test]
    fn a_client_at_its_rate_is_full() {
        let rates = rates(100);
        let (scope, client) = (Scope::of(["edge"]), ip("192.0.2.1"));
        let slow = Rate { interval: Duration::from_secs(3600), burst: 2 };
        assert!(!rates.is_full(scope, client, slow), "a stranger is not");
        rates.take(scope, client, slow).unwrap();
        assert!(!rates.is_full(scope, client, slow));
        rates.take(scope, client, slow).unwrap();
        assert!(rates.is_full(scope, client, slow) && rates.take(scope, client, slow).is_err());
        assert!(!rates.is_full(scope, ip("192.0.2.2"), slow));
    }

    #[test]
    fn the_table_is_bounded_and_shrinks() {
        let rates = rates(SHARDS * 4);
        let scope = Scope::of(["edge"]);
        let slow = Rate { interval: Duration::from_secs(60), burst: 1 };
        let client = |n: u32| Network::V4(n, 32);
        for n in 0..10_000 {
            rates.take_at(rates.made, scope, client(n), slow).unwrap();
        }
        let all = || rates.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        assert!(all() <= SHARDS * 4, "{}", all());
        assert_eq!(rates.metrics.clients.get(), i64::try_from(all()).unwrap());
        assert_eq!(rates.metrics.forgotten.get(), 10_000 - all() as u64);
        let (later, before) = (rates.made + Duration::from_secs(3600), rates.metrics.forgotten.get());
        for n in 0..2000 {
            rates.take_at(later + slow.interval * n, scope, client(50_000 + n), slow).unwrap();
        }
        assert!(all() <= SHARDS * 2, "clients with a full burst go: {}", all());
        assert_eq!(rates.metrics.forgotten.get(), before, "which is not too early");
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_burst_and_rate(gaps in prop::collection::vec(0_u64..200, 1..300)) {
            let rates = rates(10);
            let scope = Scope::of(["edge"]);
            let (mut now, mut taken) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                let at = rates.made + Duration::from_millis(now);
                if rates.take_at(at, scope, ip("192.0.2.1"), TEN_A_SECOND).is_ok() {
                    taken.push(now);
                }
            }
            for (n, first) in taken.iter().enumerate() {
                let within = taken[n..].iter().filter(|at| **at <= first + 1000).count();
                prop_assert!(within <= 3 + 10, "{} in a second", within);
            }
        }
    }
}

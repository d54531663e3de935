//! How long a pick takes among 10 and 1,000 backends, policy by policy, and how long a Maglev table takes to build.
//!
//! The backends are laid out as a pool's are: their fixed and their live parts behind an `Arc` each, the live
//! part in atomics, and their connections counted side by side. Every pick adds a connection to the picked
//! backend, and each connection ends some picks later, so that loads are uneven and `least_connections` never
//! finds an idle backend at once.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that picks no backend says nothing")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use weir_pool::pick::{Bound, Candidates, LeastConnections, Maglev, RandomTwo, Rng, RoundRobin, Share, key};

struct Backend {
    name: String,
    weight: u16,
    live: Arc<Live>,
}

struct Live {
    reasons: AtomicU8,
    _rest: [u64; 24],
}

struct Tier {
    backends: Vec<Arc<Backend>>,
    loads: Vec<Load>,
}

struct Load {
    row: Arc<[AtomicU32; 256]>,
    place: u8,
}

impl Load {
    fn count(&self) -> &AtomicU32 {
        self.row.get(usize::from(self.place)).unwrap()
    }

    fn get(&self) -> u32 {
        self.count().load(Ordering::Relaxed)
    }
}

impl Tier {
    fn new(count: u16) -> Self {
        let live = || Live { reasons: AtomicU8::new(0), _rest: [0; 24] };
        let backend = |n: u16| Backend {
            name: format!("10.0.{}.{}:8443", n / 250, n % 250),
            weight: 1 + n % 5,
            live: Arc::new(live()),
        };
        let rows = (0..=count / 256).map(|_| Arc::new([const { AtomicU32::new(0) }; 256]));
        let places = rows.flat_map(|row| {
            (0..=u8::MAX).map(move |n| Load { row: Arc::clone(&row), place: n.rotate_left(4) })
        });
        Self {
            backends: (0..count).map(backend).map(Arc::new).collect(),
            loads: places.take(count.into()).collect(),
        }
    }

    fn weights(&self) -> impl Iterator<Item = u16> {
        self.backends.iter().map(|b| b.weight)
    }

    fn named(&self) -> Vec<(&str, u16)> {
        self.backends.iter().map(|b| (b.name.as_str(), b.weight)).collect()
    }

    fn active(&self, number: usize) -> &AtomicU32 {
        self.loads.get(number).unwrap().count()
    }
}

impl Candidates for Tier {
    fn len(&self) -> usize {
        self.backends.len()
    }

    fn weight(&self, number: usize) -> u16 {
        self.backends.get(number).map_or(0, |b| b.weight)
    }

    fn usable(&self, number: usize) -> bool {
        self.backends.get(number).is_some_and(|b| {
            b.weight > 0 && b.live.reasons.load(Ordering::Relaxed) == 0 && self.load(number) < u32::MAX
        })
    }

    fn load(&self, number: usize) -> u32 {
        self.loads.get(number).map_or(0, Load::get)
    }

    fn loads(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        self.loads.get(range).unwrap_or_default().iter().map(Load::get)
    }

    fn share(&self, number: usize) -> Share {
        let whole =
            self.backends.get(number).is_some_and(|b| b.live.reasons.load(Ordering::Relaxed) & 16 == 0);
        if whole { Share::WHOLE } else { Share::LEAST }
    }
}

/// A policy with its input.
type Pick<'a> = Box<dyn FnMut(&Tier) -> Option<usize> + 'a>;

fn policies(tier: &Tier) -> Vec<(&'static str, Pick<'_>)> {
    let mut round_robin = RoundRobin::new(tier.weights(), 7);
    let mut least_connections = LeastConnections::new(tier.weights(), 7);
    let random_two = RandomTwo::new(tier.weights());
    let maglev = Maglev::build(&tier.named());
    let (bounded, mut bound) = (maglev.clone(), Bound::percent(125));
    let mut random = Rng::with_seed(1);
    let mut clients = Rng::with_seed(2);
    let mut source = move || IpAddr::V4(Ipv4Addr::from_bits(clients.u32(..)));
    let mut other = source.clone();
    vec![
        ("round_robin", Box::new(move |tier| round_robin.pick(tier))),
        ("least_connections", Box::new(move |tier| least_connections.pick(tier))),
        ("random_two", Box::new(move |tier| random_two.pick(tier, &mut random))),
        ("source_ip", Box::new(move |tier| maglev.pick(key::of_source(source()), tier, None))),
        (
            "source_ip, bounded",
            Box::new(move |tier| bounded.pick(key::of_source(other()), tier, Some(&mut bound))),
        ),
    ]
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for count in [10, 1000] {
        let tier = Tier::new(count);
        for (name, mut policy) in policies(&tier) {
            // Ten connections a backend: each ends as many picks after it began.
            let mut open: VecDeque<usize> = (0..usize::from(count)).cycle().take(10 * tier.len()).collect();
            tier.loads.iter().for_each(|load| load.count().store(10, Ordering::Relaxed));
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    let ended = open.pop_front().unwrap();
                    tier.active(ended).fetch_sub(1, Ordering::Relaxed);
                    let picked = policy(black_box(&tier)).unwrap();
                    tier.active(picked).fetch_add(1, Ordering::Relaxed);
                    open.push_back(picked);
                });
            });
        }
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("build a Maglev table");
    for count in [10, 1000] {
        let tier = Tier::new(count);
        let named = tier.named();
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| Maglev::build(black_box(&named)))
        });
    }
    group.finish();
}

criterion_group!(benches, pick, build);
criterion_main!(benches);

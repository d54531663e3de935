//! The promises of every policy.

use crate::pick::candidates::{Candidates, Share};
use crate::pick::{Balance, ClientKey, Maglev, Order, Policy};
use fastrand::Rng;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use std::net::{IpAddr, Ipv4Addr};

/// Backends in the state that a test sets.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) weights: Vec<u16>,
    pub(crate) usable: Vec<bool>,
    pub(crate) loads: Vec<u32>,
    pub(crate) shares: Vec<Share>,
}

impl Fake {
    /// Idle, usable, none in slow start.
    pub(crate) fn new(weights: &[u16]) -> Self {
        let len = weights.len();
        Self {
            weights: weights.to_vec(),
            usable: vec![true; len],
            loads: vec![0; len],
            shares: vec![Share::WHOLE; len],
        }
    }
}

impl Candidates for Fake {
    fn len(&self) -> usize {
        self.weights.len()
    }

    fn weight(&self, number: usize) -> u16 {
        self.weights[number]
    }

    fn usable(&self, number: usize) -> bool {
        self.usable[number]
    }

    fn load(&self, number: usize) -> u32 {
        self.loads[number]
    }

    fn share(&self, number: usize) -> Share {
        self.shares[number]
    }
}

/// A policy at work, with the table of its backends.
struct Tried {
    policy: Policy,
    table: Option<Maglev>,
}

impl std::fmt::Debug for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.policy.fmt(f)
    }
}

impl Tried {
    /// Every policy, keyed ones with a bound and without.
    fn all(weights: &[u16], start: u64) -> Vec<Self> {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("backend-{n}")).collect();
        let named: Vec<(&str, u16)> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        let of = |balance: Balance, bound| {
            let random = &mut Rng::with_seed(start);
            let policy = Policy::new(balance, bound, weights.iter().copied(), random);
            Self { policy, table: balance.is_keyed().then(|| Maglev::build(&named)) }
        };
        let all = |balance: Balance| [None, balance.is_keyed().then_some(125)].map(|bound| (balance, bound));
        let mut all: Vec<(Balance, Option<u32>)> = Balance::ALL.into_iter().flat_map(all).collect();
        all.dedup();
        all.into_iter().map(|(balance, bound)| of(balance, bound)).collect()
    }

    /// A pick for some client, by its address or its name.
    fn pick(&mut self, fake: &Fake, random: &mut Rng) -> Option<usize> {
        let source = IpAddr::V4(Ipv4Addr::from_bits(random.u32(..)));
        let sni = source.to_string();
        let client = ClientKey { source, sni: Some(&sni), field: None };
        self.policy.pick(fake, &client, self.table.as_ref(), random)
    }
}

/// Picks while `open` connections are open, each of which ends at a random time; counts the last 10,000 picks.
fn shares(policy: &mut Tried, mut fake: Fake, open: usize, random: &mut Rng) -> Vec<f64> {
    let mut connections = Vec::new();
    let mut counts = vec![0_u32; fake.weights.len()];
    for turn in 0..20_000 {
        if connections.len() == open {
            let ended: usize = connections.swap_remove(random.usize(..open));
            fake.loads[ended] -= 1;
        }
        let picked = policy.pick(&fake, random).unwrap();
        fake.loads[picked] += 1;
        connections.push(picked);
        if turn >= 10_000 {
            counts[picked] += 1;
        }
    }
    counts.into_iter().map(|count| f64::from(count) / 10_000.0).collect()
}

#[test]
fn shares_are_within_one_percent_of_the_weights() {
    for weights in [vec![1, 2, 7], vec![1, 1], vec![3, 0, 5, 1, 1], vec![1; 10], (1..=40).collect()] {
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for mut policy in Tried::all(&weights, 12_345) {
            let mut random = Rng::with_seed(2);
            let got = shares(&mut policy, Fake::new(&weights), 2000, &mut random);
            for (got, weight) in got.iter().zip(&weights) {
                let wanted = f64::from(*weight) / sum;
                assert!((got - wanted).abs() <= 0.01, "{got} for {wanted} of {weights:?}: {policy:?}");
            }
        }
    }
}

#[test]
fn orders_say_how_much_is_known() {
    let source = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let orders = |source, sni| Balance::ALL.map(|balance| balance.order(source, sni, false));
    let sample = [Order::Rotation, Order::Sample, Order::Sample];
    assert_eq!(orders(None, None)[..3], sample);
    assert_eq!(orders(None, None)[3..], [Order::Sample; 2]);
    assert_eq!(orders(None, Some("a"))[3..], [Order::Sample, Order::Exact]);
    assert_eq!(orders(source, None)[3..], [Order::Exact; 2]);
    assert_eq!(Balance::LeastConnections.order(None, None, true), Order::Rotation, "of equal weights");
    let labels: std::collections::HashSet<_> = Balance::ALL.iter().map(|balance| balance.label()).collect();
    assert_eq!(labels.len(), Balance::ALL.len());
}

/// The promise of slow start, in the long run and while connections end.
#[test]
fn shares_follow_slow_start() {
    let mut fake = Fake::new(&[1; 5]);
    fake.shares[1] = Share::part(0.5);
    for mut policy in Tried::all(&fake.weights, 3) {
        // A bound counts connections, and a backend in slow start has few.
        let got = shares(&mut policy, fake.clone(), 2000, &mut Rng::with_seed(4));
        assert!((got[1] - 0.5 / 4.5).abs() < 0.02, "{got:?}: {policy:?}");
    }
}

#[test]
fn policies_pick_none_where_none_is_usable() {
    let random = &mut Rng::with_seed(1);
    for weights in [vec![], vec![0], vec![0, 0, 0]] {
        for mut policy in Tried::all(&weights, 9) {
            assert_eq!(policy.pick(&Fake::new(&weights), random), None, "{weights:?}: {policy:?}");
        }
    }
    for mut policy in Tried::all(&[5], u64::MAX) {
        let mut fake = Fake::new(&[5]);
        assert_eq!(policy.pick(&fake, random), Some(0), "{policy:?}");
        fake.usable[0] = false;
        assert_eq!(policy.pick(&fake, random), None, "{policy:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn policies_pick_only_usable_backends(
        weights in prop::collection::vec(0u16..9, 1..16),
        rounds in prop::collection::vec((any::<u16>(), any::<u16>(), 0u32..20), 1..40),
        start in any::<u64>(),
    ) {
        for mut policy in Tried::all(&weights, start) {
            let mut fake = Fake::new(&weights);
            let mut random = Rng::with_seed(start);
            for (sick, starting, load) in &rounds {
                let bit = |mask: u16, n: usize| mask & (1 << n) != 0;
                fake.usable = (0..weights.len()).map(|n| !bit(*sick, n)).collect();
                fake.shares = (0..weights.len())
                    .map(|n| if bit(*starting, n) { Share::LEAST } else { Share::WHOLE })
                    .collect();
                fake.loads.iter_mut().enumerate().for_each(|(n, l)| *l = if n % 3 == 0 { *load } else { 0 });
                let anyone = (0..weights.len()).any(|n| fake.usable[n] && weights[n] > 0);
                let picked = policy.pick(&fake, &mut random);
                prop_assert_eq!(picked.is_some(), anyone, "{:?}", &policy);
                prop_assert!(picked.is_none_or(|n| fake.usable[n] && weights[n] > 0), "{:?}", &policy);
            }
        }
    }

    /// Two processes with the same configuration give every key to the same backend.
    #[test]
    fn keyed_policies_agree_across_instances(weights in prop::collection::vec(0u16..9, 1..12), sick in any::<u16>(), seed in any::<u64>()) {
        let mut fake = Fake::new(&weights);
        fake.usable = (0..weights.len()).map(|n| sick & (1 << n) == 0).collect();
        for (mut one, mut two) in Tried::all(&weights, seed).into_iter().zip(Tried::all(&weights, seed)) {
            let (mut here, mut there) = (Rng::with_seed(seed), Rng::with_seed(seed));
            for _ in 0..100 {
                prop_assert_eq!(one.pick(&fake, &mut here), two.pick(&fake, &mut there));
            }
        }
    }
}

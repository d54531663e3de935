//! What every policy promises, whatever it goes by.

use crate::pick::candidates::{Candidates, Share};
use crate::pick::{Bound, LeastConnections, Maglev, RandomTwo, RoundRobin, key};
use fastrand::Rng;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use std::net::{IpAddr, Ipv4Addr};

/// Backends that are what a test says.
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

/// Every policy behind one door.
#[derive(Debug)]
enum Policy {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    RandomTwo(RandomTwo),
    Keyed(Maglev, Option<Bound>),
}

impl Policy {
    fn all(weights: &[u16], start: u64) -> Vec<Self> {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("backend-{n}")).collect();
        let named: Vec<(&str, u16)> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        let maglev = Maglev::build(&named);
        let weights = || weights.iter().copied();
        vec![
            Self::RoundRobin(RoundRobin::new(weights(), start)),
            Self::LeastConnections(LeastConnections::new(weights(), start)),
            Self::RandomTwo(RandomTwo::new(weights())),
            Self::Keyed(maglev.clone(), None),
            Self::Keyed(maglev, Some(Bound::percent(125))),
        ]
    }

    fn pick(&mut self, fake: &Fake, random: &mut Rng) -> Option<usize> {
        match self {
            Self::RoundRobin(policy) => policy.pick(fake),
            Self::LeastConnections(policy) => policy.pick(fake),
            Self::RandomTwo(policy) => policy.pick(fake, random),
            Self::Keyed(maglev, bound) => {
                let source = IpAddr::V4(Ipv4Addr::from_bits(random.u32(..)));
                maglev.pick(key::of_source(source), fake, bound.as_mut())
            }
        }
    }
}

/// Picks while `open` connections are open, each of which ends at a random time; counts the last 10,000 picks.
fn shares(policy: &mut Policy, mut fake: Fake, open: usize, random: &mut Rng) -> Vec<f64> {
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
        for mut policy in Policy::all(&weights, 12_345) {
            let mut random = Rng::with_seed(2);
            let got = shares(&mut policy, Fake::new(&weights), 2000, &mut random);
            for (got, weight) in got.iter().zip(&weights) {
                let wanted = f64::from(*weight) / sum;
                assert!((got - wanted).abs() <= 0.01, "{got} for {wanted} of {weights:?}: {policy:?}");
            }
        }
    }
}

/// What slow start promises, in the long run and while connections end.
#[test]
fn shares_follow_slow_start() {
    let mut fake = Fake::new(&[1; 5]);
    fake.shares[1] = Share::part(0.5);
    for mut policy in Policy::all(&fake.weights, 3) {
        // A bound looks at connections, and those of one in slow start are few.
        let got = shares(&mut policy, fake.clone(), 2000, &mut Rng::with_seed(4));
        assert!((got[1] - 0.5 / 4.5).abs() < 0.02, "{got:?}: {policy:?}");
    }
}

#[test]
fn nobody_is_picked_where_there_is_nobody() {
    let random = &mut Rng::with_seed(1);
    for weights in [vec![], vec![0], vec![0, 0, 0]] {
        for mut policy in Policy::all(&weights, 9) {
            assert_eq!(policy.pick(&Fake::new(&weights), random), None, "{weights:?}: {policy:?}");
        }
    }
    for mut policy in Policy::all(&[5], u64::MAX) {
        let mut fake = Fake::new(&[5]);
        assert_eq!(policy.pick(&fake, random), Some(0), "{policy:?}");
        fake.usable[0] = false;
        assert_eq!(policy.pick(&fake, random), None, "{policy:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_a_sick_one_while_a_well_one_exists(
        weights in prop::collection::vec(0u16..9, 1..16),
        rounds in prop::collection::vec((any::<u16>(), any::<u16>(), 0u32..20), 1..40),
        start in any::<u64>(),
    ) {
        for mut policy in Policy::all(&weights, start) {
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
    fn instances_agree(weights in prop::collection::vec(0u16..9, 1..12), sick in any::<u16>(), seed in any::<u64>()) {
        let mut fake = Fake::new(&weights);
        fake.usable = (0..weights.len()).map(|n| sick & (1 << n) == 0).collect();
        for (mut one, mut two) in Policy::all(&weights, seed).into_iter().zip(Policy::all(&weights, seed)) {
            let (mut here, mut there) = (Rng::with_seed(seed), Rng::with_seed(seed));
            for _ in 0..100 {
                prop_assert_eq!(one.pick(&fake, &mut here), two.pick(&fake, &mut there));
            }
        }
    }
}

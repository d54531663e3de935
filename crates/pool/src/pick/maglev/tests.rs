//! What Maglev promises: shares, few moves, the same answer everywhere.

use super::*;
use crate::pick::tests::Fake;
use proptest::prelude::*;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("10.0.{}.{}:8443", n / 250, n % 250)).collect()
}

fn build(names: &[String], weights: &[u16]) -> Maglev {
    Maglev::build(&names.iter().map(String::as_str).zip(weights.iter().copied()).collect::<Vec<_>>())
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|n| key::hash(Domain::Source, &n.to_le_bytes()))
}

/// Part of `keys` whose backend, by name, is another one in the second table.
fn moved(one: (&[String], &Maglev), two: (&[String], &Maglev)) -> f64 {
    let pick = |(names, maglev): (&[String], &Maglev), key| {
        maglev.pick(key, &Fake::new(&vec![1; names.len()]), None).map(|n| names[n].clone())
    };
    keys(20_000).filter(|key| pick(one, *key) != pick(two, *key)).count() as f64 / 20_000.0
}

#[test]
fn slots_are_shared_by_weight() {
    for weights in [vec![1, 2, 7], vec![1; 1000], vec![u16::MAX, 1, 300, 0], (1..=100).collect()] {
        let table = build(&names(weights.len()), &weights);
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for (number, weight) in weights.iter().enumerate() {
            let got = table.slots.iter().filter(|owner| usize::from(**owner) == number).count() as f64;
            let wanted = SIZE as f64 * f64::from(*weight) / sum;
            assert!((got - wanted).abs() <= 2.0, "{got} of {wanted} slots for {weight} of {sum}");
        }
    }
}

/// Nodes of different versions serve the same clients: a key's backend must not change with the code. Another
/// implementation, written from the paper, gave the same ones.
#[test]
fn the_table_never_changes() {
    let weights = [1, 2, 3, 4, 5];
    let table = build(&names(5), &weights);
    let fake = Fake::new(&weights);
    let picked: Vec<_> = keys(16).filter_map(|key| table.pick(key, &fake, None)).collect();
    assert_eq!(picked, [4, 4, 4, 4, 1, 2, 3, 3, 1, 3, 1, 3, 3, 2, 4, 2]);
}

#[test]
fn few_keys_move_when_one_of_ten_goes() {
    let all = names(10);
    let before = build(&all, &[1; 10]);
    for gone in 0..10 {
        let mut left = all.clone();
        left.remove(gone);
        let part = moved((&all, &before), (&left, &build(&left, &[1; 9])));
        assert!((0.08..=0.11).contains(&part), "{part} moved without {gone}");
    }
}

#[test]
fn few_keys_move_when_one_is_added_or_reweighted() {
    let all = names(200);
    let (left, before) = (&all[..199], build(&all[..199], &[2; 199]));
    assert!(moved((left, &before), (&all, &build(&all, &[2; 200]))) < 0.0125, "1/N + 0.75 %");
    let mut weights = [2; 199];
    weights[50] = 1;
    assert!(moved((left, &before), (left, &build(left, &weights))) < 0.0125);
}

#[test]
fn keys_of_an_unhealthy_backend_move_alone_and_spread() {
    let weights = [1, 2, 7, 5, 5];
    let table = build(&names(5), &weights);
    let (well, mut sick) = (Fake::new(&weights), Fake::new(&weights));
    sick.usable[3] = false;
    let mut got = [0_u32; 5];
    for key in keys(20_000) {
        let before = table.pick(key, &well, None);
        let after = table.pick(key, &sick, None);
        if before == Some(3) {
            got[after.unwrap()] += 1;
        } else {
            assert_eq!(after, before);
        }
    }
    let sum: u32 = got.iter().sum();
    for (number, weight) in [(0, 1), (1, 2), (2, 7), (4, 5)] {
        assert!((f64::from(got[number]) / f64::from(sum) - f64::from(weight) / 15.0).abs() < 0.02, "{got:?}");
    }
}

#[test]
fn remaining_backends_share_the_searched_keys() {
    let table = build(&names(1000), &[1; 1000]);
    let mut fake = Fake::new(&[1; 1000]);
    // By name they are half of the others apart, both ways round.
    fake.usable = vec![false; 1000];
    let (one, two) = (usize::from(table.by_name[200]), usize::from(table.by_name[700]));
    fake.usable[one] = true;
    fake.usable[two] = true;
    let picked: Vec<_> = keys(2000).filter_map(|key| table.pick(key, &fake, None)).collect();
    let part = picked.iter().filter(|n| **n == one).count();
    assert!(picked.len() == 2000 && part.abs_diff(1000) < 100, "{part} of {}", picked.len());
}

#[test]
fn slow_start_takes_more_keys_and_gives_none_back() {
    let table = build(&names(4), &[1; 4]);
    let mut fake = Fake::new(&[1; 4]);
    let mut before = Vec::new();
    for tenths in 1..=10_u32 {
        fake.shares[2] = Share::part(f64::from(tenths) / 10.0);
        let own: Vec<u64> = keys(20_000).filter(|key| table.pick(*key, &fake, None) == Some(2)).collect();
        let wanted = 5000 * tenths / 10;
        assert!((own.len() as f64 - f64::from(wanted)).abs() < 250.0, "{} keys at {tenths}/10", own.len());
        assert!(before.iter().all(|key| own.contains(key)), "a key moved back");
        before = own;
    }
    fake.shares = vec![Share::LEAST; 4];
    let whole = Fake::new(&[1; 4]);
    assert!(
        keys(1000).all(|key| table.pick(key, &fake, None) == table.pick(key, &whole, None)),
        "all starting"
    );
}

#[test]
fn bounds_hold_and_are_as_tight_as_asked() {
    let weights = [1, 2, 7];
    let table = build(&names(3), &weights);
    for percent in [0, 100, 125, 300] {
        let mut bound = Bound::percent(percent);
        let mut fake = Fake::new(&weights);
        for total in 0..2000 {
            // One key, as hot as can be.
            let picked = table.pick(42, &fake, Some(&mut bound)).unwrap();
            fake.loads[picked] += 1;
            let ceiling = (percent.max(100) * (total + 1) * u32::from(weights[picked])).div_ceil(1000);
            assert!(fake.loads[picked] <= ceiling, "{:?} at {percent} %", fake.loads);
        }
        let own = table.pick(42, &Fake::new(&weights), None).unwrap();
        let share = f64::from(weights[own]) / 10.0 * f64::from(percent.max(100)) / 100.0;
        assert!(
            f64::from(fake.loads[own]) >= (share * 2000.0 - 1.0).min(2000.0),
            "{:?} at {percent} %",
            fake.loads
        );
    }
}

#[test]
fn bounds_soon_follow_ended_connections() {
    let table = build(&names(100), &[1; 100]);
    let (mut fake, mut bound) = (Fake::new(&[1; 100]), Bound::percent(125));
    let own = table.pick(42, &fake, None).unwrap();
    fake.loads = vec![100; 100];
    assert_eq!(table.pick(42, &fake, Some(&mut bound)), Some(own));
    fake.loads = vec![0; 100];
    fake.loads[own] = 50;
    let picks = (0..100).filter(|_| table.pick(42, &fake, Some(&mut bound)) == Some(own)).count();
    assert!(picks <= 100 / LOOKS, "{picks} by the old count");
}

#[test]
fn bounds_recount_before_refusing_everyone() {
    let table = build(&names(100), &[1; 100]);
    let (mut fake, mut bound) = (Fake::new(&[1; 100]), Bound::percent(100));
    fake.loads = vec![10; 100];
    table.pick(42, &fake, Some(&mut bound));
    // Five are left, with more than the old average: 15 each and one with 14.
    fake.usable = (0..100).map(|n| n < 5).collect();
    fake.loads[..5].copy_from_slice(&[15, 15, 14, 15, 15]);
    for key in keys(100) {
        assert_eq!(table.pick(key, &fake, Some(&mut bound.clone())), Some(2));
    }
}

#[test]
fn highest_numbers_do_not_overflow() {
    let mut fake = Fake::new(&[u16::MAX; 3]);
    fake.loads = vec![u32::MAX; 3];
    let table = build(&names(3), &[u16::MAX; 3]);
    assert!(table.pick(1, &fake, Some(&mut Bound::percent(u32::MAX))).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_order_of_the_file_does_not_matter(
        weights in prop::collection::vec(0u16..9, 1..20), turn in any::<usize>(), sick in any::<u32>()
    ) {
        let all = names(weights.len());
        let order: Vec<usize> = (0..all.len()).map(|n| (n + turn % all.len()) % all.len()).rev().collect();
        let names: Vec<String> = order.iter().map(|n| all[*n].clone()).collect();
        let one = Fake { usable: (0..all.len()).map(|n| sick & (1 << n) == 0).collect(), ..Fake::new(&weights) };
        let two = Fake {
            usable: order.iter().map(|n| one.usable[*n]).collect(),
            ..Fake::new(&order.iter().map(|n| weights[*n]).collect::<Vec<_>>())
        };
        let tables = (build(&all, &weights), build(&names, &two.weights));
        for key in keys(200) {
            let picked = tables.0.pick(key, &one, None).map(|n| &all[n]);
            prop_assert_eq!(picked, tables.1.pick(key, &two, None).map(|n| &names[n]));
        }
    }
}

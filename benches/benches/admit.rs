//! How long it takes to decide whether a client may come in.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use ipnet::IpNet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use weir_core::clients::Clients;
use weir_core::networks::Networks;
use weir_core::rates::{Network, ONE_CLIENT, Rate, Rates, Scope};
use weir_metrics::Metrics;

/// Networks in the list, and clients that ask.
const MANY: u32 = 100_000;

/// Addresses all over IPv4, each far from the one before.
fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761)).into()
}

fn admit(c: &mut Criterion) {
    let mut group = c.benchmark_group("admit");
    let mut random = fastrand::Rng::with_seed(1);
    let networks: Networks = (0..MANY)
        .map(|_| IpNet::new_assert(Ipv4Addr::from_bits(random.u32(..)).into(), random.u8(16..=32)))
        .collect();
    let mut number = 0_u32;
    let mut next = move || {
        number = number.wrapping_add(1) % MANY;
        address(number)
    };
    group.bench_function("look-up in 100,000 networks", |b| b.iter(|| networks.has(black_box(next()))));
    let newer: Networks = (0..MANY)
        .map(|_| IpNet::new_assert(Ipv6Addr::from_bits(random.u128(..)).into(), random.u8(32..=64)))
        .collect();
    let mut other = move || Ipv6Addr::from_bits(random.u128(..)).into();
    group.bench_function("look-up in 100,000 networks of IPv6", |b| b.iter(|| newer.has(black_box(other()))));

    let Ok(metrics) = Metrics::new("0", "r", "c") else { unreachable!("labels are good") };
    let clients = Arc::new(Clients::new(metrics.clients()));
    let scope = Scope::of("edge");
    group.bench_function("count of a client's connections", |b| {
        b.iter(|| clients.enter(scope, Network::of(black_box(next()), ONE_CLIENT)));
    });

    let rates = Rates::new(metrics.rates());
    let rate = Rate { interval: Duration::from_millis(1), burst: 1000 };
    group.bench_function("rate of a client", |b| {
        b.iter(|| rates.take(scope, Network::of(black_box(next()), ONE_CLIENT), rate));
    });
    group.finish();
}

criterion_group!(benches, admit);
criterion_main!(benches);

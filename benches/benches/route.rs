//! How long a look-up takes among 10,000 names. It happens once a connection and should stay well under a
//! microsecond.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark with a broken table says nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use weir_core::hello::Offers;
use weir_core::route::{Match, NamePattern, Table};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn table() -> Table<usize> {
    let name = |number: usize| match number % 10 {
        0 => NamePattern::Suffix(format!("zone{number}.example.test").into()),
        _ => NamePattern::Exact(format!("host{number}.example.test").into()),
    };
    let routes = (0..10_000).map(|number| (Match { names: vec![name(number)], ..Match::default() }, number));
    Table::build(routes.collect()).unwrap()
}

fn lookup(c: &mut Criterion) {
    let table = table();
    let mut group = c.benchmark_group("route among 10,000 names");
    for (what, name, found) in [
        ("exact", "host7777.example.test", Some(7777)),
        ("wildcard", "a.b.zone5000.example.test", Some(5000)),
        ("unknown", "a.b.c.d.elsewhere.test", None),
    ] {
        assert_eq!(table.lookup(Some(name), &Offers::default(), SOURCE).copied(), found);
        group.bench_function(what, |b| {
            b.iter(|| table.lookup(black_box(Some(name)), &Offers::default(), SOURCE))
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);

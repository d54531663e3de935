//! How long a pick takes among 3, 100 and 2,000 backends, all usable.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use weir_core::pick::RoundRobin;

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick, weighted round robin");
    for backends in [3, 100, 2000_u16] {
        let mut rotation = RoundRobin::new((0..backends).map(|number| 1 + number % 5));
        group.bench_function(BenchmarkId::from_parameter(backends), |b| {
            b.iter(|| rotation.pick(|number| black_box(number) != usize::MAX));
        });
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);

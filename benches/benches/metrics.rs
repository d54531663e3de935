//! What metrics cost: each event on the data path, and a scrape of a thousand series.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark without metrics says nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use weir_core::account::outcome::{Outcome, Side};
use weir_core::plan::ModeName;
use weir_metrics::Metrics;
use weir_metrics::labels::{DialResult, HandshakeSide};
use weir_tls::{Resumed, Version};

fn events(c: &mut Criterion) {
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let listener = metrics.listener("edge");
    let pool = metrics.pool("app");
    let backend = metrics.backend("app", "app-1");
    let mut group = c.benchmark_group("metrics");
    group.bench_function("bytes, by a held counter", |b| b.iter(|| listener.down.inc_by(black_box(16_384))));
    group.bench_function("connection opened, by a held counter", |b| b.iter(|| listener.opened()));
    group.bench_function("time to connect, by a held histogram", |b| {
        b.iter(|| pool.connect_duration.observe(black_box(0.0004)));
    });
    group.bench_function("backend reached", |b| b.iter(|| backend.connection(black_box(DialResult::Ok))));
    group.bench_function("connection closed, by its labels", |b| {
        b.iter(|| listener.closed(black_box(ModeName::Offload), Outcome::Ok, Side::Client, 0.2));
    });
    group.bench_function("handshake, by its labels", |b| {
        b.iter(|| listener.handshake(HandshakeSide::Client, black_box(Version::Tls13), Resumed::No, 0.001));
    });
    group.finish();
}

/// Enough backends for a thousand lines of samples.
fn scrape(c: &mut Criterion) {
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let lines = || metrics.scrape().unwrap().lines().filter(|line| !line.starts_with('#')).count();
    let mut count = 0;
    while lines() < 1_000 {
        metrics.backend("app", &format!("app-{count}")).connection(DialResult::Ok);
        count += 1;
    }
    c.bench_function("metrics/scrape of 1,000 series", |b| b.iter(|| metrics.scrape().unwrap()));
}

criterion_group!(benches, events, scrape);
criterion_main!(benches);

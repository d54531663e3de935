//! How long one hello takes from bytes to a name: the only parsing that passthrough does.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_core::hello::{Assembler, Progress};
use weir_tests::hello;

const NAME: &str = "app.example.test";

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("hello");
    for (what, bytes) in [
        ("small", hello::small(NAME)),
        ("post-quantum", hello::large(NAME)),
        ("records of 64 bytes", hello::in_records(&hello::large(NAME), 64)),
        ("16 KiB", hello::padded(&hello::small(NAME), 16 * 1024)),
    ] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(what, |b| {
            b.iter(|| {
                let progress = Assembler::new(16 * 1024).advance(black_box(&bytes));
                assert!(matches!(progress, Progress::Hello(_)));
            });
        });
    }
    for (what, bytes) in [("JA4, small", hello::small(NAME)), ("JA4, post-quantum", hello::large(NAME))] {
        let mut assembler = Assembler::new(16 * 1024);
        assert!(matches!(assembler.advance(&bytes), Progress::Hello(_)));
        group.bench_function(what, |b| b.iter(|| black_box(&assembler).ja4()));
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);

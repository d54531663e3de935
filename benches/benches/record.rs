//! What one connection's record costs: on the worker, which opens it, fills it and hands it over; and until the line
//! is written, by the writer's thread.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark without a writer says nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use weir_control::access::{self, Format};
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::account::queue::{Opening, Records};
use weir_core::account::record::Record;
use weir_core::hello::{Assembler, Hello, Progress};
use weir_metrics::{ListenerMetrics, Metrics};
use weir_pool::{Live, Lives};
use weir_tests::hello;
use weir_tls::{Resumed, Session};

/// Records at a time: fewer than the queue takes, so that none is dropped.
const BATCH: u64 = 4000;

/// What is the same for all connections.
struct Desk {
    metrics: Arc<Metrics>,
    listener: Arc<ListenerMetrics>,
    hello: Box<Hello>,
    pool: Arc<str>,
    backend: Arc<Live>,
}

impl Desk {
    fn new() -> Self {
        let metrics = Metrics::new("0", "0", "0").unwrap();
        let Progress::Hello(hello) = Assembler::new(16 * 1024).advance(&hello::small("app.example.test"))
        else {
            unreachable!("the harness makes whole hellos")
        };
        let listener = Arc::new(metrics.listener("edge"));
        let pool: Arc<str> = "app".into();
        let address = "192.0.2.3:443".parse().unwrap();
        let backend = Lives::new(Arc::clone(&metrics)).backend(&pool, &"app-1".into(), address);
        Self { metrics, listener, hello, pool, backend }
    }

    /// One connection's account, from accept to the end.
    fn connection(&self, number: u64, log: Option<&Records>) {
        let opening = Opening {
            id: u128::from(number),
            client: "192.0.2.1:50000".parse().unwrap(),
            local: "192.0.2.2:443".parse().unwrap(),
            generation: 1,
        };
        let mut record = Record::open(opening, "offload", Arc::clone(&self.listener), log.cloned());
        record.hello = Some(self.hello.clone());
        record.routed("offload", &self.pool);
        let (version, cipher) = ("1.3", "TLS_AES_128_GCM_SHA256");
        let session = Session { version, cipher, group: "X25519", resumed: Resumed::No, alpn: None };
        record.secured(session, Duration::from_micros(900));
        record.tries.begin(Arc::clone(&self.backend));
        record.tries.reached(Duration::from_micros(300));
        record.traffic.up(517);
        record.traffic.down(40_000);
        record.close(black_box(&Ok(Finished { first: Side::Client, how: How::Fin })));
    }

    /// How long `BATCH` records take on the worker, and until all are written.
    fn batch(&self, format: Format) -> (Duration, Duration) {
        let (log, writer, _format) = access::start(format, io::sink(), &self.metrics).unwrap();
        let began = Instant::now();
        for number in 0..BATCH {
            self.connection(number, Some(&log));
        }
        let handed_over = began.elapsed();
        drop(log);
        writer.finish();
        assert_eq!(self.metrics.access_dropped().total(), 0, "a record that is dropped costs nothing");
        (handed_over, began.elapsed())
    }
}

/// Time of `n` iterations from that of whole batches.
fn of_batches(n: u64, batch: impl Fn() -> Duration) -> Duration {
    let batches = n.div_ceil(BATCH);
    let whole: Duration = (0..batches).map(|_| batch()).sum();
    whole.mul_f64(n as f64 / (batches * BATCH) as f64)
}

fn record(c: &mut Criterion) {
    let desk = Desk::new();
    let mut group = c.benchmark_group("record");
    group.bench_function("records off", |b| b.iter(|| desk.connection(black_box(7), None)));
    group.bench_function("on the worker", |b| {
        b.iter_custom(|n| of_batches(n, || desk.batch(Format::Json).0));
    });
    for (what, format) in
        [("until the JSON line is written", Format::Json), ("the same as text", Format::Text)]
    {
        group.bench_function(what, |b| b.iter_custom(|n| of_batches(n, || desk.batch(format).1)));
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);

//! What one connection's record costs: on the worker, which opens it, fills it and hands it over; and until the line
//! is written, by the writer's thread.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark without a writer says nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use weir_control::access::{self, Format};
use weir_core::account::outcome::{Finished, How, Side};
use weir_core::account::queue::Opening;
use weir_core::account::record::Record;
use weir_core::account::sinks::Sinks;
use weir_core::address::{LocalAddr, PeerAddr};
use weir_core::hello::{Assembler, Hello, Progress};
use weir_core::plan::{ModeName, Recording};
use weir_metrics::{ListenerMetrics, Metrics};
use weir_pool::{BackendRegistry, BackendState};
use weir_tests::hello;
use weir_tls::{Resumed, Session, Version};

/// Records at a time: fewer than the queue takes, so that none is dropped.
const BATCH: u64 = 4000;

/// The values that are the same for all connections.
struct Desk {
    metrics: Arc<Metrics>,
    listener: Arc<ListenerMetrics>,
    hello: Box<Hello>,
    pool: Arc<str>,
    backend: Arc<BackendState>,
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
        let address = "192.0.2.3:443".parse::<SocketAddr>().unwrap().into();
        let backend = BackendRegistry::new(Arc::clone(&metrics)).backend(&pool, &"app-1".into(), address);
        Self { metrics, listener, hello, pool, backend }
    }

    /// One connection's account, from accept to its end.
    fn connection(&self, number: u64, sinks: &Rc<Sinks>) {
        let opening = Opening {
            id: u128::from(number),
            client: PeerAddr::from("192.0.2.1:50000".parse::<SocketAddr>().unwrap()).into(),
            local: LocalAddr::of_socket("192.0.2.2:443".parse().unwrap()),
            generation: 1,
        };
        let recording = if sinks.records.is_some() { Recording::ENDS } else { Recording::default() };
        let sinks = (Rc::clone(sinks), recording);
        let mut record = Record::open(opening, ModeName::Offload, Arc::clone(&self.listener), sinks);
        record.hello = Some(self.hello.clone());
        record.routed(ModeName::Offload, Some(&self.pool));
        let (version, cipher) = (Version::Tls13, "TLS_AES_128_GCM_SHA256");
        let session =
            Session { version, cipher, group: "X25519", resumed: Resumed::No, alpn: None, client: None };
        record.secured(session, Duration::from_micros(900));
        record.tries.begin(Arc::clone(&self.backend));
        record.tries.reached(Duration::from_micros(300));
        record.traffic.up(517);
        record.traffic.down(40_000);
        record.close(black_box(Finished { first: Side::Client, how: How::Fin }));
    }

    /// How long `BATCH` records take on the worker, and until all of them are written.
    fn batch(&self, format: Format) -> (Duration, Duration) {
        let (log, writer, _format) = access::start(format, io::sink(), &self.metrics).unwrap();
        let sinks = Rc::new(Sinks { records: Some(log), ..Sinks::default() });
        let began = Instant::now();
        for number in 0..BATCH {
            self.connection(number, &sinks);
        }
        let handed_over = began.elapsed();
        drop(sinks);
        writer.finish();
        assert_eq!(self.metrics.access_dropped().total(), 0, "a record that is dropped costs nothing");
        (handed_over, began.elapsed())
    }
}

/// The time of `n` iterations, derived from that of whole batches.
fn of_batches(n: u64, batch: impl Fn() -> Duration) -> Duration {
    let batches = n.div_ceil(BATCH);
    let whole: Duration = (0..batches).map(|_| batch()).sum();
    whole.mul_f64(n as f64 / (batches * BATCH) as f64)
}

fn record(c: &mut Criterion) {
    let desk = Desk::new();
    let mut group = c.benchmark_group("record");
    let off = Rc::default();
    group.bench_function("records off", |b| b.iter(|| desk.connection(black_box(7), &off)));
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

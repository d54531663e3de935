//! SIGTERM: weir is no longer ready, takes nothing new, and lets open connections finish until the deadline;
//! then exit 0.

use rustix::process::Signal;
use std::time::{Duration, Instant};
use weir_tests::client::{tcp, try_tcp};
use weir_tests::eventually::eventually;
use weir_tests::peers::{Backend, Overflowing, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::Launch;
use weir_tests::world::{MODES, Mode, NAME, World};
use weir_tests::{hello, http};

/// Waits until a new connection is refused.
async fn refuses(world: &World) {
    eventually(Duration::from_secs(5), "new connections are refused", async || {
        match try_tcp(world.edge).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_weir_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut world = World::of(Mode::Passthrough).start().await;
        let start = Instant::now();
        world.weir.signal(signal);
        let status = world.weir.program.wait(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn running_connections_finish() {
    for mode in MODES {
        let mut world = World::of(mode).runtime("workers: 2, drain_timeout: 20s").start().await;
        let mut stream = world.connect().await;
        stream.send(b"before").await.unwrap();
        assert_eq!(stream.exactly(6).await.unwrap(), b"before");
        world.weir.signal(Signal::TERM);
        refuses(&world).await;
        let ready = http::get(world.weir.admin(), "/readyz?pools=ignore").await.unwrap();
        assert_eq!(ready.status, 503, "ready while draining");
        assert_eq!(http::get(world.weir.admin(), "/healthz").await.unwrap().status, 200);
        for _ in 0..5 {
            stream.send(b"during").await.unwrap();
            assert_eq!(stream.exactly(6).await.unwrap(), b"during", "{mode:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let start = Instant::now();
        stream.finish().await;
        assert_eq!(stream.rest().await.1, End::Clean, "{mode:?}");
        assert_eq!(world.weir.program.wait(Duration::from_secs(10)).await.code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?} after the last one", start.elapsed());
        // Connections that came before the listeners closed have records too.
        let mut records = world.weir.records();
        records.retain(|record| record.outcome() != "client_gone");
        assert_eq!(records.len(), 1, "{records:#?}");
        assert_eq!(records[0].outcome(), "ok");
    }
}

#[tokio::test]
async fn the_deadline_ends_the_rest() {
    for mode in MODES {
        let mut world = World::of(mode).runtime("workers: 1, drain_timeout: 1s").start().await;
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
        let start = Instant::now();
        world.weir.signal(Signal::TERM);
        let (bytes, _) = stream.rest().await;
        assert_eq!(bytes, b"");
        assert!(start.elapsed() < Duration::from_millis(2500), "{mode:?}: {:?}", start.elapsed());
        drop(stream);
        let status = world.weir.program.wait(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0), "{mode:?}");
        let records = world.weir.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records[0].ended("drained", "weir");
    }
}

#[tokio::test]
async fn the_deadline_ends_many_and_each_has_its_record() {
    let mut world = World::of(Mode::Offload).runtime("workers: 2, drain_timeout: 1s").start().await;
    let mut streams = Vec::new();
    for _ in 0..300 {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
        streams.push(stream);
    }
    let start = Instant::now();
    assert_eq!(world.weir.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let records = world.weir.records();
    assert_eq!(records.len(), 300);
    assert!(records.iter().all(|record| record.outcome() == "drained" && record.up() == 1));
    for mut stream in streams {
        assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
    }
}

#[tokio::test]
async fn a_client_without_a_hello_does_not_hold_it_up() {
    let mut world = World::of(Mode::Passthrough).runtime("workers: 1, drain_timeout: 2s").start().await;
    let stream = tcp(world.edge).await;
    eventually(Duration::from_secs(5), "it is accepted", async || {
        let opened = world.weir.metrics().await.count("weir_connections_opened_total", &[]);
        if opened == 1 { Ok(()) } else { Err(opened.to_string()) }
    })
    .await;
    let start = Instant::now();
    assert_eq!(world.weir.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(world.weir.records().len(), 1, "every connection has its record");
    drop(stream);
}

#[tokio::test]
async fn the_log_and_the_status_say_how_far_it_is() {
    let mut world = World::of(Mode::Passthrough).runtime("workers: 2, drain_timeout: 10s").start().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
        streams.push(stream);
    }
    assert!(world.weir.ask("/api/v1/status").await.body.contains("\"draining\": null"));
    world.weir.signal(Signal::TERM);
    let log = |world: &World, what: &str| {
        let all = world.weir.program.stderr.all();
        let lines =
            all.iter().filter(|line| line.contains(what)).filter_map(|line| serde_json::from_str(line).ok());
        lines.collect::<Vec<serde_json::Value>>()
    };
    eventually(Duration::from_secs(5), "it says how many are left", async || {
        let told = log(&world, "still draining");
        if told.iter().any(|line| line["connections"] == 3) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert_eq!(log(&world, "draining; a second signal")[0]["connections"], 3);
    let status: serde_json::Value =
        serde_json::from_str(&world.weir.ask("/api/v1/status").await.body).unwrap();
    let draining = &status["draining"];
    assert!((1..9).contains(&draining["seconds"].as_u64().unwrap()), "{draining}");
    assert!((1..=9).contains(&draining["ends_in_seconds"].as_u64().unwrap()), "{draining}");
    let since: jiff::Timestamp = draining["since"].as_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now().as_second() - since.as_second()) < 15, "{draining}");
    let mut verb =
        weir_tests::weir::command(&["status", "--admin", &format!("http://{}", world.weir.admin())]);
    verb.kill_on_drop(true);
    let told = weir_tests::program::run(verb, b"", Duration::from_secs(10)).await;
    assert!(told.stdout.contains("draining for ") && told.stdout.contains(", since 2"), "{}", told.both());

    drop(streams.pop());
    assert_eq!(world.weir.program.wait(Duration::from_secs(20)).await.code(), Some(0));
    let cut = log(&world, "closing the connections that are left");
    assert!(cut.len() == 1 && cut[0]["level"] == "WARN" && cut[0]["connections"] == 2, "{cut:?}");
    drop(streams);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut world = World::of(Mode::Passthrough).runtime("workers: 1, drain_timeout: 60s").start().await;
    let mut stream = world.connect().await;
    stream.send(b"x").await.unwrap();
    stream.exactly(1).await.unwrap();
    world.weir.signal(Signal::TERM);
    refuses(&world).await;
    let start = Instant::now();
    world.weir.signal(Signal::TERM);
    world.weir.program.wait(Duration::from_secs(5)).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let log = world.weir.program.stderr.all();
    let cut = log.iter().find(|line| line.contains("ended at once")).unwrap_or_else(|| panic!("{log:#?}"));
    assert!(cut.contains("\"connections\":1"), "{cut}");
}

#[tokio::test]
async fn accepting_goes_on_for_the_shutdown_delay() {
    let mut world = World::of(Mode::Offload)
        .runtime("workers: 1, shutdown_delay: 1500ms, drain_timeout: 5s")
        .start()
        .await;
    let start = Instant::now();
    world.weir.signal(Signal::TERM);
    eventually(Duration::from_secs(1), "readiness fails at once", async || {
        let answer = http::get(world.weir.admin(), "/readyz").await.map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    let mut stream = world.connect().await;
    stream.send(b"still").await.unwrap();
    stream.exactly(5).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(1400), "the machine is too slow for this test");
    stream.finish().await;
    drop(stream);
    refuses(&world).await;
    assert!(start.elapsed() > Duration::from_millis(1400), "{:?}", start.elapsed());
    assert_eq!(world.weir.program.wait(Duration::from_secs(5)).await.code(), Some(0));
}

#[tokio::test]
async fn the_deadline_ends_a_hello_that_waits_for_its_second_backend() {
    let (hole, closer, edge) = (Overflowing::new(), Backend::plain(Role::CloseAtOnce).await, Port::free());
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, default_pool: main, \
         timeouts: {{connect: 20s}}}}\n\
         pools:\n  - {{name: main, backends: [\"{}\", {{address: \"{}\", backup: true}}], \
         health_check: {{type: none}}}}\n",
        edge.addr(),
        closer.addr,
        hole.addr
    );
    let launch = Launch::new(tempfile::tempdir().unwrap(), body).runtime("workers: 1, drain_timeout: 500ms");
    let mut weir = launch.start().await;
    let mut stream = tcp(edge.addr()).await;
    stream.send(&hello::large(NAME)).await.unwrap();
    eventually(Duration::from_secs(10), "the hello is on its way to the second", async || {
        let retries = weir.metrics().await.count("weir_retries_total", &[]);
        if retries == 1 { Ok(()) } else { Err(format!("{retries} retries")) }
    })
    .await;
    weir.signal(Signal::TERM);
    assert_eq!(stream.rest().await, (Vec::new(), End::Reset));
    assert_eq!(weir.program.wait(Duration::from_secs(5)).await.code(), Some(0));
    weir.records()[0].ended("drained", "weir");
}

#[tokio::test]
async fn a_dial_is_cut_and_its_record_names_the_backend() {
    let hole = Overflowing::new();
    for mode in MODES {
        let mut world = World::of(mode)
            .runtime("workers: 1, drain_timeout: 1s")
            .listener("timeouts: {connect: 30s}")
            .backends(&[hole.addr])
            .start()
            .await;
        let mut stream = match mode {
            // A handshake would be with the backend; the hello alone is enough for weir to dial it.
            Mode::Passthrough => tcp(world.edge).await,
            _ => world.connect().await,
        };
        stream.send(&hello::large(NAME)).await.unwrap();
        eventually(Duration::from_secs(5), "the backend is dialled", async || {
            match world.weir.metrics().await.count("weir_backend_active_connections", &[]) {
                1 => Ok(()),
                other => Err(format!("{other} places taken")),
            }
        })
        .await;
        world.weir.signal(Signal::TERM);
        assert_eq!(stream.rest().await, (Vec::new(), End::Reset), "{mode:?}");
        assert_eq!(world.weir.program.wait(Duration::from_secs(5)).await.code(), Some(0));
        let records = world.weir.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records[0].ended("drained", "weir");
        let backend = hole.addr.to_string();
        assert_eq!((records[0].text("backend"), records[0].number("tries")), (&*backend, 1), "{mode:?}");
    }
}

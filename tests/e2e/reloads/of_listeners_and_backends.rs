//! Listeners and backends that are added and removed.

use super::*;

#[tokio::test]
async fn a_removed_listener_drains_and_the_others_do_not_notice() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 2, drain_timeout: 3s").start().await;
    let (weir, port, without) = (&world.weir, Port::free(), read(&world.weir));
    std::fs::write(file(weir), with_other(&without, &port)).unwrap();
    assert_eq!(post_reload(weir).await.status, 200);
    let mut held = tcp(port.addr()).await;
    echoes(&mut held).await;
    let mut beside = world.connect().await;
    echoes(&mut beside).await;

    let start = Instant::now();
    std::fs::write(file(weir), &without).unwrap();
    let answer = post_reload(weir).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("other"), "the answer names what is gone: {}", answer.body);
    refuses(port.addr()).await;
    echoes(&mut held).await;
    assert_eq!(held.rest().await, (Vec::new(), End::Clean));
    let lasted = start.elapsed();
    assert!(lasted > Duration::from_millis(2500), "closed {lasted:?} after its listener had gone");
    drop(held);
    let record = &weir.some_records(1).await[0];
    record.ended("drained", "weir");
    assert_eq!((record.text("listener"), record.up(), record.down()), ("other", 2, 2));
    let log = weir.program.stderr.all();
    let told = log.iter().filter(|line| line.contains("the listener's drain takes too long"));
    assert!(
        told.clone().count() == 1 && told.clone().all(|line| line.contains("\"connections\":1")),
        "{log:#?}"
    );
    echoes(&mut beside).await;
    echoes(&mut world.connect().await).await;
    eventually(Duration::from_secs(20), "its series are gone", async || {
        match weir.metrics().await.values_of("weir_connections_opened_total", "listener") {
            left if left == ["edge"] => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await;
}

/// A drain without connections must end at once: it waits neither for its timeout nor for the next
/// connection, on which the workers would notice the new plan.
#[tokio::test]
async fn removed_parts_are_forgotten_with_their_last_connection() {
    let world = World::of(Mode::Passthrough).plain().pool("drain_timeout: 3600s");
    let world = world.runtime("workers: 2, drain_timeout: 3600s").start().await;
    let (weir, port, before) = (&world.weir, Port::free(), read(&world.weir));
    echoes(&mut world.connect().await).await;
    let other = Backend::plain(Role::Echo).await;
    let (old, new) = (world.backend.addr.to_string(), other.addr.to_string());
    std::fs::write(file(weir), with_other(&before, &port).replace(&old, &new)).unwrap();
    assert_eq!(post_reload(weir).await.status, 200);
    let mut passing = tcp(port.addr()).await;
    echoes(&mut passing).await;
    let mut held = world.connect().await;
    echoes(&mut held).await;
    std::fs::write(file(weir), &before).unwrap();
    assert_eq!(post_reload(weir).await.status, 200);
    let named = async || {
        let metrics = weir.metrics().await;
        let listeners = metrics.values_of("weir_connections_opened_total", "listener");
        (listeners, metrics.values_of("weir_backend_up", "backend"))
    };
    let (listeners, backends) = named().await;
    assert_eq!((listeners.len(), backends.len()), (2, 2), "they have a connection still");
    passing.finish().await;
    passing.rest().await;
    held.finish().await;
    held.rest().await;
    eventually(Duration::from_secs(20), "their series are gone", async || match named().await {
        (listeners, backends) if listeners == ["edge"] && backends == [old.clone()] => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
}

/// Repeated many times, because the workers that close the old sockets race with the next reload.
#[tokio::test]
async fn a_listener_that_was_removed_can_come_back_at_once() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 4, drain_timeout: 60s").start().await;
    let (weir, port, without) = (&world.weir, Port::free(), read(&world.weir));
    let with = with_other(&without, &port);
    let mut held = Vec::new();
    for turn in 0..100 {
        std::fs::write(file(weir), &with).unwrap();
        let answer = post_reload(weir).await;
        assert_eq!(answer.status, 200, "turn {turn}: {}", answer.body);
        if turn % 10 == 0 {
            let mut stream = tcp(port.addr()).await;
            echoes(&mut stream).await;
            held.push(stream);
        }
        std::fs::write(file(weir), &without).unwrap();
        assert_eq!(post_reload(weir).await.status, 200);
    }
    for stream in &mut held {
        echoes(stream).await;
    }
}

#[tokio::test]
async fn a_removed_backend_drains() {
    let other = Backend::plain(Role::Echo).await;
    let world = World::of(Mode::Passthrough).plain().pool("drain_timeout: 2s").start().await;
    let mut held = world.connect().await;
    held.send(b"x").await.unwrap();
    assert_eq!(held.exactly(1).await.unwrap(), b"x");
    let (old, new) = (world.backend.addr.to_string(), other.addr.to_string());
    reload_with(&world.weir, |text| text.replace(&old, &new)).await;
    held.send(b"y").await.unwrap();
    assert_eq!(held.exactly(1).await.unwrap(), b"y", "it may go on for a while");
    let mut next = world.connect().await;
    next.send(b"z").await.unwrap();
    assert_eq!(next.exactly(1).await.unwrap(), b"z");
    assert_eq!((world.backend.count(), other.count()), (1, 1));
    let (bytes, _) = held.rest().await;
    assert!(bytes.is_empty());
    world.weir.some_records(1).await[0].ended("drained", "weir");
    let log = world.weir.program.stderr.all();
    let told = log.iter().filter(|line| line.contains("the backend's drain takes too long"));
    assert!(
        told.clone().count() == 1 && told.clone().all(|line| line.contains("\"connections\":1")),
        "{log:#?}"
    );
    eventually(Duration::from_secs(20), "its series are gone", async || {
        match world.weir.metrics().await.values_of("weir_backend_up", "backend") {
            left if left == [new.clone()] => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await;
    next.finish().await;
    next.rest().await;
}

/// The number of past configurations that may have connections (docs/operations.md).
const PAST_GENERATIONS: usize = 64;

#[tokio::test]
async fn connections_of_the_oldest_of_too_many_configurations_drain() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 2, drain_timeout: 2s").start().await;
    let mut held = Vec::new();
    for _ in 0..=PAST_GENERATIONS {
        let mut stream = world.connect().await;
        echoes(&mut stream).await;
        held.push(stream);
        assert!(world.weir.records().is_empty(), "none has ended yet");
        reload_with(&world.weir, |text| text).await;
    }
    let (bytes, _) = held.remove(0).rest().await;
    assert!(bytes.is_empty());
    let record = world.weir.only_record().await;
    record.ended("drained", "weir");
    assert_eq!(record.number("generation"), 1);
    for stream in &mut held {
        echoes(stream).await;
    }
    drop(held);
}

/// A listening socket speaks TCP or Multipath TCP from its start, so a reload opens others beside the old ones.
#[tokio::test]
async fn a_listener_takes_up_mptcp_and_gives_it_up_without_losing_a_connection() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 2").start().await;
    let (weir, plain) = (&world.weir, read(&world.weir));
    let with = plain.replacen("mode: passthrough", "mode: passthrough\n    tcp: {mptcp: true}", 1);
    assert_ne!(with, plain);
    let mut held = world.connect().await;
    echoes(&mut held).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, edge) = (Arc::clone(&stop), world.edge);
    let visitors = tokio::spawn(async move {
        let mut served = 0;
        while !flag.load(Ordering::Relaxed) {
            echoes(&mut tcp(edge).await).await;
            served += 1;
        }
        served
    });
    for text in [&with, &plain, &with, &plain] {
        std::fs::write(file(weir), text).unwrap();
        let answer = post_reload(weir).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("tcp.mptcp"), "{}", answer.body);
        echoes(&mut world.connect().await).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(visitors.await.unwrap() > 10);
    echoes(&mut held).await;
}

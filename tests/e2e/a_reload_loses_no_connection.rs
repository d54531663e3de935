//! A reload under traffic: the clients that are connected do not notice, and new ones go by the new plan.

use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use weir_tests::eventually::eventually;
use weir_tests::http::request;
use weir_tests::peers::{Backend, Role};
use weir_tests::weir::Weir;
use weir_tests::world::{MODES, Mode, World};

/// How many reloads; `make soak` has more.
fn reloads() -> usize {
    std::env::var("WEIR_RELOADS").map_or(20, |text| text.parse().unwrap())
}

/// The configuration of the running weir, changed and taken.
async fn reload_with(weir: &Weir, change: impl FnOnce(String) -> String) {
    let file = weir.folder().join("weir.yaml");
    let text = change(std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, text).unwrap();
    let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn under_traffic_in_every_mode() {
    for mode in MODES {
        let world = Arc::new(World::of(mode).runtime("drain_timeout: 30s").start().await);
        let other = match mode {
            Mode::Offload => Backend::plain(Role::Echo).await,
            _ => Backend::tls(Role::Echo, &world.identities.backend).await,
        };
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(world.connect().await);
        }
        let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let (world, over, served) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&served));
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let mut stream = world.connect().await;
                        stream.send(b"a request that has to come back").await.unwrap();
                        assert_eq!(stream.exactly(31).await.unwrap(), b"a request that has to come back");
                        stream.finish().await;
                        stream.rest().await;
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let (one, two) = (format!("\"{}\"", world.backend.addr), format!("\"{}\"", other.addr));
        for number in 0..reloads() {
            let backends = match number % 3 {
                0 => format!("backends: [{one}, {two}]"),
                1 => format!("backends: [{two}]"),
                _ => format!("backends: [{one}]"),
            };
            reload_with(&world.weir, |text| {
                let lines = text.lines().map(|line| match line.trim_start().starts_with("backends:") {
                    true => format!("    {backends}\n"),
                    false => format!("{line}\n"),
                });
                lines.collect()
            })
            .await;
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        assert!(served.load(Ordering::Relaxed) > 10 && other.count() > 0, "{mode:?}: too little traffic");
        for stream in &mut held {
            stream.send(b"still here").await.unwrap();
            assert_eq!(stream.exactly(10).await.unwrap(), b"still here", "{mode:?}");
            stream.finish().await;
            stream.rest().await;
        }
        let metrics = world.weir.settle().await;
        let generation = u64::try_from(reloads() + 1).unwrap();
        assert_eq!(metrics.count("weir_config_generation", &[]), generation);
        assert_eq!(metrics.count("weir_retries_total", &[]), 0, "{mode:?}");
        eventually(Duration::from_secs(20), "old generations are forgotten", async || {
            match world.weir.metrics().await.values_of("weir_connections_by_generation", "generation") {
                left if left == [generation.to_string()] => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let world = World::of(Mode::Passthrough).plain().start().await;
    let file = world.weir.folder().join("weir.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let mut held = world.connect().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let in_use = good.replace(&world.edge.to_string(), &taken.local_addr().unwrap().to_string());
    for (bad, why) in [
        (good.replace("mode: passthrough", "mode: pasthrough"), "pasthrough"),
        (in_use, "another process"),
        ("listeners: [".to_owned(), "not YAML"),
    ] {
        std::fs::write(&file, bad).unwrap();
        let answer = request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(why), "{}", answer.body);
    }
    std::fs::remove_file(&file).unwrap();
    let answer = request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_config_last_reload_successful", &[]), 0);
    assert_eq!(metrics.count("weir_config_generation", &[]), 1);
    held.send(b"x").await.unwrap();
    assert_eq!(held.exactly(1).await.unwrap(), b"x");
    let mut new = world.connect().await;
    new.send(b"y").await.unwrap();
    assert_eq!(new.exactly(1).await.unwrap(), b"y");
    std::fs::write(&file, &good).unwrap();
    world.weir.signal(Signal::HUP);
    eventually(Duration::from_secs(20), "a SIGHUP reloads", async || {
        match world.weir.metrics().await.count("weir_config_generation", &[]) {
            2 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
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

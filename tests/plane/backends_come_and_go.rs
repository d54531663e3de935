//! Backends that come and go: by an operator's command, or by a failure before their first byte.

use std::time::Duration;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::http::request;
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::world::{Mode, NAME, World};

async fn asks(world: &World<Plane>) -> String {
    let mut stream = world.connect().await;
    stream.send(b"x").await.unwrap();
    let first = stream.exactly(2).await.unwrap();
    stream.finish().await;
    stream.rest().await;
    String::from_utf8(first).unwrap()
}

#[tokio::test]
async fn a_backend_that_resets_before_its_first_byte_is_invisible() {
    for (role, policy, fails) in [
        (Role::ResetAfter(10), "hello_replay: true", false),
        (Role::ResetAfter(10), "hello_replay: false", true),
    ] {
        let bad = Backend::plain(role).await;
        let world = World::of(Mode::Passthrough).also(bad.addr).pool(policy).plane().await;
        let mut failed = 0;
        for _ in 0..20 {
            match world.client().connect(world.edge, NAME).await {
                Ok(mut stream) => {
                    stream.send(b"x").await.unwrap();
                    assert_eq!(stream.exactly(1).await.unwrap(), b"x");
                    stream.finish().await;
                    stream.rest().await;
                }
                Err(_) => failed += 1,
            }
        }
        let metrics = world.weir.settle().await;
        let replays = metrics.count("weir_hello_replays_total", &[]);
        assert_eq!(
            (failed > 0, replays > 0),
            (fails, !fails),
            "{policy}: {failed} failed, {replays} replays"
        );
        assert!(bad.count() > 5, "{}", bad.count());
        assert_eq!(
            metrics.count("weir_backend_ejections_total", &[]),
            0,
            "what comes after the hello never counts"
        );
    }
}

/// Ten clients at a time.
const AT_ONCE: usize = 10;

#[tokio::test]
async fn shares_are_the_weights() {
    for workers in [1, 2] {
        let mut backends = Vec::new();
        for _ in 0..3 {
            backends.push(Backend::plain(Role::CloseAtOnce).await);
        }
        let entries: Vec<String> = backends
            .iter()
            .zip([1, 2, 7])
            .map(|(b, weight)| format!("{{address: \"{}\", weight: {weight}}}", b.addr))
            .collect();
        let world = World::of(Mode::Passthrough)
            .plain()
            .runtime(&format!("workers: {workers}, drain_timeout: 5s"))
            .entries(&entries.join(", "))
            .plane()
            .await;
        let edge = world.edge;
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                tokio::spawn(async move {
                    for _ in 0..10_000 / AT_ONCE {
                        let mut stream = tcp(edge).await;
                        stream.finish().await;
                        stream.rest().await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        let metrics = world.weir.settle().await;
        for (backend, share) in backends.iter().zip([1000u64, 2000, 7000]) {
            let labels = [("backend", &*backend.addr.to_string()), ("result", "ok")];
            let got = metrics.count("weir_backend_connections_total", &labels);
            assert!(got.abs_diff(share) <= 200, "{workers} workers: {got} instead of {share}");
        }
    }
}

#[tokio::test]
async fn a_backend_that_refuses_is_ejected_and_comes_back() {
    let dead = weir_tests::peers::refused();
    let check = "passive_check: {failures: 2, window: 10s, eject: 1s, max_ejected: 50%}";
    let world = World::of(Mode::Passthrough)
        .plain()
        .role(Role::Named("a".into()))
        .also(dead.addr())
        .pool(check)
        .plane()
        .await;
    for _ in 0..8 {
        assert_eq!(asks(&world).await, "a\n");
    }
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_backend_ejections_total", &[("reason", "failed")]), 1);
    assert_eq!(metrics.count("weir_retries_total", &[]), 2, "once it is out, no connection goes there");
    let name = dead.addr().to_string();
    eventually(Duration::from_secs(20), "it is back", async || {
        match world.weir.metrics().await.count("weir_backend_up", &[("backend", &name)]) {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn by_hand() {
    let other = Backend::plain(Role::Named("b".into())).await;
    let world =
        World::of(Mode::Passthrough).plain().role(Role::Named("a".into())).also(other.addr).plane().await;
    let path = |verb: &str| format!("/api/v1/pools/main/backends/{}/{verb}", other.addr);
    assert_eq!(request(world.weir.admin(), "POST", &path("drain")).await.unwrap().status, 200);
    for _ in 0..6 {
        assert_eq!(asks(&world).await, "a\n");
    }
    let answer = request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    for _ in 0..6 {
        assert_eq!(asks(&world).await, "a\n", "what is set by hand outlives a reload");
    }
    assert_eq!(request(world.weir.admin(), "POST", &path("ready")).await.unwrap().status, 200);
    let mut seen = String::new();
    for _ in 0..6 {
        seen += &asks(&world).await;
    }
    assert!(seen.contains('a') && seen.contains('b'), "{seen}");
    assert_eq!(request(world.weir.admin(), "POST", &path("weight")).await.unwrap().status, 400, "no body");
    let unknown = "/api/v1/pools/main/backends/nobody/drain";
    assert_eq!(request(world.weir.admin(), "POST", unknown).await.unwrap().status, 404);
}

//! What happens to the live connections of a backend that becomes unhealthy.

use super::*;

#[tokio::test]
async fn connections_of_a_failed_backend_go_on_unless_they_must_be_closed() {
    for (on_unhealthy, closes) in [("on_unhealthy: keep", false), ("on_unhealthy: close", true)] {
        let [a, b] = Patient::several(["a", "b"]).await;
        let world = over(&[a.entry(""), b.entry("")]).pool(CHECK).pool(on_unhealthy).start().await;
        let mut streams = hold(world.edge, 4).await;
        streams.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(counted(&streams), [("a", 2), ("b", 2)].into());
        a.be(false);
        up(&world.weir, 1).await;
        // Longer than the second within which they would be closed.
        checks(&a, 15).await;
        if closes {
            for (name, mut stream) in streams.drain(..2) {
                assert_eq!(stream.rest().await, (Vec::new(), End::Clean), "{name}: an orderly end");
            }
            for record in world.weir.some_records(2).await {
                record.ended("drained", "weir");
                assert_eq!(record.text("backend"), a.backend.addr.to_string());
            }
        }
        echoes(&mut streams, on_unhealthy).await;
        for (_, stream) in &mut streams {
            stream.finish().await;
            stream.rest().await;
        }
        let metrics = world.weir.settle().await;
        let ok = metrics.count("weir_connections_closed_total", &[("outcome", "ok")]);
        assert_eq!(ok, if closes { 2 } else { 4 });
    }
}

/// Waits for so many more checks of a backend.
async fn checks(patient: &Patient, count: usize) {
    let until = patient.checks() + count;
    eventually_true(PATIENCE, "more checks", || patient.checks() >= until).await;
}

async fn echoes(streams: &mut [(String, Stream)], why: &str) {
    for (name, stream) in streams {
        stream.send(b"still here").await.unwrap();
        assert_eq!(stream.exactly(10).await.ok().as_deref(), Some(&b"still here"[..]), "{name}: {why}");
    }
}

#[tokio::test]
async fn a_recovered_backend_keeps_its_new_connections() {
    let [a] = Patient::several(["a"]).await;
    let world = over(&[a.entry("")]).pool(CHECK).pool("on_unhealthy: close").start().await;
    a.be(false);
    up(&world.weir, 0).await;
    a.be(true);
    up(&world.weir, 1).await;
    let mut streams = hold(world.edge, 3).await;
    // Longer than the second within which the old ones are closed.
    checks(&a, 15).await;
    echoes(&mut streams, "they have seen no failure").await;
    drop(streams);
    world.weir.settle().await;
}

#[tokio::test]
async fn connections_that_begin_in_a_panic_are_not_closed_for_ignored_health() {
    let [a] = Patient::several(["a"]).await;
    let policy = "on_unhealthy: close";
    let world = over(&[a.entry("")]).pool(CHECK).pool(policy).pool("panic_threshold: 50%").start().await;
    a.be(false);
    gauge(&world.weir, "weir_pool_panic", &[], 1).await;
    // Longer than the second within which connections from before the failure are closed.
    checks(&a, 15).await;
    let mut streams = hold(world.edge, 3).await;
    checks(&a, 15).await;
    echoes(&mut streams, "its health is ignored").await;
    drop(streams);
    world.weir.settle().await;
}

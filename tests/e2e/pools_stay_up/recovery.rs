//! Slow start, panic, backups.

use super::*;

#[tokio::test]
async fn a_recovered_backend_gets_a_growing_share() {
    let [a, b] = Patient::several(["a", "b"]).await;
    let world = over(&[a.entry(""), b.entry("")]).pool(CHECK).pool("slow_start: 8s").start().await;
    assert_eq!(served_by(&world, 6).await, "ab", "no slow start at the start");
    b.be(false);
    up(&world.weir, 1).await;
    let began = Instant::now();
    b.be(true);
    up(&world.weir, 2).await;
    let first = shares(&world, 40).await.get("b").copied().unwrap_or(0);
    // A tenth at first; more on a slow machine, because more of the time has passed by then.
    let part = (began.elapsed().as_secs_f64() / 8.0).clamp(0.1, 1.0);
    let most = 3.0 + 40.0 * part / (1.0 + part);
    assert!(first as f64 <= most, "{first} of 40, at most {most:.0}, went to one that has just recovered");
    let whole = eventually(PATIENCE, "it has its whole share", async || {
        match shares(&world, 40).await.get("b").copied().unwrap_or(0) {
            share @ 18..=22 => Ok(share),
            share => Err(share.to_string()),
        }
    })
    .await;
    assert!(whole > first, "{first}, then {whole}");
    assert!(began.elapsed() > Duration::from_secs(4), "its whole share after {:?}", began.elapsed());
    world.weir.settle().await;
}

#[tokio::test]
async fn too_few_healthy_backends_make_a_panic_and_all_serve_until_they_recover() {
    let patients = Patient::several(["a", "b", "c", "d", "e"]).await;
    let mut list = entries(&patients);
    list[4] = patients[4].entry(", weight: 0");
    let world = over(&list).pool(CHECK).pool("panic_threshold: 50%").start().await;
    let panic = async |value| gauge(&world.weir, "weir_pool_panic", &[("pool", "main")], value).await;
    patients[0].be(false);
    patients[1].be(false);
    up(&world.weir, 3).await;
    panic(0).await;
    assert_eq!(served_by(&world, 8).await, "cd", "half of them is not less than 50%");
    patients[2].be(false);
    panic(1).await;
    assert_eq!(served_by(&world, 8).await, "abcd", "weight 0 is not for a panic either");
    patients[0].be(true);
    panic(0).await;
    assert_eq!(served_by(&world, 8).await, "ad");
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_retries_total", &[]), 0);
}

#[tokio::test]
async fn a_backup_serves_when_no_primary_can_and_instead_of_a_panic() {
    let patients = Patient::several(["a", "b", "z"]).await;
    let mut list = entries(&patients);
    list[2] = patients[2].entry(", backup: true");
    let world = over(&list).pool(CHECK).pool("panic_threshold: 100%").start().await;
    up(&world.weir, 3).await;
    assert_eq!(served_by(&world, 6).await, "ab");
    patients[0].be(false);
    up(&world.weir, 2).await;
    assert_eq!(served_by(&world, 6).await, "b", "one primary is enough");
    patients[1].be(false);
    up(&world.weir, 1).await;
    assert_eq!(served_by(&world, 6).await, "z");
    assert_eq!(world.weir.metrics().await.count("weir_pool_panic", &[]), 0, "a backup is well");
    patients[2].be(false);
    gauge(&world.weir, "weir_pool_panic", &[], 1).await;
    assert_eq!(served_by(&world, 6).await, "ab", "a panic is for primaries");
    patients[0].be(true);
    gauge(&world.weir, "weir_backend_up", &[], 1).await;
    patients[2].be(true);
    gauge(&world.weir, "weir_pool_panic", &[], 0).await;
    assert_eq!(served_by(&world, 6).await, "a");
    world.weir.settle().await;
}

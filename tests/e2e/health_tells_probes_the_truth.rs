//! `weir health` exits with 0 while weir works, and with 1 when it does not, for container probes.

use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::program::{Finished, run};
use weir_tests::weir::{Weir, command};
use weir_tests::world::{Mode, World};

const PATIENCE: Duration = Duration::from_secs(20);

async fn health(weir: &Weir, words: &[&str]) -> Finished {
    let mut verb = command(&["health", "--admin", &format!("http://{}", weir.admin())]);
    verb.args(words);
    run(verb, b"", PATIENCE).await
}

/// Asserts that the probe fails and prints nothing on stdout; gives the reason.
async fn fails(weir: &Weir, words: &[&str]) -> String {
    let said = health(weir, words).await;
    assert_eq!((said.code, &*said.stdout), (Some(1), ""), "{words:?}: {}", said.both());
    said.stderr
}

async fn passes(weir: &Weir, words: &[&str]) -> String {
    let said = health(weir, words).await;
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{words:?}: {}", said.both());
    said.stdout
}

#[tokio::test]
async fn health_follows_backends_and_drains() {
    let dead = Port::free();
    let mut world = World::of(Mode::Passthrough)
        .plain()
        .backends(&[dead.addr()])
        .pool("health_check: {type: tcp, interval: 100ms, rise: 1, fall: 1}")
        .runtime("workers: 1, shutdown_delay: 60s")
        .start()
        .await;
    eventually(PATIENCE, "the backend is down", async || {
        let answer = world.weir.ask("/readyz").await;
        if answer.status == 503 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    assert_eq!(passes(&world.weir, &[]).await, "ok\n");
    for words in [&["--ready"][..], &["--pool", "main"], &["--ready", "--pool", "main"]] {
        let why = fails(&world.weir, words).await;
        assert!(why.contains("no healthy backend in: main"), "{words:?}: {why}");
    }
    assert!(fails(&world.weir, &["--pool", "mian"]).await.contains("did you mean `main`?"));

    world.weir.signal(Signal::TERM);
    eventually(PATIENCE, "it leaves", async || {
        let why = health(&world.weir, &["--ready"]).await.stderr;
        if why.contains("not ready: draining") { Ok(()) } else { Err(why) }
    })
    .await;
    assert_eq!(passes(&world.weir, &[]).await, "ok\n", "a drain is no illness");
    world.weir.signal(Signal::TERM);
    world.weir.program.wait(PATIENCE).await;
}

#[tokio::test]
async fn a_healthy_weir_passes_by_its_configuration_too() {
    let world = World::of(Mode::Passthrough).start().await;
    assert_eq!(passes(&world.weir, &["--ready", "--pool", "main", "--pool", "main"]).await, "ready\n");
    let file = world.weir.folder().join("weir.yaml").display().to_string();
    let said = run(command(&["health", "-c", &file]), b"", PATIENCE).await;
    assert_eq!((said.code, &*said.stdout), (Some(0), "ok\n"), "{}", said.both());
    world.weir.settle().await;
}

#[tokio::test]
async fn silence_fails_the_probe_within_two_seconds() {
    let world = World::of(Mode::Passthrough).start().await;
    world.weir.signal(Signal::STOP);
    let start = Instant::now();
    let why = fails(&world.weir, &[]).await;
    assert!(why.contains("within 2s"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    world.weir.signal(Signal::CONT);

    let unused = Port::free();
    let nowhere = format!("http://{}", unused.addr());
    let said = run(command(&["health", "--admin", &nowhere]), b"", PATIENCE).await;
    assert_eq!((said.code, &*said.stdout), (Some(1), ""), "{}", said.both());
    assert!(said.stderr.contains(&nowhere), "{}", said.stderr);

    let folder = tempfile::tempdir().unwrap();
    let mut lost = command(&["health"]);
    lost.current_dir(folder.path());
    if !Path::new("/etc/weir/weir.yaml").exists() {
        let said = run(lost, b"", PATIENCE).await;
        assert_eq!(said.code, Some(2), "{}", said.both());
    }
    drop(tcp(world.edge).await);
    world.weir.settle().await;
}

//! An address in use, by another weir too, must give a named error and exit 1, not shared traffic.

use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, World};

fn listening_on(address: &str) -> Launch {
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{address}\", mode: passthrough, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n",
    );
    Launch::new(Identities::default().folder(), body)
}

#[tokio::test]
async fn by_another_program() {
    let other = Backend::plain(Role::Echo).await;
    let ended = listening_on(&other.addr.to_string()).fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    assert!(ended.stderr.contains(&other.addr.to_string()), "which address? {}", ended.stderr);
    assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
}

#[tokio::test]
async fn by_another_weir() {
    let world = World::of(Mode::Passthrough).runtime("workers: 2").start().await;
    let ended = listening_on(&world.edge.to_string()).runtime("workers: 2").fail().await;
    assert_eq!(ended.code, Some(1), "two weirs share one address: {}", ended.both());
    assert!(ended.stderr.contains(&world.edge.to_string()), "which address? {}", ended.stderr);
    // The first weir is not disturbed.
    drop(world.connect().await);
    world.weir.settle().await;
}

#[tokio::test]
async fn by_another_weir_on_every_address() {
    let world = World::of(Mode::Passthrough).start().await;
    let ended = listening_on(&format!(":{}", world.edge.port())).fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_stopped_weir_frees_its_address_at_once() {
    let edge = Port::free();
    let mut first = listening_on(&edge.addr().to_string()).start().await;
    // A connection that weir itself closes leaves the port in TIME_WAIT.
    let mut stream = weir_tests::client::tcp(edge.addr()).await;
    stream.send(b"no TLS").await.unwrap();
    stream.rest().await;
    drop(stream);
    assert_eq!(first.terminate().await.code(), Some(0));
    listening_on(&edge.addr().to_string()).start().await;
}

#[tokio::test]
async fn the_admin_address_too() {
    let world = World::of(Mode::Passthrough).start().await;
    let taken = world.weir.admin();
    let edge = Port::free();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    let yaml = format!(
        "admin: {{address: \"{taken}\"}}\nlisteners:\n  - {{name: edge, address: \"{}\", mode: passthrough, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"127.0.0.1:9\"]}}\n",
        edge.addr()
    );
    std::fs::write(&file, yaml).unwrap();
    let mut command = weir_tests::weir::command(&["run", "-c"]);
    command.arg(&file);
    let ended = weir_tests::program::run(command, b"", std::time::Duration::from_secs(20)).await;
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    assert!(ended.stderr.contains(&taken.to_string()), "which address? {}", ended.stderr);
}

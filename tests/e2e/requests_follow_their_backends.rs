//! A backend that drains, or falls ill under `on_unhealthy: close`, while requests run: kept connections to it are closed, new
//! requests go elsewhere, running ones have the pool's `drain_timeout` or none, and their clients keep their connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::grpc::{self, Server};
use weir_tests::http::request;
use weir_tests::origin::{Origin, Step, answer, ask, next_answer};
use weir_tests::world::{Identities, Mode, NAME, World};

/// Longer than anything here takes if it happens at all.
const SOON: Duration = Duration::from_secs(15);

/// A backend that tells its name, and whose health is a switch.
async fn origin(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&well);
    let origin = Origin::start(move |asked| match &*asked.path {
        "/slow" => vec![Step::Sleep(Duration::from_millis(1200)), Step::Send(answer(name))],
        "/never" => vec![Step::Wait],
        "/begins" => {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec()), Step::Wait]
        }
        "/healthz" if !now.load(Ordering::SeqCst) => {
            vec![Step::Send(b"HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n".to_vec())]
        }
        _ => vec![Step::Send(answer(name))],
    })
    .await;
    (origin, well)
}

async fn world(backends: [SocketAddr; 2], pool: &[&str]) -> World {
    let [a, b] = backends;
    let mut world = World::of(Mode::Offload)
        .listener("protocol: http")
        .entries(&format!("{{name: a, address: \"{a}\"}}, {{name: b, address: \"{b}\"}}"));
    for line in pool {
        world = world.pool(line);
    }
    world.level("info").start().await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

async fn order(world: &World, backend: &str, what: &str) {
    let path = format!("/api/v1/pools/main/backends/{backend}/{what}");
    let answer = request(world.weir.admin(), "POST", &path).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Which backends answer the next requests of a client.
async fn answered(world: &World, count: usize) -> Vec<String> {
    let mut stream = world.connect().await;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(ask(&mut stream, &get("/")).await.unwrap().text());
    }
    names
}

/// Opens two clients with this request each, one for each backend, and gives that of the first backend first.
async fn at_both(world: &World, path: &str, origins: [&Origin; 2]) -> Vec<weir_tests::stream::Stream> {
    let mut clients = Vec::new();
    for count in 1..=2 {
        let mut stream = world.connect().await;
        stream.send(get(path).as_bytes()).await.unwrap();
        let asked = |origin: &Origin| origin.seen().iter().filter(|asked| asked.path == path).count();
        eventually_true(SOON, path, || origins.iter().map(|origin| asked(origin)).sum::<usize>() == count)
            .await;
        clients.push((asked(origins[0]), stream));
    }
    // The one after which the first backend had its request.
    if clients[0].0 == 0 {
        clients.reverse();
    }
    clients.into_iter().map(|(_, stream)| stream).collect()
}

#[tokio::test]
async fn a_drained_backend_finishes_its_requests_and_gets_no_more() {
    let ((a, _), (b, _)) = (origin("a").await, origin("b").await);
    let world = world([a.addr, b.addr], &["drain_timeout: 3s"]).await;
    let mut slow = at_both(&world, "/slow", [&a, &b]).await;
    let mut never = at_both(&world, "/never", [&a, &b]).await;
    let mut begun = at_both(&world, "/begins", [&a, &b]).await;
    assert!(answered(&world, 10).await.contains(&"a".to_owned()));
    assert_eq!(a.open(), 4, "three that run, and a kept one");
    let since = Instant::now();
    order(&world, "a", "drain").await;
    assert_eq!(answered(&world, 10).await, ["b"; 10]);
    eventually_true(SOON, "the kept connection is closed", || a.open() == 3).await;
    assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
    assert_eq!(next_answer(&mut slow[0], false).await.unwrap().text(), "a");
    eventually_true(SOON, "and that of the answer is not kept", || a.open() == 2).await;
    let cut = next_answer(&mut never[0], false).await.unwrap();
    assert_eq!(cut.status, 503, "{cut:?}");
    assert!(since.elapsed() > Duration::from_millis(2600), "{:?}", since.elapsed());
    // Its client goes on, with the other backend; an answer that has begun can only be cut.
    assert_eq!(ask(&mut never[0], &get("/")).await.unwrap().text(), "b");
    assert!(next_answer(&mut begun[0], false).await.is_err());
    eventually_true(SOON, "no connection is left", || a.open() == 0).await;
    assert_eq!(b.left(), 0, "the other backend's requests run on");
    eventually(SOON, "two requests have a record that says so", async || {
        let records = world.weir.requests();
        let cut = records.iter().filter(|record| record.text("backend") == "a" && record.outcome() != "ok");
        let ends: Vec<_> = cut.map(|record| (record.text("path"), record.outcome(), record.side())).collect();
        if ends == [("/never", "drained", "weir"), ("/begins", "drained", "weir")] {
            Ok(())
        } else {
            Err(format!("{ends:?}"))
        }
    })
    .await;
    order(&world, "a", "ready").await;
    assert!(answered(&world, 10).await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn an_ill_backend_is_left_at_once_if_the_pool_says_so() {
    let ((a, well), (b, _)) = (origin("a").await, origin("b").await);
    let check =
        "health_check: {type: http, path: /healthz, interval: 250ms, timeout: 240ms, rise: 1, fall: 1}";
    let world = world([a.addr, b.addr], &[check, "on_unhealthy: close"]).await;
    let mut never = at_both(&world, "/never", [&a, &b]).await;
    let mut begun = at_both(&world, "/begins", [&a, &b]).await;
    assert!(answered(&world, 10).await.contains(&"a".to_owned()));
    well.store(false, Ordering::SeqCst);
    let cut = next_answer(&mut never[0], false).await.unwrap();
    assert_eq!(cut.status, 503, "{cut:?}");
    assert!(next_answer(&mut begun[0], false).await.is_err());
    assert_eq!(ask(&mut never[0], &get("/")).await.unwrap().text(), "b");
    assert_eq!(answered(&world, 10).await, ["b"; 10]);
    // A check may be on its way.
    eventually_true(SOON, "no other connection is left", || a.open() <= 1).await;
    assert_eq!(b.left(), 0, "the other backend's requests run on");
    well.store(true, Ordering::SeqCst);
    eventually(SOON, "it serves again", async || {
        let names = answered(&world, 10).await;
        if names.contains(&"a".to_owned()) { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_shared_connection_outlives_the_drain_of_its_backend_by_its_calls() {
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    identities.public.write(folder.path(), "ca");
    let ca = folder.path().join("ca.pem");
    let servers = [Server::start(None).await, Server::start(None).await];
    let [a, b] = &servers;
    let world = World::of(Mode::Offload)
        .identities(identities)
        .listener("protocol: http")
        .pool("http: {version: \"2\"}")
        .pool("drain_timeout: 8s")
        .entries(&format!(
            "{{name: a, address: \"{}\"}}, {{name: b, address: \"{}\", backup: true}}",
            a.port.addr(),
            b.port.addr()
        ))
        .level("info")
        .start()
        .await;
    let mut held = grpc::hold(world.edge, NAME, &ca).await;
    assert_eq!(a.told("begin", "Hang").len(), 1);
    let since = Instant::now();
    order(&world, "a", "drain").await;
    let ok = async |ca: &Path| assert_eq!(grpc::status(world.edge, NAME, ca).await, "OK");
    ok(&ca).await;
    assert_eq!((a.told("begin", "Unary").len(), b.told("begin", "Unary").len()), (0, 1));
    assert!(a.told("end", "Hang").is_empty() && since.elapsed() < Duration::from_secs(7), "too slow");
    eventually_true(SOON, "the call is cut", || a.told("end", "Hang").len() == 1).await;
    assert!(since.elapsed() > Duration::from_secs(7), "{:?}", since.elapsed());
    held.wait(SOON).await;
    assert!(
        held.stdout.text().contains("over") && !held.stdout.text().contains("OK"),
        "{}",
        held.stdout.text()
    );
    order(&world, "a", "ready").await;
    ok(&ca).await;
    assert_eq!(a.told("begin", "Unary").len(), 1);
}

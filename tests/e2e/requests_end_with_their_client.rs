//! A client that is gone: its backend hears so at once, also while it thinks. A client that has only ended its own
//! direction gets its answer.

use std::time::{Duration, Instant};
use tokio::process::Command;
use weir_tests::eventually::eventually_true;
use weir_tests::origin::{Origin, Step, answer, next_answer};
use weir_tests::world::{Mode, NAME, World};

/// Longer than anything here takes if it happens at all.
const SOON: Duration = Duration::from_secs(15);

async fn thinking() -> (Origin, World) {
    let origin = Origin::start(|asked| match &*asked.path {
        "/thinks" => vec![Step::Sleep(Duration::from_millis(700)), Step::Send(answer("late"))],
        "/begins" => {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec()), Step::Wait]
        }
        _ => vec![Step::Wait],
    })
    .await;
    let world = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]).start().await;
    (origin, world)
}

async fn asked(origin: &Origin, count: usize) {
    eventually_true(SOON, "the backend has the request", || origin.seen().len() == count).await;
}

#[tokio::test]
async fn killed_clients_end_their_requests() {
    let (origin, world) = thinking().await;
    let mut count = 0;
    for version in ["--http1.1", "--http2"] {
        for path in ["/", "/begins"] {
            let resolve = format!("{NAME}:{}:{}", world.edge.port(), world.edge.ip());
            let url = format!("https://{NAME}:{}{path}", world.edge.port());
            let mut curl = Command::new("curl");
            curl.args(["-q", "-s", "--insecure", "--noproxy", "*", version, "--resolve", &resolve, &url]);
            let mut curl = curl.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
            count += 1;
            asked(&origin, count).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(origin.left(), count - 1, "the request runs");
            let begun = Instant::now();
            curl.kill().await.unwrap();
            eventually_true(SOON, "the backend's connection is closed", || origin.left() == count).await;
            assert!(begun.elapsed() < Duration::from_secs(5), "{version} {path}: {:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn resets_end_their_requests() {
    let (origin, world) = thinking().await;
    for (count, path) in [(1, "/"), (2, "/begins")] {
        let mut stream = world.connect().await;
        stream.send(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
        asked(&origin, count).await;
        stream.reset();
        eventually_true(SOON, "the backend's connection is closed", || origin.left() == count).await;
    }
}

#[tokio::test]
async fn half_closed_clients_get_their_answer() {
    let (_origin, world) = thinking().await;
    let mut stream = world.connect().await;
    stream.send(format!("GET /thinks HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    stream.finish().await;
    let got = next_answer(&mut stream, false).await.unwrap();
    assert_eq!((got.status, &*got.text()), (200, "late"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|asked| {
        let pause = Duration::from_millis(if asked.path == "/a" { 300 } else { 0 });
        vec![Step::Sleep(pause), Step::Send(answer(&asked.path))]
    })
    .await;
    let world = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]).start().await;
    let mut stream = world.connect().await;
    for path in ["a", "b", "c"] {
        stream.send(format!("GET /{path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    }
    let mut text = String::new();
    while !text.ends_with("/c") {
        text.push(stream.exactly(1).await.unwrap()[0] as char);
    }
    let at: Vec<_> = ["/a", "/b", "/c"].iter().map(|path| text.find(path).unwrap()).collect();
    assert!(at.is_sorted(), "{text}");
}

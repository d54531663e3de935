//! The deadlines of requests: each ends what is too slow, with the status that says whose fault it is, and nothing else.

use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use weir_tests::eventually::eventually_true;
use weir_tests::origin::{Got, Origin, Step, answer, answers, ask, next_answer};
use weir_tests::stream::Stream;
use weir_tests::world::{Mode, NAME, World};

/// What a deadline of a second may take on a busy machine.
const SOON: Duration = Duration::from_secs(15);

async fn world(origin: &Origin, timeouts: &str) -> World {
    let timeouts = format!("http: {{timeouts: {{{timeouts}}}}}");
    World::of(Mode::Offload)
        .listener("protocol: http")
        .listener(&timeouts)
        .backends(&[origin.addr])
        .start()
        .await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

/// The rest of a connection that weir must end after a second, and not before.
async fn ends(stream: &mut Stream) -> Vec<u8> {
    let begun = Instant::now();
    let (rest, _) = stream.rest().await;
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < SOON, "{took:?}");
    rest
}

#[tokio::test]
async fn a_silent_client_and_a_slow_head_are_cut() {
    let origin = Origin::start(|_| answers("x")).await;
    let world = world(&origin, "headers: 1s").await;
    assert_eq!(ends(&mut world.connect().await).await, b"", "a client that asks nothing");
    let mut slow = world.connect().await;
    slow.send(b"GET / HT").await.unwrap();
    ends(&mut slow).await;
    // The second head of a connection has the same deadline, and the time before it counts for nothing.
    let mut second = world.connect().await;
    assert_eq!(ask(&mut second, &get("/")).await.unwrap().status, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    second.send(b"GET / HT").await.unwrap();
    ends(&mut second).await;
    assert_eq!(origin.seen().len(), 1, "no half request was forwarded");
}

#[tokio::test]
async fn a_kept_connection_ends_after_its_time() {
    let origin = Origin::start(|_| answers("x")).await;
    let world = world(&origin, "headers: 30s, keep_alive: 1s").await;
    let mut stream = world.connect().await;
    for _ in 0..3 {
        assert_eq!(ask(&mut stream, &get("/")).await.unwrap().text(), "x");
    }
    assert_eq!(ends(&mut stream).await, b"");
}

#[tokio::test]
async fn a_backend_that_thinks_too_long_gets_504() {
    let origin = Origin::start(|asked| match &*asked.path {
        "/slow" => vec![Step::Wait],
        _ => answers("x"),
    })
    .await;
    let world = world(&origin, "response: 1s").await;
    let mut stream = world.connect().await;
    let begun = Instant::now();
    let late = ask(&mut stream, &get("/slow")).await.unwrap();
    assert_eq!(late.status, 504, "{late:?}");
    assert!(begun.elapsed() > Duration::from_millis(900) && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // The client's connection goes on; the backend's does not.
    assert_eq!(ask(&mut stream, &get("/")).await.unwrap().text(), "x");
    eventually_true(SOON, "the backend's connection is closed", || origin.left() == 1).await;
}

#[tokio::test]
async fn a_client_that_sends_its_body_too_slowly_gets_408() {
    let origin = Origin::start(|_| answers("x")).await;
    let world = world(&origin, "body: 1s").await;
    let mut stream = world.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 100\r\n\r\nabc");
    let begun = Instant::now();
    let cut = ask(&mut stream, &head).await.unwrap();
    assert_eq!(cut.status, 408, "{cut:?}");
    assert!(begun.elapsed() > Duration::from_millis(900) && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Progress counts, however slow it is.
    let mut stream = world.connect().await;
    stream
        .send(format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\n\r\n").as_bytes())
        .await
        .unwrap();
    for byte in b"abcde" {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.send(&[*byte]).await.unwrap();
    }
    assert_eq!(next_answer(&mut stream, false).await.unwrap().status, 200);
    assert_eq!(origin.seen().last().unwrap().body, b"abcde");
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_and_never_looks_whole() {
    let origin = Origin::start(|asked| {
        let half = match &*asked.path {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
            _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        };
        vec![Step::Send(half.as_bytes().to_vec()), Step::Wait]
    })
    .await;
    let world = world(&origin, "body: 1s").await;
    for path in ["/length", "/chunked"] {
        let mut stream = world.connect().await;
        stream.send(get(path).as_bytes()).await.unwrap();
        let rest = String::from_utf8(ends(&mut stream).await).unwrap();
        assert!(rest.contains("abc") && !rest.ends_with("0\r\n\r\n"), "{rest:?}");
    }
    eventually_true(SOON, "the backend's connections are closed", || origin.left() == 2).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let origin = Origin::start(|_| vec![Step::Send(answer(&"x".repeat(64 << 20)))]).await;
    let world = world(&origin, "body: 1s").await;
    let mut stream = world.connect().await;
    stream.send(get("/").as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    eventually_true(SOON, "the backend's connection opens", || origin.open() == 1).await;
    eventually_true(2 * SOON, "the backend's connection is closed", || origin.open() == 0).await;
    let (rest, _) = stream.rest().await;
    assert!(rest.len() < 64 << 20, "cut");
}

#[tokio::test]
async fn a_whole_request_has_a_deadline() {
    let origin = Origin::start(|asked| match &*asked.path {
        "/never" => vec![Step::Wait],
        _ => {
            let mut steps = vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec())];
            for _ in 0..100 {
                steps.extend([Step::Sleep(Duration::from_millis(100)), Step::Send(b"abc".to_vec())]);
            }
            steps
        }
    })
    .await;
    let world = world(&origin, "request: 1s").await;
    let mut stream = world.connect().await;
    let Got { status, .. } = ask(&mut stream, &get("/never")).await.unwrap();
    assert_eq!(status, 504);
    stream.send(get("/drips").as_bytes()).await.unwrap();
    let rest = ends(&mut stream).await;
    assert!(rest.len() < 200, "cut: {}", String::from_utf8_lossy(&rest));
}

//! SIGTERM while clients are there with requests: idle ones are told to go, running requests finish, and what is left at
//! the deadline is cut in a way that no one takes for an attack: TLS ends with close_notify, unless that would make a cut
//! answer look whole. So does the drain of a listener.

use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::frames::{self, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, SETTINGS, block};
use weir_tests::http::request;
use weir_tests::origin::{Origin, Step, answer, ask, next_answer};
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Mode, NAME, World};

/// Longer than anything here takes if it happens at all.
const SOON: Duration = Duration::from_secs(15);
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

/// A backend whose answers take as long as their path says, or for ever.
async fn origin() -> Origin {
    Origin::start(|asked| match &*asked.path {
        "/slow" => vec![Step::Sleep(Duration::from_millis(1200)), Step::Send(answer("late"))],
        "/begins" => {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec()), Step::Wait]
        }
        "/unmarked" => vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\nabc".to_vec()), Step::Wait],
        "/large" => vec![Step::Send(answer(&"x".repeat(64 << 20)))],
        "/never" => vec![Step::Wait],
        "/upload" => vec![Step::Read, Step::Send(answer("read"))],
        _ => vec![Step::Send(answer("now"))],
    })
    .await
}

async fn world(origin: &Origin, drain: &str) -> World {
    World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[origin.addr])
        .runtime(&format!("workers: 1, drain_timeout: {drain}"))
        .start()
        .await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

async fn began(origin: &Origin, path: &str) {
    eventually_true(SOON, path, || origin.seen().iter().any(|asked| asked.path == path)).await;
}

/// Waits for weir's end, which must come within this time of `since`.
async fn gone(world: &mut World, since: Instant, within: Duration) {
    let status = world.weir.program.wait(SOON * 2).await;
    assert_eq!(status.code(), Some(0), "{}", world.weir.program.stderr.text());
    assert!(since.elapsed() < within, "{:?} after SIGTERM", since.elapsed());
}

/// A client of HTTP/2 that has asked for this path on stream 1.
async fn h2(world: &World, path: &str) -> Stream {
    let mut stream = world.client().alpn(&["h2"]).connect(world.edge, NAME).await.unwrap();
    let head = block(&[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", path.as_bytes()),
        (b":authority", NAME.as_bytes()),
    ]);
    let asks = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &head).bytes();
    // Windows as large as they may be, so that nothing but the socket holds an answer up.
    let windows = [
        Frame::new(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).bytes(),
        Frame::new(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]).bytes(),
    ];
    stream.send(&[frames::preface(), windows.concat(), asks].concat()).await.unwrap();
    stream
}

/// Reads frames until weir's end, which is given with them. Pings are answered if `answers`.
async fn frames_to_the_end(stream: &mut Stream, answers: bool) -> (Vec<Frame>, End) {
    let mut all = Vec::new();
    loop {
        match tokio::time::timeout(SOON, Frame::read(stream)).await.expect("an end") {
            Ok(frame) => {
                if answers && frame.kind == PING && frame.flags & ACK == 0 {
                    stream.send(&Frame::new(PING, ACK, 0, &frame.payload).bytes()).await.unwrap();
                }
                all.push(frame);
            }
            // The end of the stream and an end without close_notify have the same kind here.
            Err(_end) => return (all, stream.rest().await.1),
        }
    }
}

/// The last stream that a GOAWAY lets finish, and its error.
fn goaway(frame: &Frame) -> (u32, u32) {
    let word = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

#[tokio::test]
async fn idle_clients_are_closed_at_once_and_new_ones_answered() {
    let origin = origin().await;
    let mut world = world(&origin, "60s").await;
    // More than a worker keeps warm, one of HTTP/2, and one whose first request is on its way.
    let mut idle = Vec::new();
    for _ in 0..80 {
        let mut stream = world.connect().await;
        assert_eq!(ask(&mut stream, &get("/")).await.unwrap().text(), "now");
        idle.push(stream);
    }
    let mut new = world.connect().await;
    let mut second = h2(&world, "/").await;
    eventually(SOON, "both are there", async || {
        let open = world.weir.metrics().await.count("weir_connections_active", &[]);
        if open == 82 && origin.seen().len() == 81 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;
    sleep(Duration::from_millis(300)).await;
    let since = Instant::now();
    world.weir.signal(Signal::TERM);
    for (number, mut stream) in idle.into_iter().enumerate() {
        assert_eq!(stream.rest().await, (Vec::new(), End::Clean), "client {number}");
    }
    let (told, end) = frames_to_the_end(&mut second, true).await;
    assert!(told.iter().any(|frame| frame.kind == GOAWAY) && end == End::Clean, "{told:?} {end:?}");
    drop(second);
    let answer = ask(&mut new, &get("/")).await.unwrap();
    assert!(answer.text() == "now" && answer.head.contains("connection: close"), "{answer:?}");
    assert_eq!(new.rest().await, (Vec::new(), End::Clean));
    gone(&mut world, since, Duration::from_secs(5)).await;
    assert!(world.weir.records().iter().all(|record| record.outcome() == "ok"));
}

#[tokio::test]
async fn running_requests_finish_and_are_the_last_of_their_connection() {
    let origin = origin().await;
    let mut world = world(&origin, "60s").await;
    let mut first = world.connect().await;
    assert!(!ask(&mut first, &get("/")).await.unwrap().head.contains("connection: close"));
    first.send(get("/slow").as_bytes()).await.unwrap();
    let mut upload = world.connect().await;
    let head = format!("POST /upload HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 6\r\n\r\nabc");
    upload.send(head.as_bytes()).await.unwrap();
    let mut second = h2(&world, "/slow").await;
    eventually_true(SOON, "all run", || origin.seen().len() == 4).await;

    let since = Instant::now();
    world.weir.signal(Signal::TERM);
    sleep(Duration::from_millis(300)).await;
    upload.send(b"def").await.unwrap();
    let read = next_answer(&mut upload, false).await.unwrap();
    assert!(read.text() == "read" && read.head.contains("connection: close"), "{read:?}");
    let late = next_answer(&mut first, false).await.unwrap();
    assert!(late.text() == "late" && late.head.contains("connection: close"), "{late:?}");
    for mut stream in [upload, first] {
        assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
    }
    let (told, end) = frames_to_the_end(&mut second, true).await;
    let body: Vec<u8> =
        told.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| frame.payload.clone()).collect();
    assert_eq!((&body[..], end), (&b"late"[..], End::Clean), "{told:?}");
    // At first no stream is ruled out, because one may be on its way (RFC 9113 §6.8).
    let goaways: Vec<_> = told.iter().filter(|frame| frame.kind == GOAWAY).map(goaway).collect();
    assert_eq!(goaways, [(0x7fff_ffff, 0), (1, 0)]);
    drop(second);
    gone(&mut world, since, Duration::from_secs(5)).await;
    let requests = world.weir.requests();
    assert!(requests.len() == 4 && requests.iter().all(|record| record.outcome() == "ok"), "{requests:#?}");
}

/// What a client does that does not end by itself: it has asked, and reads to weir's end.
async fn stubborn(world: &World, origin: &Origin, kind: &str) -> Stream {
    let (text, path) = match kind {
        "head" => return partial(world, "GET / HT").await,
        "upload" => {
            (format!("POST /upload HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 9\r\n\r\nabc"), "/upload")
        }
        "h2 unanswered" | "h2 answered" => {
            let path = if kind == "h2 answered" { "/begins" } else { "/never" };
            let stream = h2(world, path).await;
            began(origin, path).await;
            return stream;
        }
        "answered" => (get("/begins"), "/begins"),
        "answered unmarked" => (format!("GET /unmarked HTTP/1.0\r\nHost: {NAME}\r\n\r\n"), "/unmarked"),
        _ => (get("/never"), "/never"),
    };
    let stream = partial(world, &text).await;
    began(origin, path).await;
    stream
}

async fn partial(world: &World, text: &str) -> Stream {
    let mut stream = world.connect().await;
    stream.send(text.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn the_deadline_ends_tls_with_close_notify() {
    for kind in
        ["head", "upload", "unanswered", "answered", "answered unmarked", "h2 unanswered", "h2 answered"]
    {
        let origin = origin().await;
        let mut world = world(&origin, "1s").await;
        let mut stream = stubborn(&world, &origin, kind).await;
        sleep(Duration::from_millis(200)).await;
        let since = Instant::now();
        world.weir.signal(Signal::TERM);
        let (rest, end) = if kind.starts_with("h2") {
            // It does not answer the ping either.
            let (told, end) = frames_to_the_end(&mut stream, false).await;
            assert!(
                told.iter().any(|frame| frame.kind == GOAWAY && goaway(frame).1 == 0),
                "{kind}: {told:?}"
            );
            let answers = told.iter().filter(|frame| frame.kind == HEADERS);
            assert_eq!(
                answers.map(|frame| frames::status(&frame.payload)).collect::<Vec<_>>(),
                [if kind == "h2 answered" { 200 } else { 503 }],
                "{told:?}"
            );
            (Vec::new(), end)
        } else {
            stream.rest().await
        };
        let rest = String::from_utf8(rest).unwrap();
        match kind {
            "head" => assert_eq!((&*rest, end), ("", End::Clean), "{kind}"),
            // The end of the connection is the only mark of its end (RFC 9112 §6.3).
            "answered unmarked" => {
                assert!(rest.ends_with("abc") && end == End::Truncated, "{rest:?} {end:?}")
            }
            "answered" => assert!(rest.ends_with("abc") && end == End::Clean, "{rest:?} {end:?}"),
            // 503 while there is time for it.
            "upload" | "unanswered" => {
                assert!(rest.starts_with("HTTP/1.1 503 ") && end == End::Clean, "{kind}: {rest:?} {end:?}");
            }
            _ => assert_eq!(end, End::Clean, "{kind}"),
        }
        assert!(
            kind == "head" || since.elapsed() > Duration::from_millis(850),
            "{kind}: {:?}",
            since.elapsed()
        );
        drop(stream);
        gone(&mut world, since, Duration::from_secs(3)).await;
        for record in world.weir.requests() {
            record.ended("drained", "weir");
        }
        let asked = usize::from(kind != "head");
        assert_eq!((world.weir.requests().len(), world.weir.records().len()), (asked, 1), "{kind}");
        if asked == 1 {
            world.weir.records()[0].ended("drained", "weir");
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_no_end_is_reset() {
    for second in [false, true] {
        let origin = origin().await;
        let mut world = world(&origin, "1s").await;
        let mut stream =
            if second { h2(&world, "/large").await } else { partial(&world, &get("/large")).await };
        stream.exactly(1000).await.unwrap();
        let since = Instant::now();
        world.weir.signal(Signal::TERM);
        gone(&mut world, since, Duration::from_secs(4)).await;
        let (rest, end) = stream.rest().await;
        assert!(rest.len() < 64 << 20 && end != End::Clean, "{second}: {end:?}");
        world.weir.requests()[0].ended("drained", "weir");
    }
}

#[tokio::test]
async fn a_removed_listener_drains_too() {
    let origin = origin().await;
    let world = world(&origin, "2s").await;
    let (mut idle, mut slow, mut never) =
        (world.connect().await, world.connect().await, world.connect().await);
    assert_eq!(ask(&mut idle, &get("/")).await.unwrap().text(), "now");
    slow.send(get("/slow").as_bytes()).await.unwrap();
    never.send(get("/never").as_bytes()).await.unwrap();
    let mut second = h2(&world, "/slow").await;
    eventually_true(SOON, "all run", || origin.seen().len() == 4).await;
    let file = world.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let free = weir_tests::ports::Port::free();
    let moved =
        text.replace("name: edge", "name: other").replace(&world.edge.to_string(), &free.addr().to_string());
    std::fs::write(&file, moved).unwrap();
    let since = Instant::now();
    let reloaded = request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    assert_eq!(idle.rest().await, (Vec::new(), End::Clean));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let late = next_answer(&mut slow, false).await.unwrap();
    assert!(late.text() == "late" && late.head.contains("connection: close"), "{late:?}");
    assert_eq!(slow.rest().await, (Vec::new(), End::Clean));
    let (told, end) = frames_to_the_end(&mut second, true).await;
    assert!(told.iter().any(|frame| frame.kind == DATA && frame.payload == b"late"), "{told:?}");
    assert_eq!(end, End::Clean);
    let (_, end) = never.rest().await;
    assert_eq!(end, End::Clean);
    assert!(since.elapsed() > Duration::from_millis(1700), "{:?}", since.elapsed());
    drop((idle, slow, never, second));
    let records = world.weir.some_records(4).await;
    assert_eq!(records.iter().filter(|record| record.outcome() == "drained").count(), 1, "{records:#?}");
    world.weir.settle().await;
}

//! The deadlines of HTTP/2 clients: a frame, a head, or a body that does not come, and an answer that is not read. Each
//! ends what is too slow, and not what shares a connection with it.

use std::time::{Duration, Instant};
use weir_tests::eventually::eventually_true;
use weir_tests::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, MAGIC, PING, RST_STREAM, block,
    preface,
};
use weir_tests::origin::{Origin, Step, answer, answers};
use weir_tests::stream::Stream;
use weir_tests::weir::Record;
use weir_tests::world::{Mode, NAME, World};

/// What a deadline of a second may take on a busy machine.
const SOON: Duration = Duration::from_secs(15);

async fn world(origin: &Origin, timeouts: &str) -> World {
    let timeouts = format!("http: {{timeouts: {{{timeouts}}}}}");
    World::of(Mode::Offload)
        .listener("protocol: http")
        .listener(&timeouts)
        .backends(&[origin.addr])
        .level("info")
        .start()
        .await
}

async fn connect(world: &World) -> Stream {
    world.client().alpn(&["h2"]).connect(world.edge, NAME).await.unwrap()
}

fn head(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":path", path.as_bytes()),
        (b":authority", NAME.as_bytes()),
    ])
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path)).bytes()
}

/// What comes until the connection ends, while the client sends another of these pieces every 200 ms; and how long that
/// took.
async fn until_the_end(stream: &mut Stream, pieces: &[Vec<u8>]) -> (Vec<Frame>, Duration) {
    let begun = Instant::now();
    let (mut seen, mut pieces) = (Vec::new(), pieces.iter());
    loop {
        assert!(begun.elapsed() < SOON, "it goes on: {seen:?}");
        match tokio::time::timeout(Duration::from_millis(200), Frame::read(stream)).await {
            Ok(Ok(frame)) => seen.push(frame),
            Ok(Err(_)) => return (seen, begun.elapsed()),
            // The end may come before a piece is sent.
            Err(_) => drop(stream.send(pieces.next().map_or(&[], Vec::as_slice)).await),
        }
    }
}

/// Frames and heads that have begun must end, also if some of their bytes come again and again, and whatever else the
/// connection carries.
#[tokio::test]
async fn heads_and_frames_that_drip_are_cut() {
    let origin = Origin::start(|_| vec![Step::Wait]).await;
    let world = world(&origin, "headers: 1s, keep_alive: 60s, response: 60s, body: 60s").await;
    let drip = |bytes: &[u8]| bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>();
    let whole = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/")).bytes();
    let open = Frame::new(HEADERS, END_STREAM, 1, &head("GET", "/")).bytes();
    let more = Frame::new(CONTINUATION, 0, 1, &block(&[(b"x", b"a")])).bytes();
    let ping = Frame::new(PING, 0, 0, b"12345678").bytes();
    for (name, first, pieces) in [
        ("the preface", Vec::new(), drip(&preface())),
        ("half a preface", MAGIC[..10].to_vec(), vec![]),
        ("a head", preface(), drip(&whole)),
        ("half a head", [preface(), whole[..20].to_vec()].concat(), vec![]),
        ("a head without its end", [preface(), open.clone()].concat(), vec![]),
        ("a head in many frames", [preface(), open].concat(), vec![more; 30]),
        ("half a PING", [preface(), ping[..12].to_vec()].concat(), vec![]),
        ("a PING beside a request", [preface(), get(1, "/")].concat(), drip(&ping)),
        ("one byte", [preface(), get(1, "/"), vec![0]].concat(), vec![]),
    ] {
        let mut stream = connect(&world).await;
        stream.send(&first).await.unwrap();
        let (_, took) = until_the_end(&mut stream, &pieces).await;
        assert!(took > Duration::from_millis(900), "{name}: {took:?}");
    }
    // Those that have ended in time are left alone, as is what is between them.
    let mut stream = connect(&world).await;
    stream.send(&[preface(), get(1, "/")].concat()).await.unwrap();
    for _ in 0..20 {
        stream.send(&ping).await.unwrap();
        let answered = async { while Frame::read(&mut stream).await.unwrap().kind != PING {} };
        tokio::time::timeout(SOON, answered).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A body that stops in the middle of a frame holds its connection, one that stops between two holds its stream.
#[tokio::test]
async fn bodies_that_stall_are_cut() {
    let origin = Origin::start(|_| answers("x")).await;
    let world = world(&origin, "headers: 60s, keep_alive: 60s, body: 1s").await;
    let mut stream = connect(&world).await;
    let open = Frame::new(HEADERS, END_HEADERS, 1, &head("POST", "/"));
    let some = Frame::new(DATA, 0, 1, b"abc");
    stream.send(&[preface(), open.bytes(), some.bytes()].concat()).await.unwrap();
    let begun = Instant::now();
    let cut = loop {
        let frame = tokio::time::timeout(SOON, Frame::read(&mut stream)).await.unwrap().unwrap();
        if frame.kind == HEADERS {
            break (frame.stream, frame.status());
        }
    };
    assert_eq!(cut, (1, 408));
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    stream.send(&get(3, "/")).await.unwrap();
    while Frame::read(&mut stream).await.unwrap().stream != 3 {}
    // In the middle of a frame, whose bytes go on dripping.
    let mut stream = connect(&world).await;
    let long = Frame::new(DATA, 0, 1, &[7; 100]).bytes();
    let (first, rest) = long.split_at(50);
    stream.send(&[preface(), open.bytes(), first.to_vec()].concat()).await.unwrap();
    let rest: Vec<_> = rest.iter().map(|byte| vec![*byte]).collect();
    let (_, took) = until_the_end(&mut stream, &rest).await;
    assert!(took > Duration::from_millis(900), "{took:?}");
}

/// Progress counts, however slow it is.
#[tokio::test]
async fn slow_bodies_that_go_on_are_served() {
    let origin = Origin::start(|_| answers("x")).await;
    let world = world(&origin, "headers: 1s, body: 1s").await;
    let mut stream = connect(&world).await;
    let open = Frame::new(HEADERS, END_HEADERS, 1, &head("POST", "/"));
    stream.send(&[preface(), open.bytes()].concat()).await.unwrap();
    for n in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let flags = if n == 5 { END_STREAM } else { 0 };
        stream.send(&Frame::new(DATA, flags, 1, b"a").bytes()).await.unwrap();
    }
    assert_eq!(weir_tests::frames::fate(&mut stream, 1).await, weir_tests::frames::Fate::Answer(200));
    assert_eq!(origin.seen().last().unwrap().body, b"aaaaaa");
}

/// A client asks for a hundred long answers and opens no window for them. They cost little memory, and end.
#[tokio::test]
async fn answers_that_are_not_read_cost_little_and_end() {
    const BODY: usize = 8 << 20;
    const STREAMS: u32 = 100;
    let origin = Origin::start(|_| vec![Step::Send(answer(&"x".repeat(BODY)))]).await;
    let world = world(&origin, "body: 2s").await;
    for windows in [&[(4, 0)][..], &[(4, 1 << 20)]] {
        let before = world.weir.resident();
        let mut stream = connect(&world).await;
        let mut bytes = [MAGIC, &Frame::settings(windows).bytes()].concat();
        (0..STREAMS).for_each(|n| bytes.extend(get(2 * n + 1, "/")));
        stream.send(&bytes).await.unwrap();
        let (mut most, mut resets, begun) = (0, 0, Instant::now());
        // The client goes on reading frames and sending PINGs: what it does not open is the window.
        while resets < STREAMS {
            assert!(begun.elapsed() < 2 * SOON, "{resets} of {STREAMS} streams have ended");
            match tokio::time::timeout(Duration::from_millis(100), Frame::read(&mut stream)).await {
                Ok(frame) => match frame.unwrap() {
                    frame if frame.kind == RST_STREAM => resets += 1,
                    frame => assert_ne!(frame.kind, GOAWAY),
                },
                Err(_) => stream.send(&Frame::new(PING, 0, 0, b"12345678").bytes()).await.unwrap(),
            }
            most = most.max(world.weir.resident());
        }
        assert!(begun.elapsed() > Duration::from_millis(1900), "{:?}", begun.elapsed());
        let grown = most.saturating_sub(before);
        // 400 KiB a stream, with the buffers of its connection to the backend.
        assert!(grown < 40 << 10, "{windows:?}: {STREAMS} answers of {BODY} bytes held {grown} KiB");
        eventually_true(SOON, "the backend's connections are closed", || origin.open() == 0).await;
        // The connection is as good as before.
        stream.send(&Frame::window(0, 1 << 20).bytes()).await.unwrap();
        stream.send(&get(2 * STREAMS + 1, "/")).await.unwrap();
        assert_eq!(
            weir_tests::frames::fate(&mut stream, 2 * STREAMS + 1).await,
            weir_tests::frames::Fate::Answer(200)
        );
    }
    let all = 2 * (STREAMS as usize + 1);
    eventually_true(SOON, "each request has its record", || world.weir.requests().len() == all).await;
    let ends = world.weir.requests();
    let is_stalled = |end: &&Record| end.outcome() == "body_timeout" && end.side() == "client";
    let others: Vec<&Record> = ends.iter().filter(|end| !is_stalled(end) && end.outcome() != "ok").collect();
    assert_eq!(ends.iter().filter(is_stalled).count(), 2 * STREAMS as usize, "{others:#?}");
}

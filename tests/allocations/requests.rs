//! What a worker allocates for a request, and holds for a client that has asked and waits.

use crate::CROWD;
use crate::counting::{self, Count};
use crate::watched::Watched;
use std::time::Duration;
use tokio::net::TcpSocket;
use weir_tests::h2_client::H2Client;
use weir_tests::origin::{Origin, Step, ask};
use weir_tests::stream::Stream;
use weir_tests::world::{Mode, NAME, World};

/// Requests over which a figure is the mean.
const REQUESTS: usize = 320;
/// The length of an answer that does not end while a test runs.
const ENDLESS: u64 = 1 << 40;
/// Requests at once over HTTP/2.
const STREAMS: usize = 16;

/// A small answer, but no tiny one: h2 copies pieces below 256 bytes into its own buffer.
const SMALL: &str = match std::str::from_utf8(&[b's'; 300]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// A weir whose worker is counted, before a backend whose answers are small.
async fn start() -> (Watched, Origin) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: an-origin\r\nContent-Length: {}\r\n\r\n{SMALL}",
        SMALL.len()
    );
    let origin = Origin::start(move |_| vec![Step::Read, Step::Send(answer.clone().into_bytes())]).await;
    let world = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]);
    (Watched::of(world).await, origin)
}

async fn connect(plane: &Watched, protocol: &str) -> Stream {
    plane.client().alpn(&[protocol]).connect(plane.edge, NAME).await.unwrap()
}

async fn get(stream: &mut Stream) {
    let answer = ask(stream, &format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await.unwrap();
    assert_eq!(answer.text(), SMALL);
}

/// The figures of a request, and what it may take.
#[allow(clippy::print_stderr, reason = "the figures are for whoever runs it with --nocapture")]
fn check(what: &str, Count { allocations, bytes, .. }: Count, (most, largest): (u64, u64)) {
    let (allocations, bytes) = (allocations / REQUESTS as u64, bytes / REQUESTS as u64);
    eprintln!("{what}: {allocations} allocations of {bytes} bytes for a request");
    assert!(allocations <= most, "{what}: {allocations} allocations a request, at most {most}");
    assert!(bytes <= largest, "{what}: {bytes} bytes allocated for a request, at most {largest}");
}

#[tokio::test]
async fn a_request_allocates_little() {
    let (plane, _origin) = start().await;
    let mut stream = connect(&plane, "http/1.1").await;
    let mut before = counting::now();
    for _ in 0..2 {
        // The first round fills what stays.
        before = counting::now();
        for _ in 0..REQUESTS {
            get(&mut stream).await;
        }
    }
    let taken = plane.at_rest(1, 1).await - before;
    check("HTTP/1.1", taken, (17, 11_000));

    let mut client = H2Client::over(connect(&plane, "h2").await).await;
    for _ in 0..2 {
        before = counting::now();
        for _ in 0..REQUESTS / STREAMS {
            assert_eq!(client.ask("/", STREAMS).await, STREAMS * SMALL.len());
        }
    }
    let taken = plane.at_rest(2, 2).await - before;
    // Two of them hold the values of the answer's head, which would keep a buffer each otherwise.
    check("HTTP/2", taken, (22, 17_500));
}

/// Opens this many clients, each with a request, and gives what the worker holds for one of them afterwards. `open` were
/// open before.
async fn held<C>(plane: &Watched, open: u64, client: impl AsyncFn() -> C) -> (i64, Vec<C>) {
    let before = plane.at_rest(open, open).await;
    let mut clients = Vec::new();
    for _ in 0..CROWD {
        clients.push(client().await);
    }
    // Idle connections are looked at once a second.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let held = (plane.at_rest(open + CROWD, open + CROWD).await - before).live / CROWD as i64;
    (held, clients)
}

#[tokio::test]
async fn a_client_that_has_asked_and_waits_holds_little() {
    let (plane, _origin) = start().await;
    let by_http1 = async || {
        let mut stream = connect(&plane, "http/1.1").await;
        get(&mut stream).await;
        stream
    };
    // The last 64 idle clients keep hyper's state for their next request. The second crowd pushes the first one out.
    let (_, _warm) = held(&plane, 0, by_http1).await;
    let (http1, _idle) = held(&plane, CROWD, by_http1).await;
    let (http2, _others) = held(&plane, 2 * CROWD, async || {
        let mut client = H2Client::over(connect(&plane, "h2").await).await;
        assert_eq!(client.ask("/", 1).await, SMALL.len());
        client
    })
    .await;
    eprintln!("held by a client that waits: {http1} bytes over HTTP/1.1, {http2} over HTTP/2");
    assert!(http1 <= 9_000, "HTTP/1.1: {http1} bytes held by a client that waits");
    // Two thirds are buffers of the h2 crate. A client that sends little uses only the first page of each.
    assert!(http2 <= 43_000, "HTTP/2: {http2} bytes held by a client that waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_download_holds_little() {
    let origin = Origin::start(|_| vec![Step::Pour(ENDLESS)]).await;
    let world = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]);
    let plane = Watched::of(world).await;
    let slow = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let socket = socket.connect(plane.edge).await.unwrap();
        let mut stream = plane.client().alpn(&["http/1.1"]).over(socket, NAME).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        stream.send(request.as_bytes()).await.unwrap();
        assert!(stream.exactly(12).await.unwrap().starts_with(b"HTTP/1.1 200"));
        stream
    };
    // The first crowd uses up what a worker may hold for slow clients. The second shows what each takes from then on.
    let (first, _full) = held(&plane, 0, slow).await;
    let (then, _slow) = held(&plane, CROWD, slow).await;
    eprintln!("held by a slow download: {first} bytes by the first, {then} by those after them");
    assert!(then <= 44 << 10, "{then} bytes held by a slow download");
}

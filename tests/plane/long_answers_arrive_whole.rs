//! Long answers reach the client byte for byte, or its connection ends cut: they go past the HTTP library.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use weir_tests::digest::Noise;
use weir_tests::eventually::eventually;
use weir_tests::plane::Plane;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Mode, NAME, World};

const PATIENCE: Duration = Duration::from_secs(30);

/// How a backend sends an answer.
#[derive(Debug, Clone, Copy)]
enum Sends {
    /// Head and body with one write.
    AtOnce,
    /// The head alone, then the body.
    HeadFirst,
    /// In pieces of so many bytes, with pauses.
    Pieces(usize),
    /// All but so many bytes, and then a FIN.
    Short(usize),
}

/// The body of an answer of this length.
fn body(length: usize) -> Vec<u8> {
    Noise::new(length as u64).bytes(length)
}

/// A backend whose answers have the length that the path says.
struct Answers {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answers(sends: Sends) -> Answers {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, sends, Arc::clone(&count)));
        }
    });
    Answers { addr, connections, task }
}

/// Serves until the other end leaves. Health checks send no request, and do not count.
async fn serve(mut stream: TcpStream, sends: Sends, connections: Arc<AtomicUsize>) {
    let mut first = true;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_gone) => return,
            }
        }
        if std::mem::take(&mut first) {
            connections.fetch_add(1, Ordering::Relaxed);
        }
        let head = String::from_utf8(head).unwrap();
        let length: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let (head, body) = (format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"), body(length));
        let whole = [head.as_bytes(), &body].concat();
        let sent = match sends {
            Sends::AtOnce => stream.write_all(&whole).await,
            Sends::HeadFirst => {
                stream.write_all(head.as_bytes()).await.unwrap();
                sleep(Duration::from_millis(30)).await;
                stream.write_all(&body).await
            }
            Sends::Pieces(size) => {
                let mut sent = Ok(());
                for piece in whole.chunks(size) {
                    sent = sent.and(stream.write_all(piece).await);
                    sleep(Duration::from_millis(1)).await;
                }
                sent
            }
            Sends::Short(by) => {
                stream.write_all(&whole[..whole.len() - by]).await.unwrap();
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn world(backend: &Answers) -> World<Plane> {
    World::of(Mode::Offload).listener("protocol: http").backends(&[backend.addr]).plane().await
}

async fn connect(world: &World<Plane>) -> Stream {
    world.client().alpn(&["http/1.1"]).connect(world.edge, NAME).await.unwrap()
}

async fn ask(stream: &mut Stream, length: usize) {
    let request = format!("GET /{length} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.send(request.as_bytes()).await.unwrap();
}

/// Reads the head of an answer, which says its length.
async fn head(stream: &mut Stream) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(timeout(PATIENCE, stream.exactly(1)).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let (_, length) = head.split_once("content-length: ").unwrap();
    length.split('\r').next().unwrap().parse().unwrap()
}

async fn answer(stream: &mut Stream) -> Vec<u8> {
    let length = head(stream).await;
    timeout(PATIENCE, stream.exactly(length)).await.unwrap().unwrap()
}

#[tokio::test]
async fn however_they_are_cut() {
    for sends in [Sends::AtOnce, Sends::HeadFirst, Sends::Pieces(7_000), Sends::Pieces(40_000)] {
        let backend = answers(sends).await;
        let world = world(&backend).await;
        let mut client = connect(&world).await;
        for length in [10, 65_535, 65_536, 65_537, 300_000, 65_536, 1_500_000, 0, 70_000] {
            ask(&mut client, length).await;
            assert!(answer(&mut client).await == body(length), "{length} bytes, {sends:?}");
        }
        assert_eq!(backend.connections.load(Ordering::Relaxed), 1, "the connection is kept, {sends:?}");
    }
}

#[tokio::test]
async fn while_the_client_pauses() {
    let backend = answers(Sends::AtOnce).await;
    let world = world(&backend).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = connect(&world).await;
        ask(&mut client, 20_000_000).await;
        clients.push(client);
    }
    sleep(Duration::from_secs(1)).await;
    let expected = body(20_000_000);
    for client in &mut clients {
        assert!(answer(client).await == expected);
    }
}

#[tokio::test]
async fn or_end_cut() {
    for by in [1, 40_000, 400_000] {
        let backend = answers(Sends::Short(by)).await;
        let world = world(&backend).await;
        let mut client = connect(&world).await;
        ask(&mut client, 500_000).await;
        assert_eq!(head(&mut client).await, 500_000);
        let (got, end) = timeout(PATIENCE, client.rest()).await.unwrap();
        assert!(got.len() < 500_000 && body(500_000).starts_with(&got), "{} of 500000 - {by}", got.len());
        assert_ne!(end, End::Clean, "{by} bytes were missing");
        world.weir.only_record().await.ended("truncated", "backend");
        let requests = world.weir.requests();
        assert_eq!(requests.len(), 1);
        requests[0].ended("backend_reset", "backend");
    }
}

#[tokio::test]
async fn or_free_their_backend_when_the_client_leaves() {
    let backend = answers(Sends::AtOnce).await;
    let world = world(&backend).await;
    let mut client = connect(&world).await;
    ask(&mut client, 50_000_000).await;
    assert_eq!(head(&mut client).await, 50_000_000);
    let active = async || {
        let metrics = world.weir.metrics().await;
        metrics.count("weir_backend_active_connections", &[])
    };
    assert_eq!(active().await, 1);
    client.reset();
    eventually(PATIENCE, "the place is given back", async || match active().await {
        0 => Ok(()),
        some => Err(some.to_string()),
    })
    .await;
}

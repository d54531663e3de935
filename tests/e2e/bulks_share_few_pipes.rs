//! Two thousand bulk connections at once, in a weir without privileges: they share a few pipes in turns,
//! bytes are copied when no pipe is free, and all bytes arrive, each at its own connection.

use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Barrier, watch};
use tokio::task::{AbortHandle, JoinSet};
use weir_tests::digest::Noise;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::traced::Notes;
use weir_tests::unprivileged::{Unprivileged, open_to_all};
use weir_tests::weir::{Launch, Weir};

const CONNECTIONS: usize = 2_000;
/// The most pipes that all workers of a weir together hold.
const PIPES: f64 = 56.0;
/// Seen: 29 to 33, and 59 on a machine under other load. With reads of 4 KiB it would be 512.
const CALLS_A_MIB: usize = 100;
/// Longer than anything here takes, even with both cores busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// If no pipe is added for so long, all are stuck: a connection that still moves takes one sooner.
const STUCK: Duration = Duration::from_secs(1);
/// How often weir is asked for its pipes while bytes flow.
const LOOK: Duration = Duration::from_millis(250);
const CALLS: &str = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,splice";

/// The bytes of a connection: each has another part of the same noise, so that mixed-up bytes are noticed.
#[derive(Clone)]
struct Load(Arc<[u8]>);

impl Load {
    fn new() -> Self {
        Self(Noise::new(1).bytes(2 << 20).into())
    }

    /// 128 KiB to 1 MiB.
    fn length(number: usize) -> usize {
        (1 + number % 8) << 17
    }

    fn of(&self, number: usize) -> &[u8] {
        let start = number * 509 % (1 << 20);
        &self.0[start..start + Self::length(number)]
    }
}

/// Even numbers are downloads, odd ones uploads.
fn is_upload(number: usize) -> bool {
    number % 2 == 1
}

/// Reads to the end, and compares.
async fn expect(stream: &mut TcpStream, mut wanted: &[u8]) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        if n == 0 {
            break;
        }
        assert!(wanted.starts_with(&buffer[..n]), "other bytes than were sent");
        wanted = &wanted[n..];
    }
    assert!(wanted.is_empty(), "{} bytes are missing", wanted.len());
}

/// A socket with small buffers, and segments as on an Ethernet: those of loopback are so large that a
/// socket's buffer begins with megabytes. Bytes that a peer does not read then wait in weir.
fn small() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
    socket
}

/// Peers that read nothing until they are told to.
#[derive(Clone)]
struct Peers {
    load: Load,
    reading: watch::Receiver<bool>,
}

impl Peers {
    async fn may_read(&self) {
        self.reading.clone().wait_for(|may| *may).await.unwrap();
    }

    /// A backend that first gets a connection's number.
    async fn backend(self) -> (SocketAddr, AbortHandle) {
        let socket = small();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(CONNECTIONS as u32).unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                visits.spawn(self.clone().visited(stream));
            }
        });
        (addr, accepting.abort_handle())
    }

    async fn visited(self, mut stream: TcpStream) {
        let number = stream.read_u32().await.unwrap() as usize;
        if is_upload(number) {
            self.may_read().await;
            expect(&mut stream, self.load.of(number)).await;
            stream.write_u32(number as u32).await.unwrap();
        } else {
            stream.write_all(self.load.of(number)).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        expect(&mut stream, b"").await;
    }

    /// One connection; all begin at the same moment.
    async fn client(self, edge: SocketAddr, number: usize, all: Arc<Barrier>) {
        let mut stream = small().connect(edge).await.unwrap();
        all.wait().await;
        stream.write_u32(number as u32).await.unwrap();
        if is_upload(number) {
            stream.write_all(self.load.of(number)).await.unwrap();
            stream.shutdown().await.unwrap();
            expect(&mut stream, &(number as u32).to_be_bytes()).await;
        } else {
            self.may_read().await;
            expect(&mut stream, self.load.of(number)).await;
        }
    }
}

/// A weir, its backend, and the clients of both.
struct Scene {
    weir: Weir,
    edge: Port,
    peers: Peers,
    may_read: watch::Sender<bool>,
    backend: AbortHandle,
    clients: JoinSet<()>,
}

impl Scene {
    async fn start(wrapper: &[String]) -> Self {
        let (may_read, reading) = watch::channel(false);
        let peers = Peers { load: Load::new(), reading };
        let (addr, backend) = peers.clone().backend().await;
        let (weir, edge) = start(addr, wrapper).await;
        Self { weir, edge, peers, may_read, backend, clients: JoinSet::new() }
    }

    /// Opens so many connections at once whose peers do not read, until weir takes no more pipes for them.
    /// Gives how many pipes it has then.
    async fn fill(&mut self, count: usize) -> f64 {
        let all = Arc::new(Barrier::new(count));
        for number in 0..count {
            self.clients.spawn(self.peers.clone().client(self.edge.addr(), number, Arc::clone(&all)));
        }
        let mut before = 0.0;
        eventually(PATIENCE, "all are stuck", async || {
            tokio::time::sleep(STUCK).await;
            let metrics = self.weir.metrics().await;
            let (pipes, open) =
                (metrics.sum("weir_pipes", &[]), metrics.count("weir_connections_active", &[]));
            let still = pipes > 0.0 && pipes == std::mem::replace(&mut before, pipes);
            if still && open == count as u64 { Ok(pipes) } else { Err(format!("{pipes} pipes, {open} open")) }
        })
        .await
    }

    /// Lets every peer read to the end. Gives the most pipes that weir held meanwhile.
    async fn flow(&mut self) -> f64 {
        self.may_read.send(true).unwrap();
        let mut most = 0.0_f64;
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                ended = self.clients.join_next() => match ended {
                    Some(ended) => ended.unwrap(),
                    None => break,
                },
                _ = look.tick() => most = most.max(self.weir.metrics().await.sum("weir_pipes", &[])),
            }
        }
        self.weir.settle().await;
        self.backend.abort();
        most
    }
}

async fn start(backend: SocketAddr, wrapper: &[String]) -> (Weir, Port) {
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main, \
             timeouts: {{connect: 60s, idle: 10m, half_closed: 10m}}}}\n\
         pools:\n  - {{name: main, backends: [\"{backend}\"], health_check: {{type: none}}}}\n",
        edge.addr()
    );
    let folder = open_to_all(tempfile::tempdir().unwrap());
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let launch = Launch::new(folder, body).runtime("workers: 1").level("warn");
    (launch.under(&words).start().await, edge)
}

/// The scene under strace, with all connections stuck and then let go: few calls moved everything, some by
/// pipes and some by copying. Gives how many pipes were filled when all were stuck.
async fn passes(user: &Unprivileged, count: usize) -> f64 {
    let notes = Notes::default();
    let mut scene = Scene::start(&[notes.strace(CALLS).as_slice(), user.words()].concat()).await;
    assert_ne!(scene.weir.user(), 0, "with privileges there is no end of pipes");
    let filled = scene.fill(count).await;
    let most = scene.flow().await;
    assert!(filled > 0.0 && filled <= PIPES && most <= PIPES, "{filled} pipes, {most} at most");
    let (spliced, copied) = (notes.counted_of("splice"), notes.counted_of("recvfrom"));
    assert!(spliced > 0 && copied > 0, "{spliced} calls of splice(2), {copied} of recvfrom(2)");
    let moved: usize = (0..count).map(Load::length).sum();
    let calls = notes.counted() / (moved >> 20);
    assert!(calls <= CALLS_A_MIB, "{calls} calls a MiB, at most {CALLS_A_MIB}");
    filled
}

/// One after the other, because the kernel gives all processes of a user a common allowance of pipes: few are
/// left beside another weir that uses it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_weir_without_privileges() {
    let user = Unprivileged::default();
    passes(&user, CONNECTIONS).await;

    let mut other = Scene::start(user.words()).await;
    let others = other.fill(CONNECTIONS / 10).await;
    let filled = passes(&user, CONNECTIONS / 5).await;
    assert!(others + filled <= allowance(), "{others} and {filled} pipes");
    other.flow().await;
}

/// How many pipes of a MiB the kernel allows a user, with a reserve for some smaller ones.
fn allowance() -> f64 {
    let pages = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
    let pages: f64 = pages.trim().parse().unwrap();
    if pages == 0.0 {
        2.0 * PIPES
    } else {
        pages * rustix::param::page_size() as f64 / f64::from(1 << 20) + 8.0
    }
}

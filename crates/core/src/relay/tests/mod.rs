//! The relay over real loopback sockets: whatever the two sides do, bytes are conserved and ends are told
//! apart.
//!
//! [`Rig`] stands for a worker, and [`Rig::run`] for a mode: it relays, then drops both sides. The kernel
//! delivers loopback data within the sending call, so the relay's first poll sees everything that a peer did
//! before it: that makes the races of real life repeatable.

#![allow(clippy::large_futures, reason = "a test holds both ends of a connection")]

mod bulk;
mod bytes;
mod deadlines;
mod fairness;
mod flushes;
mod halves;
mod interleavings;
mod no_socket;
mod paced;
mod replay;
mod resets;
mod retire;
mod rough;
mod scripted;
mod size;
mod slow;
mod tls;
mod unix;

use super::queue::unacknowledged;
use super::*;
use crate::account::outcome::{How, Side};
use crate::account::record::Traffic;
use crate::memory::{Budget, Memory};
use crate::socket::Options;
use crate::stop::ConnHandle;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use weir_metrics::{ListenerMetrics, Metrics, WorkerMetrics};

/// A worker's memory, one connection's handle, and the counters of both.
struct Rig {
    memory: Memory,
    handle: ConnHandle,
    rules: Rules,
    worker: WorkerMetrics,
    listener: Arc<ListenerMetrics>,
}

/// The result of a relay, and the payload it counted.
#[derive(Debug)]
struct Ended {
    end: Result<Finished, ConnError>,
    up: u64,
    down: u64,
}

/// The options of sockets to backends.
const OPTIONS: Options =
    Options { nodelay: true, keepalive: Duration::from_secs(60), user_timeout: Duration::from_secs(30) };

impl Rig {
    fn new(pipes: usize) -> Self {
        let metrics = Metrics::new("0", "rustc", "none").unwrap();
        let worker = metrics.worker(0);
        Self {
            memory: Memory::new(Budget { pipes }, worker.clone()),
            handle: ConnHandle::default(),
            rules: Rules {
                idle: Duration::from_secs(60),
                half_closed: Duration::from_secs(30),
                client_truncation: OnTruncation::Reset,
                backend_truncation: OnTruncation::PassOn,
            },
            worker,
            listener: Arc::new(metrics.listener("edge")),
        }
    }

    fn terms(&self) -> Terms<'_> {
        Terms { rules: self.rules, options: &OPTIONS, memory: &self.memory, handle: &self.handle }
    }

    fn traffic(&self) -> Traffic {
        Traffic::new(Arc::clone(&self.listener))
    }

    /// Runs `work` while turns are granted to bulk, as on a worker.
    async fn beside_turns<F: Future>(&self, work: F) -> F::Output {
        tokio::select! {
            biased;
            done = work => done,
            () = self.memory.turns.conduct() => unreachable!("turns are granted without end"),
        }
    }

    /// Relays until the end, then closes both sides, as a mode does.
    async fn run<C: Wire, B: Wire>(&self, mut client: C, mut backend: B, prefix: &[u8]) -> Ended {
        let mut traffic = self.traffic();
        let ahead = Ahead { up: prefix.to_vec(), ..Ahead::default() };
        let relayed = relay(&mut client, &mut backend, ahead, self.terms(), &mut traffic);
        let end = self.beside_turns(relayed).await;
        Ended { end, up: self.listener.up.get(), down: self.listener.down.get() }
    }
}

/// Four sockets: a client and its end in weir, a backend and weir's end towards it.
struct Sides {
    client: TcpStream,
    front: Socket,
    back: Socket,
    backend: TcpStream,
}

async fn sides() -> Sides {
    let (client, front) = pair(0).await;
    let (back, backend) = back_pair(0).await;
    Sides { client, front, back, backend }
}

/// A client and weir's end of its connection, with buffers of about `buffers` bytes unless that is 0.
async fn pair(buffers: u32) -> (TcpStream, Socket) {
    let (client, front) = ends(buffers).await;
    (client, front.into())
}

/// Weir's end of a connection to a backend, and the backend's, like [`pair`].
async fn back_pair(buffers: u32) -> (Socket, TcpStream) {
    let (back, backend) = ends(buffers).await;
    (back.into(), backend)
}

/// Both ends of a connection, the dialling one first, because a connected socket is known to be writable.
async fn ends(buffers: u32) -> (TcpStream, TcpStream) {
    let (near, far) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    if buffers > 0 {
        for socket in [&near, &far] {
            socket.set_recv_buffer_size(buffers).unwrap();
            socket.set_send_buffer_size(buffers).unwrap();
        }
    }
    far.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener: TcpListener = far.listen(8).unwrap();
    let near = near.connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    for socket in [&near, &far] {
        socket.set_nodelay(true).unwrap();
    }
    (near, far)
}

/// Waits until there are bytes to read, or an end.
async fn readable(socket: &Socket) {
    poll_fn(|cx| socket.poll_read_ready(cx)).await.unwrap();
}

/// The same bytes for the same seed.
fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Reads to the end: the bytes, and how the end came.
async fn read_out<S: AsyncRead + Unpin>(stream: &mut S) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await.map(drop);
    (bytes, end)
}

/// Waits until the kernel of the other end has everything that `stream` sent.
async fn arrived(stream: &TcpStream) {
    eventually("the peer's kernel has it all", || unacknowledged(stream).unwrap() == 0).await;
}

/// Closes with a reset, once everything sent has arrived.
async fn abort(stream: TcpStream) {
    arrived(&stream).await;
    reset_now(stream);
}

/// Closes with a reset at once.
fn reset_now(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Waits until `check` is true.
async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let waited = timeout(TEST_TIMEOUT, async {
        while !check() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {TEST_TIMEOUT:?}: {what}"));
}

/// Waits until bytes have begun to move, by the count `gone`, and nothing has moved for a while, so that all
/// buffers on the way are full. Returns the count.
async fn stalled(gone: impl Fn() -> u64) -> u64 {
    let mut before = 0;
    eventually("bytes begin to go", || gone() > 0).await;
    while gone() != before {
        before = gone();
        sleep(Duration::from_millis(50)).await;
    }
    before
}

/// The result of `work`, bounded by a time that even a slow machine does not need.
async fn within<F: Future>(work: F) -> F::Output {
    timeout(TEST_TIMEOUT, work).await.expect("done in time")
}

/// Each side sends a word and ends, and gets the other one's whole: the client first, the backend after it
/// has read that.
async fn ask_and_answer(client: &mut (impl Duplex + Unpin), backend: &mut (impl Duplex + Unpin)) {
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (got, end) = read_out(backend).await;
    assert_eq!((got.as_slice(), kind(&end)), (&b"question"[..], None));
    backend.write_all(b"an answer").await.unwrap();
    backend.shutdown().await.unwrap();
    let (got, end) = read_out(client).await;
    assert_eq!((got.as_slice(), kind(&end)), (&b"an answer"[..], None));
}

/// Either end of a connection, with TLS or without.
trait Duplex: AsyncRead + AsyncWrite {}
impl<S: AsyncRead + AsyncWrite> Duplex for S {}

/// The shortest of a few runs: a delay in all of them is not caused by a busy machine.
async fn soonest(run: impl AsyncFn() -> Duration) -> Duration {
    let mut soonest = TEST_TIMEOUT;
    for _ in 0..5 {
        soonest = soonest.min(within(run()).await);
    }
    soonest
}

fn kind(end: &io::Result<()>) -> Option<io::ErrorKind> {
    end.as_ref().err().map(io::Error::kind)
}

fn assert_clean(ended: &Ended, first: Side, how: How) {
    assert_eq!(ended.end.as_ref().ok(), Some(&Finished { first, how }), "{ended:?}");
}

fn assert_broken(ended: &Ended, side: Side) {
    assert!(matches!(&ended.end, Err(ConnError::Broken(s, _)) if *s == side), "{ended:?}");
}

/// The kernel sends bytes that wait for more on its own after 200 ms (tcp(7), `TCP_CORK`).
const HELD_BACK: Duration = Duration::from_millis(150);
/// Longer than anything here takes, even with both cores busy.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

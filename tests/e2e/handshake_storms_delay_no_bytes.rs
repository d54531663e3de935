//! A storm of new connections delays no established one: its bytes pass between two handshakes, although the same
//! worker has hundreds of them to do.
//!
//! `WEIR_STORM=CLIENTS,HANDSHAKES` sets the size of the storm, and measures more kinds of keys, each without turns too;
//! `--nocapture` shows the delays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weir_tests::certificates::Kind;
use weir_tests::hello;
use weir_tests::world::{Mode, NAME, World};

/// Clients at once, and handshakes in all.
fn size() -> (usize, usize) {
    let written = std::env::var("WEIR_STORM").unwrap_or_else(|_unset| "200,600".to_owned());
    let (clients, handshakes) = written.split_once(',').unwrap();
    (clients.parse().unwrap(), handshakes.parse().unwrap())
}

/// The longest wait for one handshake, or for one echo: far longer than a whole storm.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks weir for the dear part of a handshake: sends a hello, and leaves when the answer comes.
async fn begin(edge: SocketAddr, hello: &[u8]) {
    let answered = tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(edge).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let mut answer = [0; 16];
        assert!(stream.read(&mut answer).await.unwrap() > 0, "weir answers the hello");
        stream.set_zero_linger().unwrap();
    });
    answered.await.expect("weir answers in time");
}

/// A storm on a thread of its own. Gives the time that it took.
fn storm(edge: SocketAddr, clients: usize, handshakes: usize) -> thread::JoinHandle<Duration> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (hello, left) = (Arc::new(hello::large(NAME)), Arc::new(AtomicUsize::new(handshakes)));
        let started = Instant::now();
        runtime.block_on(async {
            let mut running = JoinSet::new();
            for _ in 0..clients {
                let (hello, left) = (Arc::clone(&hello), Arc::clone(&left));
                running.spawn(async move {
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        begin(edge, &hello).await;
                    }
                });
            }
            while running.join_next().await.transpose().unwrap().is_some() {}
        });
        started.elapsed()
    })
}

/// How long each echo of an established connection takes, while a storm lasts.
#[allow(clippy::print_stderr, reason = "the figures are shown by --nocapture")]
async fn echoes(kind: Kind, limits: &str) -> Vec<Duration> {
    let (clients, handshakes) = size();
    let world = World::of(Mode::Offload).kind(kind).listener(limits).unrecorded().level("info").start().await;
    let mut established = world.connect().await;
    let storm = storm(world.edge, clients, handshakes);
    let mut delays = Vec::new();
    while !storm.is_finished() {
        let asked = Instant::now();
        let echo = tokio::time::timeout(PATIENCE, async {
            established.send(b"ping").await.unwrap();
            established.exactly(4).await.unwrap()
        });
        assert_eq!(echo.await.expect("an echo in time"), b"ping");
        delays.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = storm.join().unwrap();
    established.finish().await;
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    eprintln!(
        "{kind:?} {limits}: {handshakes} handshakes of {clients} clients in {took:?}; {} echoes: p50 {:?} p99 {:?} worst {:?}",
        delays.len(),
        at(50),
        at(99),
        at(100)
    );
    delays
}

#[tokio::test]
async fn under_load() {
    if std::env::var_os("WEIR_STORM").is_some() {
        for kind in [Kind::Ecdsa, Kind::Rsa, Kind::Rsa4096, Kind::MlDsa65] {
            for limits in ["1000000", "1", "auto"] {
                echoes(kind, &format!("limits: {{handshakes: {limits}}}")).await;
            }
        }
    }
    let (clients, _) = size();
    for kind in [Kind::Rsa, Kind::Ecdsa] {
        let delays = echoes(kind, "limits: {handshakes: auto}").await;
        // Before there were turns, an echo waited for the handshakes of most of the clients.
        let usual = delays[delays.len() / 2];
        let of_all = Duration::from_micros(100) * u32::try_from(clients).unwrap();
        assert!(
            usual < of_all,
            "{kind:?}: {usual:?}, and the handshakes of all clients take longer than {of_all:?}"
        );
    }
}

//! A reset on one side is a reset on the other, within a second, after all bytes that came before it.

use std::time::{Duration, Instant};
use weir_tests::digest::{Noise, sha256};
use weir_tests::eventually::eventually;
use weir_tests::peers::Role;
use weir_tests::plane::Plane;
use weir_tests::side_by_side::side_by_side;
use weir_tests::stream::End;
use weir_tests::world::{Mode, World, relayed};

/// Waits until the backend has seen this many bytes.
async fn backend_has(world: &World<Plane>, bytes: u64) {
    eventually(Duration::from_secs(5), "the backend has the bytes", async || {
        let got = world.backend.visits().first().map_or(0, |visit| visit.sum.bytes);
        if got == bytes { Ok(()) } else { Err(format!("{got} bytes")) }
    })
    .await;
}

#[tokio::test]
async fn from_the_client() {
    side_by_side(relayed(), async |world| {
        let world = world.plane().await;
        let mut stream = world.connect().await;
        stream.send(b"so far so good").await.unwrap();
        stream.exactly(14).await.unwrap();
        let start = Instant::now();
        stream.reset();
        let visit = world.backend.only_visit().await;
        assert_eq!(visit.end, Some(End::Reset), "{:?}", world.mode);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}: {:?}", world.mode, start.elapsed());
        assert_eq!(visit.head, b"so far so good");
        world.record().await.ended("client_reset", "client");
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn from_the_backend() {
    side_by_side(relayed(), async |world| {
        let world = world.role(Role::EchoThenReset(14)).plane().await;
        let mut stream = world.connect().await;
        stream.send(b"so far so good").await.unwrap();
        let (got, end) = stream.rest().await;
        assert_eq!((got.as_slice(), end), (b"so far so good".as_slice(), End::Reset), "{:?}", world.mode);
        world.record().await.ended("backend_reset", "backend");
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn bytes_before_it_are_delivered_to_a_slow_reader() {
    side_by_side(relayed(), async |world| {
        let what = world.name();
        // All of it lies in kernel queues when the reset comes: in those of weir's client socket and the client's own. The
        // window of a stream is smaller, and what a backend resets in its own queue is lost.
        let bytes = Noise::new(4).bytes(if world.leaves_by_stream() { 96 << 10 } else { 256 << 10 });
        let world = world.role(Role::EchoThenReset(bytes.len())).plane().await;
        let stream = world.connect().await;
        let (mut from, mut to) = tokio::io::split(stream);
        let send = async { tokio::io::AsyncWriteExt::write_all(&mut to, &bytes).await.map(|()| to) };
        let wait = tokio::time::sleep(Duration::from_millis(500));
        let (sent, ()) = tokio::join!(send, wait);
        sent.unwrap();
        let mut got = Vec::new();
        let error = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut got).await;
        assert_eq!(sha256(&got), sha256(&bytes), "{what}: {} bytes came, {error:?}", got.len());
        assert_eq!(error.map_err(|error| End::of(&error)), Err(End::Reset), "{:?}", world.mode);
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_direction_that_ended_cleanly_stays_clean() {
    side_by_side(relayed(), async |world| {
        // The backend answers when the client has ended, and with more than the queues of the kernel take.
        let world = world.role(Role::AnswerAtEnd(Noise::new(5).bytes(32 << 20))).plane().await;
        let mut stream = world.connect().await;
        stream.send(b"all I had to say").await.unwrap();
        stream.finish().await;
        backend_has(&world, 16).await;
        stream.exactly(1000).await.unwrap();
        stream.reset();
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.head.as_slice(), visit.sum.bytes), (b"all I had to say".as_slice(), 16));
        world.record().await.ended("client_reset", "client");
        world.weir.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_before_the_first_byte_of_the_backend() {
    // Passthrough sends the hello, bridging fails in the handshake, offload has sent nothing yet.
    side_by_side(
        [
            (Mode::Passthrough, "backend_reset"),
            (Mode::Offload, "backend_reset"),
            (Mode::Bridging, "tls_backend_failed"),
        ],
        async |(mode, outcome)| {
            let world = World::of(mode).role(Role::ResetAfter(0)).pool("retries: 0").plane().await;
            let end = match world.client().connect(world.edge, weir_tests::world::NAME).await {
                Ok(mut stream) => stream.rest().await.1,
                Err(error) => End::of(&error),
            };
            assert_eq!(end, End::Reset, "{mode:?}");
            let record = world.record().await;
            record.ended(outcome, "backend");
            world.weir.settle().await;
        },
    )
    .await;
}

/// weir does not read from a side whose bytes are stuck, so it learns of a reset only by asking the socket.
#[tokio::test]
async fn from_a_backend_whose_bytes_are_stuck() {
    side_by_side(relayed(), async |world| {
        let world = world.role(Role::FillThenReset).plane().await;
        let client = world.connect().await;
        // The backend fills every buffer, waits a second, and resets; weir must notice within another second,
        // and the client has a third one to take the bytes that came before.
        eventually(Duration::from_secs(8), "the reset is noticed", async || {
            let closed = match world.leaves_by_stream() {
                true => world.weir.requests().len() as u64,
                false => world.weir.metrics().await.count("weir_connections_closed_total", &[]),
            };
            if closed == 1 { Ok(()) } else { Err(format!("{closed} closed")) }
        })
        .await;
        world.record().await.ended("backend_reset", "backend");
        drop(client);
        world.weir.settle().await;
    })
    .await;
}

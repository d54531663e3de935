//! Much data both ways at once, in each mode, arrives as it was sent.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_tests::digest::{Noise, Sum};
use weir_tests::peers::Role;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{MODES, Mode, World};

/// Bytes each way: 64 MiB, or as many as `make soak` sets.
fn amount() -> usize {
    std::env::var("WEIR_BULK_BYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(64 << 20)
}

/// Sends noise of seed 1 while it receives to the end; gives the sums of both.
async fn exchange(stream: Stream, count: usize) -> (Sum, Sum) {
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        let (mut noise, mut sum) = (Noise::new(1), Sum::default());
        while sum.bytes < count as u64 {
            let chunk = noise.bytes((count - sum.bytes as usize).min(64 * 1024));
            to.write_all(&chunk).await.unwrap();
            sum.update(&chunk);
        }
        to.shutdown().await.unwrap();
        sum
    };
    let receive = async {
        let (mut buffer, mut sum) = (vec![0; 64 * 1024], Sum::default());
        loop {
            match from.read(&mut buffer).await.unwrap() {
                0 => return sum,
                count => sum.update(&buffer[..count]),
            }
        }
    };
    tokio::join!(send, receive)
}

async fn both_ways(world: World) {
    let count = amount();
    let stream = world.connect().await;
    let limit = Duration::from_secs(60 + (count >> 20) as u64);
    let (sent, received) = tokio::time::timeout(limit, exchange(stream, count)).await.expect("in time");
    let mut expected = Noise::new(2);
    let mut answer = Sum::default();
    let mut left = count;
    while left > 0 {
        let chunk = expected.bytes(left.min(64 * 1024));
        answer.update(&chunk);
        left -= chunk.len();
    }
    assert_eq!((received.bytes, received.hex()), (answer.bytes, answer.hex()), "{:?} down", world.mode);
    let visit = world.backend.only_visit().await;
    assert_eq!((visit.sum.bytes, visit.sum.hex()), (sent.bytes, sent.hex()), "{:?} up", world.mode);
    assert_eq!(visit.end, Some(End::Clean));
    let record = world.weir.only_record().await;
    assert_eq!(record.outcome(), "ok");
    assert!(record.up() >= count as u64 && record.down() >= count as u64, "{record:#?}");
    world.weir.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_plain_tunnel() {
    both_ways(World::of(Mode::Passthrough).plain().role(Role::Bulk(amount())).start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_each_mode() {
    for mode in MODES {
        both_ways(World::of(mode).role(Role::Bulk(amount())).start().await).await;
    }
}

#[tokio::test]
async fn a_slow_reader_stops_its_sender() {
    for mode in MODES {
        let world = World::of(mode).role(Role::Bulk(64 << 20)).start().await;
        let before = world.weir.resident();
        let mut stream = world.connect().await;
        // The client reads nothing: the backend's bytes must wait at the backend, not in weir.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = world.weir.metrics().await.count("weir_bytes_total", &[("direction", "down")]);
        assert!(held < 32 << 20, "{mode:?}: {held} bytes went to a client that does not read");
        let grown = world.weir.resident().saturating_sub(before);
        assert!(grown < 8 * 1024, "{mode:?}: {grown} KiB more for one slow reader");
        stream.finish().await;
        let (sum, end) = stream.sum().await;
        assert_eq!((sum.bytes, end), (64 << 20, End::Clean), "{mode:?}");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn a_thousand_small_messages() {
    for mode in MODES {
        let world = World::of(mode).start().await;
        let mut stream = world.connect().await;
        let mut noise = Noise::new(9);
        for _ in 0..1000 {
            let size = 1 + noise.below(3000);
            let message = noise.bytes(size);
            stream.send(&message).await.unwrap();
            assert_eq!(stream.exactly(size).await.unwrap(), message, "{mode:?}");
        }
        stream.finish().await;
        assert_eq!(stream.rest().await.1, End::Clean);
        assert_eq!(world.weir.only_record().await.outcome(), "ok");
        world.weir.settle().await;
    }
}

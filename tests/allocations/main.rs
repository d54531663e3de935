//! What a worker allocates: for a short connection, a request, while bulk moves, and for a connection that waits.
//! Counted block by block on the worker's own thread, so that the figures are the same on any machine, idle
//! or busy.
//!
//! The data plane runs in this process; so do its peers, on threads that are not counted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::large_futures,
    reason = "tests fail by panicking"
)]

mod counting;
mod heads;
mod requests;
mod watched;

use counting::{Count, Counting};
use std::sync::Weak;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watched::{PATIENCE, Watched};
use weir_tests::eventually::eventually;
use weir_tests::peers::Role;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{MODES, Mode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Connections over which a figure is the mean.
const CROWD: u64 = 64;

/// Each mode, with records and without: weir knows the same things about a connection either way.
fn with_and_without_records() -> impl Iterator<Item = (Mode, bool)> {
    MODES.into_iter().flat_map(|mode| [(mode, true), (mode, false)])
}

/// A question and its answer.
async fn exchange(stream: &mut Stream) {
    stream.send(b"question").await.unwrap();
    assert_eq!(stream.exactly(8).await.unwrap(), b"question");
}

#[tokio::test]
async fn a_short_connection_allocates_little() {
    for (mode, records) in with_and_without_records() {
        let plane = Watched::start_with(mode, Role::Echo, records).await;
        let mut before = None;
        for _ in 0..2 {
            // The first round fills what stays: counters, tables, the memory of sessions.
            before = Some(plane.at_rest(before.map_or(0, |_| CROWD), 0).await);
            for _ in 0..CROWD {
                let mut stream = plane.connect().await;
                exchange(&mut stream).await;
                stream.finish().await;
                assert_eq!(stream.rest().await.1, End::Clean);
            }
        }
        let Count { allocations, bytes, .. } = plane.at_rest(2 * CROWD, 0).await - before.unwrap();
        let (allocations, bytes) = (allocations / CROWD, bytes / CROWD);
        eprintln!("{mode:?}, records {records}: {allocations} allocations of {bytes} bytes for a connection");
        let (most, largest) = match mode {
            Mode::Passthrough => (18, 7_000),
            Mode::Offload => (160, 41_000),
            Mode::Bridging => (300, 80_000),
        };
        assert!(allocations <= most, "{mode:?}: {allocations} allocations a connection, at most {most}");
        assert!(bytes <= largest, "{mode:?}: {bytes} bytes allocated for a connection, at most {largest}");
    }
}

#[tokio::test]
async fn a_connection_that_waits_holds_little() {
    for (mode, records) in with_and_without_records() {
        let plane = Watched::start_with(mode, Role::Echo, records).await;
        let mut held = 0;
        for round in 0..2 {
            let before = plane.at_rest(round * CROWD, 0).await;
            let mut streams = Vec::new();
            for _ in 0..CROWD {
                let mut stream = plane.connect().await;
                exchange(&mut stream).await;
                streams.push(stream);
            }
            held = (plane.at_rest((round + 1) * CROWD, CROWD).await - before).live / CROWD as i64;
            for mut stream in streams {
                stream.finish().await;
                assert_eq!(stream.rest().await.1, End::Clean);
            }
        }
        eprintln!("{mode:?}, records {records}: {held} bytes held by a connection that waits");
        let most = match mode {
            Mode::Passthrough => 2_340,
            Mode::Offload => 5_500,
            Mode::Bridging => 8_450,
        };
        assert!(held <= most, "{mode:?}: {held} bytes held by a connection that waits, at most {most}");
    }
}

/// The bytes before a flow is in full swing.
const WARM: usize = 16 << 20;
/// The bytes over which allocations are counted.
const BULK: usize = 64 << 20;

async fn down(mode: Mode) -> Count {
    let plane = Watched::start(mode, Role::Torrent(WARM + BULK)).await;
    let mut stream = plane.connect().await;
    let mut buffer = vec![0; 1 << 20];
    let mut take = async |count: usize| {
        for _ in 0..count / buffer.len() {
            stream.read_exact(&mut buffer).await.unwrap();
        }
    };
    take(WARM).await;
    let before = counting::now();
    take(BULK).await;
    counting::now() - before
}

async fn up(mode: Mode) -> Count {
    let plane = Watched::start(mode, Role::Torrent(0)).await;
    let mut stream = plane.connect().await;
    let chunk = vec![7; 1 << 20];
    let mut give = async |count: usize| {
        let goal = plane.up() + count as u64;
        for _ in 0..count / chunk.len() {
            stream.write_all(&chunk).await.unwrap();
        }
        stream.flush().await.unwrap();
        eventually(std::time::Duration::from_secs(20), "all has gone", async || {
            if plane.up() >= goal { Ok(()) } else { Err(plane.up().to_string()) }
        })
        .await;
    };
    give(WARM).await;
    let before = counting::now();
    give(BULK).await;
    counting::now() - before
}

/// For TLS. rustls allocates one block for each record that it encrypts or decrypts.
const RECORD: u64 = 16 * 1024;

/// Spliced bulk allocates no buffer at all; with TLS the only allocations are those of rustls for a record,
/// and one for the beginning of a record that one read in eight records may leave.
#[tokio::test]
async fn bulk_allocates_nothing_for_a_read() {
    let records = BULK as u64 / RECORD;
    for mode in MODES {
        for (direction, Count { allocations, bytes, .. }) in
            [("down", down(mode).await), ("up", up(mode).await)]
        {
            eprintln!("{mode:?} {direction}: {allocations} allocations of {bytes} bytes for {BULK}");
            let (most, largest) = match mode {
                Mode::Passthrough => (BULK as u64 / (32 * 1024), 128 * 1024),
                Mode::Offload => (records * 5 / 4, BULK as u64 * 5 / 4),
                Mode::Bridging => (records * 9 / 4, BULK as u64 * 9 / 4),
            };
            assert!(allocations <= most, "{mode:?} {direction}: {allocations} allocations, at most {most}");
            assert!(bytes <= largest, "{mode:?} {direction}: {bytes} bytes allocated, at most {largest}");
        }
    }
}

/// A table of 10,000 routes is 4 MB, and thousands of certificates are more: a connection that has its route
/// and its TLS session must not keep them alive to its end.
#[tokio::test]
async fn a_connection_keeps_no_past_plan_alive() {
    for mode in MODES {
        let plane = Watched::start(mode, Role::Echo).await;
        let mut stream = plane.connect().await;
        exchange(&mut stream).await;
        let (listener, profile) = plane.replace_plan().await;
        assert_eq!(profile.is_some(), mode != Mode::Passthrough);
        eventually(PATIENCE, "the past plan is gone", async || {
            let kept = (listener.strong_count(), profile.as_ref().map_or(0, Weak::strong_count));
            if kept == (0, 0) { Ok(()) } else { Err(format!("{mode:?}: {kept:?} references")) }
        })
        .await;
        exchange(&mut stream).await;
    }
}

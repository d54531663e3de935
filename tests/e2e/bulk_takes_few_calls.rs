//! Bulk takes few system calls: their number for a GiB makes up most of its CPU time. The witness is strace.
//!
//! Only calls that move bytes are counted, both ways, and not those that wait or wake. How many bytes a call
//! moves depends on how many have come meanwhile; strace makes weir slower than its peers, so that many are
//! always waiting, on an idle machine and on a busy one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_tests::peers::Role;
use weir_tests::stream::{End, Stream};
use weir_tests::traced::Traced;
use weir_tests::world::Mode;

const CALLS: &str = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,splice";
/// Bytes one way.
const BULK: usize = 128 << 20;
const GIB: usize = 1 << 30;

/// Calls for a GiB from the backend to the client.
async fn down(traced: &Traced) -> usize {
    let before = traced.counted();
    let mut stream = traced.connect().await;
    stream.finish().await;
    assert_eq!(taken(&mut stream).await, (BULK, End::Clean));
    traced.ended(1).await;
    (traced.counted() - before) * (GIB / BULK)
}

/// Calls for a GiB from the client to the backend.
async fn up(traced: &Traced) -> usize {
    let before = traced.counted();
    let mut stream = traced.connect().await;
    let chunk = vec![7; 1 << 20];
    for _ in 0..BULK / chunk.len() {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.finish().await;
    assert_eq!(taken(&mut stream).await, (0, End::Clean));
    traced.ended(1).await;
    (traced.counted() - before) * (GIB / BULK)
}

async fn taken(stream: &mut Stream) -> (usize, End) {
    let (mut buffer, mut count) = (vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (count, End::Clean),
            Ok(n) => count += n,
            Err(error) => return (count, End::of(&error)),
        }
    }
}

/// Seen: 2,300 to 4,200. With pipes of 256 KiB it would be 8,200, with copies of 128 KiB at a time 16,400.
const BY_PIPES: usize = 7_000;
/// Seen: 16,600 to 19,700, which is eight records a call. With four it would be 33,000.
const BY_RECORDS: usize = 24_000;

async fn few(mode: Mode, most: usize) {
    let start = async |role| match mode {
        Mode::Passthrough => Traced::plain(role, CALLS).await,
        _ => Traced::start(mode, role, CALLS).await,
    };
    let (down, up) =
        (down(&start(Role::Torrent(BULK)).await).await, up(&start(Role::Torrent(0)).await).await);
    assert!(down <= most, "{mode:?}: {down} calls a GiB down, at most {most}");
    assert!(up <= most, "{mode:?}: {up} calls a GiB up, at most {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_pipes_in_passthrough() {
    few(Mode::Passthrough, BY_PIPES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_many_records_in_offload() {
    few(Mode::Offload, BY_RECORDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_many_records_in_bridging() {
    few(Mode::Bridging, BY_RECORDS).await;
}

//! Established clients of HTTP/1.1 and HTTP/2 hardly notice what others do on the same worker: floods of frames, heads
//! that explode, and bodies that never end.

use std::time::Duration;
use tokio::process::Command;
use weir_tests::bystander::{Bystander, Latencies};
use weir_tests::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, RST_STREAM, SETTINGS, block,
};
use weir_tests::origin::{Origin, Step, answers};
use weir_tests::world::{Mode, NAME, World};

/// What answers may take beside a flood. weir is a debug build here, and shares its CPUs with those who flood it.
const P50: Duration = Duration::from_millis(100);
const P99: Duration = Duration::from_millis(300);
/// How long each is watched.
const WATCHED: Duration = Duration::from_secs(2);

async fn world() -> (Origin, World) {
    let origin = Origin::start(|asked| match &*asked.path {
        "/pour" => vec![Step::Pour(8 << 30)],
        "/drain" => vec![Step::Wait],
        _ => answers("x"),
    })
    .await;
    let edge = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]).unrecorded();
    let world = edge.level("info").start().await;
    (origin, world)
}

fn head(method: &str, path: &str, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut all: Vec<(&[u8], &[u8])> = vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":path", path.as_bytes()),
        (b":authority", NAME.as_bytes()),
    ];
    all.extend(more);
    block(&all)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload).bytes()
}

/// Whether all of them came in time.
fn are_quick(all: &[Latencies]) -> bool {
    all.iter().all(|one| one.per_mille(500) < P50 && one.per_mille(990) < P99)
}

/// What one client of a flood sends by HTTP/1.1.
fn older_floods() -> Vec<(&'static str, Vec<u8>)> {
    let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let open = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n");
    vec![
        ("requests in one write", get.repeat(20_000).into()),
        ("chunks of a byte", [open, "1\r\na\r\n".repeat(200_000)].concat().into()),
        ("a field that does not end", [&get[..get.len() - 2], "x: ", &"a".repeat(1 << 20)].concat().into()),
        ("fields that do not end", [&get[..get.len() - 2], &"x: a\r\n".repeat(200_000)].concat().into()),
    ]
}

/// What one client of a flood sends by HTTP/2, behind its preface.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let many = |count: u32, one: &dyn Fn(u32) -> Vec<u8>| (0..count).flat_map(one).collect::<Vec<u8>>();
    let whole = END_HEADERS | END_STREAM;
    let open = frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[]));
    let indexed = [
        &head("GET", "/", &[])[..],
        &[0x40, 1, b'x'],
        &[0x7f, 0xa1, 0x1e],
        &vec![b'a'; 4000],
        &[0xbe; 12_000],
    ]
    .concat();
    vec![
        ("PING", many(20_000, &|_| frame(PING, 0, 0, &[0; 8]))),
        ("SETTINGS", many(20_000, &|_| frame(SETTINGS, 0, 0, &[]))),
        ("WINDOW_UPDATE", many(50_000, &|_| Frame::window(0, 1).bytes())),
        ("unknown frames", many(20_000, &|_| frame(0xbb, 0, 0, b"x"))),
        (
            "rapid resets",
            many(20_000, &|n| {
                [
                    frame(HEADERS, whole, 2 * n + 1, &head("GET", "/", &[])),
                    frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]),
                ]
                .concat()
            }),
        ),
        ("refused heads", many(20_000, &|n| frame(HEADERS, whole, 2 * n + 1, &head("TRACE", "/", &[])))),
        (
            "malformed heads",
            many(20_000, &|n| frame(HEADERS, whole, 2 * n + 1, &head("GET", "/", &[(b"X", b"a")]))),
        ),
        (
            "CONTINUATION",
            [
                frame(HEADERS, 0, 1, &head("GET", "/", &[])),
                many(5000, &|_| frame(CONTINUATION, 0, 1, &block(&[(b"x", &[b'a'; 1000])]))),
            ]
            .concat(),
        ),
        ("empty DATA", [open, many(20_000, &|_| frame(DATA, 0, 1, &[]))].concat()),
        // One field of 4,000 bytes, and 12,000 references to it: 48 MB of fields in 16 KiB.
        ("fields that explode", many(50, &|n| frame(HEADERS, whole, 2 * n + 1, &indexed))),
    ]
}

/// Floods over one connection after the other, until it is dropped.
async fn flood(world: &World, alpn: &str, opening: &[u8]) {
    let client = world.client().alpn(&[alpn]);
    loop {
        let Ok(mut stream) = client.connect(world.edge, NAME).await else { continue };
        let sent = async {
            // Weir stops reading where it has had enough, and says so.
            let _ = stream.send(opening).await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), stream.rest()).await;
    }
}

/// Watches both bystanders while this goes on, and again if they had to wait: something else may have been in their way.
async fn beside<W: Future<Output = ()>>(world: &World, work: impl Fn() -> W) -> [Latencies; 2] {
    let mut all = watched(world, work()).await;
    for _ in 0..2 {
        if !are_quick(&all) {
            all = watched(world, work()).await;
        }
    }
    all
}

async fn watched(world: &World, work: impl Future<Output = ()>) -> [Latencies; 2] {
    let mut one = Bystander::connect(world, "http/1.1").await;
    let mut two = Bystander::connect(world, "h2").await;
    let watched = async { tokio::join!(one.watch(WATCHED), two.watch(WATCHED)) };
    tokio::select! {
        (one, two) = watched => [one, two],
        () = work => panic!("the work has ended"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bystanders_of_floods_wait_little_under_load() {
    let (_origin, world) = world().await;
    let mut slow = Vec::new();
    let quiet = beside(&world, std::future::pending).await;
    println!("quiet: {} | {}", quiet[0], quiet[1]);
    let newer = floods().into_iter().map(|(name, bytes)| (name, "h2", [frames::preface(), bytes].concat()));
    let older = older_floods().into_iter().map(|(name, bytes)| (name, "http/1.1", bytes));
    for (name, alpn, bytes) in newer.chain(older) {
        let work = async || {
            tokio::join!(flood(&world, alpn, &bytes), flood(&world, alpn, &bytes));
        };
        let all = beside(&world, work).await;
        println!("{name}: {} | {}", all[0], all[1]);
        if !are_quick(&all) {
            slow.push(format!("{name}: {} | {}", all[0], all[1]));
        }
    }
    assert!(slow.is_empty(), "{slow:?} (quiet: {} | {})", quiet[0], quiet[1]);
    world.weir.quiet();
}

/// A real client that moves an endless body.
fn curl(world: &World, version: &str, upload: bool) -> Command {
    let mut curl = Command::new("curl");
    let resolve = format!("{NAME}:{}:{}", world.edge.port(), world.edge.ip());
    curl.args(["-q", "-s", "--insecure", "--noproxy", "*", version, "--resolve", &resolve]);
    let url = |path| format!("https://{NAME}:{}{path}", world.edge.port());
    if upload {
        curl.args(["-T", "/dev/zero", "-H", "Expect:"]).arg(url("/drain"));
    } else {
        curl.arg(url("/pour"));
    }
    curl.stdout(std::process::Stdio::null()).kill_on_drop(true);
    curl
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_bodies_hold_no_worker_under_load() {
    let (_origin, world) = world().await;
    let mut slow = Vec::new();
    for version in ["--http1.1", "--http2"] {
        for upload in [false, true] {
            let mut moving: Vec<_> = (0..2).map(|_| curl(&world, version, upload).spawn().unwrap()).collect();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let before = world.weir.cpu();
            let all = beside(&world, std::future::pending).await;
            let busy = world.weir.cpu() - before;
            assert!(busy > WATCHED / 16, "{version} upload: {upload}: weir had little to do: {busy:?}");
            for one in &mut moving {
                assert_eq!(one.try_wait().unwrap(), None, "{version} {upload}: still at it");
            }
            println!("{version} upload: {upload}: {} | {}", all[0], all[1]);
            if !are_quick(&all) {
                slow.push(format!("{version} upload: {upload}: {} | {}", all[0], all[1]));
            }
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

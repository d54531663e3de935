//! Floods of HTTP/2 frames end their own connection with ENHANCE_YOUR_CALM, are counted, and delay no other client.

use std::time::{Duration, Instant};
use weir_tests::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Fate, Frame, HEADERS, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, fate,
};
use weir_tests::peers::{Recorder, Reply};
use weir_tests::world::{Mode, NAME, World};

const UNKNOWN: u8 = 0xbb;

/// The head of a request.
fn head(method: &[u8]) -> Vec<u8> {
    block(&[(b":method", method), (b":scheme", b"https"), (b":path", b"/"), (b":authority", NAME.as_bytes())])
}

/// What opens the flood, and its n-th frame.
type Flood = (&'static str, Vec<u8>, fn(u32) -> Vec<u8>);

fn floods() -> Vec<Flood> {
    fn one(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, 0, stream, payload).bytes()
    }
    vec![
        ("h2_pings", Vec::new(), |_| one(PING, 0, &[0; 8])),
        ("h2_settings", Vec::new(), |_| one(SETTINGS, 0, &[])),
        ("h2_priority", Vec::new(), |_| one(PRIORITY, 1, &[0, 0, 0, 0, 1])),
        ("h2_window_updates", Vec::new(), |_| one(WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
        ("h2_unknown", Vec::new(), |_| one(UNKNOWN, 0, b"x")),
        ("h2_continuation", Frame::new(HEADERS, 0, 1, &head(b"GET")).bytes(), |_| one(CONTINUATION, 1, &[])),
        ("h2_empty_data", Frame::new(HEADERS, END_HEADERS, 1, &head(b"POST")).bytes(), |_| one(DATA, 1, &[])),
        ("h2_resets", Vec::new(), |n| {
            let open = Frame::new(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head(b"GET"));
            [open.bytes(), one(RST_STREAM, 2 * n + 1, &[0, 0, 0, 8])].concat()
        }),
    ]
}

#[tokio::test]
async fn floods_of_http2_are_ended_and_counted() {
    let recorder = Recorder::start(Reply::good()).await;
    let edge = World::of(Mode::Offload).listener("protocol: http").backends(&[recorder.addr]).level("info");
    let world = edge.start().await;
    let client = world.client().alpn(&["h2"]);
    let mut bystander = client.connect(world.edge, NAME).await.unwrap();
    bystander.send(&frames::preface()).await.unwrap();
    let before = world.weir.resident();
    for (number, (reason, opening, frame)) in (0_u32..).zip(floods()) {
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        let mut bytes = [frames::preface(), opening].concat();
        (0..5000).for_each(|n| bytes.extend(frame(n)));
        // Weir stops reading, so the rest may not be taken.
        let sent = tokio::time::timeout(Duration::from_secs(10), stream.send(&bytes)).await;
        drop(sent);
        assert_eq!(fate(&mut stream, u32::MAX).await, Fate::Gone(ENHANCE_YOUR_CALM), "{reason}");
        let (begun, own) = (Instant::now(), 2 * number + 1);
        let ask = Frame::new(HEADERS, END_HEADERS | END_STREAM, own, &head(b"GET")).bytes();
        bystander.send(&ask).await.unwrap();
        assert_eq!(fate(&mut bystander, own).await, Fate::Answer(200), "after {reason}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{reason} delays others: {:?}", begun.elapsed());
    }
    drop(bystander);
    let metrics = world.weir.metrics().await;
    let records = world.weir.some_records(floods().len() + 1).await;
    for (reason, ..) in floods() {
        assert_eq!(metrics.count("weir_limited_total", &[("reason", reason)]), 1, "{reason}");
        let record = records.iter().find(|record| record.text("reason") == reason);
        record.unwrap_or_else(|| panic!("no record for {reason}")).ended("limited", "client");
    }
    let grown = world.weir.resident().saturating_sub(before);
    assert!(grown < 64 << 10, "floods of a few hundred KiB cost {grown} KiB");
    let answered = world.weir.requests().iter().filter(|request| request.number("status") == 200).count();
    assert_eq!(answered, floods().len(), "each request of the bystander has a record");
}

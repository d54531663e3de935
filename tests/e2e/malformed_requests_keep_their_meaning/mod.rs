//! Malformed requests are refused, or reach a backend as one request with one meaning: the public write-ups of request
//! smuggling, as a table.

mod chunks;
mod downgrades;
mod heads;
mod lengths;

use chunks::chunks;
use downgrades::downgrades;
use heads::heads;
use lengths::lengths;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use weir_tests::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frame, HEADERS, block, fate,
};
use weir_tests::peers::{Received, Recorder, Reply};
use weir_tests::stream::Stream;
use weir_tests::world::{Mode, NAME, World};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// Weir answers with one of these; the backend gets nothing.
    Refused(&'static [u16]),
    /// Refused or cut: which one is the library's business.
    RefusedOrCut,
    /// The backend gets one request with this target and this body.
    Passes(&'static str, &'static str),
}
use Becomes::{Passes, Refused, RefusedOrCut};

async fn world(recorder: &Recorder) -> World {
    World::of(Mode::Offload).listener("protocol: http").backends(&[recorder.addr]).level("info").start().await
}

/// The status of the answer, if there is one.
///
/// # Errors
/// Neither an answer nor an end has come.
async fn status(stream: &mut Stream) -> Result<Option<u16>, String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await;
        match read.map_err(|_elapsed| "neither an answer nor an end".to_owned())? {
            Ok(1) => head.push(byte[0]),
            _ => return Ok(None),
        }
    }
    let head = String::from_utf8(head).unwrap();
    Ok(Some(head.split(' ').nth(1).unwrap().parse().unwrap()))
}

/// Compares what came of a request with what should.
fn judge(becomes: Becomes, status: Option<u16>, requests: &[Received]) -> Result<(), String> {
    let seen = || Err(format!("{becomes:?}, but {status:?} {requests:?}"));
    let right = match becomes {
        Refused(statuses) => status.is_some_and(|status| statuses.contains(&status)) && requests.is_empty(),
        RefusedOrCut => status.is_none_or(|status| status >= 400) && requests.is_empty(),
        Passes(target, body) => match requests {
            [request] => {
                let all = request.fields.iter().filter(|(name, _)| name == "host");
                status == Some(200)
                    && request.target == target
                    && request.body == body.as_bytes()
                    && all.map(|(_, value)| &**value).eq([NAME])
            }
            _ => false,
        },
    };
    if right { Ok(()) } else { seen() }
}

/// A request with these lines behind the request line and `Host`, and this behind the head.
fn with(method: &str, lines: &str, rest: &str) -> Vec<u8> {
    format!("{method} /first HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n{rest}").into_bytes()
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn malformed_requests_of_http1_keep_their_meaning() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["http/1.1"]);
    let mut wrong = Vec::new();
    for (name, bytes, becomes) in lengths().into_iter().chain(chunks()).chain(heads()) {
        recorder.forget();
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        // A refusal may come before the end of what is sent.
        let _ = stream.send(&bytes).await;
        let status = status(&mut stream).await;
        let shown = format!("{name}: {}", bytes[..bytes.len().min(120)].escape_ascii());
        // A request that was cut in its body has no meaning; its connection is closed.
        let requests = recorder.complete();
        if let Err(error) = status.and_then(|status| judge(becomes, status, &requests)) {
            wrong.push(format!("{shown}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn malformed_requests_of_http2_keep_their_meaning() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["h2"]);
    let mut wrong = Vec::new();
    for (name, fields, body, becomes) in downgrades() {
        recorder.forget();
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        let mut bytes = frames::preface();
        let end = if body.is_empty() { END_STREAM } else { 0 };
        bytes.extend(Frame::new(HEADERS, END_HEADERS | end, 1, &block(&fields)).bytes());
        if !body.is_empty() {
            bytes.extend(Frame::new(DATA, END_STREAM, 1, body).bytes());
        }
        stream.send(&bytes).await.unwrap();
        let status = match fate(&mut stream, 1).await {
            Fate::Answer(status) => Some(status),
            Fate::Reset(_) | Fate::Gone(_) => None,
        };
        drop(stream);
        // A request that was cut in its body has no meaning; its connection is closed.
        let requests = recorder.complete();
        if let Err(error) = judge(becomes, status, &requests) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The head says that there is no body, and a body follows: the backend gets at most what the head says.
#[tokio::test]
async fn a_body_behind_a_length_of_zero_goes_nowhere() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["h2"]);
    for _ in 0..5 {
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        let head: &[(&[u8], &[u8])] = &[
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", NAME.as_bytes()),
            (b":path", b"/first"),
            (b"content-length", b"0"),
        ];
        let mut bytes = frames::preface();
        bytes.extend(Frame::new(HEADERS, END_HEADERS, 1, &block(head)).bytes());
        bytes.extend(Frame::new(DATA, END_STREAM, 1, SMUGGLED.as_bytes()).bytes());
        stream.send(&bytes).await.unwrap();
        let fate = fate(&mut stream, 1).await;
        assert!(matches!(fate, Fate::Answer(200 | 400) | Fate::Reset(_) | Fate::Gone(_)), "{fate:?}");
    }
    for request in recorder.requests() {
        assert_eq!((&*request.target, &*request.body), ("/first", &b""[..]));
    }
}

/// A field in the table, and thousands of references to it: 48 MB of fields in a frame.
#[tokio::test]
async fn fields_that_explode_are_refused() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["h2"]);
    let head: &[(&[u8], &[u8])] =
        &[(b":method", b"GET"), (b":scheme", b"https"), (b":authority", NAME.as_bytes()), (b":path", b"/")];
    // A literal with indexing (RFC 7541 §6.2.1) of 4,000 bytes, and references to the newest entry.
    let bomb = [&block(head)[..], b"\x40\x01x\x7f\xa1\x1e", &vec![b'a'; 4000], &[0xbe; 12_000]].concat();
    let before = world.weir.resident();
    for _ in 0..20 {
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        let mut bytes = frames::preface();
        (0..10).for_each(|n| {
            bytes.extend(Frame::new(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb).bytes())
        });
        let _ = stream.send(&bytes).await;
        let fate = fate(&mut stream, 1).await;
        assert!(matches!(fate, Fate::Answer(431) | Fate::Reset(_) | Fate::Gone(_)), "{fate:?}");
    }
    assert_eq!(recorder.requests(), []);
    let grown = world.weir.resident().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
}

/// Fields over many frames have the bound of those in one.
#[tokio::test]
async fn header_bombs_of_http2_are_refused() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["h2"]);
    let mut stream = client.connect(world.edge, NAME).await.unwrap();
    let head: &[(&[u8], &[u8])] =
        &[(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")];
    let mut bytes = frames::preface();
    bytes.extend(Frame::new(HEADERS, END_STREAM, 1, &block(head)).bytes());
    let many: Vec<(&[u8], &[u8])> = vec![(b"abcdefgh", b"ijklmnop"); 800];
    for _ in 0..100 {
        bytes.extend(Frame::new(CONTINUATION, 0, 1, &block(&many)).bytes());
    }
    bytes.extend(Frame::new(CONTINUATION, END_HEADERS, 1, &[]).bytes());
    let _ = stream.send(&bytes).await;
    let fate = fate(&mut stream, 1).await;
    assert!(matches!(fate, Fate::Answer(431) | Fate::Reset(_) | Fate::Gone(_)), "{fate:?}");
    assert_eq!(recorder.requests(), []);
    // Others are served as before.
    let mut stream = client.connect(world.edge, NAME).await.unwrap();
    let mut bytes = frames::preface();
    bytes.extend(Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &block(head)).bytes());
    stream.send(&bytes).await.unwrap();
    assert_eq!(frames::fate(&mut stream, 1).await, Fate::Answer(200));
}

//! A backend's answer that two programs may read in different ways, or that is none, becomes 502, and its connection is
//! not used again.

use std::time::Duration;
use tokio::io::AsyncReadExt;
use weir_tests::peers::{Recorder, Reply};
use weir_tests::stream::Stream;
use weir_tests::world::{Mode, NAME, World};

async fn answered(stream: &mut Stream, path: &str) -> (u16, Vec<String>, Vec<u8>) {
    stream.send(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            tokio::time::timeout(Duration::from_secs(20), stream.read_u8())
                .await
                .unwrap()
                .expect("an answer"),
        );
    }
    let head = String::from_utf8(head).unwrap();
    let lines: Vec<String> = head.trim_end().split("\r\n").skip(1).map(str::to_owned).collect();
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |text| text.parse().unwrap());
    let body = stream.exactly(length).await.unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), lines, body)
}

async fn world(recorder: &Recorder) -> (World, Stream) {
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[recorder.addr])
        .level("info")
        .start()
        .await;
    let stream = world.client().alpn(&["http/1.1"]).connect(world.edge, NAME).await.unwrap();
    (world, stream)
}

#[tokio::test]
async fn bad_answers_become_502() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let flood = |count| format!("{}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", hint.repeat(count));
    for (name, bytes) in [
        ("garbage", "\x16\x03\x01 garbage\r\n\r\n"),
        ("no status", "HTTP/1.1 OK\r\n\r\n"),
        ("another version", "HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n"),
        ("two lengths that differ", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
        ("two equal lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab"),
        ("a length with a sign", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab"),
        (
            "both lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("another coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("an unknown coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: cow\r\n\r\nabc"),
        (
            "a change of protocol without a wish",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        ),
        ("a status above 599", "HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n"),
        ("17 interim answers", &flood(17)),
        ("a flood of interim answers", &flood(20_000)),
        ("NUL in a field", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n"),
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nconte"),
    ] {
        // Without a word, a connection is only noticed when it closes.
        let closes = name == "nothing" || name == "half a head";
        let recorder = Recorder::start(Reply { bytes: bytes.into(), closes }).await;
        let (_world, mut stream) = world(&recorder).await;
        for path in ["/first", "/second"] {
            let (status, lines, _) = answered(&mut stream, path).await;
            assert_eq!(status, 502, "{name}: {lines:?}");
        }
        let each: Vec<usize> = recorder.bytes().iter().map(|bytes| usize::from(!bytes.is_empty())).collect();
        assert!(
            each.len() >= 2 && recorder.requests().len() == each.iter().sum::<usize>(),
            "{name}: {each:?}"
        );
    }
}

#[tokio::test]
async fn some_interim_answers_are_skipped() {
    let answer = format!(
        "{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(16)
    );
    let recorder = Recorder::start(Reply::kept(answer.as_bytes())).await;
    let (_world, mut stream) = world(&recorder).await;
    for _ in 0..3 {
        let (status, _, body) = answered(&mut stream, "/").await;
        assert_eq!((status, &*body), (200, &b"ok"[..]));
    }
    assert_eq!(recorder.bytes().len(), 1, "the connection is kept");
}

/// Short answers go through hyper, long ones past it.
const LENGTHS: [usize; 3] = [2, 60_000, 300_000];

#[tokio::test]
async fn bytes_behind_an_answer_reach_no_client() {
    for length in LENGTHS {
        let body = "a".repeat(length);
        let poisoned = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
        );
        let recorder = Recorder::start(Reply::kept(poisoned.as_bytes())).await;
        let (_world, mut stream) = world(&recorder).await;
        for _ in 0..5 {
            let (status, _, answer) = answered(&mut stream, "/").await;
            assert_eq!((status, answer.len()), (200, length));
            assert!(answer.iter().all(|byte| *byte == b'a'));
        }
        assert_eq!(recorder.bytes().len(), 5, "{length}: a connection was used again");
    }
}

#[tokio::test]
async fn a_cut_body_is_cut_for_the_client() {
    for length in LENGTHS {
        let body = "a".repeat(length);
        let cut = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", length + 1);
        let recorder = Recorder::start(Reply::last(cut.as_bytes())).await;
        let (_world, mut stream) = world(&recorder).await;
        stream.send(format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
        let (bytes, _) = stream.rest().await;
        let text = String::from_utf8(bytes).unwrap();
        // The cut may come before the head of the answer is on its way. No byte follows what the backend sent.
        let head = format!("content-length: {}\r\n", length + 1);
        assert!(text.is_empty() || text.contains(&head), "{}", &text[..text.len().min(300)]);
        assert!(text.split("\r\n\r\n").nth(1).is_none_or(|sent| body.starts_with(sent)), "{length}");
    }
}

#[tokio::test]
async fn answers_are_cleaned() {
    let answer = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: keep-alive, X-Own, Set-Cookie\r\nX-Own: a\r\n\
                  Keep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nX-Folded: one\r\n \t two\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
                  Content-Length: 2\r\n\r\nok";
    let recorder = Recorder::start(Reply::kept(answer.as_bytes())).await;
    let (_world, mut stream) = world(&recorder).await;
    for _ in 0..3 {
        let (status, mut lines, body) = answered(&mut stream, "/").await;
        lines.sort();
        let wanted = [
            "content-length: 2",
            "date: Sun, 06 Nov 1994 08:49:37 GMT",
            "set-cookie: a=b",
            "x-folded: one two",
        ];
        assert_eq!((status, &*body, &lines[..]), (200, &b"ok"[..], &wanted.map(str::to_owned)[..]));
    }
    assert_eq!(recorder.bytes().len(), 1, "the connection is kept");
}

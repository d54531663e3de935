//! Malformed requests are refused, or reach a backend as one request with one meaning: the public write-ups of request
//! smuggling, as a table.

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
async fn status(stream: &mut Stream) -> Option<u16> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match tokio::time::timeout(Duration::from_secs(20), stream.read(&mut byte))
            .await
            .expect("an answer or an end")
        {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    Some(head.split(' ').nth(1).unwrap().parse().unwrap())
}

/// Compares what came of a request with what should.
fn judge(name: &str, becomes: Becomes, status: Option<u16>, requests: &[Received]) {
    match becomes {
        Refused(statuses) => {
            assert!(status.is_some_and(|status| statuses.contains(&status)), "{name}: {status:?}");
            assert_eq!(requests, [], "{name}");
        }
        RefusedOrCut => {
            assert!(status.is_none_or(|status| status >= 400), "{name}: {status:?}");
            assert_eq!(requests, [], "{name}");
        }
        Passes(target, body) => {
            let [request] = requests else { panic!("{name}: {status:?} {requests:?}") };
            assert_eq!((status, &*request.target), (Some(200), target), "{name}");
            assert_eq!(String::from_utf8_lossy(&request.body), body, "{name}");
        }
    }
}

/// A request with these lines behind the request line and `Host`, and this behind the head.
fn with(method: &str, lines: &str, rest: &str) -> Vec<u8> {
    format!("{method} /first HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n{rest}").into_bytes()
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Two readings of the length of the body.
fn lengths() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let tail = |body: &str| format!("{body}{SMUGGLED}");
    let post = |lines: &str, rest: &str| with("POST", lines, rest);
    let mut all = vec![
        (
            "CL.TE",
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"),
            Passes("/first", ""),
        ),
        (
            "CL.TE with a request",
            post("Content-Length: 40\r\nTransfer-Encoding: chunked\r\n", &tail("0\r\n\r\n")),
            Passes("/first", ""),
        ),
        (
            "TE.CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5\r\nGPOST\r\n0\r\n\r\n"),
            Passes("/first", "GPOST"),
        ),
        (
            "TE.CL.CL",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "1\r\na\r\n0\r\n\r\n",
            ),
            Passes("/first", "a"),
        ),
        ("CL.CL differing", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), Refused(&[400])),
        (
            "CL.CL equal",
            post("Content-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n", "abc"),
            Passes("/first", "abc"),
        ),
        ("CL without digits", post("Content-Length: \r\n", ""), Refused(&[400])),
        ("CL of 2^64", post("Content-Length: 18446744073709551616\r\n", ""), RefusedOrCut),
        ("CL with a line break", post("Content-Length: 1\r\n 0\r\n", "a"), Refused(&[400])),
        (
            "TE in HTTP/1.0",
            format!("POST / HTTP/1.0\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("a chunk of no size", post("Transfer-Encoding: chunked\r\n", "\r\nabc\r\n0\r\n\r\n"), RefusedOrCut),
        (
            "a chunk of size 0x1",
            post("Transfer-Encoding: chunked\r\n", "0x1\r\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        ("a chunk of size -1", post("Transfer-Encoding: chunked\r\n", "-1\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        (
            "a chunk of size 2^64",
            post("Transfer-Encoding: chunked\r\n", "10000000000000000\r\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        (
            "a chunk without its end",
            post("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        (
            "a chunk that ends with LF",
            post("Transfer-Encoding: chunked\r\n", "1\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        (
            "a chunk with LF in its extension",
            post("Transfer-Encoding: chunked\r\n", "1;a\nb\r\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
    ];
    for value in ["+3", "-3", "3, 3", "3,4", "0x3", "3 3", "3;", "3.0", "٣"] {
        all.push((
            "CL in another form",
            post(&format!("Content-Length: {value}\r\n"), "abc"),
            Refused(&[400]),
        ));
    }
    for value in [
        "xchunked",
        "x, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "chunked;q=1",
        "\"chunked\"",
        "chun\tked",
        "cow",
        "chunked\u{b}",
        "[chunked]",
        "",
    ] {
        let lines = format!("Content-Length: 3\r\nTransfer-Encoding: {value}\r\n");
        all.push(("TE.TE", post(&lines, "0\r\n\r\n"), Refused(&[400, 501])));
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "Transfer\0-Encoding: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
    ] {
        all.push(("TE.TE over lines", post(lines, "0\r\n\r\n"), Refused(&[400, 501])));
    }
    // A name with `_`, or other white space around the value, is not that field or the same, with one reading.
    all.push((
        "TE with `_`",
        post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        Passes("/first", "0\r\n\r\n"),
    ));
    all.push((
        "TE between tabs",
        post("Transfer-Encoding:\tchunked\t\r\n", "1\r\na\r\n0\r\n\r\n"),
        Passes("/first", "a"),
    ));
    all
}

/// Heads that two programs read in different ways.
fn heads() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let get = |lines: &str| with("GET", lines, "");
    let bare = |text: &str| text.as_bytes().to_vec();
    vec![
        ("no Host", bare("GET / HTTP/1.1\r\n\r\n"), Refused(&[400])),
        ("no Host in HTTP/1.0", bare("GET / HTTP/1.0\r\n\r\n"), Refused(&[400])),
        ("two Hosts", get("Host: other.example\r\n"), Refused(&[400])),
        ("the same Host twice", get(&format!("Host: {NAME}\r\n")), Refused(&[400])),
        ("Host with a space before the colon", bare("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), Refused(&[400])),
        ("Host folded", bare("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), Refused(&[400])),
        ("Host with user information", bare("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), Refused(&[400])),
        ("Host with a bad port", bare("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"), Refused(&[400])),
        ("Host with a path", bare("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), Refused(&[400])),
        ("Host with NUL", bare("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), Refused(&[400])),
        ("empty Host", bare("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Refused(&[400])),
        ("two Hosts by a list", bare("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), Refused(&[400])),
        (
            "absolute-form",
            format!("GET http://{NAME}/abs?q HTTP/1.1\r\nHost: other.example\r\n\r\n").into(),
            Passes("/abs?q", ""),
        ),
        (
            "absolute-form with a fragment for a path",
            format!("GET http://{NAME}#a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("/", ""),
        ),
        (
            "absolute-form without Host",
            format!("GET http://{NAME}/ HTTP/1.1\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form of another scheme",
            format!("GET ftp://{NAME}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "absolute-form with user information",
            format!("GET http://a@{NAME}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        (
            "authority-form",
            format!("GET {NAME}:443 HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("CONNECT", format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[405])),
        ("CONNECT of a path", with("CONNECT", "", ""), Refused(&[405])),
        ("TRACE", with("TRACE", "", ""), Refused(&[405])),
        ("`*` with GET", format!("GET * HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("`*` with OPTIONS", format!("OPTIONS * HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Passes("*", "")),
        ("a relative path", format!("GET a HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path with NUL", format!("GET /a\0b HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path with a space", format!("GET /a b HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path with a tab", format!("GET /a\tb HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("a path beyond ASCII", format!("GET /é HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        (
            "a path of invalid UTF-8",
            [b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat(),
            Refused(&[400]),
        ),
        (
            "a path with a fragment",
            format!("GET /a#b HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(),
            Passes("/a", ""),
        ),
        ("no path", format!("GET  HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("two spaces", format!("GET  / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into(), Refused(&[400])),
        ("HTTP/0.9", bare("GET /\r\n"), RefusedOrCut),
        ("HTTP/1.2", format!("GET / HTTP/1.2\r\nHost: {NAME}\r\n\r\n").into(), RefusedOrCut),
        ("HTTP/2.0 in text", bare("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), RefusedOrCut),
        ("a method that is no token", with("G(T", "", ""), Refused(&[400])),
        ("a name that is no token", get("X(Y: a\r\n"), Refused(&[400])),
        ("an empty name", get(": a\r\n"), Refused(&[400])),
        ("a line without a colon", get("abc\r\n"), Refused(&[400])),
        ("a value with NUL", get("X: a\0b\r\n"), Refused(&[400])),
        ("a value with a bare CR", get("X: a\rb\r\n"), Refused(&[400])),
        ("obs-fold", get("X: a\r\n b\r\n"), Refused(&[400])),
        ("a name beyond ASCII", get("Xé: a\r\n"), Refused(&[400])),
        ("another expectation", get("Expect: 200-ok\r\n"), Refused(&[417])),
        ("100,000 fields", with("GET", &"a: b\r\n".repeat(100_000), ""), RefusedOrCut),
        ("a field of 1 MiB", get(&format!("X: {}\r\n", "a".repeat(1 << 20))), RefusedOrCut),
        ("a name of 1 MiB", get(&format!("{}: a\r\n", "a".repeat(1 << 20))), RefusedOrCut),
        (
            "a path of 1 MiB",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(1 << 20)).into(),
            RefusedOrCut,
        ),
        ("bare LF", format!("GET /lf HTTP/1.1\nHost: {NAME}\nX: a\n\n").into(), Passes("/lf", "")),
        ("TLS in TLS", vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], RefusedOrCut),
    ]
}

#[tokio::test]
async fn malformed_requests_of_http1_keep_their_meaning() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["http/1.1"]);
    for (name, bytes, becomes) in lengths().into_iter().chain(heads()) {
        recorder.forget();
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        // A refusal may come before the end of what is sent.
        let _ = stream.send(&bytes).await;
        let status = status(&mut stream).await;
        let shown = format!("{name}: {}", bytes[..bytes.len().min(120)].escape_ascii());
        // A request that was cut in its body has no meaning; its connection is closed.
        let requests = if matches!(becomes, Passes(..)) { recorder.requests() } else { recorder.complete() };
        judge(&shown, becomes, status, &requests);
        if let (Passes(..), [request]) = (becomes, &requests[..]) {
            assert_eq!(request.only("host"), NAME, "{shown}");
        }
    }
}

/// A request of HTTP/2 by its fields, and its body.
type Raw<'a> = (&'static str, Vec<(&'a [u8], &'a [u8])>, &'a [u8], Becomes);

fn http2() -> Vec<Raw<'static>> {
    let head = |more: &[(&'static [u8], &'static [u8])]| {
        let mut all: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"app.example.test"),
            (b":path", b"/first"),
        ];
        for (name, value) in more {
            match all.iter_mut().find(|(own, _)| own == name && name.starts_with(b":")) {
                Some(pseudo) => pseudo.1 = value,
                None => all.push((name, value)),
            }
        }
        all
    };
    let cut = |name, more: &[(&'static [u8], &'static [u8])]| (name, head(more), &b"abc"[..], RefusedOrCut);
    let mut all = vec![
        ("sound", head(&[(b"content-length", b"3")]), &b"abc"[..], Passes("/first", "abc")),
        ("without a length", head(&[]), b"abc", Passes("/first", "abc")),
        ("GET with a body", head(&[(b":method", b"GET")]), b"abc", Passes("/first", "abc")),
        ("a fragment", head(&[(b":path", b"/a#b")]), b"", Passes("/a", "")),
        (
            "without authority",
            head(&[])[..2].iter().copied().chain(head(&[])[3..].iter().copied()).collect(),
            b"",
            RefusedOrCut,
        ),
        ("CONNECT", vec![(b":method", b"CONNECT"), (b":authority", b"a:443")], b"", RefusedOrCut),
        cut("h2.CL too long", &[(b"content-length", b"9")]),
        cut("h2.CL twice", &[(b"content-length", b"3"), (b"content-length", b"3")]),
        cut("h2.CL with a sign", &[(b"content-length", b"+3")]),
        cut("h2.TE", &[(b"transfer-encoding", b"chunked")]),
        cut("h2.TE by CRLF in a value", &[(b"x", b"a\r\ntransfer-encoding: chunked")]),
        cut("h2.TE by CRLF in a name", &[(b"x: a\r\ntransfer-encoding", b"chunked")]),
        cut("LF in a value", &[(b"x", b"a\nb: c")]),
        cut("NUL in a value", &[(b"x", b"a\0b")]),
        cut("a colon in a name", &[(b"x:y", b"a")]),
        cut("a space in a name", &[(b"x y", b"a")]),
        cut("capitals in a name", &[(b"X", b"a")]),
        cut("a value that begins with a space", &[(b"x", b" a")]),
        cut("CRLF in the path", &[(b":path", b"/ HTTP/1.1\r\nx: y\r\n")]),
        cut("a space in the path", &[(b":path", b"/a b")]),
        cut("a path without a slash", &[(b":path", b"a")]),
        cut("an empty path", &[(b":path", b"")]),
        cut("a path that is absolute", &[(b":path", b"http://a/")]),
        cut("a query for a path", &[(b":path", b"?a")]),
        cut("`*` with POST", &[(b":path", b"*")]),
        cut("a path beyond ASCII", &[(b":path", b"/\xc3\xa9")]),
        cut("CRLF in the method", &[(b":method", b"GET / HTTP/1.1\r\nx: y")]),
        cut("a space in the method", &[(b":method", b"GET /a")]),
        cut("TRACE", &[(b":method", b"TRACE")]),
        cut("CRLF in the authority", &[(b":authority", b"a\r\nx: y")]),
        cut("user information in the authority", &[(b":authority", b"a@app.example.test")]),
        cut("a path in the authority", &[(b":authority", b"app.example.test/a")]),
        cut("another Host", &[(b"host", b"other.example")]),
        cut("two Hosts", &[(b"host", b"app.example.test"), (b"host", b"app.example.test")]),
        cut("another scheme", &[(b":scheme", b"ftp")]),
        cut("a scheme with a path", &[(b":scheme", b"https://a/b?")]),
        cut("Connection", &[(b"connection", b"close")]),
        cut("Keep-Alive", &[(b"keep-alive", b"a")]),
        cut("Upgrade", &[(b"upgrade", b"h2c")]),
        cut("TE other than trailers", &[(b"te", b"gzip")]),
        cut("a pseudo-field of answers", &[(b":status", b"200")]),
        cut("an unknown pseudo-field", &[(b":x", b"a")]),
        cut(":protocol without CONNECT", &[(b":protocol", b"websocket")]),
    ];
    let mut late = head(&[(b"x", b"a")]);
    late.swap(3, 4);
    all.push(("a pseudo-field behind others", late, b"", RefusedOrCut));
    let mut twice = head(&[]);
    twice.insert(1, (b":method", b"GET"));
    all.push(("a pseudo-field twice", twice, b"", RefusedOrCut));
    all
}

#[tokio::test]
async fn malformed_requests_of_http2_keep_their_meaning() {
    let recorder = Recorder::start(Reply::good()).await;
    let world = world(&recorder).await;
    let client = world.client().alpn(&["h2"]);
    for (name, fields, body, becomes) in http2() {
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
        let requests = if matches!(becomes, Passes(..)) { recorder.requests() } else { recorder.complete() };
        judge(name, becomes, status, &requests);
        if let (Passes(..), [request]) = (becomes, &requests[..]) {
            assert_eq!(request.only("host"), NAME, "{name}");
        }
    }
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

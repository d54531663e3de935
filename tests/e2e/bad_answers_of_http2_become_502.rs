//! Answers of HTTP/2 backends that break its rules become 502, or a body that is cut; the next request is served.

use std::time::Duration;
use weir_tests::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PUSH_PROMISE, SETTINGS, block,
};
use weir_tests::h2_origin::{H2Origin, Heard, Says, status};
use weir_tests::origin::{Got, ask};
use weir_tests::world::{Mode, NAME, World};

async fn world(origin: &H2Origin) -> World {
    World::of(Mode::Offload)
        .listener("protocol: http")
        .listener("http: {timeouts: {response: 10s, body: 10s}}")
        .pool("http: {version: \"2\"}")
        .pool("passive_check: null")
        .backends(&[origin.addr])
        .level("info")
        .start()
        .await
}

/// A request that is not sent twice.
fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 0\r\n\r\n")
}

/// The head of an answer with these fields.
fn fields(heard: &Heard, all: &[(&[u8], &[u8])]) -> Frame {
    Frame::new(HEADERS, END_HEADERS, heard.stream, &block(all))
}

fn data(heard: &Heard, bytes: &[u8]) -> Frame {
    Frame::new(DATA, END_STREAM, heard.stream, bytes)
}

/// A sound answer behind so many interim ones.
fn after_interim(heard: &Heard, count: usize) -> Says {
    let mut frames = vec![status(heard.stream, b"103"); count];
    frames.extend([status(heard.stream, b"200"), data(heard, b"ok")]);
    Says::frames(&frames)
}

type Answer = (&'static str, fn(&Heard) -> Says);

fn bad() -> Vec<Answer> {
    fn with(heard: &Heard, all: &[(&[u8], &[u8])]) -> Says {
        Says::frames(&[fields(heard, all), data(heard, b"ab")])
    }
    vec![
        ("garbage", |_| Says::Sends(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
        ("nothing", |_| Says::Ends(Vec::new())),
        ("DATA before the head", |heard| Says::frames(&[data(heard, b"ab")])),
        ("no status", |heard| with(heard, &[(b"x", b"a")])),
        ("a status of two digits", |heard| with(heard, &[(b":status", b"20")])),
        ("a status of letters", |heard| with(heard, &[(b":status", b"abc")])),
        ("a status above 599", |heard| with(heard, &[(b":status", b"600")])),
        ("two status", |heard| with(heard, &[(b":status", b"200"), (b":status", b"200")])),
        ("101", |heard| with(heard, &[(b":status", b"101")])),
        ("capitals in a name", |heard| with(heard, &[(b":status", b"200"), (b"X", b"a")])),
        ("Connection", |heard| with(heard, &[(b":status", b"200"), (b"connection", b"close")])),
        ("Transfer-Encoding", |heard| {
            with(heard, &[(b":status", b"200"), (b"transfer-encoding", b"chunked")])
        }),
        ("CRLF in a value", |heard| with(heard, &[(b":status", b"200"), (b"x", b"a\r\nset-cookie: b=c")])),
        ("NUL in a value", |heard| with(heard, &[(b":status", b"200"), (b"x", b"a\0b")])),
        ("two lengths that differ", |heard| {
            with(heard, &[(b":status", b"200"), (b"content-length", b"2"), (b"content-length", b"3")])
        }),
        ("two lengths that agree", |heard| {
            with(heard, &[(b":status", b"200"), (b"content-length", b"2"), (b"content-length", b"2")])
        }),
        ("a length with a sign", |heard| with(heard, &[(b":status", b"200"), (b"content-length", b"+2")])),
        ("a length without a body", |heard| {
            Says::frames(&[Frame::new(
                HEADERS,
                END_HEADERS | END_STREAM,
                heard.stream,
                &block(&[(b":status", b"200"), (b"content-length", b"2")]),
            )])
        }),
        ("an index that is none", |heard| {
            Says::frames(&[Frame::new(HEADERS, END_HEADERS, heard.stream, &[0x80])])
        }),
        ("a head of 1 MiB", |heard| {
            let piece = block(&[(b"x", &vec![b'a'; 16_000])]);
            let mut frames = vec![Frame::new(HEADERS, 0, heard.stream, &block(&[(b":status", b"200")]))];
            frames.extend(vec![Frame::new(CONTINUATION, 0, heard.stream, &piece); 64]);
            frames.push(Frame::new(CONTINUATION, END_HEADERS, heard.stream, &[]));
            Says::frames(&frames)
        }),
        ("a push", |heard| {
            Says::frames(&[Frame::new(
                PUSH_PROMISE,
                END_HEADERS,
                heard.stream,
                &[&[0, 0, 0, 2][..], &block(&[(b":method", b"GET")])].concat(),
            )])
        }),
        ("an answer to no request", |heard| Says::frames(&[status(heard.stream + 2, b"200")])),
        ("SETTINGS of 5 bytes", |_| Says::frames(&[Frame::new(SETTINGS, 0, 0, &[0; 5])])),
        ("an update of 0", |heard| Says::frames(&[Frame::window(heard.stream, 0)])),
        ("a window beyond 2^31 - 1", |_| Says::frames(&vec![Frame::window(0, i32::MAX as u32); 2])),
        ("a frame of 2^24 - 1 bytes", |_| Says::Sends(vec![0xff; 100])),
        ("a reset", |heard| Says::frames(&[Frame::reset(heard.stream, CANCEL)])),
        ("an interim answer that ends the stream", |heard| {
            Says::frames(&[Frame::new(
                HEADERS,
                END_HEADERS | END_STREAM,
                heard.stream,
                &block(&[(b":status", b"103")]),
            )])
        }),
        ("DATA behind an interim answer", |heard| {
            Says::frames(&[status(heard.stream, b"103"), data(heard, b"ab")])
        }),
        ("17 interim answers", |heard| after_interim(heard, 17)),
        ("a flood of interim answers", |heard| after_interim(heard, 20_000)),
    ]
}

#[tokio::test]
async fn bad_answers_of_http2_become_502() {
    let mut wrong = Vec::new();
    for (name, answer) in bad() {
        // Each second request is answered well.
        let origin = H2Origin::start(move |heard| match heard.before % 2 {
            0 if heard.whole => answer(heard),
            _ => Says::ok(heard, "good"),
        })
        .await;
        let world = world(&origin).await;
        let mut stream = world.connect().await;
        for turn in 0..2 {
            let mut got = async |path| match ask(&mut stream, &post(path)).await {
                Ok(Got { status, .. }) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let both = [got("/bad").await, got("/good").await];
            if both != ["502", "200"] {
                wrong.push(format!("{name}, {turn}: {both:?}"));
            }
        }
        if origin.heard().len() != 4 {
            wrong.push(format!("{name}: sent {} times", origin.heard().len()));
        }
        world.weir.quiet();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn some_interim_answers_of_http2_are_skipped() {
    let origin =
        H2Origin::start(|heard| if heard.whole { after_interim(heard, 16) } else { Says::nothing() }).await;
    let world = world(&origin).await;
    let mut stream = world.connect().await;
    for _ in 0..5 {
        let got = ask(&mut stream, &post("/")).await.unwrap();
        assert_eq!((got.status, &*got.text()), (200, "ok"));
    }
    assert!(origin.heard().iter().all(|heard| heard.connection == 0), "one connection");
}

#[tokio::test]
async fn bodies_that_a_backend_of_http2_cuts_never_look_whole() {
    let cuts: [Answer; 5] = [
        ("reset", |heard| {
            Says::frames(&[
                status(heard.stream, b"200"),
                Frame::new(DATA, 0, heard.stream, b"abc"),
                Frame::reset(heard.stream, CANCEL),
            ])
        }),
        ("closed", |heard| {
            Says::Ends(
                [status(heard.stream, b"200").bytes(), Frame::new(DATA, 0, heard.stream, b"abc").bytes()]
                    .concat(),
            )
        }),
        ("less than its length", |heard| {
            Says::frames(&[
                fields(heard, &[(b":status", b"200"), (b"content-length", b"10")]),
                data(heard, b"abc"),
            ])
        }),
        ("more than its length", |heard| {
            Says::frames(&[
                fields(heard, &[(b":status", b"200"), (b"content-length", b"2")]),
                data(heard, b"abc"),
            ])
        }),
        ("a second head", |heard| {
            Says::frames(&[
                status(heard.stream, b"200"),
                Frame::new(DATA, 0, heard.stream, b"abc"),
                status(heard.stream, b"200"),
            ])
        }),
    ];
    for (name, cut) in cuts {
        let origin =
            H2Origin::start(move |heard| if heard.whole { cut(heard) } else { Says::nothing() }).await;
        let world = world(&origin).await;
        let mut stream = world.connect().await;
        stream.send(post("/").as_bytes()).await.unwrap();
        let (bytes, _) = tokio::time::timeout(Duration::from_secs(30), stream.rest()).await.expect(name);
        let text = String::from_utf8_lossy(&bytes);
        // A 502 where the head had not gone, or a cut answer.
        let whole = text.ends_with("0\r\n\r\n")
            || text.contains("content-length: 2\r\n") && text.ends_with("\r\n\r\nab");
        assert!(!whole || text.starts_with("HTTP/1.1 502"), "{name}: {text}");
    }
}

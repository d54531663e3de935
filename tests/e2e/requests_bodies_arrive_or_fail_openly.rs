//! Bodies: too long ones get 413 and the client sees it, early answers arrive while the upload runs, answers without a
//! body stay so, and a body that a side cuts never looks whole.

use std::time::Duration;
use tokio::process::Command;
use weir_tests::curl::curl;
use weir_tests::eventually::eventually_true;
use weir_tests::frames::{self, DATA, END_HEADERS, Fate, Frame, HEADERS, block, fate};
use weir_tests::origin::{Origin, Step, answer, answers, ask, next_answer};
use weir_tests::program::run;
use weir_tests::world::{Mode, NAME, World};

async fn world(origin: &Origin, http: &str) -> World {
    let http = format!("http: {{{http}}}");
    World::of(Mode::Offload).listener("protocol: http").listener(&http).backends(&[origin.addr]).start().await
}

fn get(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

/// Uploads so many bytes, and gives the status that the client saw. By HTTP/2 the client is nghttp: curl 7.88 loses an
/// answer that comes with the reset of what remains of its upload (RFC 9113 §8.1).
async fn upload(world: &World, bytes: usize, version: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'x'; bytes]).unwrap();
    let edge = world.edge;
    if version == "2" {
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["-v", "-n", "--no-dep", "-d"]).arg(&file).arg("-H").arg(format!(":authority: {NAME}"));
        nghttp.arg(format!("https://{edge}/"));
        let said = run(nghttp, b"", Duration::from_secs(30)).await;
        let status = said.stdout.lines().find_map(|line| line.split(":status: ").nth(1));
        return status.unwrap_or_else(|| panic!("{}", said.both())).trim().to_owned();
    }
    let (resolve, url) =
        (format!("{NAME}:{}:{}", edge.port(), edge.ip()), format!("https://{NAME}:{}/", edge.port()));
    let data = format!("@{}", file.display());
    let mut arguments =
        vec!["--http1.1", "--resolve", &resolve, "--insecure", "-o", "/dev/null", "-w", "%{http_code}"];
    arguments.extend(["-H", "Expect:", "--data-binary", &data, &url]);
    arguments.extend(more);
    curl(&arguments).await.stdout
}

#[tokio::test]
async fn too_long_bodies_get_413() {
    let origin = Origin::start(|_| answers("ok")).await;
    let world = world(&origin, "max_body: 1KiB").await;
    for version in ["1.1", "2"] {
        assert_eq!(upload(&world, 1024, version, &[]).await, "200", "{version}");
        let before = origin.seen().len();
        for bytes in [1025, 100_000, 8 << 20] {
            assert_eq!(upload(&world, bytes, version, &[]).await, "413", "{version} {bytes}");
        }
        assert_eq!(origin.seen().len(), before, "what is known to be too long is not forwarded");
    }
    // Without a length the end of the body tells.
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    assert_eq!(upload(&world, 1024, "1.1", &chunked).await, "200");
    for bytes in [1025, 100_000, 8 << 20] {
        assert_eq!(upload(&world, bytes, "1.1", &chunked).await, "413", "chunked {bytes}");
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let denied = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".to_vec();
    let origin = Origin::start(move |_| {
        vec![Step::Send(denied.clone()), Step::Sleep(Duration::from_secs(2)), Step::Close]
    })
    .await;
    let world = world(&origin, "").await;
    for version in ["1.1", "2"] {
        assert_eq!(upload(&world, 4 << 20, version, &[]).await, "403", "{version}");
    }
    // Raw: the answer comes before the body, of which the client has sent a part.
    let mut stream = world.connect().await;
    let got =
        ask(&mut stream, &format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000\r\n\r\nabc"))
            .await
            .unwrap();
    assert_eq!((got.status, got.text()), (403, "no".to_owned()));
}

#[tokio::test]
async fn answers_without_a_body_stay_so_and_the_connection_goes_on() {
    let origin = Origin::start(|asked| {
        let head: &[u8] = match &*asked.path {
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n",
            "/100" => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        };
        vec![Step::Send(head.to_vec())]
    })
    .await;
    let world = world(&origin, "").await;
    let mut stream = world.connect().await;
    for _ in 0..2 {
        let head = ask(&mut stream, &get("HEAD", "/")).await.unwrap();
        assert!(head.status == 200 && head.head.contains("content-length: 5\r\n"), "{head:?}");
        for (path, status, body) in
            [("/204", 204, ""), ("/304", 304, ""), ("/100", 200, "ok"), ("/chunked", 200, "ok")]
        {
            let got = ask(&mut stream, &get("GET", path)).await.unwrap();
            assert_eq!((got.status, &*got.text()), (status, body), "{path} {got:?}");
            assert!(status != 204 || !got.head.contains("content-length"), "RFC 9110 §8.6: {got:?}");
        }
    }
    let connections = origin.seen().last().unwrap().connection;
    assert_eq!(connections, 0, "one kept connection served all of them");
}

#[tokio::test]
async fn bodies_that_a_backend_cuts_never_look_whole() {
    let origin = Origin::start(|asked| {
        let (head, end) = match &*asked.path {
            "/short" => ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Step::Close),
            "/reset" => ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Step::Reset),
            _ => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Step::Close),
        };
        vec![Step::Send(head.as_bytes().to_vec()), Step::Sleep(Duration::from_millis(100)), end]
    })
    .await;
    let world = world(&origin, "").await;
    for path in ["/short", "/reset", "/chunked"] {
        let mut stream = world.connect().await;
        let (rest, _) = stream.ask(get("GET", path).as_bytes()).await;
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains("abc") && !rest.ends_with("0\r\n\r\n"), "{path} {rest:?}");
    }
}

#[tokio::test]
async fn a_backend_that_leaves_during_an_upload_is_to_blame() {
    let origin = Origin::start(|asked| match &*asked.path {
        "/close" => vec![Step::Close],
        "/late" => vec![Step::Sleep(Duration::from_millis(300)), Step::Close],
        _ => vec![Step::Sleep(Duration::from_millis(300)), Step::Reset],
    })
    .await;
    let world = world(&origin, "").await;
    let body = "x".repeat(4 << 20);
    for path in ["/close", "/late", "/reset"] {
        let mut stream = world.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {}\r\n\r\n", 8 << 20);
        // Weir may have ended the connection before it has all of this.
        let _ = stream.send([&head, &*body].concat().as_bytes()).await;
        let got = next_answer(&mut stream, false).await.unwrap();
        assert_eq!(got.status, 502, "{path} {got:?}");
    }
    eventually_true(Duration::from_secs(10), "there are records", || world.weir.requests().len() == 3).await;
    for record in world.weir.requests() {
        record.ended("backend_reset", "backend");
    }
    assert_eq!(origin.seen().len(), 3, "each was sent once");
}

#[tokio::test]
async fn bytes_behind_an_answer_reach_no_client() {
    let mut long = answer("first");
    long.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let origin = Origin::start(move |_| vec![Step::Send(long.clone())]).await;
    let world = world(&origin, "").await;
    let mut stream = world.connect().await;
    for _ in 0..5 {
        let got = ask(&mut stream, &get("GET", "/")).await.unwrap();
        assert_eq!((got.status, &*got.text()), (200, "first"));
    }
    let connections: Vec<usize> = origin.seen().iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3, 4], "a connection with stray bytes is not used again");
}

#[tokio::test]
async fn uploads_arrive_unchanged_in_both_framings() {
    let origin = Origin::start(|_| answers("ok")).await;
    let world = world(&origin, "").await;
    let mut stream = world.connect().await;
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    );
    assert_eq!(ask(&mut stream, &chunked).await.unwrap().status, 200);
    let length =
        format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n");
    stream.send(length.as_bytes()).await.unwrap();
    let go_on = stream.exactly(b"HTTP/1.1 100 Continue\r\n\r\n".len()).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&go_on));
    stream.send(b"abcdefg").await.unwrap();
    assert_eq!(next_answer(&mut stream, false).await.unwrap().status, 200);
    let bodies: Vec<Vec<u8>> = origin.seen().into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies, [b"abcdefg", b"abcdefg"]);
}

#[tokio::test]
async fn a_whole_body_whose_stream_is_open_is_no_fault_of_its_client() {
    let origin = Origin::start(|_| vec![Step::Read, Step::Reset]).await;
    let world = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]).start().await;
    let mut stream = world.client().alpn(&["h2"]).connect(world.edge, NAME).await.unwrap();
    let head = block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", b"/"),
        (b":authority", NAME.as_bytes()),
        (b"content-length", b"3"),
    ]);
    let frames = [Frame::new(HEADERS, END_HEADERS, 1, &head).bytes(), Frame::new(DATA, 0, 1, b"abc").bytes()];
    stream.send(&[frames::preface(), frames.concat()].concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Answer(502));
    assert_eq!(origin.seen()[0].body, b"abc");
    eventually_true(Duration::from_secs(15), "its record blames the backend", || {
        world.weir.requests().iter().any(|record| record.outcome() == "backend_reset")
    })
    .await;
}

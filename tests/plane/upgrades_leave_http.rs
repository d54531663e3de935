//! A client and a backend may leave HTTP/1.1: what follows the answer with 101 is theirs alone, and is relayed as the
//! bytes of a tcp listener are. How such relays end is among the scenarios of all relays.

use std::time::Duration;
use tokio::net::TcpListener;
use weir_tests::digest::{Noise, sha256};
use weir_tests::eventually::eventually;
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::side_by_side::side_by_side;
use weir_tests::stream::{End, Stream};
use weir_tests::upgrade::{self, Version};
use weir_tests::world::{Mode, NAME, World, relayed};

/// Bytes that each side sends in one piece with the end of HTTP are the first of the new protocol.
#[tokio::test]
async fn what_comes_with_the_head_arrives() {
    let news = Noise::new(7).bytes(40_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[listener.local_addr().unwrap()])
        .plane()
        .await;
    let mut client = world.connect().await;
    let sent = [upgrade::request().as_bytes(), b"with the head"].concat();
    client.send(&sent).await.unwrap();
    let mut backend = Stream::Plain(listener.accept().await.unwrap().0);
    let head = upgrade::head(&mut backend).await.unwrap().unwrap();
    assert!(head.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{head}");
    // The bytes of the new protocol wait for its beginning.
    let early = tokio::time::timeout(Duration::from_millis(200), backend.exactly(1)).await;
    assert!(early.is_err(), "{early:?}");
    backend.send(&[upgrade::granted(&head).as_bytes(), &news].concat()).await.unwrap();
    let head = upgrade::head(&mut client).await.unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(sha256(&client.exactly(news.len()).await.unwrap()), sha256(&news));
    assert_eq!(backend.exactly(13).await.unwrap(), b"with the head");
    client.send(b"more").await.unwrap();
    assert_eq!(backend.exactly(4).await.unwrap(), b"more");
    backend.finish().await;
    assert_eq!(client.rest().await, (Vec::new(), End::Clean));
    client.finish().await;
    assert_eq!(backend.rest().await, (Vec::new(), End::Clean));
    world.weir.only_record().await.ended("ok", "backend");
    let request = only_request(&world.weir).await;
    request.ended("ok", "backend");
    assert_eq!(request.number("status"), 101);
    assert_eq!((request.up(), request.down()), (17, news.len() as u64));
    let metrics = world.weir.settle().await;
    let labels = [("listener", "edge"), ("direction", "down")];
    assert_eq!(metrics.count("weir_bytes_total", &labels), news.len() as u64);
}

async fn only_request(weir: &Plane) -> weir_tests::weir::Record {
    eventually(Duration::from_secs(5), "a record of the request", async || match weir.requests().len() {
        1 => Ok(()),
        some => Err(some.to_string()),
    })
    .await;
    weir.requests().remove(0)
}

/// The timeouts of requests end with HTTP; the connection may be quiet for as long as `idle` says.
#[tokio::test]
async fn deadlines_of_requests_do_not_count_any_more() {
    let short = "http: {timeouts: {headers: 1s, body: 1s, response: 1s, request: 1s, keep_alive: 1s}}";
    let world = World::of(Mode::Offload).upgraded(Version::One, Version::One).listener(short).plane().await;
    let mut stream = world.connect().await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        stream.send(b"still here").await.unwrap();
        assert_eq!(stream.exactly(10).await.unwrap(), b"still here");
    }
    stream.finish().await;
    assert_eq!(stream.rest().await.1, End::Clean);
    world.weir.only_record().await.ended("ok", "client");
    // The hour of a chat is no hour-long request.
    let metrics = world.weir.settle().await;
    let labels = [("listener", "edge"), ("pool", "main")];
    assert!(metrics.sum("weir_http_request_duration_seconds_sum", &labels) < 1.0);
}

/// A drained backend ends such a connection as one of tcp: at the end of its time.
#[tokio::test]
async fn the_drain_of_their_backend_ends_them() {
    side_by_side(relayed().into_iter().filter(|world| world.upgraded.is_some()), async |world| {
        let what = world.name();
        let world = world.pool("drain_timeout: 2s").plane().await;
        let mut stream = world.connect().await;
        stream.send(b"before").await.unwrap();
        stream.exactly(6).await.unwrap();
        let file = world.weir.folder().join("weir.yaml");
        let old = std::fs::read_to_string(&file).unwrap();
        let other = Backend::plain(Role::Echo).await;
        let new = old.replace(&world.backend.addr.to_string(), &other.addr.to_string());
        assert_ne!(old, new);
        std::fs::write(&file, new).unwrap();
        world.weir.reload().await;
        stream.send(b"after").await.unwrap();
        assert_eq!(stream.exactly(5).await.unwrap(), b"after", "{what}");
        let (rest, end) = tokio::time::timeout(Duration::from_secs(5), stream.rest()).await.unwrap();
        assert_eq!((rest, end), (Vec::new(), End::Clean), "{what}");
        world.record().await.ended("drained", "weir");
        only_request(&world.weir).await.ended("drained", "weir");
    })
    .await;
}

/// An offer of another protocol that nobody takes changes nothing, not even the end of the connection.
#[tokio::test]
async fn an_offer_may_be_ignored() {
    let world = World::of(Mode::Offload).listener("protocol: http").role(Role::Http("hello")).plane().await;
    for offer in ["h2c", "bytes"] {
        let mut stream = world.client().connect(world.edge, NAME).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {offer}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        );
        stream.send(request.as_bytes()).await.unwrap();
        let head = upgrade::head(&mut stream).await.unwrap().unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(stream.exactly(5).await.unwrap(), b"hello");
        let last = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        stream.send(last.as_bytes()).await.unwrap();
        let (rest, end) = stream.rest().await;
        assert!(rest.ends_with(b"hello"), "{offer}");
        assert_eq!(end, End::Clean, "{offer}");
    }
    let offers = world.backend.visits();
    let text = |n: usize| String::from_utf8_lossy(&offers[n].head).to_ascii_lowercase();
    // h2c would carry requests past all rules.
    assert!(!text(0).contains("upgrade") && text(2).contains("\r\nupgrade: bytes\r\n"));
}

/// A backend must not change the protocol of a request that did not ask for it.
#[tokio::test]
async fn nobody_is_upgraded_unasked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[listener.local_addr().unwrap()])
        .plane()
        .await;
    let mut client = world.client().connect(world.edge, NAME).await.unwrap();
    let request = upgrade::request().replace("Connection: Upgrade", "Connection: close");
    client.send(request.as_bytes()).await.unwrap();
    let mut backend = Stream::Plain(listener.accept().await.unwrap().0);
    let head = upgrade::head(&mut backend).await.unwrap().unwrap();
    assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
    backend.send(upgrade::granted(&head).as_bytes()).await.unwrap();
    let (got, end) = client.rest().await;
    assert!(got.starts_with(b"HTTP/1.1 502 "), "{}", String::from_utf8_lossy(&got));
    assert_eq!(end, End::Clean);
    assert_ne!(backend.rest().await.1, End::Other(std::io::ErrorKind::TimedOut));
    only_request(&world.weir).await.ended("bad_response", "backend");
}

/// A backend of HTTP/2 that takes no extended CONNECT (RFC 8441 §3) is not sent one.
#[tokio::test]
async fn backends_are_asked_in_words_that_they_know() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .pool("http: {version: \"2\"}")
        .backends(&[listener.local_addr().unwrap()])
        .plane()
        .await;
    let (asked, mut methods) = tokio::sync::mpsc::unbounded_channel();
    let backend = tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            asked.send((request.method().clone(), request.headers().contains_key("upgrade"))).unwrap();
            respond.send_response(http::Response::new(()), true).unwrap();
        }
    });
    // An upgrade of HTTP/1.1 may be ignored, and is.
    let mut client = world.client().alpn(&["http/1.1"]).connect(world.edge, NAME).await.unwrap();
    client.send(upgrade::request().as_bytes()).await.unwrap();
    let head = upgrade::head(&mut client).await.unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(methods.recv().await.unwrap(), (http::Method::GET, false));
    drop(client);
    // A CONNECT may not: its client would take 200 for a tunnel.
    let client = world.client().alpn(&["h2"]).connect(world.edge, NAME).await.unwrap();
    let (sender, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::CONNECT;
    *request.uri_mut() = format!("https://{NAME}/leave").parse().unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from("websocket"));
    let (answer, _to) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 502);
    assert!(methods.try_recv().is_err(), "the backend got a request");
    connection.abort();
    eventually(Duration::from_secs(5), "the record says why", async || {
        let reasons: Vec<_> =
            world.weir.requests().iter().map(|record| record.field("reason").clone()).collect();
        if reasons.iter().any(|reason| reason == "no_extended_connect") {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
    backend.abort();
}

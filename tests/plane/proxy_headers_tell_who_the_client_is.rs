//! PROXY headers, in and out: the client's address arrives in every mode, and only trusted proxies may send one.

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader, SslInfo, Tlv};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_core::proxy_protocol::read::{Progress, parse};
use weir_tests::client::{end_of, tcp};
use weir_tests::hello;
use weir_tests::origin::{Origin, answers, ask};
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Builder, MODES, Mode, NAME, World};

const CLIENT: &str = "203.0.113.7:4711";
const REACHED: &str = "198.51.100.9:443";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v1(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination) = (address(source), address(destination));
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let [from, to] = [source.ip(), destination.ip()];
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn v2(source: &str, destination: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = ProxyHeader::with_address(ProxiedAddress::stream(address(source), address(destination)));
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

/// A world in which clients on loopback are proxies.
fn behind(mode: Mode, proxy_protocol: &str) -> Builder {
    World::of(mode)
        .listener(&format!("proxy_protocol: {proxy_protocol}"))
        .listener("trusted_proxies: [127.0.0.0/8]")
}

/// Sends this in pieces, each once the one before has been taken.
async fn in_pieces(socket: &mut TcpStream, bytes: &[u8], size: usize) {
    socket.set_nodelay(true).unwrap();
    for piece in bytes.chunks(size) {
        socket.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_clients_address_arrives_in_every_mode() {
    for mode in MODES {
        for (header, client, reached) in [
            (v1(CLIENT, REACHED), CLIENT, REACHED),
            (v2(CLIENT, REACHED), CLIENT, REACHED),
            (v2("[2001:db8::7]:4711", "[2001:db8::9]:443"), "[2001:db8::7]:4711", "[2001:db8::9]:443"),
            (v2("[::ffff:203.0.113.7]:4711", "[::ffff:198.51.100.9]:443"), CLIENT, REACHED),
        ] {
            for size in [1, 7, 1000] {
                let world = behind(mode, "required").plane().await;
                let mut socket = TcpStream::connect(world.edge).await.unwrap();
                in_pieces(&mut socket, &header, size).await;
                let mut stream = world.client().over(socket, NAME).await.unwrap();
                stream.send(b"hello").await.unwrap();
                assert_eq!(stream.exactly(5).await.unwrap(), b"hello", "{mode:?} {client} {size}");
                drop(stream);
                let record = world.weir.only_record().await;
                assert_eq!(
                    (record.text("client"), record.text("local")),
                    (client, reached),
                    "{mode:?} {size}"
                );
            }
        }
    }
}

/// The hello may come in one piece with the header, and with `peek: false` anything may follow it.
#[tokio::test]
async fn what_follows_the_header_is_not_lost() {
    for header in [v1(CLIENT, REACHED), v2(CLIENT, REACHED)] {
        let world = World::of(Mode::Passthrough)
            .plain()
            .listener("proxy_protocol: required")
            .listener("trusted_proxies: [127.0.0.1]")
            .plane()
            .await;
        let mut stream = tcp(world.edge).await;
        stream.send(&[&header[..], b"first bytes"].concat()).await.unwrap();
        assert_eq!(stream.exactly(11).await.unwrap(), b"first bytes");
        stream.finish().await;
        assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
        assert_eq!(world.weir.only_record().await.text("client"), CLIENT);
    }
}

/// A proxy's own connections, such as its health checks.
#[tokio::test]
async fn a_proxy_may_speak_for_itself() {
    let mut local = Vec::new();
    ProxyHeader::with_local().encode_v2(&mut local).unwrap();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local] {
        let world = behind(Mode::Offload, "required").plane().await;
        let mut socket = TcpStream::connect(world.edge).await.unwrap();
        let own = socket.local_addr().unwrap();
        socket.write_all(&header).await.unwrap();
        drop(world.client().over(socket, NAME).await.unwrap());
        assert_eq!(world.weir.only_record().await.text("client"), own.to_string());
    }
}

/// A header with a checksum over other bytes.
fn with_a_wrong_checksum() -> Vec<u8> {
    let mut bytes = Vec::new();
    let addresses = ProxiedAddress::stream(address(CLIENT), address(REACHED));
    let header = ProxyHeader::with_tlvs(Some(addresses), [Tlv::Crc32c(1)]);
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn bad_headers_end_in_a_reset() {
    let mut oversized = v2(CLIENT, REACHED);
    oversized[14..16].copy_from_slice(&[0xff, 0xff]);
    for (bytes, reason) in [
        (hello::large(NAME), "proxy_missing"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "proxy_missing"),
        (b"PROXY TCP4 nonsense\r\n".to_vec(), "proxy_malformed"),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(), "proxy_too_long"),
        (oversized, "proxy_too_long"),
        (with_a_wrong_checksum(), "proxy_checksum"),
    ] {
        for proxy_protocol in ["required", "trusted"] {
            let world = behind(Mode::Passthrough, proxy_protocol).plane().await;
            assert_eq!(end_of(world.edge, &bytes).await, End::Reset, "{reason}");
            let record = world.weir.only_record().await;
            record.ended("proxy_header_bad", "client");
            assert_eq!(record.text("reason"), reason);
        }
    }
}

#[tokio::test]
async fn headers_that_do_not_come_are_not_waited_for() {
    let world = behind(Mode::Offload, "required").listener("timeouts: {client_hello: 1s}").plane().await;
    let mut silent = tcp(world.edge).await;
    let mut slow = tcp(world.edge).await;
    slow.send(&v2(CLIENT, REACHED)[..20]).await.unwrap();
    for stream in [&mut silent, &mut slow] {
        assert_eq!(stream.rest().await, (Vec::new(), End::Reset));
    }
    // One deadline for the header and the hello.
    let begun = std::time::Instant::now();
    let mut late = tcp(world.edge).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    late.send(&v2(CLIENT, REACHED)).await.unwrap();
    late.rest().await;
    assert!(begun.elapsed() < Duration::from_millis(1600), "{:?}", begun.elapsed());
    // A client that leaves in the middle of it.
    let mut gone = tcp(world.edge).await;
    gone.send(b"PROXY TC").await.unwrap();
    gone.finish().await;
    gone.rest().await;
    let mut outcomes: Vec<String> =
        world.weir.some_records(4).await.iter().map(|record| record.outcome().to_owned()).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["client_gone", "hello_timeout", "proxy_header_bad", "proxy_header_bad"]);
}

#[tokio::test]
async fn strangers_cannot_say_who_they_are() {
    for header in [v1(CLIENT, REACHED), v2(CLIENT, REACHED)] {
        let required = World::of(Mode::Passthrough)
            .listener("proxy_protocol: required")
            .listener("trusted_proxies: [192.0.2.0/24]")
            .plane()
            .await;
        assert_eq!(end_of(required.edge, &header).await, End::Reset);
        let record = required.weir.only_record().await;
        record.ended("proxy_header_bad", "client");
        assert_eq!(record.text("reason"), "proxy_untrusted");

        let trusted = World::of(Mode::Passthrough)
            .listener("proxy_protocol: trusted")
            .listener("trusted_proxies: [192.0.2.0/24]")
            .plane()
            .await;
        let mut stream = tcp(trusted.edge).await;
        stream.send(&header).await.unwrap();
        stream.rest().await;
        let mut direct = trusted.connect().await;
        direct.send(b"x").await.unwrap();
        direct.exactly(1).await.unwrap();
        drop(direct);
        let records = trusted.weir.some_records(2).await;
        let outcomes: Vec<&str> = records.iter().map(|record| record.outcome()).collect();
        assert!(outcomes.contains(&"not_tls") && outcomes.contains(&"ok"), "{outcomes:?}");
        assert!(records.iter().all(|record| record.text("client").starts_with("127.0.0.1:")));
    }
}

/// A backend that takes one connection, and gives the PROXY header and the first bytes behind it.
async fn taker(behind: usize) -> (SocketAddr, JoinHandle<(Vec<u8>, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let taken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = Vec::new();
        let length = loop {
            header.push(stream.read_u8().await.unwrap());
            if let Ok(Progress::Whole { length, .. }) = parse(&header) {
                break length;
            }
        };
        assert_eq!(length, header.len());
        let mut rest = vec![0; behind];
        stream.read_exact(&mut rest).await.unwrap();
        (header, rest)
    });
    (addr, taken)
}

fn parsed(bytes: &[u8]) -> ProxyHeader<'static> {
    let config = ParseConfig { include_tlvs: true, allow_v1: true, allow_v2: true };
    ProxyHeader::parse(bytes, config).unwrap().0.into_owned()
}

#[tokio::test]
async fn backends_learn_who_the_client_is() {
    for mode in [Mode::Passthrough, Mode::Offload] {
        for version in ["v1", "v2"] {
            let (backend, taken) = taker(5).await;
            let world = World::of(mode)
                .pool(&format!("send_proxy_protocol: {version}"))
                .backends(&[backend])
                .plane()
                .await;
            let mut stream = tcp(world.edge).await;
            let own = stream.tcp().local_addr().unwrap();
            let first = if mode == Mode::Passthrough {
                stream.send(&hello::large(NAME)).await.unwrap();
                hello::large(NAME)[..5].to_vec()
            } else {
                let Stream::Plain(socket) = stream else { unreachable!() };
                stream = world.client().alpn(&["x"]).over(socket, NAME).await.unwrap();
                stream.send(b"hello").await.unwrap();
                b"hello".to_vec()
            };
            let (header, rest) = taken.await.unwrap();
            assert_eq!(rest, first, "{mode:?} {version}");
            let header = parsed(&header);
            let addresses = header.proxied_address().unwrap();
            assert_eq!((addresses.source, addresses.destination), (own, world.edge), "{mode:?} {version}");
            drop(stream);
            let record = world.weir.only_record().await;
            if version == "v2" {
                assert_eq!(header.authority(), Some(NAME));
                assert_eq!(header.unique_id(), Some(record.text("id").as_bytes()));
                assert!(header.crc32c().is_some());
                assert_eq!(header.ssl().is_some(), mode == Mode::Offload);
                assert_eq!(header.alpn(), None, "none was agreed on");
                let version = header.ssl().and_then(|ssl: SslInfo<'_>| ssl.version().map(str::to_owned));
                assert_eq!(version.as_deref(), (mode == Mode::Offload).then_some("TLSv1.3"));
            }
        }
    }
}

/// What a proxy in front says goes on to the backend, also over TLS to it, where the header comes first.
#[tokio::test]
async fn the_clients_address_passes_through() {
    for (inwards, outwards) in [(v1(CLIENT, REACHED), "v2"), (v2(CLIENT, REACHED), "v1")] {
        for mode in MODES {
            let (backend, taken) = taker(3).await;
            let world = behind(mode, "trusted")
                .pool(&format!("send_proxy_protocol: {outwards}"))
                .backends(&[backend])
                .plane()
                .await;
            let mut socket = TcpStream::connect(world.edge).await.unwrap();
            socket.write_all(&inwards).await.unwrap();
            let client = world.client();
            let connecting = tokio::spawn(async move {
                let mut stream = client.over(socket, NAME).await?;
                stream.send(b"abc").await?;
                std::io::Result::Ok(stream)
            });
            let (header, rest) = taken.await.unwrap();
            let header = parsed(&header);
            let addresses = header.proxied_address().unwrap();
            assert_eq!(
                (addresses.source, addresses.destination),
                (address(CLIENT), address(REACHED)),
                "{mode:?}"
            );
            let expected = if mode == Mode::Offload { b"abc" } else { &[22, 3, 1] };
            assert_eq!(rest, expected, "{mode:?}");
            connecting.abort();
        }
    }
}

/// A connection to the backend that begins with a client's address carries the requests of that client alone.
#[tokio::test]
async fn requests_of_two_clients_share_no_connection() {
    let (origin, relay) =
        (Origin::start(|_| answers("ok")).await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (addr, target) = (relay.local_addr().unwrap(), origin.addr);
    let headers = std::sync::Arc::<std::sync::Mutex<Vec<SocketAddr>>>::default();
    let seen = std::sync::Arc::clone(&headers);
    let relaying = tokio::spawn(async move {
        loop {
            let (mut from, _) = relay.accept().await.unwrap();
            let seen = std::sync::Arc::clone(&seen);
            tokio::spawn(async move {
                let mut header = Vec::new();
                while !matches!(parse(&header), Ok(Progress::Whole { .. })) {
                    header.push(from.read_u8().await.unwrap());
                }
                seen.lock().unwrap().push(parsed(&header).proxied_address().unwrap().source);
                let mut to = TcpStream::connect(target).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .pool("send_proxy_protocol: v2")
        .backends(&[addr])
        .plane()
        .await;
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let mut clients = [world.connect().await, world.connect().await];
    let own: Vec<SocketAddr> = clients.iter().map(|client| client.tcp().local_addr().unwrap()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(ask(client, &request).await.unwrap().status, 200);
        }
    }
    assert_eq!(*headers.lock().unwrap(), own, "one connection each");
    assert_eq!(origin.open(), 2);
    drop(clients);
    weir_tests::eventually::eventually_true(Duration::from_secs(5), "they end with their clients", || {
        origin.open() == 0
    })
    .await;
    relaying.abort();
}

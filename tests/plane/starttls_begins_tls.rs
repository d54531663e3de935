//! `starttls`: plain words in front of TLS, with clients and with backends, in every mode.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use weir_tests::client::tcp;
use weir_tests::openssl::s_client;
use weir_tests::plane::Plane;
use weir_tests::stream::End;
use weir_tests::world::{Builder, MODES, Mode, NAME, World};

/// What one side says, and the end of what it then waits for.
type Script = &'static [(&'static [u8], &'static [u8])];

/// A protocol: its name, what a client says until TLS begins, and what a server says.
struct Protocol {
    name: &'static str,
    client: Script,
    greeting: &'static [u8],
    server: Script,
}

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const STARTED: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
const NAME_OF_START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const ALL: [Protocol; 4] = [
    Protocol {
        name: "smtp",
        client: &[
            (b"", b" ESMTP\r\n"),
            (b"EHLO client\r\n", b"250 STARTTLS\r\n"),
            (b"STARTTLS\r\n", b"TLS\r\n"),
        ],
        greeting: b"220-mx\r\n220 ready\r\n",
        server: &[(b"\r\n", b"250-mx\r\n250 STARTTLS\r\n"), (b"STARTTLS\r\n", b"220 go\r\n")],
    },
    Protocol {
        name: "imap",
        client: &[
            (b"", b"Ready\r\n"),
            (b"a LOGIN me secret\r\n", b"first\r\n"),
            (b"b STARTTLS\r\n", b"b OK Begin TLS negotiation now\r\n"),
        ],
        greeting: b"* OK ready\r\n",
        server: &[(b"STARTTLS\r\n", b"w1 OK go\r\n")],
    },
    Protocol {
        name: "postgres",
        client: &[(SSL_REQUEST, b"S")],
        greeting: b"",
        server: &[(SSL_REQUEST, b"S")],
    },
    Protocol {
        name: "ldap",
        client: &[(START_TLS, NAME_OF_START_TLS)],
        greeting: b"",
        server: &[(NAME_OF_START_TLS, STARTED)],
    },
];

/// Reads until what came ends with this.
async fn until(stream: &mut TcpStream, end: &[u8]) {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let byte = stream.read_u8().await;
        heard.push(
            byte.unwrap_or_else(|error| panic!("{error} after {:?}", heard.escape_ascii().to_string())),
        );
    }
}

async fn play(stream: &mut TcpStream, script: Script) {
    for (say, wait) in script {
        stream.write_all(say).await.unwrap();
        until(stream, wait).await;
    }
}

/// A server that says its words, and is then the server at another address.
struct Front {
    addr: SocketAddr,
    then: Arc<OnceLock<SocketAddr>>,
}

impl Front {
    async fn start(greeting: &'static [u8], script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, then) = (listener.local_addr().unwrap(), Arc::<OnceLock<SocketAddr>>::default());
        let behind = Arc::clone(&then);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let behind = *behind.get().unwrap();
                tokio::spawn(async move {
                    stream.write_all(greeting).await.unwrap();
                    for (wait, say) in script {
                        until(&mut stream, wait).await;
                        stream.write_all(say).await.unwrap();
                    }
                    let mut other = TcpStream::connect(behind).await.unwrap();
                    let _either_may_break = copy_bidirectional(&mut stream, &mut other).await;
                });
            }
        });
        Self { addr, then }
    }

    async fn behind(self, builder: Builder) -> World<Plane> {
        let world = builder.backends(&[self.addr]).plane().await;
        self.then.set(world.backend.addr).unwrap();
        world
    }
}

fn world(mode: Mode, protocol: &Protocol) -> Builder {
    World::of(mode).listener(&format!("starttls: {}", protocol.name))
}

#[tokio::test]
async fn after_plain_words_in_every_mode() {
    for protocol in &ALL {
        for mode in MODES {
            let server = if mode == Mode::Offload { &[] } else { protocol.server };
            let front = Front::start(protocol.greeting, server).await;
            let route = format!("routes: [{{match: {{sni: {NAME}}}, pool: main}}]");
            let world = front.behind(world(mode, protocol).listener(&route)).await;
            let mut socket = TcpStream::connect(world.edge).await.unwrap();
            play(&mut socket, protocol.client).await;
            let mut stream = world.client().over(socket, NAME).await.unwrap();
            stream.send(b"question").await.unwrap();
            assert_eq!(stream.exactly(8).await.unwrap(), b"question", "{} {mode:?}", protocol.name);
            stream.finish().await;
            assert_eq!(stream.rest().await, (Vec::new(), End::Clean), "{} {mode:?}", protocol.name);
            let record = world.weir.only_record().await;
            record.ended("ok", "client");
            assert_eq!((record.text("sni"), record.text("pool")), (NAME, "main"));
            world.weir.settle().await;
        }
    }
}

#[tokio::test]
async fn as_openssl_asks_for_it() {
    for protocol in &ALL {
        let front = Front::start(protocol.greeting, protocol.server).await;
        let world = front.behind(world(Mode::Passthrough, protocol)).await;
        world.identities.inner.write(world.weir.folder(), "ca");
        let ca = world.weir.folder().join("ca.pem").display().to_string();
        let arguments =
            ["-starttls", protocol.name, "-servername", NAME, "-CAfile", &ca, "-verify_return_error"];
        let said = s_client(world.edge, &arguments).await;
        assert!(said.stdout.contains("Verify return code: 0 (ok)"), "{}: {}", protocol.name, said.both());
        assert_eq!(world.weir.only_record().await.text("sni"), NAME);
    }
}

#[tokio::test]
async fn at_once_for_clients_of_postgres() {
    let [_, _, postgres, _] = &ALL;
    let front = Front::start(b"", postgres.server).await;
    let world = front.behind(world(Mode::Passthrough, postgres)).await;
    let mut stream = world.client().connect(world.edge, NAME).await.unwrap();
    stream.send(b"question").await.unwrap();
    assert_eq!(stream.exactly(8).await.unwrap(), b"question");
    drop(stream);
    // A client that would like Kerberos first.
    let mut socket = TcpStream::connect(world.edge).await.unwrap();
    socket.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]).await.unwrap();
    until(&mut socket, b"N").await;
    play(&mut socket, postgres.client).await;
    drop(world.client().over(socket, NAME).await.unwrap());
}

/// How a client ends that says this behind the words of `protocol` so far.
async fn ending(world: &World<Plane>, script: Script, last: &[u8]) -> (String, String) {
    let before = world.weir.records().len();
    let mut socket = TcpStream::connect(world.edge).await.unwrap();
    play(&mut socket, script).await;
    socket.write_all(last).await.unwrap();
    let mut rest = Vec::new();
    let _reset_or_end = socket.read_to_end(&mut rest).await;
    let record = world.weir.some_records(before + 1).await.remove(before);
    (record.outcome().to_owned(), record.text("reason").to_owned())
}

#[tokio::test]
async fn never_with_words_behind_the_request() {
    for protocol in &ALL {
        let world = world(Mode::Offload, protocol).plane().await;
        let (before, last) = protocol.client.split_at(protocol.client.len() - 1);
        let injected = [last[0].0, b"MAIL FROM:<mallory@example.com>\r\n"].concat();
        let end = ending(&world, before, &injected).await;
        assert_eq!(end, ("not_tls".to_owned(), "starttls_injected".to_owned()), "{}", protocol.name);
        let metrics = world.weir.metrics().await;
        assert_eq!(metrics.count("weir_client_hello_total", &[("outcome", "not_tls")]), 1);
        assert_eq!(metrics.sum("weir_backend_connections_total", &[]), 0.0, "no backend hears of it");
    }
}

#[tokio::test]
async fn only_for_clients_that_want_it() {
    let [smtp, imap, postgres, ldap] = &ALL;
    let startup = b"\0\0\0\x13\0\x03\0\0user\0me\0\0";
    let many = b"NOOP\r\n".repeat(40);
    let long = [b'x'; 5000];
    let unbind = b"\x30\x05\x02\x01\x06\x42\x00";
    for (protocol, said, outcome, reason) in [
        (smtp, &b"QUIT\r\n"[..], "client_gone", ""),
        (smtp, &many, "not_tls", "starttls_missing"),
        (smtp, &long, "not_tls", "starttls_too_long"),
        (smtp, b"EHLO x\nSTARTTLS\n", "not_tls", "starttls_malformed"),
        (imap, b"a LOGOUT\r\n", "client_gone", ""),
        (postgres, startup, "not_tls", "starttls_missing"),
        (postgres, b"GET / HTTP/1.1\r\n\r\n", "not_tls", "starttls_malformed"),
        (ldap, unbind, "client_gone", ""),
    ] {
        let world = world(Mode::Passthrough, protocol).plane().await;
        let greeted: Script = if protocol.greeting.is_empty() { &[] } else { &protocol.client[..1] };
        let end = ending(&world, greeted, said).await;
        assert_eq!(end, (outcome.to_owned(), reason.to_owned()), "{} {}", protocol.name, said.escape_ascii());
    }
    let world = world(Mode::Passthrough, smtp).listener("timeouts: {client_hello: 500ms}").plane().await;
    let mut silent = tcp(world.edge).await;
    tokio::time::timeout(Duration::from_secs(5), silent.rest()).await.unwrap();
    world.weir.only_record().await.ended("hello_timeout", "client");
}

#[tokio::test]
async fn only_with_backends_that_grant_it() {
    let [smtp, _, postgres, _] = &ALL;
    let refuses: Script = &[(SSL_REQUEST, b"N")];
    let injects: Script = &[(SSL_REQUEST, b"SE")];
    let has_none: Script = &[(b"\r\n", b"250 mx\r\n")];
    for (protocol, greeting, script, reason) in [
        (postgres, &b""[..], refuses, "starttls_declined"),
        (postgres, b"", injects, "starttls_injected"),
        (smtp, b"220 mx\r\n", has_none, "starttls_declined"),
        (smtp, b"SSH-2.0-x\r\n", has_none, "starttls_malformed"),
    ] {
        for mode in [Mode::Passthrough, Mode::Bridging] {
            let front = Front::start(greeting, script).await;
            let world = front.behind(world(mode, protocol).pool("retries: 0")).await;
            let mut socket = TcpStream::connect(world.edge).await.unwrap();
            play(&mut socket, protocol.client).await;
            if let Ok(mut stream) = world.client().over(socket, NAME).await {
                stream.rest().await;
            }
            let record = world.weir.only_record().await;
            record.ended("tls_backend_failed", "backend");
            assert_eq!(record.text("reason"), reason, "{} {mode:?}", protocol.name);
        }
    }
}

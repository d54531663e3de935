//! weir's stream against tokio-rustls: both give the same bytes and the same ends, whatever the sockets do.

use super::*;
use crate::failure::HandshakeError;
use crate::fixtures::{Pki, plain_server, tls_error};
use proptest::prelude::*;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::{ProducesTickets, UnbufferedServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, ServerConfig, SupportedProtocolVersion};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "www.example.com";

/// A stream that reads and writes less than it could, and is sometimes not ready.
struct Choppy {
    io: DuplexStream,
    random: fastrand::Rng,
}

impl Choppy {
    fn chop(&mut self, cx: &Context<'_>, most: usize) -> Option<usize> {
        if self.random.u8(..) < 64 {
            cx.waker().wake_by_ref();
            return None;
        }
        let most = most.max(1);
        Some(if self.random.bool() { most } else { self.random.usize(1..=most) })
    }
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(most) = self.chop(cx, buf.remaining()) else { return Poll::Pending };
        let mut bytes = vec![0; most.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(most) = self.chop(cx, buf.len()) else { return Poll::Pending };
        Pin::new(&mut self.io).poll_write(cx, &buf[..most.min(buf.len())])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Transport for Choppy {}

/// Configurations of both ends for one version.
#[derive(Clone)]
struct World {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The error of the library alone.
fn io_error<IO>((error, io): (HandshakeError, IO)) -> (io::Error, IO) {
    (error.source, io)
}

impl World {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let pki = Pki::new();
        let server = plain_server(&pki.issue("a", &[NAME]), 1);
        Self { server: Arc::new(server), client: Arc::new(pki.client(&[version])) }
    }

    async fn accept<IO: Transport>(&self, io: IO) -> Result<Buffered<AsServer, IO>, (io::Error, IO)> {
        let scratch = Scratch::default();
        let side = AsServer(UnbufferedServerConnection::new(Arc::clone(&self.server)).expect("a server"));
        Ok(Buffered::new(handshake(side, io, Vec::new(), &scratch).await.map_err(io_error)?))
    }

    async fn connect<IO: Transport>(&self, io: IO) -> Result<Buffered<AsClient, IO>, (io::Error, IO)> {
        let scratch = Scratch::default();
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.client), name()).expect("a client");
        Ok(Buffered::new(handshake(AsClient(connection), io, Vec::new(), &scratch).await.map_err(io_error)?))
    }

    async fn their_accept<IO: Transport>(&self, io: IO) -> tokio_rustls::server::TlsStream<IO> {
        TlsAcceptor::from(Arc::clone(&self.server)).accept(io).await.expect("their server")
    }

    async fn their_connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> tokio_rustls::client::TlsStream<IO> {
        TlsConnector::from(Arc::clone(&self.client)).connect(name(), io).await.expect("their client")
    }
}

/// The two ends of a connection: our server, their client.
async fn ours_and_theirs(
    world: &World,
) -> (Buffered<AsServer, DuplexStream>, tokio_rustls::client::TlsStream<DuplexStream>) {
    let (near, far) = duplex(1 << 20);
    let (ours, theirs) = tokio::join!(world.accept(near), world.their_connect(far));
    (ours.map_err(error_of).expect("our side"), theirs)
}

fn error_of<IO>((error, _): (io::Error, IO)) -> io::Error {
    error
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}

#[tokio::test]
async fn unsent_bytes_are_counted_until_they_are_sent() {
    let (ours, mut theirs) = ours_and_theirs(&World::new(&TLS13)).await;
    let (mut ours, scratch, plain) = (ours.into_inner(), Scratch::default(), vec![7; AT_ONCE]);
    let mut pieces = Vec::new();
    poll_fn(|cx| {
        while let Poll::Ready(taken) = ours.poll_write(cx, &plain, false, &scratch) {
            pieces.push(taken.expect("a piece"));
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(*pieces.last().unwrap(), AT_ONCE, "the largest piece, while everything is sent");
    assert!(ours.counted.is_some());
    let mut left = vec![0; pieces.iter().sum()];
    let (flushed, read) = tokio::join!(poll_fn(|cx| ours.poll_flush(cx)), theirs.read_exact(&mut left));
    flushed.and(read.map(drop)).expect("all of it");
    assert!(ours.counted.is_none());
    // If other streams keep a lot, pieces are small.
    let _much = scratch.ledger.enter(1 << 30);
    let taken = poll_fn(|cx| ours.poll_write(cx, &plain, false, &scratch)).await.expect("a piece");
    assert_eq!(taken, ONE_RECORD);
}

/// Sends `size` bytes in pieces, ends, and returns all that the other side sent.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, size: usize, seed: u64) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let said = bytes(size, seed);
    let say = async {
        let (mut rest, mut random) = (&said[..], fastrand::Rng::with_seed(seed));
        while !rest.is_empty() {
            let piece = random.usize(1..=rest.len().min(100_000));
            writer.write_all(&rest[..piece]).await.expect("it writes");
            if random.bool() {
                writer.flush().await.expect("it flushes");
            }
            rest = &rest[piece..];
        }
        writer.shutdown().await.expect("it ends");
    };
    let hear = async {
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.expect("it reads");
        heard
    };
    tokio::join!(say, hear).1
}

fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

#[derive(Clone, Copy, Debug)]
enum Pairing {
    OurServer,
    OurClient,
    Both,
}

fn run(pairing: Pairing, world: &World, sizes: (usize, usize), room: usize, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (near, far) = duplex(room);
    let choppy = |io, seed| Choppy { io, random: fastrand::Rng::with_seed(seed) };
    let (near, far) = (choppy(near, seed), choppy(far, seed + 1));
    let (down, up) = sizes;
    let (at_server, at_client) = runtime.block_on(async {
        match pairing {
            Pairing::OurServer => tokio::join!(
                async {
                    converse(world.accept(near).await.map_err(error_of).expect("a handshake"), down, seed)
                        .await
                },
                async { converse(world.their_connect(far).await, up, seed + 1).await },
            ),
            Pairing::OurClient => {
                tokio::join!(async { converse(world.their_accept(near).await, down, seed).await }, async {
                    converse(world.connect(far).await.map_err(error_of).expect("a handshake"), up, seed + 1)
                        .await
                },)
            }
            Pairing::Both => tokio::join!(
                async {
                    converse(world.accept(near).await.map_err(error_of).expect("a handshake"), down, seed)
                        .await
                },
                async {
                    converse(world.connect(far).await.map_err(error_of).expect("a handshake"), up, seed + 1)
                        .await
                },
            ),
        }
    });
    assert!(at_client == bytes(down, seed), "down: {} of {down} bytes", at_client.len());
    assert!(at_server == bytes(up, seed + 1), "up: {} of {up} bytes", at_server.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_byte_arrives_in_order(
        pairing in prop_oneof![Just(Pairing::OurServer), Just(Pairing::OurClient), Just(Pairing::Both)],
        modern: bool,
        down in 0usize..300_000,
        up in 0usize..300_000,
        room in prop_oneof![Just(1usize), 16..70usize, 1_000..200_000usize],
        seed: u64,
    ) {
        thread_local! {
            static WORLDS: [World; 2] = [World::new(&TLS12), World::new(&TLS13)];
        }
        let world = WORLDS.with(|worlds| worlds[usize::from(modern)].clone());
        // One byte at a time is slow: send little more than the handshake.
        let (down, up) = if room == 1 { (down % 3_000, up % 3_000) } else { (down, up) };
        run(pairing, &world, (down, up), room, seed % (u64::MAX - 1));
    }
}

#[tokio::test]
async fn a_direction_ends_by_itself() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let (mut ours, mut theirs) = ours_and_theirs(&world).await;
        theirs.write_all(b"question").await.expect("it writes");
        theirs.shutdown().await.expect("it ends");
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.expect("a clean end");
        assert_eq!(heard, b"question");
        ours.write_all(b"answer").await.expect("it writes after the end of the other direction");
        ours.shutdown().await.expect("it ends");
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.expect("a clean end");
        assert_eq!(heard, b"answer");
    }
}

#[tokio::test]
async fn an_end_without_close_notify_is_told() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let (mut ours, mut theirs) = ours_and_theirs(&world).await;
        theirs.write_all(b"half an ans").await.expect("it writes");
        theirs.flush().await.expect("it flushes");
        drop(theirs);
        let mut heard = Vec::new();
        let error = ours.read_to_end(&mut heard).await.expect_err("truncated");
        assert_eq!((heard.as_slice(), error.kind()), (&b"half an ans"[..], io::ErrorKind::UnexpectedEof));
        let again = ours.read_u8().await.expect_err("still truncated");
        assert_eq!(again.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn a_changed_byte_is_an_error_and_an_alert() {
    let world = World::new(&TLS13);
    let (near, middle) = duplex(1 << 20);
    let (far, other) = duplex(1 << 20);
    let mut relay = tokio::task::JoinSet::new();
    relay.spawn(between(middle, other));
    let (ours, mut theirs) = tokio::join!(world.accept(near), world.their_connect(far));
    let mut ours = ours.map_err(error_of).expect("our side");
    theirs.write_all(b"CHANGE ME").await.expect("it writes");
    let error = ours.read_u8().await.expect_err("bad record");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(ours.write(b"x").await.expect_err("broken").kind(), io::ErrorKind::InvalidData);
    ours.shutdown().await.expect("the alert, then a FIN");
    let told = tls_error(&theirs.read_u8().await.expect_err("an alert"));
    assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
}

/// Relays two ends, and changes the last byte of each piece that goes to the server after the handshake.
async fn between(mut near: DuplexStream, mut far: DuplexStream) {
    let (mut up, mut down, mut pieces) = (vec![0; 65_536], vec![0; 65_536], 0);
    loop {
        tokio::select! {
            n = near.read(&mut down) => far.write_all(&down[..n.expect("it reads")]).await.expect("it writes"),
            n = far.read(&mut up) => {
                let n = n.expect("it reads");
                // The first pieces are the hello and Finished; the later ones are changed.
                pieces += 1;
                if pieces > 2 {
                    up[n - 1] ^= 1;
                }
                near.write_all(&up[..n]).await.expect("it writes");
            }
        }
    }
}

/// A TLS 1.2 server has finished by then; a TLS 1.3 server that has sent a ticket or a byte has accepted the client.
#[tokio::test]
async fn an_alert_in_mid_session_refuses_no_handshake() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let (near, its_end) = duplex(1 << 20);
        let (other_end, far) = duplex(1 << 20);
        let server = async {
            let mut theirs = world.their_accept(near).await;
            theirs.read_u8().await.expect_err("it was changed, and the alert goes");
            theirs
        };
        let talk = async {
            let mut ours = world.connect(far).await.map_err(error_of).expect("a handshake");
            // Finished is sent alone.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            ours.write_all(b"?").await.expect("it writes");
            ours.flush().await.expect("it writes");
            ours.read_u8().await.expect_err("an alert");
            let mut ours = ours.into_inner();
            assert_eq!(ours.alert_received(), Some(Alert::BadRecordMac), "{version:?}");
            assert_eq!(ours.refused_by(&Scratch::default()), None, "{version:?}");
        };
        let both = async { tokio::join!(server, talk) };
        tokio::select! {
            _ = both => {}
            () = between(its_end, other_end) => unreachable!("it goes on"),
        }
    }
}

/// All that other streams may keep, except 8 KiB.
fn nearly_all(kept: &KeptBytes) -> Vec<KeptGuard> {
    let mut entries = Vec::new();
    while !kept.is_full() {
        entries.push(kept.enter(1 << 10));
    }
    entries.truncate(entries.len() - 8);
    entries
}

#[tokio::test]
async fn bytes_kept_by_unfinished_handshakes_are_counted() {
    let world = World::new(&TLS13);
    let scratch = Scratch::default();
    let _others = nearly_all(&scratch.ledger);
    let (near, mut far) = duplex(1 << 20);
    // The beginning of a 15,000-byte hello.
    let part = [&[22, 3, 1, 0x3a, 0x98, 1, 0, 0x3a, 0x94, 3, 3][..], &[7; 10_000]].concat();
    far.write_all(&part).await.expect("it writes");
    let connection = UnbufferedServerConnection::new(Arc::clone(&world.server)).expect("a server");
    let mut waiting = Box::pin(handshake(AsServer(connection), near, Vec::new(), &scratch));
    let polled = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
    assert!(polled, "a part is no hello");
    assert!(scratch.ledger.is_full());
    drop(waiting);
    assert!(!scratch.ledger.is_full());
}

#[tokio::test]
async fn departed_peers_are_reported_while_much_is_unsent() {
    let world = World::new(&TLS13);
    let (mut ours, theirs) = ours_and_theirs(&world).await;
    ours.flush().await.expect("the ticket goes");
    ours.get_mut().unsent.resize(ANSWERS + 1, 0);
    drop(theirs);
    let told = tokio::time::timeout(Duration::from_secs(10), ours.read_u8()).await.expect("it does not wait");
    assert_eq!(told.expect_err("the peer is gone").kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_ticket_goes_with_the_first_bytes() {
    let world = World::new(&TLS13);
    let (mut ours, mut theirs) = ours_and_theirs(&world).await;
    assert!(ours.get_ref().may_wait && !ours.get_ref().unsent.is_empty(), "the ticket waits");
    ours.write_all(b"!").await.expect("it writes");
    assert!(ours.get_ref().unsent.is_empty() && ours.get_ref().unsent.capacity() == 0);
    assert_eq!(theirs.read_u8().await.expect("it reads"), b'!');
    let (near, far) = duplex(1 << 20);
    let (_ours, theirs) = tokio::join!(world.accept(near), world.their_connect(far));
    assert_eq!(theirs.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

/// A ticket of many records.
#[derive(Debug)]
struct LongTickets;

impl ProducesTickets for LongTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(vec![7; 60_000])
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn the_least_space_takes_records_after_a_message_of_many_records() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let pki = Pki::new();
    let mut server = plain_server(&pki.issue("a", &[NAME]), 2);
    server.ticketer = Arc::new(LongTickets);
    let world = World { server: Arc::new(server), client: Arc::new(pki.client(&[&TLS13])) };
    for seed in 0..40 {
        let (near, far) = duplex(1 << 20);
        let far = Choppy { io: far, random: fastrand::Rng::with_seed(seed) };
        let said = bytes(150_000, seed);
        let say = async {
            let mut theirs = world.their_accept(near).await;
            theirs.write_all(&said).await.expect("it writes");
            theirs.shutdown().await.expect("it ends");
            theirs
        };
        let hear = async {
            let mut ours = world.connect(far).await.map_err(error_of).expect("a handshake").into_inner();
            let (scratch, mut room, mut heard, mut most) =
                (Scratch::default(), vec![0; LEAST_ROOM], Vec::new(), 0);
            loop {
                let read = poll_fn(|cx| {
                    let read = ours.poll_read(cx, &mut room, &scratch);
                    most = most.max(ours.partial.len());
                    read
                });
                let n = read.await.expect("it reads");
                if n == 0 {
                    return (heard, most);
                }
                heard.extend_from_slice(&room[..n]);
            }
        };
        let (_theirs, (heard, most)) = runtime.block_on(async { tokio::join!(say, hear) });
        assert!(most > LONGEST_RECORD, "the message came in parts: {most}");
        assert!(heard == said, "{} of {} bytes, seed {seed}", heard.len(), said.len());
    }
}

#[tokio::test]
async fn keys_change_in_the_middle() {
    let world = World::new(&TLS13);
    let (mut ours, mut theirs) = ours_and_theirs(&world).await;
    for round in 0..3 {
        theirs.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        theirs.write_all(&[round]).await.expect("it writes");
        theirs.flush().await.expect("it flushes");
        assert_eq!(ours.read_u8().await.expect("it reads"), round);
        ours.write_all(&[round]).await.expect("it writes");
        assert_eq!(theirs.read_u8().await.expect("it reads"), round);
    }
}

#[tokio::test]
async fn idle_streams_hold_no_buffer() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let (mut ours, mut theirs) = ours_and_theirs(&world).await;
        let sent = bytes(200_000, 7);
        let mut heard = vec![0; sent.len()];
        let (written, read) = tokio::join!(theirs.write_all(&sent), ours.read_exact(&mut heard));
        written.and(read.map(drop)).expect("it goes through");
        ours.write_all(b"x").await.expect("it writes");
        let stream = ours.get_ref();
        let held = stream.early.capacity() + stream.partial.capacity() + stream.unsent.capacity();
        assert_eq!(held, 0);
    }
}

#[tokio::test]
async fn bytes_after_the_handshake_are_not_lost() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let (near, far) = duplex(1 << 20);
        let client = async {
            let mut theirs = world.their_connect(far).await;
            theirs.write_all(&bytes(50_000, 3)).await.expect("it writes");
            theirs.shutdown().await.expect("it ends");
            theirs
        };
        // Our end starts after everything has arrived.
        let (ours, theirs) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                world.accept(near).await
            },
            client
        );
        let mut ours = ours.map_err(error_of).expect("our side");
        let stream = ours.get_ref();
        assert!(
            stream.early.len() + stream.partial.len() <= ONE_RECORD,
            "what waits for a backend is bounded"
        );
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.expect("a clean end");
        assert!(heard == bytes(50_000, 3));
        drop(theirs);
    }
}

#[tokio::test]
async fn a_refused_handshake_says_why_and_gives_the_stream_back() {
    let (one, other) = (World::new(&TLS13), World::new(&TLS13));
    let mixed = World { server: one.server, client: other.client };
    let (near, far) = duplex(1 << 20);
    let (ours, theirs) =
        tokio::join!(mixed.connect(far), TlsAcceptor::from(mixed.server.clone()).accept(near));
    let (error, _io) = ours.expect_err("refused");
    assert!(matches!(tls_error(&error), Error::InvalidCertificate(_)), "{error}");
    let told = tls_error(&theirs.expect_err("told so"));
    assert_eq!(told, Error::AlertReceived(AlertDescription::UnknownCA));

    let (mut near, far) = duplex(1 << 20);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it writes");
    let (error, _io) = one_side(&mixed, far).await;
    assert!(matches!(tls_error(&error), Error::InvalidMessage(_)), "{error}");
    let (near, far) = duplex(1 << 20);
    drop(near);
    let (error, _io) = one_side(&mixed, far).await;
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

async fn one_side(world: &World, io: DuplexStream) -> (io::Error, DuplexStream) {
    world.accept(io).await.expect_err("no handshake")
}

/// The provider, with suites whose keys may protect only a few records.
fn short_lived() -> Arc<rustls::crypto::CryptoProvider> {
    use rustls::SupportedCipherSuite::{Tls12, Tls13};
    use rustls::{CipherSuiteCommon, Tls12CipherSuite, Tls13CipherSuite};
    let few = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: FEW,
    };
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        *suite = match *suite {
            Tls12(suite) => Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: few(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            }))),
            Tls13(suite) => Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: few(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: None,
            }))),
        };
    }
    Arc::new(provider)
}

const FEW: u64 = 16;

/// A world in which both ends must make new keys, or end, after a few records.
fn short_lived_world(version: &'static SupportedProtocolVersion) -> World {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let pki = Pki::new();
    let files = pki.issue("a", &[NAME]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&pki.ca).expect("the authority")).expect("an anchor");
    let server = ServerConfig::builder_with_provider(short_lived())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.cert).expect("a certificate")],
            PrivateKeyDer::from_pem_file(&files.key).expect("a key"),
        )
        .expect("a pair");
    let client = ClientConfig::builder_with_provider(short_lived())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    World { server: Arc::new(server), client: Arc::new(client) }
}

#[tokio::test]
async fn tls13_makes_new_keys_in_both_directions() {
    let world = short_lived_world(&TLS13);
    let (mut ours, mut theirs) = ours_and_theirs(&world).await;
    for round in 0..FEW * 5 {
        let byte = u8::try_from(round).expect("few rounds");
        ours.write_all(&[byte]).await.expect("down");
        ours.flush().await.expect("down");
        assert_eq!(theirs.read_u8().await.expect("down"), byte);
        theirs.write_all(&[byte]).await.expect("up");
        theirs.flush().await.expect("up");
        assert_eq!(ours.read_u8().await.expect("up"), byte);
    }
    // Many records in one write, as in bulk transfers.
    let bulk = vec![7; 1 << 19];
    let (sent, mut got) = (async { ours.write_all(&bulk).await.and(ours.shutdown().await) }, Vec::new());
    let (sent, read) = tokio::join!(sent, theirs.read_to_end(&mut got));
    sent.expect("bulk");
    read.expect("bulk");
    assert!(got == bulk);
}

#[tokio::test]
async fn tls12_ends_when_its_keys_are_used_up() {
    let world = short_lived_world(&TLS12);
    let (mut ours, mut theirs) = ours_and_theirs(&world).await;
    let mut sent = 0;
    let error = loop {
        match ours.write_all(&[7]).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent <= FEW, "there is an end");
    };
    assert_eq!(error.kind(), KEYS_USED_UP);
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).await.expect("close_notify");
    assert_eq!(got.len() as u64, sent);
}

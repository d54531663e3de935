//! Real sockets with small buffers, and peers that read and write in pieces, half-close, truncate or reset
//! anywhere: the received bytes are the sent ones, and no truncated stream looks complete.
//!
//! Passthrough by copying and by pipes, TLS with the client, TLS with both.

use super::tls::Pki;
use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::net::Shutdown;
use std::os::fd::AsFd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::yield_now;
use weir_tls::{AsServer, Buffered};

/// How a peer ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// By a FIN, or close_notify and a FIN; it reads on.
    Cleanly,
    /// By a FIN alone, even if it speaks TLS; it reads on.
    CutShort,
    /// By a reset, after all its bytes have arrived.
    ByReset,
}

/// The bytes that a peer sends, and how it reads.
#[derive(Clone, Debug)]
struct Manner {
    chunks: Vec<usize>,
    /// Most bytes per read.
    sip: usize,
    /// It sleeps for a millisecond after this many chunks or reads.
    rest: usize,
    leaves: Leaves,
}

fn manner() -> impl Strategy<Value = Manner> {
    let chunk = prop_oneof![1 => 1usize..20, 1 => 1usize..3_000, 2 => 1usize..400_000];
    let sip = prop_oneof![2_000usize..5_000, 10_000usize..200_000];
    let leaves =
        prop_oneof![4 => Just(Leaves::Cleanly), 1 => Just(Leaves::CutShort), 2 => Just(Leaves::ByReset)];
    (prop::collection::vec(chunk, 0..10), sip, 8usize..100, leaves)
        .prop_map(|(chunks, sip, rest, leaves)| Manner { chunks, sip, rest, leaves })
}

/// The end that a peer received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Clean,
    CutShort,
    Reset,
    /// It went away itself.
    Left,
}

/// A peer's end of a connection, as bytes and as a socket.
trait Peer: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Peer for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Peer for super::tls::Client {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Peer for Buffered<AsServer, TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().get_ref()
    }
}

/// Sends its bytes and their end, and returns the bytes and the end that it received.
async fn talk(peer: impl Peer, manner: &Manner, says: &[u8]) -> (Vec<u8>, Heard) {
    // A duplicate of the socket, because its halves are not accessible while they are in use.
    let raw = std::net::TcpStream::from(peer.socket().as_fd().try_clone_to_owned().unwrap());
    let raw = TcpStream::from_std(raw).unwrap();
    let (reader, writer) = tokio::io::split(peer);
    let (left, over) = (Notify::new(), Cell::new(false));
    let say = async {
        let said = say(writer, &raw, manner, says, &over).await;
        if matches!(said, Ok(Leaves::ByReset)) {
            left.notify_one();
        }
        said
    };
    let hear = async {
        let mut heard = Vec::new();
        let end = tokio::select! {
            end = hear(reader, manner, &mut heard) => end,
            () = left.notified() => Heard::Left,
        };
        over.set(end == Heard::Reset);
        (heard, end)
    };
    let (said, (heard, end)) = tokio::join!(say, hear);
    // A reset that a write has met is no longer reported to a read.
    (heard, if said.is_err() { Heard::Reset } else { end })
}

async fn say<W: AsyncWrite + Unpin>(
    mut writer: W,
    raw: &TcpStream,
    manner: &Manner,
    says: &[u8],
    over: &Cell<bool>,
) -> io::Result<Leaves> {
    let mut rest = says;
    for (number, n) in manner.chunks.iter().enumerate() {
        let (chunk, behind) = rest.split_at(*n);
        writer.write_all(chunk).await?;
        rest = behind;
        breathe(number, manner.rest).await;
    }
    writer.flush().await?;
    match manner.leaves {
        Leaves::Cleanly => writer.shutdown().await?,
        Leaves::CutShort => SockRef::from(raw).shutdown(Shutdown::Write)?,
        Leaves::ByReset => {
            while unacknowledged(raw)? > 0 && !over.get() {
                sleep(Duration::from_millis(1)).await;
            }
            SockRef::from(raw).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(manner.leaves)
}

async fn hear<R: AsyncRead + Unpin>(mut reader: R, manner: &Manner, heard: &mut Vec<u8>) -> Heard {
    let mut sip = vec![0; manner.sip];
    for number in 0.. {
        match reader.read(&mut sip).await {
            Ok(0) => return Heard::Clean,
            Ok(n) => heard.extend_from_slice(&sip[..n]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Heard::CutShort,
            Err(_) => return Heard::Reset,
        }
        breathe(number, manner.rest).await;
    }
    Heard::Clean
}

/// Gives other tasks their turn, and now and then a whole millisecond.
async fn breathe(number: usize, rest: usize) {
    if number % rest == rest - 1 {
        sleep(Duration::from_millis(1)).await;
    } else {
        yield_now().await;
    }
}

/// One direction, as its two peers saw it.
struct Way<'a> {
    what: &'static str,
    says: &'a [u8],
    leaves: Leaves,
    rule: OnTruncation,
    heard: &'a [u8],
    /// Whether it is received through TLS.
    in_tls: bool,
    end: Heard,
    /// The receiver was cut off for something it did itself.
    at_fault: bool,
}

impl Way<'_> {
    /// Checks the invariants of a direction, whatever happened to the connection.
    fn check(&self) {
        let Self { what, says, leaves, heard, end, rule, .. } = self;
        assert!(
            says.starts_with(heard),
            "{what}: {} bytes that are not those of {}",
            heard.len(),
            says.len()
        );
        let is_whole = heard.len() == says.len();
        match end {
            Heard::Clean => {
                // A FIN alone is a clean end to a receiver without TLS.
                let fin = *rule == OnTruncation::Finish || (*rule == OnTruncation::PassOn && !self.in_tls);
                let let_pass = *leaves == Leaves::CutShort && fin;
                assert!(*leaves == Leaves::Cleanly || let_pass, "{what}: a clean end of {leaves:?}");
                assert!(is_whole, "{what}: a clean end after {} of {}", heard.len(), says.len());
            }
            Heard::CutShort if !self.at_fault => {
                assert_eq!((*leaves, *rule), (Leaves::CutShort, OnTruncation::PassOn), "{what}");
                assert!(is_whole, "{what}: an end after {} of {}", heard.len(), says.len());
            }
            Heard::CutShort | Heard::Reset | Heard::Left => {}
        }
    }

    /// Only its source's end has ended the connection, so all bytes that were passed on before it have
    /// arrived.
    fn came_before_the_end(&self, slow: bool) {
        let Self { what, says, heard, end, .. } = self;
        assert!(slow || heard.len() == says.len(), "{what}: {} of {}", heard.len(), says.len());
        assert_eq!(*end, Heard::Reset, "{what}");
    }
}

/// weir does not wait longer for a side that accepts nothing, and drops the rest.
const SLOW: Duration = Duration::from_millis(3_900);

/// Relays between both, and compares the result with the peers' actions.
async fn relayed<C: Wire, B: Wire>(
    (front, back): (C, B),
    (near, far): (impl Peer, impl Peer),
    (client, backend): (&Manner, &Manner),
    (rule, pipes): (OnTruncation, usize),
) {
    let mut rig = Rig::new(pipes);
    rig.rules.client_truncation = rule;
    let (says_up, says_down) =
        (payload(1, client.chunks.iter().sum()), payload(2, backend.chunks.iter().sum()));
    let started = Instant::now();
    let relaying = async {
        let ended = rig.run(front, back, b"").await;
        (ended, started.elapsed() > SLOW)
    };
    let ((ended, slow), (heard_down, client_end), (heard_up, backend_end)) = within(async {
        tokio::join!(relaying, talk(near, client, &says_up), talk(far, backend, &says_down))
    })
    .await;
    let leaves = |manner: &Manner, has_tls: bool| match manner.leaves {
        Leaves::CutShort if !has_tls => Leaves::Cleanly,
        leaves => leaves,
    };
    let (client_leaves, backend_leaves) = (leaves(client, C::BUFFERS), leaves(backend, B::BUFFERS));
    let cuts = client_leaves == Leaves::CutShort && rule == OnTruncation::Reset;
    let up = Way {
        what: "up",
        says: &says_up,
        leaves: client_leaves,
        rule,
        heard: &heard_up,
        in_tls: B::BUFFERS,
        end: backend_end,
        at_fault: false,
    };
    let down = Way {
        what: "down",
        says: &says_down,
        leaves: backend_leaves,
        rule: rig.rules.backend_truncation,
        heard: &heard_down,
        in_tls: C::BUFFERS,
        end: client_end,
        at_fault: cuts,
    };
    up.check();
    down.check();
    for (way, counted, in_tls) in [(&up, ended.up, B::BUFFERS), (&down, ended.down, C::BUFFERS)] {
        // A record knows only roughly how much payload is in a queue of dropped TLS records.
        let about = if in_tls { 17 * 1024 } else { 0 };
        assert!(counted + about >= way.heard.len() as u64, "{}: {ended:?}", way.what);
    }
    assert!(rig.worker.pipes.get() <= i64::try_from(pipes).unwrap(), "{} pipes", rig.worker.pipes.get());
    match (client_leaves, backend_leaves) {
        (Leaves::ByReset, Leaves::Cleanly) => {
            assert_broken(&ended, Side::Client);
            up.came_before_the_end(slow);
        }
        (Leaves::Cleanly, Leaves::ByReset) => {
            assert_broken(&ended, Side::Backend);
            down.came_before_the_end(slow);
        }
        (Leaves::CutShort, Leaves::Cleanly) if cuts => {
            assert!(matches!(ended.end, Err(ConnError::Truncated(Side::Client))), "{ended:?}");
            up.came_before_the_end(slow);
        }
        (Leaves::ByReset, _) | (_, Leaves::ByReset) => assert!(ended.end.is_err(), "{ended:?}"),
        _ if cuts => assert!(ended.end.is_err(), "{ended:?}"),
        // An unclean end is passed on unchanged, and both sides have received everything.
        (client, backend) => {
            assert_eq!((ended.up, ended.down), (says_up.len() as u64, says_down.len() as u64), "{ended:?}");
            assert!(heard_up == says_up && heard_down == says_down, "{ended:?}");
            let cut = client == Leaves::CutShort || backend == Leaves::CutShort;
            // A side that answers the other one's clean end with a FIN has left nothing out.
            let answers = client == Leaves::Cleanly || backend == Leaves::Cleanly;
            let truncated = matches!(ended.end, Err(ConnError::Truncated(_)));
            assert!(ended.end.is_ok() && (!cut || answers) || truncated && cut, "{ended:?}");
        }
    }
}

/// The sides that speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsWith {
    Neither,
    TheClient,
    Both,
}

/// The smallest buffer of the kernel. It then probes for space five times a second, so it accepts little at a
/// time.
const TINY: u32 = 2_048;
const LITTLE: usize = 700;

fn run(tls: TlsWith, room: u32, client: &Manner, backend: &Manner, rule: OnTruncation, pipes: usize) {
    thread_local! {
        static PKI: Pki = Pki::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    PKI.with(|pki| {
        runtime.block_on(async {
            let (near, front) = pair(room).await;
            let (back, far) = back_pair(room).await;
            let (manners, how) = ((client, backend), (rule, pipes));
            if tls == TlsWith::Neither {
                return relayed((front, back), (near, far), manners, how).await;
            }
            let (near, front) = Box::pin(pki.front(near, front, Vec::new())).await;
            if tls == TlsWith::TheClient {
                return relayed((front, back), (near, far), manners, how).await;
            }
            let (back, far) = Box::pin(pki.back(back, far)).await;
            relayed((front, back), (near, far), manners, how).await;
        });
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_conserved_between_rough_peers(
        tls in prop_oneof![2 => Just(TlsWith::Neither), 1 => Just(TlsWith::TheClient), 1 => Just(TlsWith::Both)],
        room in prop_oneof![1 => Just(0u32), 1 => Just(TINY), 3 => 20_000u32..200_000],
        client in manner(),
        backend in manner(),
        rule in prop_oneof![Just(OnTruncation::Reset), Just(OnTruncation::Finish), Just(OnTruncation::PassOn)],
        pipes in 0usize..3,
    ) {
        let (mut client, mut backend) = (client, backend);
        if room == TINY {
            client.chunks.iter_mut().chain(&mut backend.chunks).for_each(|n| *n = *n % LITTLE + 1);
        }
        run(tls, room, &client, &backend, rule, pipes);
    }
}

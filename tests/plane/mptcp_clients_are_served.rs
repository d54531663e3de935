//! With `tcp.mptcp` a client that offers Multipath TCP gets it, and every other client is served as before;
//! both kinds of connection end as TCP connections do.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use weir_tests::digest::{Noise, sha256};
use weir_tests::peers::Role;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{MODES, Mode, NAME, World};

const MPTCP: &str = "tcp: {mptcp: true}";

/// Whether this kernel speaks Multipath TCP. Where it does not, weir and its clients speak TCP.
fn kernel_has_mptcp() -> bool {
    std::fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1")
}

/// Connections that this machine's listening sockets took as Multipath TCP (`MPCapableSYNRX` of MPTCP's
/// counters).
fn taken() -> u64 {
    let counters = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("MPTcpExt: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let index = names.split(' ').position(|name| name == "MPCapableSYNRX").unwrap();
    values.split(' ').nth(index).unwrap().parse().unwrap()
}

/// A connection that offers Multipath TCP.
async fn connect(edge: SocketAddr) -> TcpStream {
    let protocol = if kernel_has_mptcp() { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol)).unwrap();
    tokio::task::spawn_blocking(move || {
        socket.connect(&edge.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpStream::from_std(socket.into()).unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn bytes_and_half_closes_arrive_in_each_mode() {
    let (question, answer) = (Noise::new(1).bytes(300_000), Noise::new(2).bytes(3_000_000));
    for mode in MODES {
        let before = taken();
        let world = World::of(mode).listener(MPTCP).role(Role::AnswerAtEnd(answer.clone())).plane().await;
        let mut stream = world.client().over(connect(world.edge).await, NAME).await.unwrap();
        stream.send(&question).await.unwrap();
        stream.finish().await;
        let (got, end) = stream.rest().await;
        assert_eq!((sha256(&got), end), (sha256(&answer), End::Clean), "{mode:?}");
        assert_eq!(world.backend.only_visit().await.sum.hex(), sha256(&question), "{mode:?}");
        assert_eq!(world.weir.only_record().await.outcome(), "ok", "{mode:?}");
        world.weir.settle().await;
        assert!(taken() > before || !kernel_has_mptcp(), "{mode:?}: the listener did not speak MPTCP");
    }
}

#[tokio::test]
async fn others_speak_tcp() {
    for mode in MODES {
        let world = World::of(mode).listener(MPTCP).role(Role::Echo).plane().await;
        let mut stream = world.connect().await;
        stream.send(b"hello").await.unwrap();
        assert_eq!(stream.exactly(5).await.unwrap(), b"hello", "{mode:?}");
        stream.finish().await;
        assert_eq!(stream.rest().await.1, End::Clean, "{mode:?}");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn resets_are_passed_on() {
    let world = World::of(Mode::Passthrough).plain().listener(MPTCP).role(Role::Echo).plane().await;
    let mut stream = Stream::Plain(connect(world.edge).await);
    stream.send(b"hello").await.unwrap();
    assert_eq!(stream.exactly(5).await.unwrap(), b"hello");
    stream.reset();
    let visit = world.backend.only_visit().await;
    assert_eq!(visit.end, Some(End::Reset));
    assert_eq!(world.weir.only_record().await.outcome(), "client_reset");
    world.weir.settle().await;
}

#[tokio::test]
async fn a_silent_client_is_watched_over_without_user_timeout() {
    // The options that watch over a connection are set after two seconds: MPTCP has no TCP_USER_TIMEOUT.
    let world = World::of(Mode::Passthrough).plain().listener(MPTCP).role(Role::Echo).plane().await;
    let mut stream = Stream::Plain(connect(world.edge).await);
    for _ in 0..3 {
        stream.send(b"hello").await.unwrap();
        assert_eq!(stream.exactly(5).await.unwrap(), b"hello");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    stream.finish().await;
    assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
    assert_eq!(world.weir.only_record().await.outcome(), "ok");
    world.weir.settle().await;
}

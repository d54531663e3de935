//! A short connection takes few system calls: their number is the same on a busy machine. The witness is
//! strace.

use weir_tests::peers::Role;
use weir_tests::traced::Traced;
use weir_tests::world::Mode;

/// The number of connections whose calls are counted.
const CONNECTIONS: usize = 50;
/// The calls that make up a connection. Calls that wait or wake are left out: how often they happen depends
/// on the machine.
const CALLS: &str = "accept4,socket,connect,setsockopt,getsockopt,getsockname,getpeername,recvfrom,sendto,\
                     sendmsg,writev,shutdown,close,epoll_ctl,ioctl,fcntl,pipe2,splice,ppoll";

/// The calls of one connection: a handshake, a question, an answer, the end.
async fn calls_of(mode: Mode) -> usize {
    let traced = Traced::start(mode, Role::Echo, CALLS).await;
    let visit = async || {
        let mut stream = traced.connect().await;
        stream.send(b"question").await.unwrap();
        assert_eq!(stream.exactly(8).await.unwrap(), b"question");
        stream.finish().await;
        stream.rest().await;
    };
    visit().await;
    traced.ended(1).await;
    let before = traced.counted();
    for _ in 0..CONNECTIONS {
        visit().await;
    }
    let after = traced.counted();
    traced.ended(CONNECTIONS + 1).await;
    (after - before) / CONNECTIONS
}

#[tokio::test]
async fn in_each_mode() {
    // A backend in the range of outgoing ports, as here, could be a connection to itself: checking that costs
    // a getsockname, and in a debug build an fcntl.
    for (mode, most) in [(Mode::Passthrough, 33), (Mode::Offload, 29), (Mode::Bridging, 33)] {
        let calls = calls_of(mode).await;
        assert!(calls <= most, "{mode:?}: {calls} calls a connection, at most {most}");
    }
}

//! A short connection takes few system calls: their number is a figure that no busy machine changes. The witness is
//! strace.

use std::time::Duration;
use weir_tests::eventually::eventually;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, PROFILE};

/// Connections of which the calls are counted.
const CONNECTIONS: usize = 50;
/// What a connection is made of. Not those that wait or wake: how often that happens depends on the machine.
const CALLS: &str = "trace=accept4,socket,connect,setsockopt,getsockopt,getsockname,getpeername,recvfrom,sendto,\
                     sendmsg,writev,shutdown,close,epoll_ctl,ioctl,fcntl,pipe2,splice";

/// Calls of one connection: a handshake, a question, an answer, the end.
async fn calls_of(mode: Mode) -> usize {
    let (identities, edge) = (Identities::default(), Port::free());
    let backend = match mode {
        Mode::Offload => Backend::plain(Role::Echo).await,
        _ => Backend::tls(Role::Echo, &identities.backend).await,
    };
    let (profile, tls) = match mode {
        Mode::Passthrough => ("", ""),
        _ => (PROFILE, "    tls: public\n"),
    };
    let pool_tls = if mode == Mode::Bridging { ", tls: {ca: inner-ca.pem}" } else { "" };
    let body = format!(
        "{profile}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n    \
         default_pool: main\n{tls}pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}{pool_tls}}}\n",
        edge.addr(),
        mode.name(),
        backend.addr
    );
    let notes = tempfile::tempdir().unwrap();
    let file = notes.path().join("strace");
    let path = file.display().to_string();
    let strace = ["strace", "-f", "-qq", "-e", CALLS, "-e", "signal=none", "-o", &path];
    let weir = Launch::new(identities.folder(), body).runtime("workers: 1").under(&strace).start().await;
    let counted = || {
        let text = std::fs::read_to_string(&file).unwrap();
        // A call that was interrupted by another thread's has two lines.
        text.lines().filter(|line| !line.contains("resumed>")).count()
    };
    let client = identities.client();
    let visit = async || {
        let mut stream = client.connect(edge.addr(), NAME).await.unwrap();
        stream.send(b"question").await.unwrap();
        assert_eq!(stream.exactly(8).await.unwrap(), b"question");
        stream.finish().await;
        stream.rest().await;
    };
    let ended = async |count: usize| {
        eventually(Duration::from_secs(20), "all have ended", async || {
            let metrics = weir.metrics().await;
            let closed = metrics.count("weir_connections_closed_total", &[]);
            if closed == count as u64 { Ok(()) } else { Err(closed.to_string()) }
        })
        .await;
    };
    visit().await;
    ended(1).await;
    let before = counted();
    for _ in 0..CONNECTIONS {
        visit().await;
    }
    let after = counted();
    ended(CONNECTIONS + 1).await;
    (after - before) / CONNECTIONS
}

#[tokio::test]
async fn in_each_mode() {
    for (mode, most) in [(Mode::Passthrough, 33), (Mode::Offload, 28), (Mode::Bridging, 33)] {
        let calls = calls_of(mode).await;
        assert!(calls <= most, "{mode:?}: {calls} calls a connection, at most {most}");
    }
}

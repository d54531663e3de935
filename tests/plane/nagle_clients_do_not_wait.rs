//! A client that leaves Nagle's algorithm on (RFC 9293 §3.7.4) sends its request when its last handshake
//! message has been acknowledged: weir must acknowledge at once when it has nothing else to send, and not
//! after the system's 40 ms.

use rustls::version::{TLS12, TLS13};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_tests::client::TlsClient;
use weir_tests::peers::{Backend, Role, acceptor};
use weir_tests::ports::Port;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, PROFILE};

/// Half of the shortest time for which Linux delays an acknowledgement (`TCP_DELACK_MIN`).
const SOON: Duration = Duration::from_millis(20);
/// The number of connections over which the median is taken.
const TRIES: usize = 15;

/// Sends a question in a write of its own, as soon as the handshake is done, and gives how long the answer
/// took.
async fn first_answer(client: &TlsClient, edge: &Port) -> Duration {
    let tcp = TcpStream::connect(edge.addr()).await.unwrap();
    assert!(!tcp.nodelay().unwrap(), "the client leaves Nagle's algorithm on");
    let mut stream = client.over(tcp, NAME).await.unwrap();
    let asked = Instant::now();
    stream.send(b"question").await.unwrap();
    assert_eq!(stream.exactly(8).await.unwrap(), b"question");
    let took = asked.elapsed();
    stream.finish().await;
    stream.rest().await;
    took
}

async fn median(client: &TlsClient, edge: &Port) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        times.push(first_answer(client, edge).await);
    }
    times.sort();
    times[TRIES / 2]
}

#[tokio::test]
async fn in_any_mode_and_version() {
    for mode in [Mode::Offload, Mode::Bridging] {
        for sessions in ["{tickets: true}", "{tickets: false}", "{tickets: false, cache: 0}"] {
            let (identities, edge) = (Identities::default(), Port::free());
            let (backend, pool_tls) = match mode {
                Mode::Bridging => {
                    (Backend::tls(Role::Echo, &identities.backend).await, ", tls: {ca: inner-ca.pem}")
                }
                _ => (Backend::plain(Role::Echo).await, ""),
            };
            let body = format!(
                "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n    default_pool: main\n    \
                 tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], sessions: {sessions}}}\n\
                 pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}{pool_tls}}}\n",
                edge.addr(),
                mode.name(),
                backend.addr
            );
            let weir = Launch::new(identities.folder(), body).level("info").plane().await;
            for (name, version) in [("1.2", &TLS12), ("1.3", &TLS13)] {
                let client = TlsClient::with_versions(&[&identities.public], &[version]);
                // The first connection's session is resumed by those that follow, where weir allows it.
                for (kind, client) in [("full", client.clone().forgetful()), ("resumed", client)] {
                    let took = median(&client, &edge).await;
                    assert!(took < SOON, "{mode:?}, {sessions}, TLS {name}, {kind}: {took:?}");
                }
            }
            weir.settle().await;
        }
    }
}

/// A TLS 1.3 backend that echoes, and leaves the algorithm on: its answer waits behind its tickets.
async fn echo_behind_tickets(identities: &Identities) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, acceptor) = (listener.local_addr().unwrap(), acceptor(&identities.backend, &[]));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut tls = acceptor.accept(tcp).await.unwrap();
            let mut bytes = [0; 8];
            tls.read_exact(&mut bytes).await.unwrap();
            tls.write_all(&bytes).await.unwrap();
            tls.shutdown().await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn clients_of_nagle_backends_do_not_wait_either() {
    let (identities, edge) = (Identities::default(), Port::free());
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, default_pool: main, tls: public}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}, tls: {{ca: inner-ca.pem}}}}\n",
        edge.addr(),
        echo_behind_tickets(&identities).await
    );
    let weir = Launch::new(identities.folder(), body).level("info").plane().await;
    let took = median(&identities.client(), &edge).await;
    assert!(took < SOON, "{took:?}");
    weir.settle().await;
}

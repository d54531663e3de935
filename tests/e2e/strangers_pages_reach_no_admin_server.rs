//! A stranger's page whose name resolves to loopback (DNS rebinding) gets nothing from the admin server;
//! probes and this machine's own tools do, under whatever name they use.

use std::fmt::Write;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::program::Program;
use weir_tests::world::{Mode, World};

/// Sends a request of these lines and gives the status of the answer, and its body.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, lines: &[&str]) -> (u16, String) {
    let mut head = String::new();
    for line in lines {
        write!(head, "{line}\r\n").unwrap();
    }
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn only_loopback_may_be_asked_for() {
    let world = World::of(Mode::Passthrough).start().await;
    let (admin, port) = (world.weir.admin(), world.weir.admin().port());
    let by_localhost = format!("Host: LOCALHOST.:{port}");
    let by_mapped = format!("Host: [::ffff:127.0.0.1]:{port}");
    let absolute = format!("GET http://evil.example:{port}/metrics HTTP/1.1");
    let at_localhost = format!("GET http://localhost:{port}/metrics HTTP/1.1");
    for (lines, want) in [
        (&["GET /metrics HTTP/1.1", &by_localhost][..], 200),
        (&["GET /api/v1/status HTTP/1.1", &by_mapped], 200),
        (&["GET /metrics HTTP/1.0"], 200),
        (&[&at_localhost, &by_localhost], 200),
        (&["GET /metrics HTTP/1.1", "Host: evil.example:9901"], 403),
        (&["HEAD /api/v1/status HTTP/1.1", "Host: evil.example"], 403),
        (&["GET /api/v1/config HTTP/1.1", "Host: a{b.example"], 403),
        (&["POST /api/v1/reload HTTP/1.1", "Host: a{b.example"], 403),
        (&["DELETE / HTTP/1.1", "Host: evil.example"], 403),
        (&["GET / HTTP/1.1"], 403),
        (&["GET / HTTP/1.1", &by_localhost, "Host: evil.example"], 403),
        (&[&absolute, &by_localhost], 403),
        // Probes send the name or address that they know.
        (&["GET /healthz HTTP/1.1", "Host: 10.42.0.7:9901"], 200),
        (&["GET /readyz HTTP/1.1", "Host: weir.default.svc:9901", "User-Agent: kube-probe/1.31"], 200),
        (&["HEAD /readyz?pools=ignore HTTP/1.1", "Host: a{b"], 200),
        (&["GET /healthz HTTP/1.1"], 200),
    ] {
        let (status, body) = exchange(TcpStream::connect(admin).await.unwrap(), lines).await;
        assert_eq!(status, want, "{lines:?}: {body}");
        assert!(want == 200 || !body.contains("weir_"), "{lines:?}: {body}");
        assert!(!body.contains("evil"), "the answer repeats a stranger's text: {body}");
    }
    world.weir.settle().await;
}

#[tokio::test]
async fn over_a_socket_any_name_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let edge = Port::free();
    let yaml = format!(
        "admin: {{address: \"unix:weir.sock\"}}\nlisteners:\n  - {{name: edge, address: \"{}\", mode: passthrough, \
         default_pool: main}}\npools:\n  - {{name: main, backends: [\"127.0.0.1:9\"]}}\n",
        edge.addr()
    );
    let (file, socket) = (folder.path().join("weir.yaml"), folder.path().join("weir.sock"));
    std::fs::write(&file, yaml).unwrap();
    let mut command = weir_tests::weir::command(&["run", "-c"]);
    command.arg(&file);
    let mut program = Program::start(command);
    let stream = eventually(Duration::from_secs(20), "the socket is there", async || {
        UnixStream::connect(&socket).await.map_err(|error| format!("{error} {}", program.stderr.text()))
    })
    .await;
    let (status, body) = exchange(stream, &["GET /metrics HTTP/1.1", "Host: weir.internal"]).await;
    assert_eq!(status, 200, "{body}");
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait(Duration::from_secs(10)).await.code(), Some(0));
}

//! Listeners and backends on Unix sockets: the bytes, the ends and the health are those of TCP, the clients have no
//! address, and the files come and go with their sockets.

use rustls::pki_types::ServerName;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;
use weir_tests::client::tcp;
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, PROFILE};

const PATIENCE: Duration = Duration::from_secs(10);

/// One listener with these lines, and one backend.
fn yaml(lines: &str, backend: &str) -> String {
    format!(
        "listeners:\n  - name: edge\n    default_pool: main\n{}pools:\n  - name: main\n    backends: [\"{backend}\"]\n",
        lines.split('\n').map(|line| format!("    {line}\n")).collect::<String>()
    )
}

/// A relay of plaintext on `edge.sock`.
const PLAIN: &str = "address: \"unix:edge.sock\"\nmode: passthrough\npeek: false";

/// A backend on a Unix socket that answers everything once the client has finished sending.
fn echo_at_the_end(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                let _read = stream.read_to_end(&mut all).await;
                let _written = stream.write_all(&all).await;
            });
        }
    });
}

async fn unix(path: PathBuf) -> UnixStream {
    UnixStream::connect(&path).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What comes back from a client that sends these bytes and finishes.
async fn answered(mut stream: UnixStream, bytes: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = stream.split();
    let mut all = Vec::new();
    let send = async {
        // A refused client may be gone before it has sent.
        let _sent = to.write_all(bytes).await;
        let _finished = to.shutdown().await;
    };
    let (_, read) = tokio::join!(send, from.read_to_end(&mut all));
    drop(read);
    all
}

#[tokio::test]
async fn bytes_and_half_closes_pass_on_either_side() {
    let folder = tempfile::tempdir().unwrap();
    echo_at_the_end(&folder.path().join("app.sock"));
    let weir = Launch::new(folder, yaml(PLAIN, "unix:app.sock")).runtime("workers: 3").plane().await;
    let bytes = vec![7; 4 << 20];
    for length in [1, 70_000, bytes.len()] {
        let got = answered(unix(weir.folder().join("edge.sock")).await, &bytes[..length]).await;
        assert!(got == bytes[..length], "{} of {length}", got.len());
    }
    for record in weir.some_records(3).await {
        record.ended("ok", "client");
        assert_eq!((record.text("client"), record.text("local")), ("unix", "unix"));
        assert!(record.text("backend").starts_with("unix:"), "{record:?}");
        assert_eq!(record.up(), record.down());
    }
    let status: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    let edge = format!("unix:{}", weir.folder().join("edge.sock").display());
    assert_eq!(status["listeners"][0]["addresses"], serde_json::json!([edge]));
    weir.settle().await;
}

/// A Unix socket has no reset: the client gets what came before it, and an end. The record tells.
#[tokio::test]
async fn a_reset_is_an_end_and_recorded() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = yaml(PLAIN, &backend.local_addr().unwrap().to_string()) + "    health_check: {type: none}\n";
    let weir = Launch::new(tempfile::tempdir().unwrap(), yaml).plane().await;
    let mut client = unix(weir.folder().join("edge.sock")).await;
    let (mut accepted, _) = backend.accept().await.unwrap();
    accepted.write_all(b"cut of").await.unwrap();
    let mut got = [0; 6];
    client.read_exact(&mut got).await.unwrap();
    accepted.set_zero_linger().unwrap();
    drop(accepted);
    assert_eq!((client.read(&mut got).await.unwrap(), &got), (0, b"cut of"));
    weir.only_record().await.ended("backend_reset", "backend");
    weir.settle().await;
}

/// Clients of TCP and of a Unix socket reach the same listener, and backends of both kinds are in one pool.
#[tokio::test]
async fn one_listener_may_have_both() {
    let folder = tempfile::tempdir().unwrap();
    let (port, backend) = (Port::free(), Backend::plain(Role::Echo).await);
    let lines = format!(
        "address: [\"{}\", \"unix:edge.sock\"]\nmode: passthrough\npeek: false\nroutes: [{{match: {{source: unix}}, pool: local}}]",
        port.addr()
    );
    echo_at_the_end(&folder.path().join("app.sock"));
    let yaml = yaml(&lines, &backend.addr.to_string())
        + "  - name: local\n    backends: [\"unix:app.sock\"]\n    health_check: {type: none}\n";
    let weir = Launch::new(folder, yaml).plane().await;
    let mut stream = tcp(port.addr()).await;
    stream.send(b"tcp").await.unwrap();
    assert_eq!(stream.exactly(3).await.unwrap(), b"tcp");
    drop(stream);
    assert_eq!(answered(unix(weir.folder().join("edge.sock")).await, b"local").await, b"local");
    let pools =
        weir.some_records(2).await.iter().map(|record| record.text("pool").to_owned()).collect::<Vec<_>>();
    assert!(pools.contains(&"main".to_owned()) && pools.contains(&"local".to_owned()), "{pools:?}");
}

#[tokio::test]
async fn tls_ends_on_a_unix_socket_too() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let identities = Identities::default();
        let backend = match mode {
            Mode::Bridging => Backend::tls(Role::Echo, &identities.backend).await,
            _ => Backend::plain(Role::Echo).await,
        };
        let lines = format!("address: \"unix:edge.sock\"\nmode: {}\ntls: public", mode.name());
        let tls = if mode == Mode::Bridging { "    tls: {ca: inner-ca.pem}\n" } else { "" };
        let yaml = format!("{PROFILE}{}{tls}", yaml(&lines, &backend.addr.to_string()));
        let weir = Launch::new(identities.folder(), yaml).plane().await;
        let connector = TlsConnector::from(identities.client().config());
        let stream = unix(weir.folder().join("edge.sock")).await;
        let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap();
        stream.write_all(b"secret").await.unwrap();
        let mut got = [0; 6];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"secret");
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut got).await.unwrap(), 0);
        weir.only_record().await.ended("ok", "client");
        weir.settle().await;
    }
}

/// Without a PROXY header no network has them, and `unix` names them. Limits of each client do not hold for them.
#[tokio::test]
async fn clients_of_unix_sockets_are_named_unix() {
    for (more, served) in [
        ("allow: [unix, 10.0.0.0/8]", true),
        ("allow: [\"0.0.0.0/0\"]", false),
        ("deny: [unix]", false),
        ("deny: [10.0.0.0/8]", true),
        ("limits: {per_client: {rate: 1/h, connections: 1}}", true),
        ("proxy_protocol: trusted\ntrusted_proxies: [10.0.0.0/8]", true),
        ("proxy_protocol: required\ntrusted_proxies: [10.0.0.0/8]", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        echo_at_the_end(&folder.path().join("app.sock"));
        let weir = Launch::new(folder, yaml(&format!("{PLAIN}\n{more}"), "unix:app.sock")).plane().await;
        for _ in 0..2 {
            let got = answered(unix(weir.folder().join("edge.sock")).await, b"hello").await;
            assert_eq!(got == b"hello", served, "{more}");
        }
        weir.settle().await;
    }
}

/// A proxy on a Unix socket says who the client is, and backends hear it; without a header they hear of none.
#[tokio::test]
async fn proxy_headers_come_and_go_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    echo_at_the_end(&folder.path().join("app.sock"));
    let lines = format!("{PLAIN}\nproxy_protocol: trusted\ntrusted_proxies: unix\ndeny: [192.0.2.9]");
    let yaml =
        yaml(&lines, "unix:app.sock") + "    send_proxy_protocol: v1\n    health_check: {type: none}\n";
    let weir = Launch::new(folder, yaml).plane().await;
    let edge = weir.folder().join("edge.sock");
    for (sent, got) in [
        ("PROXY TCP4 192.0.2.5 198.51.100.1 5 443\r\nx", "PROXY TCP4 192.0.2.5 198.51.100.1 5 443\r\nx"),
        ("PROXY UNKNOWN\r\nx", "PROXY UNKNOWN\r\nx"),
        ("PROXY TCP4 192.0.2.9 198.51.100.1 5 443\r\nx", ""),
        // Who is trusted must send one.
        ("x", ""),
    ] {
        let said = answered(unix(edge.clone()).await, sent.as_bytes()).await;
        assert_eq!(String::from_utf8(said).unwrap(), got, "{sent}");
    }
    let records = weir.some_records(4).await;
    assert!(records.iter().any(|record| record.text("client") == "192.0.2.5:5"), "{records:?}");
}

#[tokio::test]
async fn files_come_and_go_with_their_sockets() {
    let (folder, port) = (tempfile::tempdir().unwrap(), Port::free());
    let both = |other: &str| {
        let address = format!("address: [\"{}\", \"unix:{other}\"]", port.addr());
        yaml(&PLAIN.replace("address: \"unix:edge.sock\"", &address), "127.0.0.1:9")
    };
    let weir = Launch::new(folder, both("one.sock")).plane().await;
    let at = |name: &str| weir.folder().join(name);
    let written = std::fs::read_to_string(at("weir.yaml")).unwrap();
    let reload = |other: &str| {
        std::fs::write(at("weir.yaml"), written.replace(&both("one.sock"), &both(other))).unwrap()
    };
    let mode = std::fs::metadata(at("one.sock")).unwrap();
    assert!(mode.file_type().is_socket() && mode.permissions().mode() & 0o777 == 0o660);

    // A listener that stays keeps its socket.
    weir.reload().await;
    assert_eq!(std::fs::metadata(at("one.sock")).unwrap().ino(), mode.ino());

    // What is no socket, and what others listen at, is left alone.
    std::fs::write(at("text"), "text").unwrap();
    let others = std::os::unix::net::UnixListener::bind(at("others.sock")).unwrap();
    for (name, why) in [("text", "is not a socket"), ("others.sock", "listens there already")] {
        reload(name);
        weir.reload_in_vain().await;
        eventually_true(PATIENCE, why, || weir.log().iter().any(|line| line.contains(why))).await;
        assert!(at("one.sock").exists() && at(name).exists());
    }
    // The file of a dead process is replaced.
    drop(others);
    reload("others.sock");
    weir.reload().await;
    assert!(!at("one.sock").exists(), "its listener is gone");
    drop(unix(at("others.sock")).await);
}

/// The health of a backend on a Unix socket is checked, and weir's own socket is never dialled, whatever it is called.
#[tokio::test]
async fn backends_are_checked_and_never_weir_itself() {
    let folder = tempfile::tempdir().unwrap();
    symlink("edge.sock", folder.path().join("alias.sock")).unwrap();
    let yaml = yaml(PLAIN, "unix:app.sock")
        .replace("[\"unix:app.sock\"]", "[\"unix:app.sock\", \"unix:alias.sock\"]")
        + "    health_check: {interval: 50ms, rise: 1, fall: 1}\n    retries: 3\n";
    let weir = Launch::new(folder, yaml).plane().await;
    let healthy = async |wanted: [bool; 2]| {
        eventually(PATIENCE, "the health of both", async || {
            let status: serde_json::Value =
                serde_json::from_str(&weir.ask("/api/v1/status").await.body).map_err(|e| e.to_string())?;
            let backends = &status["pools"][0]["backends"];
            let up = [0, 1].map(|one: usize| backends[one]["state"] == "up");
            if up == wanted { Ok(()) } else { Err(backends.to_string()) }
        })
        .await;
    };
    healthy([false, false]).await;
    echo_at_the_end(&weir.folder().join("app.sock"));
    healthy([true, false]).await;
    assert_eq!(answered(unix(weir.folder().join("edge.sock")).await, b"hello").await, b"hello");
    weir.only_record().await.ended("ok", "client");
}

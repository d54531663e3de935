//! The secrets of TLS sessions go to a file under `weir run --key-log` and never otherwise, and weir says so wherever
//! operators look.

use serde_json::Value;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use weir_tests::client::try_tcp;
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::openssl::{Server, s_client};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::weir::{Launch, Weir, command};
use weir_tests::world::{Identities, NAME, PROFILE};

/// A weir that bridges to `backend`, in the folder of its certificates.
fn bridging(edge: &Port, backend: SocketAddr, identities: &Identities) -> Launch {
    let body = format!(
        "{PROFILE}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: bridging\n    tls: public\n    default_pool: main\n\
         pools:\n  - name: main\n    backends: [\"{backend}\"]\n    health_check: {{type: none}}\n    tls: {{ca: inner-ca.pem}}\n",
        edge.addr(),
    );
    Launch::new(identities.folder(), body)
}

/// The lines of a key log; of openssl's own without its comments.
fn lines(file: &Path) -> HashSet<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn is_sound(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    match words[..] {
        [label, random, secret] => {
            let label =
                label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            label && random.len() == 64 && [64, 96].contains(&secret.len()) && hex(random) && hex(secret)
        }
        _ => false,
    }
}

async fn status(weir: &Weir) -> Value {
    serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap()
}

#[tokio::test]
async fn openssl_on_both_sides_has_the_same_secrets() {
    for version in ["-tls1_2", "-tls1_3"] {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::default();
        identities.backend.write(folder.path(), "backend");
        let of_backend = folder.path().join("backend-keys");
        let of_client = folder.path().join("client-keys");
        let ours = folder.path().join("weir-keys");
        std::fs::write(&ours, "# before\n").unwrap();
        let arguments = ["-www", version, "-keylogfile", of_backend.to_str().unwrap()];
        let server = Server::start(folder.path(), "backend", &arguments).await;
        let edge = Port::free();
        let launch = bridging(&edge, server.port.addr(), &identities)
            .arguments(&["--key-log", ours.to_str().unwrap()]);
        let weir = launch.start().await;
        let keys = of_client.to_str().unwrap();
        let said = s_client(edge.addr(), &["-servername", NAME, version, "-keylogfile", keys]).await;
        assert_eq!(said.code, Some(0), "{}", said.both());
        eventually(Duration::from_secs(10), "all secrets are written", async || {
            let ours = lines(&ours);
            let theirs = [lines(&of_client), lines(&of_backend)];
            let whole = theirs.iter().all(|theirs| !theirs.is_empty() && theirs.is_subset(&ours));
            if whole { Ok(()) } else { Err(format!("{version}: {ours:#?}\n{theirs:#?}")) }
        })
        .await;
        assert!(lines(&ours).iter().all(|line| is_sound(line)), "{:#?}", lines(&ours));
        assert!(std::fs::read_to_string(&ours).unwrap().starts_with("# before\n"), "it is appended to");
        assert_eq!(std::fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o600);
        let metrics = weir.metrics().await;
        assert_eq!(metrics.count("weir_key_log_enabled", &[]), 1);
        assert_eq!(metrics.count("weir_key_log_lines_dropped_total", &[]), 0);
    }
}

#[tokio::test]
async fn the_random_of_a_line_is_that_of_the_hello() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("keys");
    let edge = Port::free();
    let dead = Port::free();
    let weir = bridging(&edge, dead.addr(), &Identities::default())
        .arguments(&["--key-log", ours.to_str().unwrap()])
        .start()
        .await;
    let hello = hello::small(NAME);
    // A record's header, a message's header, a version, then the random.
    let random: String = hello[5 + 4 + 2..][..32].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut tcp = try_tcp(edge.addr()).await.unwrap();
    tcp.write_all(&hello).await.unwrap();
    eventually(Duration::from_secs(10), "the secrets of the handshake", async || {
        let known = lines(&ours).iter().any(|line| {
            line.starts_with("CLIENT_HANDSHAKE_TRAFFIC_SECRET ")
                && line.split(' ').nth(1) == Some(random.as_str())
        });
        if known { Ok(()) } else { Err(format!("{random}: {:#?}", lines(&ours))) }
    })
    .await;
    assert_eq!(status(&weir).await["key_log"], ours.to_str().unwrap());
    let mut shows = command(&["status", "--admin", &format!("http://{}", weir.admin())]);
    shows.env("COLUMNS", "500");
    let shown = run(shows, b"", Duration::from_secs(20)).await;
    assert!(
        shown.stdout.contains("WARNING: the secrets of all TLS sessions are written to"),
        "{}",
        shown.both()
    );
    let log = weir.program.stderr.text();
    let warned = log.lines().any(|line| line.contains("\"WARN\"") && line.contains("--key-log"));
    assert!(warned, "{log}");
}

#[tokio::test]
async fn the_environment_alone_turns_nothing_on() {
    let folder = tempfile::tempdir().unwrap();
    let identities = Identities::default();
    identities.backend.write(folder.path(), "backend");
    let server = Server::start(folder.path(), "backend", &["-www"]).await;
    let named = folder.path().join("keys");
    let edge = Port::free();
    let variable = format!("SSLKEYLOGFILE={}", named.display());
    let weir = bridging(&edge, server.port.addr(), &identities).under(&["env", &variable]).start().await;
    let said = s_client(edge.addr(), &["-servername", NAME]).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    weir.some_records(1).await;
    assert!(!named.exists(), "secrets went to the file of the environment");
    assert_eq!(status(&weir).await["key_log"], Value::Null);
    assert_eq!(weir.metrics().await.count("weir_key_log_enabled", &[]), 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_stops_the_start() {
    let identities = Identities::default();
    for (file, why) in [("/nowhere/keys", "cannot open it"), ("/dev/null", "not a regular file")] {
        let (edge, dead) = (Port::free(), Port::free());
        let ended = bridging(&edge, dead.addr(), &identities).arguments(&["--key-log", file]).fail().await;
        assert_eq!(ended.code, Some(1), "{}", ended.both());
        assert!(ended.stderr.contains(why) && ended.stderr.contains(file), "{}", ended.stderr);
    }
}

//! curl and HAProxy in front of weir on a Unix socket, nginx behind it on another; and the file of weir's socket over its
//! life.

use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use weir_tests::curl::{curl, https};
use weir_tests::eventually::eventually_true;
use weir_tests::haproxy::Forwarding;
use weir_tests::nginx::Nginx;
use weir_tests::weir::{Launch, Weir, command};
use weir_tests::world::{Identities, NAME, PROFILE};

/// A listener on `edge.sock` with these further lines, in front of nginx on a Unix socket.
fn launch(identities: &Identities, nginx: &Nginx, lines: &str) -> Launch {
    let lines: String = lines.split('\n').map(|line| format!("    {line}\n")).collect();
    let yaml = format!(
        "{PROFILE}listeners:\n  - name: edge\n    address: \"unix:edge.sock\"\n    mode: offload\n    tls: public\n\
         \x20   default_pool: main\n{lines}pools:\n  - name: main\n    backends: [\"unix:{}\"]\n\
         \x20   health_check: {{type: http, interval: 100ms}}\n",
        nginx.unix().display()
    );
    Launch::new(identities.folder(), yaml)
}

async fn asked(weir: &Weir, ca: &Path, arguments: &[&str]) -> String {
    let (socket, url) = (weir.folder().join("edge.sock"), format!("https://{NAME}/"));
    let (socket, ca) = (socket.display().to_string(), ca.display().to_string());
    let first = ["--unix-socket", &socket, "--cacert", &ca];
    curl(&[&first[..], arguments, &[&url]].concat()).await.both()
}

#[tokio::test]
async fn curl_reaches_nginx_over_two_of_them() {
    let identities = Identities::default();
    let folder = identities.folder();
    identities.backend.write(folder.path(), "backend");
    identities.public.write(folder.path(), "public-ca");
    let ca = folder.path().join("public-ca.pem");
    let nginx = Nginx::start(folder.path(), "backend").await;
    for (lines, sent, seen) in [
        ("protocol: tcp", "X-Forwarded-For: 192.0.2.1", "xff=192.0.2.1 forwarded= port="),
        (
            "protocol: http\nhttp: {forwarded: replace}",
            "X-Forwarded-For: 192.0.2.1",
            "xff= forwarded=for=unknown",
        ),
        (
            "protocol: http\ntrusted_proxies: unix",
            "X-Forwarded-For: 192.0.2.1",
            "xff=192.0.2.1 forwarded= port=",
        ),
        ("protocol: http\ntrusted_proxies: unix", "X-Forwarded-Port: 99", "xff= forwarded= port=99"),
    ] {
        let weir = launch(&identities, &nginx, lines).start().await;
        for version in ["--http1.1", "--http2"] {
            let said = asked(&weir, &ca, &[version, "-H", sent]).await;
            assert!(said.contains(seen), "{lines} {version}: {said}");
        }
        let file = std::fs::metadata(weir.folder().join("edge.sock")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o660);
        eventually_true(Duration::from_secs(5), "records", || weir.records().len() == 2).await;
        assert!(weir.records().iter().all(|record| record.text("client") == "unix"), "{:?}", weir.records());
    }
}

/// HAProxy tells the client of a Unix socket in a PROXY header.
#[tokio::test]
async fn haproxy_names_the_client() {
    let identities = Identities::default();
    let folder = identities.folder();
    identities.backend.write(folder.path(), "backend");
    identities.public.write(folder.path(), "public-ca");
    let nginx = Nginx::start(folder.path(), "backend").await;
    let lines = "protocol: http\nproxy_protocol: required\ntrusted_proxies: unix";
    let weir = launch(&identities, &nginx, lines).start().await;
    let at = format!("unix@{}", weir.folder().join("edge.sock").display());
    let front = Forwarding::start(&at, "send-proxy-v2").await;
    let ca = folder.path().join("public-ca.pem");
    let got = https(front.port.addr(), NAME, &ca, &["--interface", "127.0.0.3"]).await;
    assert!(got.stdout.contains("xff=127.0.0.3"), "{}", got.both());
}

/// A clean end removes the file. What a killed weir leaves is replaced, a running one's never.
#[tokio::test]
async fn the_file_lives_as_long_as_weir() {
    let identities = Identities::default();
    let folder = identities.folder();
    identities.backend.write(folder.path(), "backend");
    let nginx = Nginx::start(folder.path(), "backend").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let edge = elsewhere.path().join("edge.sock");
    let launch = || {
        let address = format!("address: \"unix:{}\"", edge.display());
        launch(&identities, &nginx, "protocol: tcp").replacing("address: \"unix:edge.sock\"", &address)
    };
    let mut weir = launch().start().await;
    let second = launch().fail().await;
    assert!(second.stderr.contains("a process listens there already"), "{}", second.both());
    assert!(edge.exists());

    // The command line shows it.
    let file = weir.folder().join("weir.yaml");
    let explained =
        command(&["explain", "--source", "unix", "-c", &file.display().to_string()]).output().await.unwrap();
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains(&format!("unix:{}", edge.display())), "{explained}");

    assert!(weir.terminate().await.success() && !edge.exists(), "a clean end");
    let weir = launch().start().await;
    weir.signal(Signal::KILL);
    eventually_true(Duration::from_secs(5), "it is dead", || {
        std::os::unix::net::UnixStream::connect(&edge).is_err()
    })
    .await;
    assert!(edge.exists(), "nobody was left to remove it");
    let mut weir = launch().start().await;
    assert!(weir.terminate().await.success() && !edge.exists());
}

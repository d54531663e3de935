//! weir shows its own certificate to backends that ask for one, and believes only backends that it knows: by pinned
//! keys, and by lists of revoked certificates, which may change while it runs. Resumed sessions walk around none of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use weir_tests::eventually::eventually;
use weir_tests::haproxy::Haproxy;
use weir_tests::nginx::Nginx;
use weir_tests::openssl::Server;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::stream::Stream;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

/// A bridging weir in front of `backend`, with this `tls` section of the pool and this health check.
async fn bridge(identities: &Identities, backend: SocketAddr, tls: &str, check: &str) -> (Weir, Port) {
    let folder = identities.folder();
    identities.inner.issue(&["weir.example.test"]).write(folder.path(), "weir-client");
    std::fs::write(folder.path().join("ca.crl"), identities.inner.revokes(&[0])).unwrap();
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{backend}\"], tls: {tls}, health_check: {{{check}}}}}\n",
        edge.addr(),
    );
    (Launch::new(folder, body).start().await, edge)
}

async fn client(identities: &Identities, edge: &Port) -> Stream {
    identities.client().connect(edge.addr(), NAME).await.unwrap()
}

/// Asks for a page through weir.
async fn page(identities: &Identities, edge: &Port) -> String {
    let mut stream = client(identities, edge).await;
    let request = format!("GET / HTTP/1.0\r\nhost: {NAME}\r\n\r\n");
    let (answer, _) = stream.ask(request.as_bytes()).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const SHOWING: &str = "{ca: inner-ca.pem, client_cert: {cert: weir-client.pem, key: weir-client.key}}";
const CHECK: &str = "type: http, interval: 1s, rise: 1, fall: 1, server_name: app.example.test";

/// The folder of a server: its certificate, and the authority of weir's.
fn server_files(identities: &Identities) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    identities.backend.write(folder.path(), "backend");
    identities.inner.write(folder.path(), "inner-ca");
    folder
}

/// Versions of TLS as nginx, haproxy and openssl write them, and as the metrics do.
const VERSIONS: [(&str, &str, &str, &str); 2] =
    [("TLSv1.2", "TLSv1.2", "-tls1_2", "1.2"), ("TLSv1.3", "TLSv1.3", "-tls1_3", "1.3")];

/// Many pages, one connection each: all but the first few resume a session.
async fn shown_and_resumed(identities: &Identities, backend: SocketAddr, peer: &str, version: &str) {
    let (weir, edge) = bridge(identities, backend, SHOWING, "type: none").await;
    for _ in 0..PAGES {
        let page = page(identities, &edge).await;
        assert!(page.contains(" 200 "), "{peer} {version}: {page}");
    }
    let metrics = weir.settle().await;
    let count = |resumed: &str| {
        let labels = [("side", "backend"), ("version", version), ("resumed", resumed)];
        metrics.count("weir_tls_handshakes_total", &labels)
    };
    let (full, resumed) = (count("no"), count("ticket") + count("session_id"));
    assert_eq!(full + resumed, PAGES, "{peer} TLS {version}: {full} full, {resumed} resumed");
    assert!(full <= 2, "{peer} {version}: {full} full handshakes of {PAGES}");
}

const PAGES: u64 = 20;

#[tokio::test]
async fn to_nginx() {
    let identities = Identities::default();
    let files = server_files(&identities);
    for (version, _, _, label) in VERSIONS {
        let directives = format!(
            "ssl_protocols {version}; ssl_session_cache shared:a:1m;\n\
             ssl_client_certificate {}/inner-ca.pem; ssl_verify_client on;",
            files.path().display()
        );
        let nginx = Nginx::start_with(files.path(), "backend", &directives).await;
        shown_and_resumed(&identities, nginx.tls.addr(), "nginx", label).await;
        let (weir, edge) = bridge(&identities, nginx.tls.addr(), "{ca: inner-ca.pem}", "type: none").await;
        let refused = page(&identities, &edge).await;
        assert!(refused.contains("No required SSL certificate was sent"), "{refused}");
        weir.settle().await;
    }
}

#[tokio::test]
async fn to_haproxy() {
    let identities = Identities::default();
    let files = server_files(&identities);
    for (_, version, _, label) in VERSIONS {
        let options = format!(
            "ca-file {}/inner-ca.pem verify required ssl-min-ver {version} ssl-max-ver {version}",
            files.path().display()
        );
        let haproxy = Haproxy::start_with(files.path(), "backend", &options).await;
        shown_and_resumed(&identities, haproxy.tls.addr(), "haproxy", label).await;
        refused_without(&identities, haproxy.tls.addr(), label).await;
    }
}

#[tokio::test]
async fn to_openssl() {
    let identities = Identities::default();
    let files = server_files(&identities);
    for (_, _, version, label) in VERSIONS {
        let arguments = ["-Verify", "1", "-verify_return_error", "-CAfile", "inner-ca.pem", "-www", version];
        let server = Server::start(files.path(), "backend", &arguments).await;
        shown_and_resumed(&identities, server.port.addr(), "openssl", label).await;
        refused_without(&identities, server.port.addr(), label).await;
    }
}

/// Without a certificate the backend's alert is told, it does not count against the backend, and a check says down.
async fn refused_without(identities: &Identities, backend: SocketAddr, version: &str) {
    let (weir, edge) = bridge(identities, backend, "{ca: inner-ca.pem}", "type: none").await;
    for _ in 0..10 {
        page(identities, &edge).await;
    }
    let alert = if version == "1.3" { "certificate_required" } else { "handshake_failure" };
    for record in weir.some_records(10).await {
        record.ended("tls_backend_failed", "backend");
        assert_eq!((record.text("reason"), record.text("alert")), ("alert", alert), "{version}");
    }
    let metrics = weir.metrics().await;
    assert_eq!(metrics.sum("weir_backend_ejections_total", &[]), 0.0, "a client could cause such an alert");
    let (weir, _edge) = bridge(identities, backend, "{ca: inner-ca.pem}", CHECK).await;
    up_is(&weir, 0.0).await;
    let (weir, _edge) = bridge(identities, backend, SHOWING, CHECK).await;
    up_is(&weir, 1.0).await;
    let checks = weir.metrics().await;
    assert!(checks.count("weir_backend_health_checks_total", &[("result", "ok")]) >= 1, "{}", checks.text);
}

async fn up_is(weir: &Weir, wanted: f64) {
    eventually(Duration::from_secs(10), "the check has its result", async || {
        let metrics = weir.metrics().await;
        let checks = metrics.sum("weir_backend_health_checks_total", &[("pool", "main")]);
        let up = metrics.sum("weir_backend_up", &[("pool", "main")]);
        if checks > 0.0 && up == wanted { Ok(()) } else { Err(metrics.text) }
    })
    .await;
}

/// The commands of docs/operations.md that make a pin, each run in `folder`.
async fn pins_by_the_recipe(folder: &Path, backend: SocketAddr) -> Vec<String> {
    let page = include_str!("../../docs/operations.md");
    let (_, section) = page.split_once("### Backends known by their keys\n").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-euc", block]).current_dir(folder).env("BACKEND", backend.to_string());
    let done = run(shell, b"", Duration::from_secs(30)).await;
    done.stdout.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn by_a_pinned_key() {
    let identities = Identities::default();
    // By its chain and name weir would refuse this one.
    let leaf = identities.public.issue(&["other.example.org"]);
    let folder = tempfile::tempdir().unwrap();
    leaf.write(folder.path(), "backend");
    let backend = Backend::tls(Role::Echo, &leaf).await;
    let pins = pins_by_the_recipe(folder.path(), backend.addr).await;
    assert!(pins.len() == 3 && pins.iter().all(|pin| *pin == pins[0] && pin.len() == 44), "{pins:?}");

    let tls = format!("{{pinned: [\"{}\"]}}", pins[0]);
    let (weir, edge) = bridge(&identities, backend.addr, &tls, "type: none").await;
    let mut stream = client(&identities, &edge).await;
    stream.send(b"hello").await.unwrap();
    assert_eq!(stream.exactly(5).await.unwrap(), b"hello");
    let metrics = weir.metrics().await;
    assert_eq!(metrics.count("weir_pool_verify_disabled", &[("pool", "main")]), 0);
    drop(stream);

    let other = "{pinned: [\"YLh1dUR9y6Kja30RrAn7JKnbQG/uEtLMkBgFF2Fuihg=\"]}";
    let (weir, edge) = bridge(&identities, backend.addr, other, "type: tls, interval: 1s, fall: 1").await;
    client(&identities, &edge).await.ask(b"for the pinned one only").await;
    let record = weir.only_record().await;
    assert!(["tls_backend_failed", "no_backend"].contains(&record.outcome()), "{record:#?}");
    up_is(&weir, 0.0).await;
    let status = weir.ask("/api/v1/status").await;
    assert!(status.body.contains(&pins[0]), "the status shows the pin that was seen: {}", status.body);
    let labels = [("verdict", "not_pinned")];
    assert_eq!(weir.metrics().await.count("weir_backend_certificate_verdict", &labels), 1);
}

#[tokio::test]
async fn by_lists_that_change_while_it_runs() {
    let identities = Identities::default();
    let backend = Backend::tls(Role::Echo, &identities.backend).await;
    let own = "client_cert: {cert: weir-client.pem, key: weir-client.key}";
    let tls = format!("{{ca: inner-ca.pem, crl: [ca.crl], {own}}}");
    let (weir, edge) = bridge(&identities, backend.addr, &tls, "type: none").await;
    let metrics = weir.metrics().await;
    assert_eq!(metrics.values_of("weir_crl_next_update_timestamp_seconds", "file"), ["main/ca.crl"]);
    let labels = [("source", "client"), ("certificate", "main/weir-client.pem")];
    assert!(metrics.sum("weir_certificate_not_after_timestamp_seconds", &labels) > 0.0, "{}", metrics.text);
    let mut open = client(&identities, &edge).await;
    open.send(b"before").await.unwrap();
    assert_eq!(open.exactly(6).await.unwrap(), b"before");
    let list = identities.inner.revokes(&[identities.backend.serial]);
    std::fs::write(weir.folder().join("ca.crl"), list).unwrap();
    eventually(Duration::from_secs(20), "the backend is refused", async || {
        let mut stream = client(&identities, &edge).await;
        // Either may fail: the backend may be refused by now.
        let _answered = stream.send(b"after").await.is_ok() && stream.exactly(5).await.is_ok();
        let labels = [("side", "backend"), ("reason", "revoked")];
        match weir.metrics().await.count("weir_tls_handshake_failures_total", &labels) {
            0 => Err("it is not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let log = weir.program.stderr.text();
    assert!(log.contains("a changed file is in force for TLS to backends"), "{log}");
    open.send(b"open").await.unwrap();
    assert_eq!(open.exactly(4).await.unwrap(), b"open", "an open connection lives");
}

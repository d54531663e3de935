//! An admin server beyond loopback answers only those who show a certificate, and the command line shows one.

use rcgen::ExtendedKeyUsagePurpose;
use std::path::Path;
use std::time::Duration;
use weir_tests::certificates::Authority;
use weir_tests::client::tcp;
use weir_tests::curl::curl;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::program::{Finished, Program, run};
use weir_tests::weir::command;

const NAME: &str = "admin.example.test";
const LONG: Duration = Duration::from_secs(20);

/// A weir whose admin server asks for certificates by `operators.pem`.
struct Guarded {
    weir: Program,
    folder: tempfile::TempDir,
    _edge: Port,
}

/// Starts it with its admin server at this address.
async fn start(address: &str, port: &Port) -> Guarded {
    let (folder, edge) = (tempfile::tempdir().unwrap(), Port::free());
    let (public, operators, others) =
        (Authority::new("public"), Authority::new("operators"), Authority::new("others"));
    public.write(folder.path(), "public");
    operators.write(folder.path(), "operators");
    public.issue(&[NAME, "localhost"]).write(folder.path(), "weir");
    operators
        .issue_for(&["ops.example.test"], ExtendedKeyUsagePurpose::ClientAuth)
        .write(folder.path(), "ops");
    others
        .issue_for(&["ops.example.test"], ExtendedKeyUsagePurpose::ClientAuth)
        .write(folder.path(), "other");
    let yaml = format!(
        "admin:\n  address: \"{address}\"\n  tls:\n    certificates: [{{cert: weir.pem, key: weir.key}}]\n    alpn: [h2]\n    \
         client_auth: {{ca: operators.pem, mode: required}}\n\
         listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, non_tls: refuse, default_pool: web}}\n\
         pools:\n  - {{name: web, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n",
        edge.addr()
    );
    std::fs::write(folder.path().join("weir.yaml"), yaml).unwrap();
    let mut weir = command(&["run", "-c"]);
    weir.arg(folder.path().join("weir.yaml"));
    let weir = Program::start(weir);
    eventually(LONG, "the admin server answers", async || {
        let got = get(port, folder.path(), "/healthz", Some("ops"), &[]).await;
        if got.stdout == "ok\n" { Ok(()) } else { Err(format!("{}\n{}", got.both(), weir.stderr.text())) }
    })
    .await;
    Guarded { weir, folder, _edge: edge }
}

/// What curl gets of a path with this certificate.
async fn get(port: &Port, folder: &Path, path: &str, own: Option<&str>, arguments: &[&str]) -> Finished {
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, to, url) =
        (file("public.pem"), format!("{NAME}:{port}:127.0.0.1"), format!("https://{NAME}:{port}{path}"));
    let mut all = vec!["--cacert".to_owned(), ca, "--resolve".to_owned(), to];
    if let Some(own) = own {
        all.extend([
            "--cert".to_owned(),
            file(&format!("{own}.pem")),
            "--key".to_owned(),
            file(&format!("{own}.key")),
        ]);
    }
    all.extend(arguments.iter().map(|&word| word.to_owned()));
    all.push(url);
    curl(&all.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// A verb of the command line, with this certificate.
async fn verb(words: &[&str], folder: &Path, own: Option<&str>) -> Finished {
    let mut verb = command(words);
    verb.arg("--ca").arg(folder.join("public.pem"));
    if let Some(own) = own {
        verb.arg("--cert").arg(folder.join(format!("{own}.pem")));
        verb.arg("--key").arg(folder.join(format!("{own}.key")));
    }
    run(verb, b"", LONG).await
}

#[tokio::test]
async fn nothing_is_answered_without_one() {
    let port = Port::free();
    let mut guarded = start(&format!(":{port}"), &port).await;
    let folder = guarded.folder.path();
    for path in ["/healthz", "/metrics", "/api/v1/status"] {
        for (own, version) in [(None, "1.2"), (None, "1.3"), (Some("other"), "1.2"), (Some("other"), "1.3")] {
            let refused = get(&port, folder, path, own, &["--tls-max", version]).await;
            assert!(
                refused.code != Some(0) && refused.stdout.is_empty(),
                "{path} {own:?}: {}",
                refused.both()
            );
        }
        let plain = curl(&[&format!("http://127.0.0.1:{port}{path}")]).await;
        assert!(plain.code != Some(0) && plain.stdout.is_empty(), "{path}: {}", plain.both());
        let answered =
            get(&port, folder, path, Some("ops"), &["-w", "%{http_code} %{http_version}", "-o", "/dev/null"])
                .await;
        assert_eq!(answered.stdout, "200 1.1", "{path}: {}", answered.both());
    }
    let status = get(&port, folder, "/api/v1/status", Some("ops"), &[]).await.stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let admin =
        serde_json::json!({"address": format!("[::]:{port}"), "tls": true, "client_certificate": true});
    assert_eq!(status["admin"], admin);
    assert_eq!(status["certificates"][0]["listener"], "admin");
    // A page of another site changes nothing, even where the browser shows a certificate.
    for (origin, code) in
        [(format!("https://{NAME}:{port}"), "200"), ("https://evil.example".to_owned(), "403")]
    {
        let origin = format!("Origin: {origin}");
        let post = ["-X", "POST", "-H", &origin, "-o", "/dev/null", "-w", "%{http_code}"];
        let answered =
            get(&port, folder, "/api/v1/pools/web/backends/127.0.0.1:9/ready", Some("ops"), &post).await;
        assert_eq!(answered.stdout, code, "{origin}: {}", answered.both());
    }
    // Silent callers do not block others.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(tcp(port.addr()).await);
    }
    assert_eq!(get(&port, folder, "/healthz", Some("ops"), &[]).await.stdout, "ok\n");
    guarded.weir.signal(rustix::process::Signal::TERM);
    assert_eq!(guarded.weir.wait(LONG).await.code(), Some(0));
}

#[tokio::test]
async fn the_command_line_shows_one() {
    let port = Port::free();
    let guarded = start(&port.addr().to_string(), &port).await;
    let (folder, url) = (guarded.folder.path(), format!("https://localhost:{port}"));
    let drained =
        verb(&["backend", "drain", "web", "127.0.0.1:9", "--admin", &url], folder, Some("ops")).await;
    assert_eq!(drained.code, Some(0), "{}", drained.both());
    let status = verb(&["status", "--admin", &url], folder, Some("ops")).await;
    assert!(status.code == Some(0) && status.stdout.contains("drained"), "{}", status.both());
    let server = format!("admin on {} over TLS with client certificates", port.addr());
    assert!(status.stdout.lines().any(|line| line == server), "{}", status.both());
    let reload = verb(&["reload", "--admin", &url], folder, Some("ops")).await;
    assert_eq!(reload.code, Some(0), "{}", reload.both());
    for own in [None, Some("other")] {
        let refused = verb(&["status", "--admin", &url], folder, own).await;
        assert_eq!(refused.code, Some(1), "{own:?}: {}", refused.both());
        assert!(refused.stderr.contains("--cert"), "{own:?}: {}", refused.stderr);
    }
    let mut distrusts = command(&["status", "--admin", &url, "--ca"]);
    distrusts.arg(folder.join("operators.pem"));
    let distrusts = run(distrusts, b"", LONG).await;
    assert!(distrusts.code == Some(1) && distrusts.stderr.contains("--ca FILE"), "{}", distrusts.both());
    let by_address = format!("https://127.0.0.1:{port}");
    let misnamed = verb(&["status", "--admin", &by_address], folder, Some("ops")).await;
    assert!(misnamed.code == Some(1) && misnamed.stderr.contains("a name or address"), "{}", misnamed.both());
}

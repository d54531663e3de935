//! Every file in config/ passes `weir check` as it stands, once its script has made the certificates, and
//! each mode's file works with curl. Only the ports are replaced by free ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_tests::eventually::eventually;
use weir_tests::openssl::Server;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::{Program, run};
use weir_tests::weir::{check, command};
use weir_tests::{curl, http};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("config")
}

/// A copy of config/ with certificates in it.
async fn copied() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut copy = tokio::process::Command::new("cp");
    copy.arg("-r").arg(examples()).arg(folder.path());
    assert_eq!(run(copy, b"", Duration::from_secs(10)).await.code, Some(0));
    let config = folder.path().join("config");
    let mut certificates = tokio::process::Command::new("sh");
    certificates.arg("./certs.sh").current_dir(&config);
    let said = run(certificates, b"", Duration::from_secs(60)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    (folder, config)
}

/// Replaces the ports on 127.0.0.1: some as given, all others by free ones.
fn with_ports(text: &str, given: &[(u16, u16)]) -> (String, HashMap<u16, u16>, Vec<Port>) {
    let mut ports: HashMap<u16, u16> = given.iter().copied().collect();
    let (mut out, mut held) = (String::new(), Vec::new());
    let mut pieces = text.split("127.0.0.1:");
    out.push_str(pieces.next().unwrap());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let old: u16 = piece[..digits].parse().unwrap();
        let new = *ports.entry(old).or_insert_with(|| {
            held.push(Port::free());
            held.last().unwrap().number()
        });
        out.push_str(&format!("127.0.0.1:{new}{}", &piece[digits..]));
    }
    (out, ports, held)
}

/// Runs an example, queries it with curl, and gives curl's whole report.
async fn try_out(example: &str, listener: u16, given: &[(u16, u16)], config: &Path) -> String {
    let text = std::fs::read_to_string(config.join(example)).unwrap();
    let (text, ports, _held) = with_ports(&text, given);
    let file = config.join(format!("moved-{example}"));
    std::fs::write(&file, text).unwrap();
    let mut weir = command(&["run", "-c"]);
    weir.arg(&file);
    let weir = Program::start(weir);
    let on = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually(Duration::from_secs(20), "it is ready", async || {
        match http::get(on(ports[&9901]), "/readyz?pools=ignore").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?} {}", weir.stderr.text())),
        }
    })
    .await;
    let proxied: &[&str] = if example == "proxied.yaml" { &["--haproxy-protocol"] } else { &[] };
    let got =
        curl::https(on(ports[&listener]), "www.example.com", &config.join("certs/ca.pem"), proxied).await;
    assert_eq!(got.code, Some(0), "{example}: {}\n{}", got.both(), weir.stderr.text());
    got.both()
}

#[tokio::test]
async fn each_mode_works_with_curl() {
    let (_folder, config) = copied().await;
    let tls = Server::start(&config.join("certs"), "backend", &["-www"]).await;
    let plain = Backend::plain(Role::Http("plain and simple")).await;

    let said = try_out("passthrough.yaml", 8443, &[(9443, tls.port.number())], &config).await;
    assert!(said.contains("subject: CN=backend"), "the certificate is the backend's: {said}");
    assert!(said.contains("s_server"), "{said}");
    let said = try_out("http.yaml", 8446, &[(9080, plain.addr.port())], &config).await;
    assert!(
        said.contains("plain and simple") && said.contains("using HTTP/2"),
        "HTTP/2 to an HTTP/1.1 backend: {said}"
    );

    let said = try_out("proxied.yaml", 8447, &[(9080, plain.addr.port())], &config).await;
    assert!(said.contains("plain and simple"), "{said}");
    let said = try_out("offload.yaml", 8444, &[(9080, plain.addr.port())], &config).await;
    assert!(said.contains("subject: CN=weir"), "the certificate is weir's: {said}");
    assert!(said.contains("plain and simple"), "{said}");
    let said = try_out("bridging.yaml", 8445, &[(9443, tls.port.number())], &config).await;
    assert!(said.contains("subject: CN=weir"), "the certificate is weir's: {said}");
    assert!(said.contains("s_server"), "{said}");
}

#[tokio::test]
async fn they_all_check() {
    let (_folder, copied) = copied().await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&copied).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let said = check(&path, &[]).await;
            assert_eq!(said.code, Some(0), "{}: {}", path.display(), said.both());
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["quickstart", "passthrough", "offload", "bridging", "mixed", "proxied", "appliance"] {
        assert!(names.contains(&format!("{name}.yaml")), "no config/{name}.yaml in {names:?}");
    }
}

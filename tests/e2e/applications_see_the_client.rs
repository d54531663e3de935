//! Express and nginx, set up as docs/backends.md says, see the client's address and protocol, and no forged ones.

use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use weir_tests::curl::curl;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::program::Program;
use weir_tests::world::{Mode, NAME, World};

/// The first block of a language in the page, with the addresses of this scenario.
fn snippet(language: &str, port: &Port) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/backends.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
    assert!(block.contains("8080") && block.contains(WEIR.0) && block.contains(PROXY.0), "{block}");
    block.replace("8080", &port.number().to_string()).replace(WEIR.0, WEIR.1).replace(PROXY.0, PROXY.1)
}

/// Addresses in the page and here.
const WEIR: (&str, &str) = ("192.0.2.10", "127.0.0.1");
const PROXY: (&str, &str) = ("192.0.2.20", "127.0.0.3");

/// The app of the page, in node.
fn express(port: &Port) -> (Program, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.js"), snippet("js", port)).unwrap();
    let mut command = Command::new("node");
    let modules =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/tools/express/node_modules");
    command.arg(folder.path().join("app.js")).env("NODE_PATH", modules);
    (Program::start(command), folder)
}

/// The server of the page, in nginx.
fn nginx(port: &Port) -> (Program, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d;\n\
         scgi_temp_path {at}/e;\n{} }}\n",
        snippet("nginx", port)
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join("nginx.conf"))
        .args(["-e", "stderr"]);
    (Program::start(command), folder)
}

/// What the application answers to a client of this address, over HTTP/1.1 and HTTP/2.
async fn seen(world: &World, from: &str, fields: &[&str]) -> [String; 2] {
    let url = format!("https://{NAME}:{}/", world.edge.port());
    let resolve = format!("{NAME}:{}:{}", world.edge.port(), world.edge.ip());
    let mut answers = Vec::new();
    for version in ["--http1.1", "--http2"] {
        let mut arguments = vec![version, "--insecure", "--interface", from, "--resolve", &resolve];
        fields.iter().for_each(|field| arguments.extend(["--header", field]));
        arguments.push(&url);
        let got = curl(&arguments).await;
        answers.push(got.stdout.trim_end().to_owned());
        assert_eq!(got.code, Some(0), "{}", got.both());
    }
    answers.try_into().unwrap()
}

#[tokio::test]
async fn applications_see_the_client() {
    let forged = [
        "X-Forwarded-For: 198.51.100.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: evil.example",
        "X-Real-IP: 198.51.100.7",
        "Forwarded: for=198.51.100.7;proto=http",
        "X_Forwarded_For: 198.51.100.7",
        "Connection: X-Forwarded-For, X-Forwarded-Proto",
    ];
    for (name, start) in [("express", express as fn(&Port) -> _), ("nginx", nginx)] {
        let port = Port::free();
        let (program, _folder) = start(&port);
        eventually(Duration::from_secs(20), name, async || {
            TcpStream::connect(port.addr())
                .await
                .map_err(|error| format!("{error} {}", program.stderr.text()))
        })
        .await;
        let world = World::of(Mode::Offload)
            .listener("protocol: http")
            .listener(&format!("trusted_proxies: [{}/32]", PROXY.1))
            .backends(&[port.addr()])
            .level("info")
            .start()
            .await;
        let direct = format!("127.0.0.2 https {NAME}");
        assert_eq!(seen(&world, "127.0.0.2", &[]).await, [&*direct; 2], "{name}");
        assert_eq!(seen(&world, "127.0.0.2", &forged).await, [&*direct; 2], "{name}");
        // The trusted proxy's word counts, and no word of the client's that stands left of it.
        let behind =
            seen(&world, PROXY.1, &["X-Forwarded-For: 203.0.113.9, 198.51.100.7", "X-Forwarded-Proto: http"])
                .await;
        assert_eq!(behind, [&*format!("198.51.100.7 http {NAME}"); 2], "{name}");
    }
}

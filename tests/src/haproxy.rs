//! A real haproxy as a backend, or in front.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::Program;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

/// What haproxy answers: whether it saw TLS and which name.
const ANSWER: &str = "haproxy tls=%[ssl_fc] sni=%[ssl_fc_sni] src=%[src] authority=%[fc_pp_authority]";

/// A running haproxy with one plain and one TLS frontend, each answering by itself.
#[derive(Debug)]
pub struct Haproxy {
    /// Plain HTTP.
    pub plain: Port,
    /// HTTPS.
    pub tls: Port,
    _program: Program,
    _folder: TempDir,
}

impl Haproxy {
    /// Starts it; the TLS frontend shows `NAME.pem` of `certificates`.
    pub async fn start(certificates: &Path, name: &str) -> Self {
        Self::start_with(certificates, name, "").await
    }

    /// The same, with these options of the TLS frontend.
    pub async fn start_with(certificates: &Path, name: &str, options: &str) -> Self {
        let (plain, tls) = (Port::free(), Port::free());
        let folder = tempfile::tempdir().unwrap();
        let both = ["pem", "key"]
            .map(|kind| std::fs::read_to_string(certificates.join(format!("{name}.{kind}"))).unwrap())
            .concat();
        let pem = folder.path().join("both.pem");
        std::fs::write(&pem, both).unwrap();
        let config = format!(
            "global\n  maxconn 200\ndefaults\n  mode http\n  timeout client 20s\n  timeout server 20s\n\
             \x20 timeout connect 5s\nfrontend edge\n  bind {}\n  bind {} ssl crt {} {options}\n\
             \x20 http-request return status 200 content-type text/plain lf-string \"{ANSWER}\"\n",
            plain.addr(),
            tls.addr(),
            pem.display()
        );
        let program = launch(folder.path(), &config, tls.addr()).await;
        Self { plain, tls, _program: program, _folder: folder }
    }
}

/// A running haproxy that forwards TCP, with a PROXY header in front of each connection.
#[derive(Debug)]
pub struct Forwarding {
    /// Where it listens.
    pub port: Port,
    _program: Program,
    _folder: TempDir,
}

impl Forwarding {
    /// Starts it; `to` is an address, or `unix@PATH`. It sends headers by this option of a server (`send-proxy`, `send-proxy-v2`).
    pub async fn start(to: impl Display, option: &str) -> Self {
        let (port, folder) = (Port::free(), tempfile::tempdir().unwrap());
        let config = format!(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout client 20s\n  timeout server 20s\n\
             \x20 timeout connect 5s\nlisten edge\n  bind {}\n  server one {to} {option}\n",
            port.addr()
        );
        let program = launch(folder.path(), &config, port.addr()).await;
        Self { port, _program: program, _folder: folder }
    }
}

async fn launch(folder: &Path, config: &str, listens: SocketAddr) -> Program {
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let program = Program::start(command);
    eventually(Duration::from_secs(10), "haproxy listens", async || {
        TcpStream::connect(listens).await.map_err(|error| format!("{error} {}", program.stderr.text()))
    })
    .await;
    program
}

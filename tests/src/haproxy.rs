//! A real haproxy as a backend.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::Program;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

/// What haproxy answers: whether it saw TLS and which name.
const ANSWER: &str = "haproxy tls=%[ssl_fc] sni=%[ssl_fc_sni]";

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
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let program = Program::start(command);
        eventually(Duration::from_secs(10), "haproxy listens", async || {
            TcpStream::connect(tls.addr()).await.map_err(|error| format!("{error} {}", program.stderr.text()))
        })
        .await;
        Self { plain, tls, _program: program, _folder: folder }
    }
}

//! A real nginx as a backend.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::Program;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

/// What nginx answers: whether it saw TLS, which version, and which name.
const ANSWER: &str = "nginx scheme=$scheme tls=$ssl_protocol sni=$ssl_server_name host=$host";

/// A running nginx with one plain and one TLS server.
#[derive(Debug)]
pub struct Nginx {
    /// Plain HTTP.
    pub plain: Port,
    /// HTTPS.
    pub tls: Port,
    _program: Program,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it; the TLS server shows `NAME.pem` of `certificates`.
    pub async fn start(certificates: &Path, name: &str) -> Self {
        let (plain, tls) = (Port::free(), Port::free());
        let folder = tempfile::tempdir().unwrap();
        let (at, certs) = (folder.path().display(), certificates.display());
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log stderr;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; client_body_temp_path {at}/a; proxy_temp_path {at}/b;\n\
             fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
             server {{ listen {plain}; location / {{ return 200 '{ANSWER}\\n'; }} }}\n\
             server {{ listen {tls} ssl; ssl_certificate {certs}/{name}.pem; ssl_certificate_key {certs}/{name}.key;\n\
             location / {{ return 200 '{ANSWER}\\n'; }} }} }}\n",
            plain = plain.addr(),
            tls = tls.addr(),
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        command.args(["-e", "stderr"]);
        let program = Program::start(command);
        eventually(Duration::from_secs(10), "nginx listens", async || {
            TcpStream::connect(tls.addr()).await.map_err(|error| format!("{error} {}", program.stderr.text()))
        })
        .await;
        Self { plain, tls, _program: program, _folder: folder }
    }
}

//! A real nginx as a backend, which may fall and come back.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::Program;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

/// What nginx answers: whether it saw TLS, which version, and which name.
const ANSWER: &str = "nginx scheme=$scheme tls=$ssl_protocol sni=$ssl_server_name host=$host";

/// A running nginx with a plain server, one on a Unix socket, one of HTTP/2 without TLS, one with TLS, and one behind
/// PROXY headers.
#[derive(Debug)]
pub struct Nginx {
    /// Plain HTTP.
    pub plain: Port,
    /// HTTP/2 by prior knowledge.
    pub h2c: Port,
    /// HTTPS.
    pub tls: Port,
    /// Plain HTTP behind a PROXY header.
    pub proxied: Port,
    program: Program,
    folder: TempDir,
}

impl Nginx {
    /// Starts it; the TLS server shows `NAME.pem` of `certificates`.
    pub async fn start(certificates: &Path, name: &str) -> Self {
        Self::start_with(certificates, name, "").await
    }

    /// The same, with these directives in the TLS server.
    pub async fn start_with(certificates: &Path, name: &str, directives: &str) -> Self {
        let (plain, h2c, tls, proxied) = (Port::free(), Port::free(), Port::free(), Port::free());
        let folder = tempfile::tempdir().unwrap();
        let (at, certs) = (folder.path().display(), certificates.display());
        let locations = format!(
            "keepalive_requests 1000000; client_max_body_size 0;\n\
             location /files/ {{ root {at}; dav_methods PUT; }}\n\
             location /slow/ {{ alias {at}/files/; limit_rate 16k; }} location / {{ return 200 '{ANSWER}\\n'; }}"
        );
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; client_body_temp_path {at}/a; proxy_temp_path {at}/b;\n\
             fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
             server {{ listen {plain}; {locations} }}\n\
             server {{ listen unix:{at}/nginx.sock; location / {{ return 200 'xff=$http_x_forwarded_for \
             forwarded=$http_forwarded port=$http_x_forwarded_port host=$host\n'; }} }}\n\
             server {{ listen {h2c} http2; {locations} }}\n\
             server {{ listen {proxied} proxy_protocol; location / {{ return 200 'nginx proxied=$proxy_protocol_addr\n'; }} }}\n\
             server {{ listen {tls} ssl; ssl_certificate {certs}/{name}.pem; ssl_certificate_key {certs}/{name}.key;\n\
             {directives} {locations} }} }}\n",
            plain = plain.addr(),
            h2c = h2c.addr(),
            tls = tls.addr(),
            proxied = proxied.addr(),
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let nginx = Self { program: launch(folder.path()), plain, h2c, tls, proxied, folder };
        nginx.listens().await;
        nginx
    }

    /// The path of a Unix socket with a plain server that says what it hears of the client.
    pub fn unix(&self) -> PathBuf {
        self.folder.path().join("nginx.sock")
    }

    /// Serves these bytes on all servers, as `/files/NAME`, and as `/slow/NAME` at 16 KiB/s.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join("files").join(name), bytes).unwrap();
    }

    /// The bytes of a file, as [`Nginx::put`] or a client wrote them.
    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join("files").join(name)).unwrap()
    }

    /// Ends it by SIGKILL: when this returns its sockets are closed.
    pub async fn kill(&mut self) {
        self.program.signal(Signal::KILL);
        self.program.wait(Duration::from_secs(10)).await;
    }

    /// Starts it again after [`Nginx::kill`], on the same ports.
    pub async fn restart(&mut self) {
        // A killed nginx leaves it, and would not replace it.
        let _absent = std::fs::remove_file(self.unix());
        self.program = launch(self.folder.path());
        self.listens().await;
    }

    /// Stops it by SIGSTOP: the kernel goes on accepting for it, but no answer comes.
    pub fn freeze(&self) {
        self.program.signal(Signal::STOP);
    }

    /// Continues it after [`Nginx::freeze`].
    pub fn thaw(&self) {
        self.program.signal(Signal::CONT);
    }

    async fn listens(&self) {
        eventually(Duration::from_secs(10), "nginx listens", async || {
            let connected = TcpStream::connect(self.tls.addr()).await;
            connected.map_err(|error| format!("{error} {}", self.program.stderr.text()))
        })
        .await;
    }
}

fn launch(folder: &Path) -> Program {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command.args(["-e", "stderr"]);
    Program::start(command)
}

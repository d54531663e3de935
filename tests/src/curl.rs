//! The `curl` command: the HTTP client that users have.

use crate::program::{Finished, run};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Gets `https://NAME:PORT/` from `addr`, trusting the authority in `ca` alone; `arguments` as for the command.
pub async fn https(addr: SocketAddr, name: &str, ca: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    // -q must come first: it ignores the curlrc of the user running the tests.
    command.args(["-q", "--silent", "--show-error", "--verbose", "--max-time", "20", "--noproxy", "*"]);
    command.args(["--resolve", &format!("{name}:{}:{}", addr.port(), addr.ip())]);
    command.arg("--cacert").arg(ca).args(arguments).arg(format!("https://{name}:{}/", addr.port()));
    run(command, b"", Duration::from_secs(30)).await
}

/// Runs the command with these arguments, quiet but for errors, and without a proxy or the user's curlrc.
pub async fn curl(arguments: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command.args(["-q", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    run(command, b"", Duration::from_secs(30)).await
}

#[cfg(test)]
mod tests {
    //! The programs without weir in between.
    use super::*;
    use crate::haproxy::Haproxy;
    use crate::nginx::Nginx;
    use crate::openssl::{Server, s_client};
    use crate::world::{Identities, NAME};

    #[tokio::test]
    async fn the_programs_answer() {
        let identities = Identities::default();
        let folder = tempfile::tempdir().unwrap();
        identities.backend.write(folder.path(), "backend");
        identities.inner.write(folder.path(), "ca");
        let ca = folder.path().join("ca.pem");
        let nginx = Nginx::start(folder.path(), "backend").await;
        let haproxy = Haproxy::start(folder.path(), "backend").await;
        let server = Server::start(folder.path(), "backend", &["-www"]).await;
        for (port, answer) in
            [(&nginx.tls, "nginx scheme=https"), (&haproxy.tls, "haproxy tls=1"), (&server.port, "s_server")]
        {
            let got = https(port.addr(), NAME, &ca, &[]).await;
            assert!(got.stdout.contains(answer), "{}", got.both());
        }
        let plain = crate::http::get(nginx.plain.addr(), "/").await.unwrap();
        assert!(plain.body.contains("scheme=http tls= "), "{plain:?}");
        let plain = crate::http::get(haproxy.plain.addr(), "/").await.unwrap();
        assert!(plain.body.contains("tls=0"), "{plain:?}");
        let seen = s_client(server.port.addr(), &["-servername", NAME, "-brief"]).await;
        assert!(seen.both().contains("Protocol version: TLSv1.3"), "{}", seen.both());
    }
}

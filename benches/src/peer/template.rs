//! The configurations: one template for each load balancer, in `benches/peers`, filled in for one measurement.

use super::Peer;
use super::program::Program;
use crate::backend::Ports;
use crate::cpus::most_connections;
use crate::identity::{BARE, FRONT, INNER, THROUGH, front};
use crate::work::Crypto;
use std::path::Path;

/// Where a load balancer listens, mode by mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Passthrough.
    pub passthrough: u16,
    /// Offload.
    pub offload: u16,
    /// Bridging.
    pub bridging: u16,
    /// Offload, by requests: HTTP/1.1 and HTTP/2.
    pub http: u16,
    /// weir's admin server.
    pub admin: u16,
}

/// The values that fill a template.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Where the backend listens.
    pub backend: Ports,
    /// Where the load balancer must listen.
    pub listening: Listening,
    /// The folder with the certificates.
    pub identity: &'a Path,
    /// The load balancer's own folder.
    pub folder: &'a Path,
    /// Data threads.
    pub threads: usize,
    /// The cryptography of handshakes with clients.
    pub crypto: Crypto,
}

/// The configuration's file name and text, and the arguments that make the program use it.
pub fn configuration(
    peer: Peer,
    program: &Program,
    setting: &Setting<'_>,
) -> (&'static str, String, Vec<String>) {
    let (file, template) = match peer {
        Peer::Haproxy => ("haproxy.cfg", include_str!("../../peers/haproxy.cfg")),
        Peer::Nginx => ("nginx.conf", include_str!("../../peers/nginx.conf")),
        Peer::Envoy => ("envoy.yaml", include_str!("../../peers/envoy.yaml")),
        _ => ("weir.yaml", include_str!("../../peers/weir.yaml")),
    };
    let path = setting.folder.join(file).display().to_string();
    let log = setting.folder.join("nginx-start.log").display().to_string();
    let threads = setting.threads.to_string();
    let arguments: &[&str] = match peer {
        Peer::Haproxy => &["-db", "-f", &path],
        Peer::Nginx => &["-e", &log, "-c", &path],
        Peer::Envoy => &["-c", &path, "--concurrency", &threads, "--disable-hot-restart", "-l", "critical"],
        _ => &["run", "-c", &path],
    };
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    (file, fill(template, &tokens(peer, program, setting)), arguments)
}

fn tokens(peer: Peer, program: &Program, setting: &Setting<'_>) -> Vec<(&'static str, String)> {
    let Setting { backend, listening, identity, folder, threads, crypto } = setting;
    let connections = most_connections();
    let admin = format!("admin: {{address: \"127.0.0.1:{}\"}}", listening.admin);
    let observed = peer == Peer::WeirRecords;
    // Without privileges nginx warns that it ignores `user`; with privileges its workers must be able to read
    // the key.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    vec![
        ("passthrough", listening.passthrough.to_string()),
        ("offload", listening.offload.to_string()),
        ("bridging", listening.bridging.to_string()),
        ("http", listening.http.to_string()),
        ("tls", backend.tls.to_string()),
        ("bare", backend.bare.to_string()),
        ("plain", backend.plain.to_string()),
        ("web", backend.http.to_string()),
        ("front_name", FRONT.to_owned()),
        ("through_name", THROUGH.to_owned()),
        ("bare_name", BARE.to_owned()),
        ("inner", INNER.to_owned()),
        ("identity", identity.display().to_string()),
        ("front", front(*crypto).to_owned()),
        ("group", if crypto.ml_kem { "X25519MLKEM768" } else { "X25519" }.to_owned()),
        ("folder", folder.display().to_string()),
        ("threads", threads.to_string()),
        ("connections", connections.to_string()),
        ("sockets", (connections * 2 + 100).to_string()),
        ("files", (connections * 2 + 200).to_string()),
        ("head", format!("{}\n{user}", program.head)),
        ("records", observed.to_string()),
        ("admin", if observed { admin } else { String::new() }),
    ]
}

fn fill(template: &str, tokens: &[(&str, String)]) -> String {
    tokens.iter().fold(template.to_owned(), |text, (token, value)| text.replace(&format!("@{token}@"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_filled_in() {
        let program = Program { command: vec![], version: vec![], head: "load_module m.so;".to_owned() };
        let setting = Setting {
            backend: Ports { tls: 1001, bare: 1002, plain: 1003, http: 1004, https: 1005 },
            listening: Listening {
                passthrough: 2001,
                offload: 2002,
                bridging: 2003,
                http: 2005,
                admin: 2004,
            },
            identity: Path::new("/identity"),
            folder: Path::new("/folder"),
            threads: 1,
            crypto: Crypto { rsa: true, ml_kem: true },
        };
        for peer in [Peer::Weir, Peer::WeirRecords, Peer::Haproxy, Peer::Nginx, Peer::Envoy] {
            let (file, text, arguments) = configuration(peer, &program, &setting);
            // Envoy's own `@type` is not one of our tokens: it has no second `@` before the next space.
            let left = text.split_whitespace().find(|word| word.matches('@').count() > 1);
            assert_eq!(left, None, "{file}");
            for port in ["1001", "1002", "1003", "1004", "2001", "2002", "2003", "2005"] {
                assert!(text.contains(port), "{file} has no {port}");
            }
            assert!(text.contains("/identity/front-rsa."), "{file}");
            // weir takes the client's favourite.
            let is_weir = matches!(peer, Peer::Weir | Peer::WeirRecords);
            assert_ne!(text.contains("X25519MLKEM768"), is_weir, "{file}");
            assert_eq!(text.contains("2004"), peer == Peer::WeirRecords);
            assert!(arguments.contains(&format!("/folder/{file}")));
        }
    }
}

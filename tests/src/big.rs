//! Configurations of any size: routes of each kind, pools with many backends, certificates with a key each.
//!
//! All backends are one program at one address, told apart by their names: a connection's record says which
//! one it reached.

use crate::certificates::Authority;
use crate::client::TlsClient;
use crate::hello::real;
use crate::peers::{Backend, Role};
use crate::ports::Port;
use std::fmt::Write as _;
use tempfile::TempDir;

/// How big.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Routes of the listener in passthrough.
    pub routes: usize,
    /// Pools, each with routes.
    pub pools: usize,
    /// Backends of each pool.
    pub backends: usize,
    /// Certificates of the listener in offload.
    pub certificates: usize,
}

/// A configuration, and what it needs to work.
#[derive(Debug)]
pub struct Big {
    /// How big it is.
    pub size: Size,
    /// Signs all certificates.
    pub authority: Authority,
    /// Where the passthrough listener is, which has the routes.
    pub pass: Port,
    /// Where the offload listener is, which has the certificates.
    pub offload: Port,
    /// The certificates' fingerprints, in order.
    pub prints: Vec<String>,
    backend: Backend,
}

impl Big {
    /// Makes the certificates in a folder, and the backend.
    pub async fn new(size: Size) -> (Self, TempDir) {
        let (authority, folder) = (Authority::new("big root"), tempfile::tempdir().unwrap());
        let mut prints = Vec::with_capacity(size.certificates);
        for number in 0..size.certificates {
            let leaf = authority.issue(&[&name_of_certificate(number)]);
            leaf.write(folder.path(), &format!("c{number}"));
            prints.push(leaf.fingerprint());
        }
        let backend = Backend::plain(Role::Echo).await;
        let (pass, offload) = (Port::free(), Port::free());
        (Self { size, authority, pass, offload, prints, backend }, folder)
    }

    /// The configuration; its first route leads to pool `first`.
    pub fn yaml(&self, first: usize) -> String {
        let mut text = "tls_profiles:\n  - name: many\n    certificates:\n".to_owned();
        for number in 0..self.size.certificates {
            writeln!(text, "      - {{cert: c{number}.pem, key: c{number}.key}}").unwrap();
        }
        writeln!(
            text,
            "listeners:\n  - {{name: offload, address: \"{}\", mode: offload, tls: many, default_pool: pool-0}}\n  \
             - name: pass\n    address: \"{}\"\n    mode: passthrough\n    routes:",
            self.offload.addr(),
            self.pass.addr()
        )
        .unwrap();
        for number in 0..self.size.routes {
            let pool = if number == 0 { first } else { number };
            let conditions = conditions(number);
            writeln!(text, "      - {{match: {{{conditions}}}, pool: pool-{}}}", pool % self.size.pools)
                .unwrap();
        }
        text.push_str("pools:\n");
        for pool in 0..self.size.pools {
            writeln!(text, "  - name: pool-{pool}\n    health_check: {{type: none}}\n    backends:").unwrap();
            for number in 0..self.size.backends {
                let addr = self.backend.addr;
                writeln!(text, "      - {{name: b{pool}-{number}, address: \"{addr}\"}}").unwrap();
            }
        }
        text
    }

    /// The pool that a route leads to, except for the first route.
    pub fn pool_of(&self, route: usize) -> String {
        format!("pool-{}", route % self.size.pools)
    }
}

/// The name in the certificate with this number.
pub fn name_of_certificate(number: usize) -> String {
    format!("site-{number}.cert.test")
}

/// Of ten routes seven ask for a name, one for a wildcard, one for a protocol, one for a network.
fn conditions(route: usize) -> String {
    match route % 10 {
        7 => format!("sni: \"*.w{route}.wild.test\""),
        8 => format!("sni: a{route}.alpn.test, alpn: [h2]"),
        9 => format!("sni: s{route}.source.test, source: [127.0.0.0/8]"),
        _ => format!("sni: r{route}.exact.test"),
    }
}

/// A hello that matches this route.
pub fn hello_for(route: usize) -> Vec<u8> {
    let client = TlsClient::trusting(&[]).small();
    match route % 10 {
        7 => real(&client, &format!("any.of.w{route}.wild.test")),
        8 => real(&client.alpn(&["h2"]), &format!("a{route}.alpn.test")),
        9 => real(&client, &format!("s{route}.source.test")),
        _ => real(&client, &format!("r{route}.exact.test")),
    }
}

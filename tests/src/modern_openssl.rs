//! OpenSSL 3.5 or later, through pyOpenSSL, which brings its own: it knows ML-DSA, and Debian 12's `openssl` does not.
//! `packaging/test-peers.sh` installs it.

use crate::program::{Finished, run};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where `packaging/test-peers.sh` puts the Python packages.
fn packages() -> PathBuf {
    root().join("target/tools/pyopenssl")
}

async fn python(arguments: &[&str]) -> Finished {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages()).arg(root().join("tests/src/modern_openssl.py")).args(arguments);
    let finished = run(command, b"", Duration::from_secs(60)).await;
    assert_eq!(finished.code, Some(0), "packaging/test-peers.sh installs pyOpenSSL: {}", finished.both());
    finished
}

/// Makes an authority and a certificate for `name`, both with ML-DSA keys of `kind` (44, 65, 87): `ca.pem`, `weir.pem`
/// and `weir.key` in `folder`.
///
/// # Panics
/// When pyOpenSSL is missing, or its OpenSSL has no ML-DSA.
pub async fn issue(folder: &Path, kind: &str, name: &str) {
    python(&["issue", folder.to_str().unwrap(), kind, name]).await;
}

/// Connects, checks the certificate by the authority in `ca`, and sends `ping`. Gives `version`, `key`, `signed` and
/// `echo`.
///
/// # Panics
/// When the handshake fails, or OpenSSL is older than 3.5.
pub async fn connect(addr: SocketAddr, name: &str, ca: &Path) -> serde_json::Value {
    let said = python(&["connect", &addr.to_string(), name, ca.to_str().unwrap()]).await;
    let agreed: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let version = agreed["openssl"].as_str().unwrap().split(' ').nth(1).unwrap();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap(), parts.next().unwrap());
    assert!(version >= (3, 5), "OpenSSL {version:?} is too old");
    agreed
}

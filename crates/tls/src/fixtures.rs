//! What this crate's tests share: certificates made on the spot, and both ends of a handshake.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::DuplexStream;

use crate::certificate::CertificateFiles;
use crate::provider::{MinVersion, provider};
use crate::resolver::UnknownSni;
use crate::server::{ServerProfile, ServerSettings};
use crate::sessions::Sessions;
use crate::stream::Transport;
use crate::warning::Warning;

impl Transport for DuplexStream {}

/// A folder of certificates that is gone with the test.
pub(crate) struct Pki {
    folder: TempDir,
    pub(crate) ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let name = format!("authority of {}", folder.path().display());
        Self::named(folder, &name)
    }

    /// Another authority under the same name, with another key.
    pub(crate) fn namesake(&self) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self::named(folder, &format!("authority of {}", self.path().display()))
    }

    fn named(folder: TempDir, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, params.self_signed(&key).expect("a certificate").pem()).expect("a file");
        Self { folder, ca, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file with this text, private to its owner.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }

    /// `NAME.pem` and `NAME.key`, an ECDSA certificate of the authority for these names.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.issue_for(file, &ecdsa(), params(names))
    }

    pub(crate) fn issue_for(&self, file: &str, key: &KeyPair, params: CertificateParams) -> CertificateFiles {
        let cert = params.signed_by(key, &self.issuer).expect("a certificate");
        self.pair(file, &cert.pem(), key)
    }

    /// A self-signed certificate as `openssl req -x509` makes it: its own authority, `CA:TRUE`.
    pub(crate) fn self_signed(&self, file: &str, mut params: CertificateParams) -> CertificateFiles {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = ecdsa();
        let cert = params.self_signed(&key).expect("a certificate");
        self.pair(file, &cert.pem(), &key)
    }

    fn pair(&self, file: &str, cert: &str, key: &KeyPair) -> CertificateFiles {
        CertificateFiles {
            cert: self.file(&format!("{file}.pem"), cert),
            key: self.file(&format!("{file}.key"), key.serialize_pem()),
        }
    }

    /// Trusts the authority and nothing else; resumes as rustls does by default.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).expect("the authority")).expect("an anchor");
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

pub(crate) fn ecdsa() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key")
}

pub(crate) fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key")
}

pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

/// What reference.yaml has for a profile that names only its certificates.
pub(crate) fn settings(certificates: Vec<CertificateFiles>) -> ServerSettings {
    ServerSettings {
        certificates,
        unknown_sni: UnknownSni::Refuse,
        alpn: Vec::new(),
        min_version: MinVersion::Tls12,
        tickets: true,
        ticket_lifetime: Duration::from_secs(12 * 60 * 60),
        cache: 100,
    }
}

pub(crate) fn profile(settings: &ServerSettings) -> ServerProfile {
    let sessions = Sessions::random().expect("randomness");
    let (profile, warnings) = ServerProfile::build(settings, &sessions).expect("a profile");
    assert_eq!(warnings, Vec::<Warning>::new());
    profile
}

/// A plain rustls server for the client side's tests; `tickets` for TLS 1.3 after each handshake.
pub(crate) fn plain_server(files: &CertificateFiles, tickets: usize) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(&files.cert).expect("a file").map(|one| one.expect("PEM"));
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .expect("a certificate and its key");
    config.send_tls13_tickets = tickets;
    config
}

/// The two ends of a connection in memory.
pub(crate) fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 * 1024)
}

/// The rustls error inside an I/O error.
pub(crate) fn tls_error(error: &std::io::Error) -> rustls::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.unwrap_or_else(|| panic!("no TLS error but {error:?}")).clone()
}

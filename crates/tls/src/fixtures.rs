//! What this crate's tests share: certificates made on the spot, and both ends of a handshake.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber, SigningKey,
};
use rustls::crypto::CryptoProvider;
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

    /// The authority's key, for programs that sign by files.
    pub(crate) fn ca_key(&self) -> PathBuf {
        self.file("ca.key", self.issuer.key().serialize_pem())
    }

    /// The authority's signature over `message`, ECDSA with SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.issuer.key().sign(message).expect("a signature")
    }

    /// A revocation list of the authority with these serial numbers, whose next one is due in this year; PEM.
    pub(crate) fn revokes(&self, serials: &[u64], due: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2019, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2019, 1, 1),
            next_update: rcgen::date_time_ymd(due, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }

    /// An authority that this one has issued; its certificate is in `ca`.
    pub(crate) fn intermediate(&self) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(INTERMEDIATE));
        let name = format!("intermediate of {}", folder.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, params.signed_by(&key, &self.issuer).expect("a certificate").pem()).expect("a file");
        Self { folder, ca, issuer: Issuer::new(params, key) }
    }

    /// A self-signed certificate as `openssl req -x509` makes it: its own authority, `CA:TRUE`.
    pub(crate) fn self_signed(&self, file: &str, mut params: CertificateParams) -> CertificateFiles {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = ecdsa();
        let cert = params.self_signed(&key).expect("a certificate");
        self.pair(file, &cert.pem(), &key)
    }

    /// `NAME`, a list in PEM by the authority that revokes these serial numbers; the next one is due in this year.
    pub(crate) fn revoke(&self, name: &str, serials: &[u64], next: i32) -> PathBuf {
        self.file(name, self.revokes(serials, next))
    }

    fn pair(&self, file: &str, cert: &str, key: &KeyPair) -> CertificateFiles {
        CertificateFiles::new(
            self.file(&format!("{file}.pem"), cert),
            self.file(&format!("{file}.key"), key.serialize_pem()),
        )
    }

    /// Trusts the authority and nothing else; resumes as rustls does by default.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_with(provider(), versions)
    }

    pub(crate) fn client_with(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).expect("the authority")).expect("an anchor");
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// The serial number of an [`intermediate`](Pki::intermediate).
pub(crate) const INTERMEDIATE: u64 = 77;

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
        directory: None,
        reload: Duration::from_secs(10),
        strict_permissions: false,
        unknown_sni: UnknownSni::Refuse,
        alpn: Vec::new(),
        min_version: MinVersion::Tls12,
        cipher_suites: Vec::new(),
        groups: Vec::new(),
        tickets: true,
        ticket_lifetime: Duration::from_secs(12 * 60 * 60),
        cache: 100,
        client_auth: None,
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

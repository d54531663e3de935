//! The certificates of a measurement: an authority, a certificate for the load balancer and another one for the
//! backend, all ECDSA P-256; and the TLS settings of both ends, which leave no choice: TLS 1.3, X25519, AES-128-GCM.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name in a client's hello, in passthrough: TLS to the end.
pub const THROUGH: &str = "through.bench.test";
/// The name in a client's hello, in passthrough: bare bytes follow the hello.
pub const BARE: &str = "bare.bench.test";
/// The name in a client's hello where TLS ends at the load balancer.
pub const FRONT: &str = "front.bench.test";
/// The name that the load balancer uses towards the backend in bridging.
pub const INNER: &str = "inner.bench.test";

/// The folder with the certificates. PEM, as all load balancers read it.
#[derive(Clone, Debug)]
pub struct Identity {
    folder: PathBuf,
}

impl Identity {
    /// Makes new ones in `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "weir bench authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        for (name, names) in [("front", vec![FRONT]), ("backend", vec![THROUGH, BARE, INNER])] {
            let names = names.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?.pem();
            fs::write(folder.join(format!("{name}.pem")), &certificate)?;
            fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
            // HAProxy wants both in one file.
            fs::write(folder.join(format!("{name}.both.pem")), certificate + &key.serialize_pem())?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Those that [`Identity::make`] has made in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The path of one of the files: `ca.pem`, `front.pem`, `front.key`, `front.both.pem`, the same of `backend`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The load balancer's own certificate.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn front(&self) -> Result<CertificateDer<'static>> {
        self.certificate("front.pem")
    }

    /// The backend's own certificate.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn backend(&self) -> Result<CertificateDer<'static>> {
        self.certificate("backend.pem")
    }

    /// How a client speaks TLS: it verifies, and tries to resume if told so.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn client(&self, resume: bool) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")?)?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = if resume { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
        Ok(Arc::new(config))
    }

    /// How one of the two servers speaks TLS, `front` or `backend`. Tickets are stateless, so that any session can
    /// be resumed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn server(&self, name: &str) -> Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).context("the key")?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate(&format!("{name}.pem"))?], key)?;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    fn certificate(&self, name: &str) -> Result<CertificateDer<'static>> {
        let path = self.file(name);
        CertificateDer::from_pem_file(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// One suite and one group: everybody does the same cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

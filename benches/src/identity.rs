//! The certificates of a measurement: an authority, a certificate for the load balancer and another one for the
//! backend, all ECDSA P-256, and one more for the load balancer with an RSA key; and the TLS settings of both ends, which leave no
//! choice: TLS 1.3, X25519 or X25519MLKEM768, AES-128-GCM.

use crate::work::{Crypto, Protocol};
use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name in a client's hello, in passthrough: TLS up to the backend.
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
    /// Makes new certificates in `folder`.
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
        let pairs: [(&str, &[&str]); 3] =
            [("front", &[FRONT]), (FRONT_RSA, &[FRONT]), ("backend", &[THROUGH, BARE, INNER])];
        for (name, names) in pairs {
            let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let key = match name {
                FRONT_RSA => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
                _ => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            };
            let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?.pem();
            fs::write(folder.join(format!("{name}.pem")), &certificate)?;
            fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
            // HAProxy wants both in one file.
            fs::write(folder.join(format!("{name}.both.pem")), certificate + &key.serialize_pem())?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The certificates that [`Identity::make`] has made in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The path of one of the files: `ca.pem`, `front.pem`, `front.key`, `front.both.pem`, the same of `front-rsa` and `backend`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The load balancer's own certificate.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn front(&self, crypto: Crypto) -> Result<CertificateDer<'static>> {
        self.certificate(&format!("{}.pem", front(crypto)))
    }

    /// The backend's own certificate.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn backend(&self) -> Result<CertificateDer<'static>> {
        self.certificate("backend.pem")
    }

    /// A client's TLS settings: it verifies, offers only `protocol`, and resumes if told to.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn client(&self, resume: bool, crypto: Crypto, protocol: Protocol) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")?)?;
        let mut config = ClientConfig::builder_with_provider(provider(crypto))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn(protocol).map(<[u8]>::to_vec).into_iter().collect();
        config.resumption = if resume { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
        Ok(Arc::new(config))
    }

    /// The TLS settings of one of the two servers, `front` or `backend`. Tickets are stateless, so that any
    /// session can be resumed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn server(&self, name: &str) -> Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).context("the key")?;
        let mut config = ServerConfig::builder_with_provider(provider(Crypto::default()))
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

/// The name of a protocol in ALPN; `None` if no name is offered.
pub fn alpn(protocol: Protocol) -> Option<&'static [u8]> {
    match protocol {
        Protocol::Tcp => None,
        Protocol::Http1 => Some(b"http/1.1"),
        Protocol::Http2 => Some(b"h2"),
    }
}

/// The name of the load balancer's files.
pub fn front(crypto: Crypto) -> &'static str {
    if crypto.rsa { FRONT_RSA } else { "front" }
}

const FRONT_RSA: &str = "front-rsa";

/// One suite and one group, so that all peers do the same cryptography.
fn provider(crypto: Crypto) -> Arc<CryptoProvider> {
    let group = match crypto.ml_kem {
        true => aws_lc_rs::kx_group::X25519MLKEM768,
        false => aws_lc_rs::kx_group::X25519,
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    })
}

//! Authorities and certificates, made in memory for each test.

use crate::digest::sha256;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// P-256.
    Ecdsa,
    /// 2,048 bits.
    Rsa,
}

/// Something that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
    /// The same, as rustls wants it.
    pub der: CertificateDer<'static>,
}

impl Authority {
    /// A new root with a name of its own.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A server certificate for `names`, with a P-256 key.
    pub fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_as(names, Kind::Ecdsa, Dates::Valid)
    }

    /// A server certificate for `names`.
    pub fn issue_as(&self, names: &[&str], kind: Kind, dates: Dates) -> Leaf {
        let params = leaf_params(names, dates);
        let key = key(kind);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf::new(certificate.pem() + &self.pem, certificate.der().clone(), &key)
    }

    /// Writes the authority's certificate to `NAME.pem`.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), &self.pem).unwrap();
    }
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dates {
    /// Now.
    Valid,
    /// Until years ago.
    Expired,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate and the authority that signed it.
    pub pem: String,
    /// The key, PKCS#8.
    pub key_pem: String,
    /// The certificate alone.
    pub der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Leaf {
    fn new(pem: String, der: CertificateDer<'static>, key: &KeyPair) -> Self {
        Self { pem, der, key_pem: key.serialize_pem(), key_der: key.serialize_der() }
    }

    /// A certificate that signed itself, marked as an authority, as `openssl req -x509` makes it.
    pub fn self_signed(names: &[&str]) -> Self {
        let mut params = leaf_params(names, Dates::Valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key(Kind::Ecdsa);
        let certificate = params.self_signed(&key).unwrap();
        Self::new(certificate.pem(), certificate.der().clone(), &key)
    }

    /// Writes `NAME.pem` and `NAME.key`, the key readable by its owner alone.
    pub fn write(&self, folder: &Path, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.join(format!("{name}.pem")), &self.pem).unwrap();
        let key = folder.join(format!("{name}.key"));
        std::fs::write(&key, &self.key_pem).unwrap();
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// SHA-256 of the certificate, in hex: tells two certificates for one name apart.
    pub fn fingerprint(&self) -> String {
        sha256(&self.der)
    }

    /// The key as rustls wants it.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key_der.clone()).unwrap()
    }
}

fn leaf_params(names: &[&str], dates: Dates) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    if dates == Dates::Expired {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    params
}

fn key(kind: Kind) -> KeyPair {
    match kind {
        Kind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        Kind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    }
    .unwrap()
}

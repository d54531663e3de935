//! Authorities and certificates, made in memory for each test.

use crate::digest::sha256;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ML_DSA_65,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// P-256.
    Ecdsa,
    /// 2,048 bits.
    Rsa,
    /// 4,096 bits.
    Rsa4096,
    /// ML-DSA-65.
    MlDsa65,
}

/// An authority that signs certificates.
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
        Leaf::new(certificate.pem() + &self.pem, certificate.der().clone(), &key, &params)
    }

    /// A list of revoked certificates, in PEM, with these serial numbers.
    pub fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A certificate for `names` that is for this purpose alone.
    pub fn issue_for(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Leaf {
        let mut params = leaf_params(names, Dates::Valid);
        params.extended_key_usages = vec![purpose];
        let key = key(Kind::Ecdsa);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf::new(certificate.pem() + &self.pem, certificate.der().clone(), &key, &params)
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
    /// From a year far away.
    Future,
    /// From yesterday on for 90 days, for servers alone and with a long serial number, as public authorities issue
    /// them.
    Public,
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
    /// Its serial number.
    pub serial: u64,
    key_der: Vec<u8>,
}

impl Leaf {
    fn new(pem: String, der: CertificateDer<'static>, key: &KeyPair, params: &CertificateParams) -> Self {
        let serial = params.serial_number.as_ref().map(SerialNumber::to_bytes).unwrap_or_default();
        let serial = serial.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self { pem, der, serial, key_pem: key.serialize_pem(), key_der: key.serialize_der() }
    }

    /// A self-signed certificate, marked as an authority, as `openssl req -x509` makes it.
    pub fn self_signed(names: &[&str]) -> Self {
        let mut params = leaf_params(names, Dates::Valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key(Kind::Ecdsa);
        let certificate = params.self_signed(&key).unwrap();
        Self::new(certificate.pem(), certificate.der().clone(), &key, &params)
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

/// No two certificates of a test have one number.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1_000);

fn leaf_params(names: &[&str], dates: Dates) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.serial_number = Some(SerialNumber::from(NEXT_SERIAL.fetch_add(1, Ordering::Relaxed)));
    let (from, to) = match dates {
        Dates::Valid => return params,
        Dates::Expired => (2019, 2020),
        Dates::Future => (2900, 2901),
        Dates::Public => {
            let day = Duration::from_secs(86_400);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            params.not_before = date_time_ymd(1970, 1, 1) + (now - day);
            params.not_after = params.not_before + 90 * day;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            params.serial_number = None;
            return params;
        }
    };
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params
}

fn key(kind: Kind) -> KeyPair {
    match kind {
        Kind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        Kind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        Kind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        Kind::MlDsa65 => KeyPair::generate_for(&PKCS_ML_DSA_65),
    }
    .unwrap()
}

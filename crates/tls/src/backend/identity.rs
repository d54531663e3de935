//! weir's own certificate, for backends that ask for one.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::sign::SingleCertAndKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::{
    CertificateError, CertificateFacts, CertificateFiles, CertificateStore, EntryKey, Served, stage,
};
use crate::digest::Digest;
use crate::tickets::unix_now;
use crate::warning::Warning;

/// weir's certificate towards the backends of a pool.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) facts: Arc<CertificateFacts>,
    pub(super) resolver: Arc<dyn ResolvesClientCert>,
    /// Of the chain: sessions that began with one certificate are not resumed with another.
    pub(super) digest: Digest,
}

impl Identity {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// Everything that is wrong with the two files.
    pub(super) fn read(files: &CertificateFiles) -> Result<(Self, Vec<Warning>), Vec<CertificateError>> {
        let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
        let key = EntryKey { files: files.clone(), strict: false };
        let (entry, mut warnings) = stage(&key, 0, &CertificateStore::default(), None, now)?;
        // A client needs no DNS name, and staples nothing.
        warnings.retain(|warning| !matches!(warning, Warning::NoNames { .. } | Warning::MustStaple { .. }));
        let Some(Served { facts, certified }) = entry.served() else { return Err(Vec::new()) };
        if !certified.cert.first().is_some_and(|leaf| is_for_clients(leaf)) {
            warnings.push(Warning::NotForClients { path: files.cert.clone() });
        }
        let digest = Digest::of(certified.cert.iter().map(AsRef::as_ref));
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        Ok((Self { facts, resolver, digest }, warnings))
    }
}

/// Whether the certificate says that it may authenticate a client, or does not restrict its purpose (RFC 5280
/// §4.2.1.12).
fn is_for_clients(leaf: &[u8]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return true };
    let usage = parsed.extended_key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.client_auth || usage.value.any)
}

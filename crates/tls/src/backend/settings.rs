//! A pool's `tls` section.

use std::path::PathBuf;

use crate::certificate::CertificateFiles;
use crate::pin::Pin;
use crate::provider::MinVersion;

/// Which name weir asks a backend for; its certificate must be valid for that name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerNameFrom {
    /// The client's SNI, or the backend's host if there is none.
    #[default]
    Sni,
    /// The backend's host, a name or an address.
    Address,
    /// This name, or a URI: then the certificate must have that URI, and the name asked for is that of `Sni`.
    Fixed(String),
}

/// Which application protocols weir offers to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BackendAlpn {
    /// The protocol that the client and weir agreed on, if any.
    #[default]
    Same,
    /// These, in order of preference; empty = none.
    List(Vec<Vec<u8>>),
}

/// How to speak TLS to the backends of a pool; its `tls` section with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// PEM bundle of authorities; `None` = the system's.
    pub ca: Option<PathBuf>,
    /// Which name to ask for.
    pub server_name: ServerNameFrom,
    /// Whether chain and name are checked. The handshake's signature is always checked.
    pub verify: bool,
    /// A backend must have one of these public keys; unless empty, they replace chain, name and dates.
    pub pinned: Vec<Pin>,
    /// Files with lists of revoked certificates.
    pub crl: Vec<PathBuf>,
    /// weir's own certificate, for backends that ask for one.
    pub client_cert: Option<CertificateFiles>,
    /// The oldest TLS version allowed.
    pub min_version: MinVersion,
    /// Which protocols to offer.
    pub alpn: BackendAlpn,
}

impl BackendSettings {
    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.client_cert.iter().flat_map(|own| [&own.cert, &own.key]);
        self.ca.iter().chain(&self.crl).chain(own)
    }
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            ca: None,
            server_name: ServerNameFrom::default(),
            verify: true,
            pinned: Vec::new(),
            crl: Vec::new(),
            client_cert: None,
            min_version: MinVersion::default(),
            alpn: BackendAlpn::default(),
        }
    }
}

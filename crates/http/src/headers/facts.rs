//! The facts about a client's connection, as values of fields: made once, and shared by its requests.

use super::certificate::CertificateFields;
use http::HeaderValue;
use std::net::IpAddr;
use weir_core::address::NO_ADDRESS;
use weir_tls::ClientCertificate;

/// A client's connection, as backends hear of it.
#[derive(Debug)]
pub struct ClientFacts {
    peer: IpAddr,
    address: Option<HeaderValue>,
    port: Option<HeaderValue>,
    secure: bool,
    certificate: Option<Box<CertificateFields>>,
}

impl ClientFacts {
    /// The facts of a connection: the address of the other end (as a PROXY header gives it, if there was one), the
    /// port that it reached (`None` on a Unix socket), whether it speaks TLS, and its verified certificate.
    pub fn new(
        peer: IpAddr,
        port: Option<u16>,
        secure: bool,
        certificate: Option<&ClientCertificate>,
    ) -> Self {
        let peer = peer.to_canonical();
        let address = (peer != NO_ADDRESS)
            .then(|| HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static("unknown")));
        let port = port.map(|port| match port {
            443 => HeaderValue::from_static("443"),
            port => HeaderValue::from(port),
        });
        let certificate = certificate.map(|certificate| Box::new(CertificateFields::of(certificate)));
        Self { peer, address, port, secure, certificate }
    }

    /// The address of the other end: the client, or a proxy in front of weir.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The peer's address for X-Forwarded-For; `None` on a Unix socket.
    pub(super) fn address(&self) -> Option<&HeaderValue> {
        self.address.as_ref()
    }

    /// The peer as a node of `Forwarded` (RFC 7239 §6): an IPv6 address in brackets and quotes; `unknown` on a Unix
    /// socket.
    pub(super) fn node(&self) -> String {
        match self.peer {
            NO_ADDRESS => "unknown".to_owned(),
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        }
    }

    /// The port that it reached; `None` on a Unix socket.
    pub(super) fn port(&self) -> Option<&HeaderValue> {
        self.port.as_ref()
    }

    /// `https` or `http`.
    pub(super) fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(if self.secure { "https" } else { "http" })
    }

    /// The fields of its certificate.
    pub(super) fn certificate(&self) -> Option<&CertificateFields> {
        self.certificate.as_deref()
    }
}

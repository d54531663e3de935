//! TLS of the command line: one request to the admin server of a running weir.
//!
//! The server's chain and name are verified as those of a backend are, before anything is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::trust::Trust;
use super::{BackendSettings, BackendTlsError, ProbeStream};
use crate::certificate::{CertificateFiles, CertificateProblem, certificates_in, key_in};
use crate::failure::HandshakeError;
use crate::provider::{MinVersion, provider, versions};

/// A TLS client for requests to an HTTP server.
pub struct HttpClient(TlsConnector);

/// Why there is no such client.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The authorities cannot be had.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Authorities(Vec<BackendTlsError>),
    /// A file of its own certificate cannot be taken.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: CertificateProblem,
    },
    /// Its own certificate and key do not go together.
    #[error("{}: the certificate and the key do not go together: {source}", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// The error of the TLS library.
        #[source]
        source: rustls::Error,
    },
}

impl HttpClient {
    /// A client that trusts the authorities in `ca`, or the system's, and shows the certificate `own` to a server that
    /// asks for one. Reads files.
    ///
    /// # Errors
    /// A file that cannot be taken.
    pub fn build(ca: Option<&Path>, own: Option<&CertificateFiles>) -> Result<Self, HttpClientError> {
        let settings = BackendSettings { ca: ca.map(Path::to_owned), ..BackendSettings::default() };
        let trust = Trust::read(&settings, None).map_err(HttpClientError::Authorities);
        let (trust, _warnings) = trust?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(MinVersion::default()))
            .expect("aws-lc-rs has suites and groups for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(trust.verifier);
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some(files) => {
                let refused = |path: &Path| {
                    let path = path.to_owned();
                    |problem| HttpClientError::File { path, problem }
                };
                let chain = certificates_in(&files.cert).map_err(refused(&files.cert))?;
                let key = key_in(&files.key).map_err(refused(&files.key))?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|source| HttpClientError::Pair { path: files.cert.clone(), source })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Runs the client side of a handshake over `io`, with a server that must be `host`: a name, or an address without
    /// brackets.
    ///
    /// # Errors
    /// The handshake failed, or the server is not to be trusted.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops `io` in the middle of the handshake.
    pub async fn connect<IO>(&self, io: IO, host: &str) -> Result<ProbeStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host).map_err(|_neither| HandshakeError::bad_name())?.to_owned();
        Ok(self.0.connect(name, io).await?)
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

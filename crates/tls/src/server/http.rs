//! TLS for weir's own HTTP servers: the admin server, and the one of metrics.
//!
//! They run on the control plane and speak HTTP through hyper, which wants tokio's traits: tokio-rustls does that. They
//! use a profile as it is at the moment of a handshake, with three differences: `http/1.1` is all that they speak,
//! whatever the profile offers; the client's order of groups decides; and no session is resumed, so that each
//! connection shows its certificate, which is verified by the authorities and lists of now.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::ServerProfile;
use crate::client_auth::ClientAuthMode;
use crate::failure::HandshakeError;
use crate::tickets::unix_now;

/// A TLS stream of one of weir's own servers.
pub type HttpStream<IO> = tokio_rustls::server::TlsStream<IO>;

impl ServerProfile {
    /// Runs the server side of a handshake for an HTTP server of weir's own. True if the caller has shown a
    /// certificate, which is then verified.
    ///
    /// # Errors
    /// The handshake failed; the alert that says so has been written.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops `io` in the middle of the handshake, which is what a deadline wants.
    pub async fn accept_http<IO>(&self, io: IO) -> Result<(HttpStream<IO>, bool), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, client_auth) = {
            let serving = self.serving.load();
            (for_http(&serving.config), serving.client_auth.clone())
        };
        let stream = TlsAcceptor::from(Arc::new(config)).accept(io).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let admitted = client_auth.map(|auth| auth.admit(shown, unix_now())).transpose();
        let certified = admitted.map_err(HandshakeError::not_admitted)?.flatten().is_some();
        Ok((stream, certified))
    }

    /// Whether each client must show a certificate.
    #[must_use]
    pub fn requires_certificates(&self) -> bool {
        self.client_auth().is_some_and(|auth| auth.mode() == ClientAuthMode::Required)
    }
}

fn for_http(config: &ServerConfig) -> ServerConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![HTTP.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(NoTickets);
    config.send_tls13_tickets = 0;
    config
}

/// RFC 7301 §6.
const HTTP: &[u8] = b"http/1.1";

#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

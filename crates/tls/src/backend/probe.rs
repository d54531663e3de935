//! A handshake for a health check: it sees the backend's certificate as it is now, and judges it afterwards.
//!
//! Nothing is resumed, so that each check is shown a certificate, and the traffic's tickets are left alone. Only the
//! handshake's signature is judged while it runs: a certificate that does not convince still has an end to tell of,
//! and in a pool that weir sends no TLS to the verdict is for the operator alone.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{BackendTls, Shared, roots};
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::verify::Verifier;

/// A TLS stream of a health check.
pub type ProbeStream<IO> = tokio_rustls::client::TlsStream<IO>;

/// What health checks speak TLS with. Cheap to clone.
#[derive(Clone)]
pub struct Probe {
    connector: TlsConnector,
    shared: Arc<Shared>,
    judge: Option<Arc<Verifier>>,
    verifies: bool,
}

/// What a backend showed in a handshake.
#[derive(Debug)]
pub struct Presented {
    /// When its certificate ends, in seconds since 1970; `None` where that cannot be read.
    pub not_after: Option<i64>,
    /// Whether chain, name and dates convince, and why not; `None` where nobody is trusted to judge by.
    pub verdict: Option<Result<(), HandshakeError>>,
}

impl BackendTls {
    /// What health checks speak TLS with: this policy's versions, names and protocols, without its sessions. Where
    /// the policy trusts nobody in particular, the system's authorities judge, if there are any: reads files then.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let verifies = self.trust.verifier.judges();
        let judge = if verifies { Some(Arc::clone(&self.trust.verifier)) } else { roots::system_verifier() };
        let config = self.config_with(Verifier::nobody(), Resumption::disabled());
        let connector = TlsConnector::from(config);
        Probe { connector, shared: Arc::clone(&self.shared), judge, verifies }
    }
}

impl Probe {
    /// Does a bad verdict count against the backend? True where its pool verifies.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// Runs the client side of a handshake over `io`, and judges the certificate that came. The name asked for is
    /// `server_name`, else the one that the policy says for a client that names nobody. `host` is the backend's host
    /// name or address as text, without port or brackets, `protocol` the one that is spoken if the policy says `same`.
    ///
    /// # Errors
    /// The handshake failed, or the other side does not hold the key; the alert that says so has been flushed, and
    /// `io` is closed. A certificate that does not convince is no error here.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops `io` in the middle of the handshake.
    pub async fn connect<IO>(
        &self,
        io: IO,
        server_name: Option<&str>,
        host: &str,
        protocol: Option<&[u8]>,
    ) -> Result<(ProbeStream<IO>, Presented), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match server_name {
            Some(name) => ServerName::try_from(name).ok().map(|name| name.to_owned()),
            None => self.shared.name(None, host),
        };
        let name = name.ok_or_else(HandshakeError::bad_name)?;
        let started = Instant::now();
        let connect = self.connector.with_alpn(self.shared.alpn(protocol)).connect(name.clone(), io);
        match connect.into_fallible().await {
            Ok(mut stream) => {
                accepted(&mut stream, started.elapsed()).await?;
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let presented = self.presented(chain, &name);
                Ok((stream, presented))
            }
            Err((error, mut io)) => {
                // The handshake's own error is what counts; a socket that takes no alert changes nothing about it.
                drop(io.flush().await);
                Err(HandshakeError::of_a_backend(error))
            }
        }
    }

    fn presented(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Presented {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Presented { not_after: None, verdict: None };
        };
        let verdict = self.judge.as_ref().map(|judge| {
            let judged = judge.verify_server_cert(leaf, intermediates, name, &[], UnixTime::now());
            // Wrapped as the handshake would have, for the same reason and the same words.
            let failed = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error).into();
            judged.map(|_verified| ()).map_err(failed)
        });
        Presented { not_after: not_after(leaf), verdict }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("shared", &self.shared)
            .field("verifies", &self.verifies)
            .finish_non_exhaustive()
    }
}

/// Waits for a sign that the backend has accepted the handshake. In TLS 1.3 the client finishes before the backend has
/// checked its last message, and learns of a refusal (mostly for a missing certificate) only afterwards. A ticket, bytes
/// or an end are such signs; so is silence for longer than an answer takes, where `handshake` is one round trip or more.
async fn accepted<IO>(stream: &mut ProbeStream<IO>, handshake: Duration) -> Result<(), HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    let sign = poll_fn(|cx| {
        let stream = &mut *stream;
        if stream.get_ref().1.tls13_tickets_received() > 0 {
            return Poll::Ready(Ok(()));
        }
        // Nothing is taken out: bytes are for the check.
        let read = Pin::new(&mut *stream).poll_fill_buf(cx).map_ok(|_bytes| ());
        match read {
            Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            other => other,
        }
    });
    match timeout((handshake * 3).clamp(SHORTEST_WAIT, LONGEST_WAIT), sign).await {
        Ok(Err(error)) => {
            let error = HandshakeError::from(error);
            // Any other end came after a handshake that both sides had finished.
            if error.reason == HandshakeFailure::Alert { Err(error) } else { Ok(()) }
        }
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Bounds of the wait for a backend that sends no ticket: within the time that any check may take.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

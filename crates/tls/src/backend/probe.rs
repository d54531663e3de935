//! A health check's handshake: it fetches the backend's current certificate, and verifies it afterwards.
//!
//! Nothing is resumed, so that the backend presents a certificate at each check, and no ticket of the traffic is used
//! up. During the handshake only its signature is verified: an untrusted certificate still has an expiry date to
//! report, and in a pool to which weir sends no TLS the verdict only informs the operator.

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

use super::policy::{BackendTls, Policy};
use super::roots;
use crate::failure::{HandshakeError, HandshakeFailure};
use crate::verify::{Verifier, not_after};

/// A TLS stream of a health check.
pub type ProbeStream<IO> = tokio_rustls::client::TlsStream<IO>;

/// The TLS client of health checks. Cheap to clone.
#[derive(Clone)]
pub struct Probe {
    policy: Arc<Policy>,
    /// The system's authorities, where the policy does not verify.
    system: Option<Arc<Verifier>>,
    verifies: bool,
}

/// The certificate that a backend presented, and its verdict.
#[derive(Debug)]
pub struct Presented {
    /// When the certificate expires, in seconds since 1970; `None` if that cannot be read.
    pub not_after: Option<i64>,
    /// Whether chain, name and dates are valid, and why not; `None` without a trusted authority.
    pub verdict: Option<Result<(), HandshakeError>>,
}

impl BackendTls {
    /// The TLS client for health checks, with this policy's versions, names and protocols, but without its sessions. If
    /// the policy does not verify, the system's authorities do, if there are any; that reads files.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let verifies = self.policy.current().trust.verifier.verifies();
        let system = if verifies { None } else { roots::system_verifier() };
        Probe { policy: Arc::clone(&self.policy), system, verifies }
    }
}

impl Probe {
    /// Whether a bad verdict counts against the backend: true if its pool verifies.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// Runs the client side of a handshake over `io`, and verifies the backend's certificate. The name asked for is
    /// `server_name`, or else the policy's name for clients without SNI. `host` is the backend's host name or address
    /// as text, without port or brackets; `protocol` is the one to offer if the policy says `same`.
    ///
    /// # Errors
    /// The handshake failed, or the other side does not hold the key; the alert has been flushed, and `io` is closed.
    /// An untrusted certificate is not an error here.
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
            None => self.policy.hello.name(None, host),
        };
        let name = name.ok_or_else(HandshakeError::bad_name)?;
        let started = Instant::now();
        let (connector, verifier) = self.now();
        let connect = connector.with_alpn(self.policy.hello.alpn(protocol)).connect(name.clone(), io);
        match connect.into_fallible().await {
            Ok(mut stream) => {
                accepted(&mut stream, started.elapsed()).await?;
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let presented = presented(verifier.as_deref(), chain, &name);
                Ok((stream, presented))
            }
            Err((error, mut io)) => {
                // The handshake's error is the one to report, even if the socket accepts no alert.
                drop(io.flush().await);
                Err(HandshakeError::of_a_backend(HandshakeError::from(error).with_usual_alert()))
            }
        }
    }

    /// The client and the verifier of the policy as it is now.
    fn now(&self) -> (TlsConnector, Option<Arc<Verifier>>) {
        let current = self.policy.current();
        // Checks are rare: a client for each is cheaper than to remember one.
        let config = current.config(&self.policy, Verifier::signature_only(), Resumption::disabled());
        let own = self.verifies.then(|| Arc::clone(&current.trust.verifier));
        (TlsConnector::from(config), own.or_else(|| self.system.clone()))
    }
}

fn presented(verifier: Option<&Verifier>, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Presented {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Presented { not_after: None, verdict: None };
    };
    let verdict = verifier.map(|verifier| {
        let verified = verifier.verify_server_cert(leaf, intermediates, name, &[], UnixTime::now());
        // Wrapped as in a handshake, so that reason and text are the same.
        let failed = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error).into();
        verified.map(|_verified| ()).map_err(failed)
    });
    Presented { not_after: not_after(leaf), verdict }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("policy", &self.policy)
            .field("verifies", &self.verifies)
            .finish_non_exhaustive()
    }
}

/// Waits for a sign that the backend has accepted the handshake. In TLS 1.3 the client finishes before the backend has
/// checked its last message, and learns of a refusal (mostly for a missing certificate) only afterwards. A ticket, data
/// or EOF is such a sign, and so is silence for longer than an answer takes. `handshake` is the handshake's duration:
/// at least one round trip.
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
        // Consumes nothing: the check reads these bytes.
        let read = Pin::new(&mut *stream).poll_fill_buf(cx).map_ok(|_bytes| ());
        match read {
            Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            other => other,
        }
    });
    match timeout((handshake * 3).clamp(SHORTEST_WAIT, LONGEST_WAIT), sign).await {
        Ok(Err(error)) => {
            let error = HandshakeError::from(error);
            // Any other error came after both sides had finished the handshake.
            if error.reason == HandshakeFailure::Alert { Err(error) } else { Ok(()) }
        }
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Bounds of the wait for a backend that sends no ticket; they fit into the timeout of any check.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

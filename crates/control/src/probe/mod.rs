//! One question to one backend: does it accept, finish a TLS handshake, answer a request?

mod http;

pub use http::NoAnswer;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_core::account::error::ConnectError;
use weir_core::connect::dial;
use weir_core::socket::Options;
use weir_log::foreign::tamed;
use weir_metrics::Certificate;
use weir_pool::dialable::OwnAddresses;
use weir_pool::shortage::is_shortage;
use weir_pool::{Backend, CheckKind, HealthCheck};
use weir_tls::{HandshakeError, HandshakeFailure, Presented, Probe, ProbeStream};

/// A finished check.
#[derive(Debug)]
pub struct Checked {
    /// Whether the backend passed, and why not.
    pub result: Result<(), Failed>,
    /// The certificate that the backend showed, if it got so far, whatever came afterwards.
    pub certificate: Option<Certificate>,
    /// The connection that is still open, for [`leave`].
    pub connection: Option<Open>,
}

/// A connection of a check that has its result.
#[derive(Debug)]
pub enum Open {
    /// In the clear.
    Tcp(TcpStream),
    /// Over TLS.
    Tls(Box<ProbeStream<TcpStream>>),
}

/// Why a check failed. Its text is what the status API shows.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No answer within `health_check.timeout`.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// No TLS session, or one with a certificate that does not convince. It says so itself.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// No HTTP answer.
    #[error("no HTTP answer: {0}")]
    Http(#[from] NoAnswer),
    /// An answer with another status than the wanted ones.
    #[error("answered {0}")]
    Status(u16),
}

impl Failed {
    /// Its text for people. Some of it may come from the backend: the names in its certificate, say.
    pub fn text(&self) -> String {
        tamed(&self.to_string())
    }

    /// The `result` label of `weir_backend_health_checks_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            Self::Connect(_) => "connect_failed",
            Self::Tls(_) => "tls_failed",
            Self::Http(_) => "http_failed",
            Self::Status(_) => "status",
        }
    }

    /// Whether this machine lacked something for the check, which then says nothing about the backend.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Local(_)) => true,
            Self::Tls(HandshakeError { source, .. }) => is_shortage(source),
            Self::Http(NoAnswer::Io(error)) => is_shortage(error),
            _ => false,
        }
    }
}

/// Every word for what may be said of a certificate.
pub fn verdicts() -> impl Iterator<Item = &'static str> {
    let bad = HandshakeFailure::ALL.into_iter().filter(|reason| reason.is_certificate());
    std::iter::once(OK).chain(bad.map(HandshakeFailure::label))
}

/// Asks once, within the check's timeout. Never dials an address in `own`.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn ask(backend: &Backend, check: &HealthCheck, own: &OwnAddresses) -> Checked {
    let address = SocketAddr::new(backend.address.ip(), check.port.unwrap_or(backend.address.port()));
    let mut asking = Asking { address, host: &backend.host, own, seen: None, open: None };
    // Boxed: a backend that waits for its next check must not carry the size of one.
    let result = timeout(check.timeout, Box::pin(asking.answer(&check.kind)))
        .await
        .unwrap_or(Err(Failed::TimedOut(check.timeout)));
    Checked { result, certificate: asking.seen, connection: asking.open }
}

/// Ends a connection so that the backend sees an orderly end: sends close_notify and FIN, then reads what the backend still
/// sends, because closing with unread bytes resets (RFC 2525 §2.17). Bounded in time and bytes.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn leave(open: Open) {
    let farewell = async {
        match open {
            Open::Tcp(mut stream) => finish(&mut stream).await,
            Open::Tls(mut stream) => finish(&mut *stream).await,
        }
    };
    match timeout(FAREWELL_TIMEOUT, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a health check's connection broke at its end"),
        Err(_elapsed) => tracing::debug!("a backend does not end a health check's connection"),
    }
}

async fn finish(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut buffer = Vec::with_capacity(4096);
    for _ in 0..FAREWELL_READS {
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// A check under way.
struct Asking<'a> {
    address: SocketAddr,
    host: &'a str,
    own: &'a OwnAddresses,
    seen: Option<Certificate>,
    /// Kept here and not in the future, which the deadline drops.
    open: Option<Open>,
}

impl Asking<'_> {
    async fn answer(&mut self, kind: &CheckKind) -> Result<(), Failed> {
        match kind {
            CheckKind::None => Ok(()),
            CheckKind::Tcp => Ok(self.connect().await.map(drop)?),
            CheckKind::Tls { server_name, probe } => self.secure(server_name.as_deref(), probe, None).await,
            CheckKind::Http { path, host, status, server_name, probe } => {
                let host = host.clone().unwrap_or_else(|| authority(self.address, self.host));
                match probe {
                    Some(probe) => self.secure(server_name.as_deref(), probe, Some(b"http/1.1")).await?,
                    None => self.open = Some(Open::Tcp(self.connect().await?)),
                }
                let got = match &mut self.open {
                    Some(Open::Tcp(stream)) => http::get(stream, path, &host).await?,
                    Some(Open::Tls(stream)) => http::get(&mut **stream, path, &host).await?,
                    None => return Err(NoAnswer::Ended.into()),
                };
                if status.iter().any(|s| s.contains(&got)) { Ok(()) } else { Err(Failed::Status(got)) }
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, ConnectError> {
        let options = Options { nodelay: true, keepalive: Duration::ZERO, user_timeout: Duration::ZERO };
        dial(self.address, &options, self.own).await
    }

    /// A TLS session, with a certificate that convinces where it has to; `name` is the check's own. Notes the certificate
    /// in any case.
    async fn secure(&mut self, name: Option<&str>, probe: &Probe, alpn: Option<&[u8]>) -> Result<(), Failed> {
        let stream = self.connect().await?;
        let (stream, Presented { not_after, verdict }) =
            probe.connect(stream, name, self.host, alpn).await.inspect_err(|error| {
                // The backend does not hold the certificate's key, or the certificate cannot be read.
                if error.reason.is_certificate() {
                    self.seen = Some(Certificate { not_after: None, verdict: Some(error.reason.label()) });
                }
            })?;
        self.open = Some(Open::Tls(Box::new(stream)));
        let word = verdict.as_ref().map(|v| v.as_ref().map_or_else(|error| error.reason.label(), |()| OK));
        self.seen = Some(Certificate { not_after, verdict: word });
        match verdict {
            Some(Err(error)) if probe.verifies() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The Host field where the configuration has none: the backend's name or address, with its port.
fn authority(address: SocketAddr, host: &str) -> String {
    // A name from an SRV record may hold any byte, and must not end the header line.
    let unfit = |byte: u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_' | b'.');
    if host.parse::<std::net::IpAddr>().is_ok() || host.bytes().any(unfit) {
        address.to_string()
    } else {
        format!("{host}:{}", address.port())
    }
}

/// The word for a certificate that convinces.
const OK: &str = "ok";
/// The `result` label of `weir_backend_health_checks_total` for a check that could not be made.
pub(crate) const NOT_MADE: &str = "not_made";
/// How long a backend may take to end its side, once a check has ended the connection.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Reads, of 4 KiB each, until then; more bytes are not waited for.
const FAREWELL_READS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_dns_cannot_carry_a_second_request() {
        let address = "10.0.0.1:8080".parse().unwrap();
        let six = "[fd00::1]:8080".parse().unwrap();
        assert_eq!(authority(address, "api_1.Internal"), "api_1.Internal:8080");
        assert_eq!(authority(address, "10.0.0.1"), "10.0.0.1:8080");
        assert_eq!(authority(six, "fd00::1"), "[fd00::1]:8080");
        for hostile in ["a\r\nx: y", "a b", "a\\010b", "\u{fc}.test", "a/b", "a@b"] {
            assert_eq!(authority(address, hostile), "10.0.0.1:8080");
        }
    }

    #[test]
    fn a_shortage_of_this_machine_is_no_word_about_the_backend() {
        use rustix::io::Errno;
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let lacking =
            [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
        for errno in lacking {
            assert!(Failed::from(ConnectError::from_dial(error(errno))).is_shortage(), "{errno}");
            assert!(Failed::from(HandshakeError::from(error(errno))).is_shortage(), "{errno}");
            assert!(Failed::from(NoAnswer::from(error(errno))).is_shortage(), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::CONNRESET, Errno::PIPE] {
            assert!(!Failed::from(ConnectError::from_dial(error(errno))).is_shortage(), "{errno}");
            assert!(!Failed::from(NoAnswer::from(error(errno))).is_shortage(), "{errno}");
        }
    }
}

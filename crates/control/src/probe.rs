//! One question to one backend: does it accept, finish a TLS handshake, answer a request?

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_core::connect::dial;
use weir_core::error::ConnectError;
use weir_core::pool::{Backend, CheckKind, HealthCheck};
use weir_core::socket::Options;
use weir_metrics::Certificate;
use weir_tls::{HandshakeError, Presented, Probe, ProbeStream, Reason};

/// A finished check.
#[derive(Debug)]
pub struct Checked {
    /// Whether the backend passed, and why not.
    pub result: Result<(), Failed>,
    /// What its certificate was, where it showed one, whatever came afterwards.
    pub certificate: Option<Certificate>,
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
    /// The configuration's path or host cannot stand in a request.
    #[error("cannot make the request: {0}")]
    Request(#[from] hyper::http::Error),
    /// No HTTP answer.
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// An answer with another status than the wanted ones.
    #[error("answered {0}")]
    Status(StatusCode),
}

impl Failed {
    /// The `result` label of `weir_backend_health_checks_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            Self::Connect(_) => "connect_failed",
            Self::Tls(_) => "tls_failed",
            Self::Request(_) | Self::Http(_) => "http_failed",
            Self::Status(_) => "status",
        }
    }
}

/// Every word for what may be said of a certificate.
pub fn verdicts() -> impl Iterator<Item = &'static str> {
    let bad = Reason::ALL.into_iter().filter(|reason| reason.is_certificate());
    std::iter::once(OK).chain(bad.map(Reason::label))
}

/// Asks once, within the check's timeout.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn ask(backend: &Backend, check: &HealthCheck) -> Checked {
    let address = SocketAddr::new(backend.address.ip(), check.port.unwrap_or(backend.address.port()));
    let mut seen = None;
    // Boxed: a backend that waits for its next check must not carry the size of one.
    let result = timeout(check.timeout, Box::pin(answer(address, &backend.host, &check.kind, &mut seen)))
        .await
        .unwrap_or(Err(Failed::TimedOut(check.timeout)));
    Checked { result, certificate: seen }
}

async fn answer(
    address: SocketAddr,
    host: &str,
    kind: &CheckKind,
    seen: &mut Option<Certificate>,
) -> Result<(), Failed> {
    match kind {
        CheckKind::None => Ok(()),
        CheckKind::Tcp => Ok(connect(address).await.map(|_| ())?),
        CheckKind::Tls { server_name, probe } => {
            let name = Name { asked: server_name.as_deref(), host };
            secure(address, name, probe, None, seen).await.map(|_| ())
        }
        CheckKind::Http { path, host: asked, status, server_name, probe } => {
            let asked = asked.clone().unwrap_or_else(|| authority(address, host));
            let got = match probe {
                Some(probe) => {
                    let name = Name { asked: server_name.as_deref(), host };
                    let stream = secure(address, name, probe, Some(b"http/1.1"), seen).await?;
                    Box::pin(get(stream, path, &asked)).await?
                }
                None => get(connect(address).await?, path, &asked).await?,
            };
            if status.iter().any(|s| s.contains(&got.as_u16())) { Ok(()) } else { Err(Failed::Status(got)) }
        }
    }
}

/// The Host field where the configuration has none: the backend's name or address, with its port.
fn authority(address: SocketAddr, host: &str) -> String {
    if host.parse::<std::net::IpAddr>().is_ok() {
        address.to_string()
    } else {
        format!("{host}:{}", address.port())
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let options = Options { nodelay: true, keepalive: Duration::ZERO, user_timeout: Duration::ZERO };
    dial(address, &options).await
}

/// By which name a backend is asked for.
struct Name<'a> {
    /// The check's own.
    asked: Option<&'a str>,
    /// The backend's, where there is no other.
    host: &'a str,
}

/// A TLS session, with a certificate that convinces where it has to. Notes the certificate in any case.
async fn secure(
    address: SocketAddr,
    name: Name<'_>,
    probe: &Probe,
    alpn: Option<&[u8]>,
    seen: &mut Option<Certificate>,
) -> Result<ProbeStream<TcpStream>, Failed> {
    let stream = connect(address).await?;
    let (stream, Presented { not_after, verdict }) =
        probe.connect(stream, name.asked, name.host, alpn).await.inspect_err(|error| {
            // It is the backend's certificate without the key to it, or one that nobody can read.
            if error.reason.is_certificate() {
                *seen = Some(Certificate { not_after: None, verdict: Some(error.reason.label()) });
            }
        })?;
    let word = verdict.as_ref().map(|v| v.as_ref().map_or_else(|error| error.reason.label(), |()| OK));
    *seen = Some(Certificate { not_after, verdict: word });
    match verdict {
        Some(Err(error)) if probe.verifies() => Err(error.into()),
        _ => Ok(stream),
    }
}

/// The status of one request. Its body is of no interest; the connection ends with the request.
async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    host: &str,
) -> Result<StatusCode, Failed> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "weir-health-check")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answered = async { sender.send_request(request).await.map(|r| r.status()) };
    tokio::pin!(answered);
    tokio::select! {
        status = &mut answered => Ok(status?),
        // The connection may end in the same moment as the answer comes.
        end = connection => match end {
            Ok(()) => Ok(answered.await?),
            Err(error) => Err(error.into()),
        },
    }
}

/// The word for a certificate that convinces.
const OK: &str = "ok";

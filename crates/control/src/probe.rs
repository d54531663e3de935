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
use weir_tls::{BackendClient, BackendStream, HandshakeError};

/// A passed check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// When the backend's certificate ends, in seconds since 1970, where TLS was spoken.
    pub not_after: Option<i64>,
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
    /// No TLS session.
    #[error("TLS handshake failed ({reason}): {0}", reason = .0.reason.label())]
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

/// Asks once, within the check's timeout.
///
/// # Errors
/// Why the backend did not pass.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn ask(backend: &Backend, check: &HealthCheck) -> Result<Passed, Failed> {
    let address = SocketAddr::new(backend.address.ip(), check.port.unwrap_or(backend.address.port()));
    // Boxed: a backend that waits for its next check must not carry the size of one.
    timeout(check.timeout, Box::pin(answer(address, &backend.host, &check.kind)))
        .await
        .unwrap_or(Err(Failed::TimedOut(check.timeout)))
}

async fn answer(address: SocketAddr, host: &str, kind: &CheckKind) -> Result<Passed, Failed> {
    match kind {
        CheckKind::None => Ok(Passed::default()),
        CheckKind::Tcp => Ok(connect(address).await.map(|_| Passed::default())?),
        CheckKind::Tls { server_name, client } => {
            let stream = secure(address, host, server_name.as_deref(), client, None).await?;
            Ok(Passed { not_after: BackendClient::peer_not_after(&stream) })
        }
        CheckKind::Http { path, host: asked, status, server_name, client } => {
            let asked = asked.clone().unwrap_or_else(|| authority(address, host));
            let (passed, got) = match client {
                Some(client) => {
                    let stream =
                        secure(address, host, server_name.as_deref(), client, Some(b"http/1.1")).await?;
                    let passed = Passed { not_after: BackendClient::peer_not_after(&stream) };
                    (passed, Box::pin(get(stream, path, &asked)).await?)
                }
                None => (Passed::default(), get(connect(address).await?, path, &asked).await?),
            };
            if status.iter().any(|s| s.contains(&got.as_u16())) {
                Ok(passed)
            } else {
                Err(Failed::Status(got))
            }
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

async fn secure(
    address: SocketAddr,
    host: &str,
    server_name: Option<&str>,
    client: &BackendClient,
    alpn: Option<&[u8]>,
) -> Result<BackendStream<TcpStream>, Failed> {
    let stream = connect(address).await?;
    Ok(client.connect(stream, server_name, host, alpn).await?.0)
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

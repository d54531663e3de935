//! Two small HTTP servers that say what they see: one in the clear, one behind TLS.

use anyhow::{Context, Result};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_tls::{Buffered, Scratch, ServerProfile};

/// What a backend says of a request; [`mod@super::once`] looks for these words.
pub(super) const SAW_PLAINTEXT: &str = "the plain backend, and I got this request in plaintext";
pub(super) const SAW_TLS_UNASKED: &str = "the plain backend, and I got TLS";
pub(super) const DECRYPTED: &str = "the TLS backend, and I decrypted this request myself";

/// Serves on `socket` as long as the runtime lives; behind TLS where there is a profile.
pub(super) fn start(socket: TcpListener, tls: Option<ServerProfile>) -> Result<()> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpListener::from_std(socket).context("cannot watch a socket")?;
    let tls = tls.map(Arc::new);
    #[allow(clippy::disallowed_methods, reason = "the demo's own backend, which ends with the demo")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match timeout(ANSWER_TIMEOUT, serve(stream, tls.as_deref())).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a demo backend's connection broke"),
                    Err(_elapsed) => tracing::debug!("a demo backend's client was silent"),
                }
            });
        }
    });
    Ok(())
}

/// One request must come within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a request.
const REQUEST_MAX: usize = 16 * 1024;
/// The first byte of a TLS handshake record.
const TLS: u8 = 22;

async fn serve(stream: TcpStream, tls: Option<&ServerProfile>) -> Result<()> {
    let Some(profile) = tls else { return answer(stream, SAW_PLAINTEXT, "").await };
    let scratch = Scratch::default();
    let accepted = Box::pin(profile.accept(stream, Vec::new(), &scratch)).await;
    let (stream, session) = accepted.map_err(|failed| anyhow::anyhow!("{}", failed.error))?;
    answer(
        Buffered::new(stream),
        DECRYPTED,
        &format!(" (TLS {}, {})", session.version.label(), session.cipher),
    )
    .await
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, what: &str, more: &str) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.first() != Some(&TLS) && request.len() < REQUEST_MAX {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(()); // A health check, which asks nothing.
        }
    }
    let what = if request.first() == Some(&TLS) { SAW_TLS_UNASKED } else { what };
    let body = format!("I am {what}{more}.\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

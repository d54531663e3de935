//! One HTTP request over a new connection, for the admin server and for backends that speak HTTP.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than an answer takes if it comes at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Everything before the body.
    pub head: String,
    /// The body as text.
    pub body: String,
}

/// Sends `GET path` and reads the whole answer.
pub async fn get(addr: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    request(addr, "GET", path).await
}

/// Sends a request without a body and reads the whole answer.
pub async fn request(addr: SocketAddr, method: &str, path: &str) -> anyhow::Result<Answer> {
    request_within(addr, method, path, PATIENCE).await
}

/// The same with a time limit of its own, for requests that take long.
///
/// # Errors
/// No connection, or no answer in time.
pub async fn request_within(
    addr: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        parse(&bytes)
    };
    tokio::time::timeout(patience, exchange).await?
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| anyhow::anyhow!("no whole answer: {text:?}"))?;
    let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join_chunks(body) } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

fn join_chunks(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

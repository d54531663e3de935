//! A connection that leaves HTTP for a WebSocket (RFC 6455), seen by a client and by a backend of either version of HTTP.
//! What it carries then are bytes of the scenario, and no frames.

use crate::stream::Stream;
use crate::tunnel;
use crate::world::NAME;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io;

/// What both sides change to.
const PROTOCOL: &str = "websocket";
/// The key of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The version by which a side leaves HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1: 101, and the whole connection.
    One,
    /// HTTP/2: an extended CONNECT, and one stream.
    Two,
}

/// The request for a change of protocol in HTTP/1.1.
pub fn request() -> String {
    format!(
        "GET /leave HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The answer that grants the request of this head.
///
/// # Panics
/// When it has no key.
pub fn granted(head: &str) -> String {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("sec-websocket-key:"));
    let key = line.expect("a key").split_once(':').unwrap().1.trim();
    let proof =
        digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {PROTOCOL}\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(proof)
    )
}

/// Asks for a change of protocol, and reads no byte beyond the answer.
///
/// # Panics
/// When it is not granted.
pub async fn ask(mut stream: Stream, version: Version) -> Stream {
    if version == Version::Two {
        return tunnel::ask(stream, NAME, PROTOCOL).await;
    }
    stream.send(request().as_bytes()).await.unwrap();
    let head = head(&mut stream).await.unwrap().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let proof = "\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert!(head.to_ascii_lowercase().contains(&proof.to_ascii_lowercase()), "{head}");
    stream
}

/// Grants a change of protocol. `None` if the client left without asking for one.
///
/// # Errors
/// The stream broke.
///
/// # Panics
/// When the request asks for something else.
pub async fn answer(mut stream: Stream, version: Version) -> io::Result<Option<Stream>> {
    if version == Version::Two {
        return tunnel::answer(stream, PROTOCOL).await;
    }
    let Some(head) = head(&mut stream).await? else { return Ok(None) };
    let asked = head.to_ascii_lowercase();
    assert!(asked.starts_with("get /leave http/1.1\r\n"), "{head}");
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(asked.contains(&format!("\r\nupgrade: {PROTOCOL}\r\n")), "{head}");
    stream.send(granted(&head).as_bytes()).await?;
    Ok(Some(stream))
}

/// The head of a message, byte by byte: what follows is another protocol's. `None` at the end of the stream.
///
/// # Errors
/// The stream broke.
pub async fn head(stream: &mut Stream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.exactly(1).await {
            Ok(byte) => head.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && head.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8(head).expect("text")))
}

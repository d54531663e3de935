//! A connection that leaves HTTP/1.1, seen by a client and by a backend.

use crate::stream::Stream;
use crate::world::NAME;
use std::io;

/// A protocol without rules of its own.
const PROTOCOL: &str = "bytes";

/// The request for a change of protocol.
pub fn request() -> String {
    format!("GET /leave HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n")
}

/// The answer that grants it.
pub fn granted() -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n")
}

/// Asks for a change of protocol, and reads no byte beyond the answer.
///
/// # Panics
/// When it is not granted.
pub async fn ask(stream: &mut Stream) {
    stream.send(request().as_bytes()).await.unwrap();
    let head = head(stream).await.unwrap().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// Grants a change of protocol. False if the client left without asking for one.
///
/// # Errors
/// The stream broke.
///
/// # Panics
/// When the request asks for something else.
pub async fn answer(stream: &mut Stream) -> io::Result<bool> {
    let Some(head) = head(stream).await? else { return Ok(false) };
    let asked = head.to_ascii_lowercase();
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(asked.contains(&format!("\r\nupgrade: {PROTOCOL}\r\n")), "{head}");
    stream.send(granted().as_bytes()).await?;
    Ok(true)
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

//! One request, and the status of its answer.
//!
//! Only the status matters. Header fields are not judged: a folded or malformed one does not make a backend unhealthy.
//! hyper, and so `http_client`, would refuse such answers, and those that arrive before its request is written.

use super::Failed;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why there is no HTTP answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The first bytes are not those of an HTTP/1 answer.
    #[error("not HTTP/1")]
    NotHttp,
    /// The connection ended before the answer's head was complete.
    #[error("the connection ended before the answer")]
    Ended,
    /// More interim answers or bytes than any head needs.
    #[error("no final answer within {MOST_BYTES} bytes and {MOST_INTERIM} interim answers")]
    Endless,
    /// No HTTP/2, or not as it must be.
    #[error("{0}")]
    Http2(String),
    /// An answer that is none of gRPC.
    #[error("the answer is not gRPC")]
    NotGrpc,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Asks for `path`, and gives the status of the answer once its head is complete. The body is not read.
///
/// # Errors
/// Why there is no answer.
///
/// # Cancel safety
/// Not cancel safe: the request may have been sent in part.
pub(super) async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    host: &str,
) -> Result<u16, Failed> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: weir-health-check\r\nconnection: close\r\n\r\n"
    );
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    }
    .await;
    // A backend may answer, and close, before the request is written: then the answer counts, not the failed write.
    match (status(stream).await, sent) {
        (Ok(status), _) => Ok(status),
        (Err(_), Err(error)) => Err(NoAnswer::Io(error).into()),
        (Err(error), Ok(())) => Err(error.into()),
    }
}

/// Reads heads until one is final.
async fn status(stream: &mut (impl AsyncRead + Unpin)) -> Result<u16, NoAnswer> {
    let mut head = Vec::new();
    let mut read = 0;
    for _ in 0..=MOST_INTERIM {
        let mut lines = 0;
        let length = loop {
            if let Some(length) = complete(&head, &mut lines)? {
                break length;
            }
            if read >= MOST_BYTES {
                return Err(NoAnswer::Endless);
            }
            let room = u64::try_from(MOST_BYTES - read).unwrap_or(u64::MAX).min(AT_ONCE);
            match (&mut *stream).take(room).read_buf(&mut head).await? {
                0 => return Err(NoAnswer::Ended),
                more => read += more,
            }
        };
        let code = head.get(..length).and_then(code).ok_or(NoAnswer::NotHttp)?;
        // Another protocol follows 101.
        if !(100..200).contains(&code) || code == SWITCHING_PROTOCOLS {
            return Ok(code);
        }
        head.drain(..length);
    }
    Err(NoAnswer::Endless)
}

/// The length of the head with its empty line; `None` while it is incomplete. `lines` is the length of the complete lines
/// so far. The first bytes are checked at once, so that another protocol fails without a wait.
fn complete(bytes: &[u8], lines: &mut usize) -> Result<Option<usize>, NoAnswer> {
    if !bytes.iter().zip(VERSION).all(|(byte, expected)| byte == expected) {
        return Err(NoAnswer::NotHttp);
    }
    for line in bytes.get(*lines..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        match line {
            b"\n" | b"\r\n" => return Ok(Some(*lines + line.len())),
            [.., b'\n'] => *lines += line.len(),
            _unfinished => {}
        }
    }
    Ok(None)
}

/// The code in `HTTP/1.1 200 OK` (RFC 9112 §4); the reason may be missing, with its space too.
fn code(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let (minor, rest) = line.strip_prefix(VERSION.as_slice())?.split_first()?;
    let rest = rest.strip_prefix(b" ").filter(|_| minor.is_ascii_digit())?.trim_ascii_start();
    let (code, reason) = rest.split_at_checked(3)?;
    let bare = reason.first().is_none_or(|byte| byte.is_ascii_whitespace());
    let digits = code.iter().all(u8::is_ascii_digit);
    let code = std::str::from_utf8(code).ok().filter(|_| bare && digits)?.parse().ok()?;
    (100..1000).contains(&code).then_some(code)
}

const VERSION: &[u8; 7] = b"HTTP/1.";
const SWITCHING_PROTOCOLS: u16 = 101;
/// Far more than the head of any answer needs.
const MOST_BYTES: usize = 64 << 10;
/// Far more than any server sends before its answer.
const MOST_INTERIM: usize = 32;
/// Bytes of one read: heads are short, and the body is not needed.
const AT_ONCE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{duplex, empty, join, sink};

    /// What comes of this answer, in pieces of so many bytes.
    async fn answer(bytes: &[u8], piece: usize) -> Result<u16, String> {
        let (mut near, mut far) = duplex(1 << 20);
        let server = async {
            for piece in bytes.chunks(piece) {
                // After the status nothing more is read.
                if far.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let mut asked = Vec::new();
            far.shutdown().await.unwrap();
            far.read_to_end(&mut asked).await.unwrap();
            String::from_utf8(asked).unwrap()
        };
        let client = async {
            let status = get(&mut near, "/up", "a.test").await.map_err(|error| error.to_string());
            drop(near);
            status
        };
        let (asked, status) = tokio::join!(server, client);
        assert!(asked.starts_with("GET /up HTTP/1.1\r\nhost: a.test\r\n"), "{asked}");
        assert!(asked.ends_with("connection: close\r\n\r\n"), "{asked}");
        status
    }

    #[tokio::test]
    async fn the_status_is_read_whatever_the_header_fields_are() {
        let answers: [(&[u8], u16); 12] = [
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200),
            (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503),
            (b"HTTP/1.1 204\r\n\r\n", 204),
            (b"HTTP/1.1 204 \r\n\r\n", 204),
            (b"HTTP/1.1 200 OK\nserver: old\n\n", 200),
            (b"HTTP/1.1 200 OK\r\nx-folded: a\r\n b\r\n\tc\r\n\r\n", 200),
            (b"HTTP/1.1 200 OK\r\nno colon\r\nspaced : x\r\nbad name\xff: \x01\r\n\r\n", 200),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 200),
            (b"HTTP/1.1 200 D\xe9j\xe0 vu\r\n\r\n", 200),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x00\x01", 101),
            (b"HTTP/1.1 999 Odd\r\n\r\n", 999),
        ];
        for (bytes, expected) in answers {
            for piece in [1, 7, bytes.len()] {
                assert_eq!(answer(bytes, piece).await, Ok(expected), "{}", bytes.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn anything_else_is_no_answer() {
        let answers: [(&[u8], &str); 8] = [
            (b"", "the connection ended"),
            (b"HTTP/1.1 200 OK\r\n", "the connection ended"),
            (b"HTTP/1.1 200 OK\r\nserver: x\r\n", "the connection ended"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP/1"),
            (b"HTTP/2 200\r\n\r\n", "not HTTP/1"),
            (b"HTTP/1.1 2000\r\n\r\n", "not HTTP/1"),
            (b"HTTP/1.1 OK\r\n\r\n", "not HTTP/1"),
            (b"HTTP/1.1 099 Low\r\n\r\n", "not HTTP/1"),
        ];
        for (bytes, expected) in answers {
            let said = answer(bytes, 5).await.unwrap_err();
            assert!(said.starts_with("no HTTP answer: ") && said.contains(expected), "{said}");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_given_up() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(MOST_INTERIM + 1);
        let fields = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"x: y\r\n".repeat(20_000)].concat();
        let line = [b"HTTP/1.1 200 ".as_slice(), &b"O".repeat(100_000)].concat();
        for endless in [interim, fields, line] {
            let said = answer(&endless, 10_000).await.unwrap_err();
            assert!(said.contains("no final answer within"), "{said}");
        }
    }

    #[tokio::test]
    async fn an_answer_counts_although_the_request_could_not_be_written() {
        let (reader, mut server) = duplex(1024);
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let (near, far) = duplex(1);
        drop(far);
        let mut stream = join(reader, near);
        assert_eq!(get(&mut stream, "/", "a").await.unwrap(), 200);
        drop(server);
        let error = get(&mut stream, "/", "a").await.unwrap_err().to_string();
        assert!(error.contains("broken pipe"), "{error}");
        let mut silent = join(empty(), sink());
        assert!(matches!(get(&mut silent, "/", "a").await, Err(Failed::Http(NoAnswer::Ended))));
    }
}

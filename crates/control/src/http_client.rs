//! A small HTTP/1.1 client on hyper: one request over a stream that is open already, and its whole answer, within a
//! deadline and with bounds on head and body. The caller dials, and closes by dropping.
//!
//! Health checks over HTTP do not use it: they judge the status alone, and hyper refuses answers with unusual header
//! fields, or that arrive before the request (`probe/http.rs`).

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the whole answer must be here.
    pub until: Instant,
    /// Most bytes of its head; at least 8 KiB.
    pub head: usize,
    /// Most bytes of its body.
    pub body: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The deadline is over.
    #[error("no answer in time")]
    TimedOut,
    /// The body has more bytes than it may.
    #[error("the answer has a body of more than {0} bytes")]
    TooLarge(usize),
    /// The connection broke, or carries no HTTP/1.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl HttpError {
    /// Whether the connection ended where an answer, or the rest of one, was expected. The request may have been
    /// served all the same.
    pub fn is_cut_short(&self) -> bool {
        let Self::Http(error) = self else { return false };
        let is_end = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
        };
        let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
        error.is_incomplete_message()
            || error.is_closed()
            || error.is_canceled()
            || causes.any(|cause| cause.downcast_ref().is_some_and(is_end))
    }
}

/// Sends `request`, which has its `Host`, and gives the answer with its whole body.
///
/// # Errors
/// If there is no answer within `limits`.
///
/// # Cancel safety
/// Not cancel safe: the request may have been sent, and served.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
    limits: Limits,
) -> Result<Response<Bytes>, HttpError> {
    // Boxed: a caller's future must not grow by the size of hyper's.
    let answered = Box::pin(converse(stream, request, limits));
    timeout_at(limits.until, answered).await.unwrap_or(Err(HttpError::TimedOut))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
    limits: Limits,
) -> Result<Response<Bytes>, HttpError> {
    let mut http = http1::Builder::new();
    let (mut sender, connection) =
        http.max_buf_size(limits.head.max(HEAD_MIN)).handshake(TokioIo::new(stream)).await?;
    let mut answered = pin!(async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body =
            Limited::new(body, limits.body).collect().await.map_err(|error| broken(error, limits.body))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    });
    tokio::select! {
        answer = &mut answered => answer,
        // The connection may end in the same moment as the answer comes.
        end = connection => match end {
            Ok(()) => answered.await,
            Err(error) => Err(error.into()),
        },
    }
}

/// Why a body did not come: too large, or its connection broke.
fn broken(error: Box<dyn Error + Send + Sync>, most: usize) -> HttpError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => HttpError::Http(*error),
        Err(other) => {
            debug_assert!(other.is::<LengthLimitError>(), "a limited body has no other errors: {other}");
            HttpError::TooLarge(most)
        }
    }
}

/// hyper's read buffer, which holds the head, is never smaller.
const HEAD_MIN: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn limits() -> Limits {
        Limits { until: Instant::now() + Duration::from_secs(5), head: 8192, body: 10 }
    }

    fn request() -> Request<Full<Bytes>> {
        Request::post("/x").header("host", "a").body(Full::new(Bytes::from_static(b"ping"))).unwrap()
    }

    /// Reads the request, writes `answer`, and gives the stream back.
    async fn serve(mut stream: DuplexStream, answer: &[u8]) -> DuplexStream {
        let mut asked = Vec::new();
        while !asked.ends_with(b"ping") {
            assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
        }
        stream.write_all(answer).await.ok();
        stream
    }

    /// What comes of a server that answers so, and then closes.
    async fn answered(answer: &[u8]) -> Result<Response<Bytes>, HttpError> {
        let (near, far) = duplex(1 << 20);
        let asking = exchange(near, request(), limits());
        tokio::join!(asking, async { drop(serve(far, answer).await) }).0
    }

    #[tokio::test]
    async fn answers_come_whole() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npong\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\npong",
        ] {
            let answer = answered(answer.as_bytes()).await.unwrap();
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"pong"[..]));
        }
    }

    #[tokio::test]
    async fn heads_and_bodies_have_bounds() {
        let large = answered(b"HTTP/1.1 200 OK\r\n\r\n0123456789").await.unwrap();
        assert_eq!(large.body().len(), 10);
        for larger in ["content-length: 11\r\n\r\n0123456789a", "\r\n0123456789a"] {
            let error = answered(format!("HTTP/1.1 200 OK\r\n{larger}").as_bytes()).await.unwrap_err();
            assert!(matches!(error, HttpError::TooLarge(10)), "{error}");
        }
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(9000));
        let error = answered(head.as_bytes()).await.unwrap_err();
        assert!(matches!(&error, HttpError::Http(error) if error.is_parse_too_large()), "{error:?}");
        assert!(!error.is_cut_short());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_left_at_the_deadline() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npo"] {
            let begun = Instant::now();
            let (near, far) = duplex(1 << 20);
            let (error, _open) = tokio::join!(exchange(near, request(), limits()), serve(far, answer));
            assert!(matches!(error, Err(HttpError::TimedOut)), "{error:?}");
            assert_eq!(begun.elapsed().as_secs(), 5);
        }
    }

    #[tokio::test]
    async fn an_end_in_place_of_an_answer_is_told_apart_from_another_protocol() {
        for short in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npo"] {
            let error = answered(short.as_bytes()).await.unwrap_err();
            assert!(error.is_cut_short(), "{short}: {error:?}");
        }
        let error = answered(b"SSH-2.0-OpenSSH\r\n").await.unwrap_err();
        assert!(!error.is_cut_short(), "{error:?}");
    }
}

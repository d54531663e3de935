//! A stream of HTTP/2 that has left HTTP by an extended CONNECT (RFC 8441), as a connection of a peer.

use crate::stream::Stream;
use bytes::{Buf, Bytes};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

/// The two directions of a stream. Dropping it ends its connection.
#[derive(Debug)]
pub struct Tunnel {
    /// `None` once it has been read to its end.
    from: Option<RecvStream>,
    /// `None` once it has been ended. Without both, the connection of a client ends.
    to: Option<SendStream<Bytes>>,
    rest: Bytes,
    /// The task that drives the connection.
    connection: Option<AbortHandle>,
}

/// Asks for a change of protocol on a new connection.
///
/// # Panics
/// When it is not granted.
pub async fn ask(stream: Stream, authority: &str, protocol: &str) -> Stream {
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(async move {
        let _ended = connection.await;
    });
    let mut patience = 1_000;
    while !sender.is_extended_connect_protocol_enabled() {
        patience -= 1;
        assert!(patience > 0, "the other side takes no extended CONNECT");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut request = Request::builder().method(Method::CONNECT).uri(format!("https://{authority}/leave"));
    request.extensions_mut().unwrap().insert(Protocol::from(protocol));
    sender = sender.ready().await.unwrap();
    let (answer, to) = sender.send_request(request.body(()).unwrap(), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("sec-websocket")), "{answer:?}");
    // The connection lives as long as the stream.
    Stream::Tunnel(Box::new(Tunnel {
        from: Some(answer.into_body()),
        to: Some(to),
        rest: Bytes::new(),
        connection: Some(connection.abort_handle()),
    }))
}

/// Grants a change of protocol to the first request of a connection. `None` if the client left without asking for one.
///
/// # Errors
/// The connection broke.
///
/// # Panics
/// When the request asks for something else.
pub async fn answer(stream: Stream, protocol: &str) -> io::Result<Option<Stream>> {
    let handshake = h2::server::Builder::new().enable_connect_protocol().handshake(stream).await;
    let Ok(mut connection) = handshake else { return Ok(None) };
    let Some(accepted) = connection.accept().await else { return Ok(None) };
    let (request, mut respond) = accepted.map_err(io::Error::other)?;
    let asked = request.extensions().get::<Protocol>().map(Protocol::as_str);
    assert_eq!((request.method(), asked), (&Method::CONNECT, Some(protocol)), "{request:?}");
    assert!(!request.headers().contains_key("sec-websocket-key"), "{request:?}");
    let to = respond.send_response(Response::new(()), false).map_err(io::Error::other)?;
    let connection = tokio::spawn(async move {
        // Drives it to its end; weir may not ask again.
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    });
    let (from, to, rest) = (Some(request.into_body()), Some(to), Bytes::new());
    let connection = Some(connection.abort_handle());
    Ok(Some(Stream::Tunnel(Box::new(Tunnel { from, to, rest, connection }))))
}

impl Tunnel {
    /// Resets the stream; its connection stays for a moment, so that the reset leaves.
    pub fn reset(mut self) {
        if let Some(to) = &mut self.to {
            to.send_reset(Reason::CANCEL);
        }
        if let Some(connection) = self.connection.take() {
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                connection.abort();
            });
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // What was written leaves first.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                connection.abort();
            });
        }
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.into_io() {
        Some(error) => error,
        None => io::ErrorKind::ConnectionReset.into(),
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(from) = &mut this.from else { return Poll::Ready(Ok(())) };
        while this.rest.is_empty() {
            match ready!(from.poll_data(cx)) {
                Some(Ok(data)) => this.rest = data,
                Some(Err(error)) => {
                    (this.from, this.to) = (None, None);
                    return Poll::Ready(Err(broken(error)));
                }
                None => {
                    this.from = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let n = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..n]);
        this.rest.advance(n);
        let _ended = from.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(to) = &mut self.get_mut().to else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        to.reserve_capacity(bytes.len());
        while to.capacity() == 0 {
            match ready!(to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let n = to.capacity().min(bytes.len());
        let sent = to.send_data(Bytes::copy_from_slice(&bytes[..n]), false);
        Poll::Ready(sent.map(|()| n).map_err(broken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut to) = self.get_mut().to.take() else { return Poll::Ready(Ok(())) };
        Poll::Ready(to.send_data(Bytes::new(), true).map_err(broken))
    }
}

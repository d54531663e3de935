//! A request's body as it comes from its client.

use super::BodyError;
use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A request's body, by the client's protocol.
#[derive(Debug)]
pub enum Received {
    /// By HTTP/1.1.
    H1(Incoming),
    /// By HTTP/2.
    H2(StreamBody),
    /// There is none: what follows the head is no HTTP.
    None,
}

/// The body of an HTTP/2 stream.
#[derive(Debug)]
pub struct StreamBody {
    stream: RecvStream,
    /// What `Content-Length` says is still to come; h2 holds the client to it.
    left: Option<u64>,
    /// Only trailers may follow.
    read: bool,
}

impl StreamBody {
    /// The body behind a head that said `length`.
    pub fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self { stream, left: length, read: false }
    }

    /// The stream, of which nothing was read.
    pub fn into_stream(self) -> RecvStream {
        self.stream
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.read {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // An error says that the stream has ended, which the next call tells.
                    let _ended: Result<(), h2::Error> =
                        self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.read = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }
}

impl From<Incoming> for Received {
    fn from(incoming: Incoming) -> Self {
        Self::H1(incoming)
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::H1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Self::H2(body) => body.poll_frame(cx).map_err(BodyError::from),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::H1(incoming) => incoming.is_end_stream(),
            Self::H2(body) => body.stream.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::H1(incoming) => incoming.size_hint(),
            Self::H2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::None => SizeHint::with_exact(0),
        }
    }
}

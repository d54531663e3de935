//! The bytes of requests and answers on their way.
//!
//! - [`upload`] a request's body, from the client to a backend.
//! - [`received`] a request's body as its client sends it.
//! - [`download`] an answer's body, from a backend to the client.
//! - [`feed`] any of them into a stream of HTTP/2.
//! - [`raw`] a long one, past hyper.

pub mod download;
pub mod feed;
pub mod raw;
pub mod received;
pub mod upload;

use crate::exchange::Exchange;
use crate::upgrade::Handover;
use bytes::Bytes;
use download::Download;
use http_body::{Body, Frame, SizeHint};
use raw::{Chunk, RawSlot, RawSource};
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Why an answer ends in the middle: its backend's doing.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum BackendFailed {
    /// The backend's connection ended or broke, with this kind of error.
    #[error("the answer of the backend ended in the middle: {0}")]
    Broken(io::ErrorKind),
    /// No byte came in time.
    #[error("the answer of the backend made no progress")]
    Stalled,
}

impl BackendFailed {
    /// What is behind an error of hyper's or h2's.
    pub fn of(error: &BodyError) -> Self {
        let Some(error) = error.downcast_ref::<hyper::Error>() else {
            let io = error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
            return Self::Broken(io.map_or(io::ErrorKind::ConnectionReset, io::Error::kind));
        };
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                return Self::Broken(error.kind());
            }
            source = inner.source();
        }
        Self::Broken(if error.is_incomplete_message() || error.is_closed() {
            io::ErrorKind::UnexpectedEof
        } else {
            io::ErrorKind::InvalidData
        })
    }
}

/// Why a body ends in the middle; hyper wants any error.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Of weir's own.
    Own(Option<Bytes>),
    /// Of a backend.
    Backend(Box<Download>),
    /// Of a backend, and too long for hyper's buffers.
    Raw(Box<RawBody>),
    /// None: client and backend leave HTTP. The connection's server takes what is handed over.
    Handover(Option<Box<Handover>>),
}

/// A long answer whose first bytes are there.
#[derive(Debug)]
pub struct RawBody {
    /// The bytes that were read with its head.
    pub first: VecDeque<Bytes>,
    /// What follows; `None` once hyper has taken it.
    pub source: Option<Box<RawSource>>,
    /// Where the client's stream finds it.
    pub slot: RawSlot,
}

impl RawBody {
    fn left(&self) -> u64 {
        let first: usize = self.first.iter().map(Bytes::len).sum();
        first as u64 + self.source.as_ref().map_or(0, |source| source.left)
    }

    fn next(&mut self) -> Option<Chunk> {
        if let Some(bytes) = self.first.pop_front() {
            return Some(bytes.into());
        }
        let source = self.source.take()?;
        let chunk = Chunk::Raw(source.left);
        self.slot.0.replace(Some(source));
        Some(chunk)
    }
}

impl AnswerBody {
    /// The exchange of an answer that passes through weir.
    pub fn exchange(&self) -> Option<&Rc<Exchange>> {
        match self {
            Self::Backend(download) => Some(download.exchange()),
            Self::Own(_) | Self::Raw(_) | Self::Handover(_) => None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into())))),
            Self::Backend(download) => download
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(Chunk::from)))),
            Self::Raw(raw) => Poll::Ready(raw.next().map(|chunk| Ok(Frame::data(chunk)))),
            Self::Handover(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Backend(download) => download.is_end(),
            Self::Raw(raw) => raw.left() == 0,
            Self::Handover(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Backend(download) => download.size_hint(),
            Self::Raw(raw) => SizeHint::with_exact(raw.left()),
            Self::Handover(_) => SizeHint::with_exact(0),
        }
    }
}

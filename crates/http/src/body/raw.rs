//! A long answer that goes past hyper: from the backend's socket through the worker's buffer into the client's TLS session.
//!
//! hyper would read it into buffers of its own, one for each answer that is under way. Instead hyper's server is given one
//! [`Chunk::Raw`] of the answer's remaining length: it counts and frames that as any other piece. When it wants to write
//! it, the client's stream knows the piece by its address, and moves bytes from the backend in its place. So a download
//! holds no buffer while its client is slow, and takes the calls of the relay.

use super::download::{Download, Held};
use super::received::Received;
use super::{AnswerBody, RawBody};
use crate::backend::h1::H1;
use crate::backend::keep::Place;
use crate::backend::lease::Lease;
use crate::exchange::Upload;
use crate::stream::BackendWire;
use bytes::{Buf, Bytes};
use http_body::Body;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use weir_core::account::request::RequestOutcome;
use weir_core::socket::Socket;

/// Stands for bytes that have not been read yet. Never sent.
static NOT_READ_YET: [u8; 64 << 10] = [0; 64 << 10];

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Bytes that are there.
    Bytes(Bytes),
    /// So many bytes that the client's stream gets from the backend.
    Raw(u64),
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Raw(left) => usize::try_from(*left).unwrap_or(usize::MAX),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Raw(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(NOT_READ_YET.len());
                NOT_READ_YET.get(..length).unwrap_or_default()
            }
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Bytes(bytes) => {
                bytes.advance(n);
                // h2 keeps the last piece of a connection until the next one, and the piece the whole buffer that it was
                // read into.
                if bytes.is_empty() {
                    *bytes = Bytes::new();
                }
            }
            Self::Raw(left) => *left = left.saturating_sub(n as u64),
        }
    }
}

/// Whether hyper wants to write bytes that must come from the backend first.
pub fn is_raw(piece: &[u8]) -> bool {
    !piece.is_empty() && NOT_READ_YET.as_ptr_range().contains(&piece.as_ptr())
}

/// Where the bytes of a [`Chunk::Raw`] come from.
#[derive(Debug)]
pub struct RawSource {
    /// The backend's socket, read up to the chunk's beginning.
    pub socket: Socket,
    /// The bytes that are still to come.
    pub left: u64,
    /// Bytes that were read and that the client's session has not taken.
    pub rest: Vec<u8>,
    /// What the answer holds to its end.
    pub held: Held,
    /// Where the socket is kept afterwards.
    pub place: Place,
}

impl RawSource {
    /// The last byte has gone: the connection may carry another request.
    pub fn finish(self) {
        self.held.exchange.close(RequestOutcome::Ok);
        let worker = &self.held.exchange.client.worker;
        worker.keep.put_bare(self.place, self.socket, worker.clock.now());
    }
}

/// The source of the answer that a client's stream moves now, if it is such a one. Shared by the stream and the body.
#[derive(Clone, Debug, Default)]
pub struct RawSlot(pub Rc<RefCell<Option<Box<RawSource>>>>);

/// The shortest body that is worth it.
const LONG: u64 = 64 << 10;

/// The body of an answer whose head has arrived over `lease`: past hyper if it is long, its length is known, and neither
/// side stands in the way.
pub fn body(incoming: Received, lease: Lease, held: Held) -> AnswerBody {
    let client = &held.exchange.client;
    let length = incoming.size_hint().exact().filter(|length| *length >= LONG);
    let read_whole = held.exchange.upload() == Upload::Complete && !client.speaks_h2();
    match (lease, length) {
        (Lease::H1 { connection, place, .. }, Some(length)) if read_whole && connection.is_plain() => {
            past_hyper(incoming, *connection, place, length, held)
        }
        (lease, _) => AnswerBody::Backend(Box::new(Download::new(incoming, lease, held))),
    }
}

fn past_hyper(mut incoming: Received, connection: H1, place: Place, length: u64, held: Held) -> AnswerBody {
    let mut first = VecDeque::new();
    let mut left = length;
    let mut take = |bytes: Bytes| {
        let bytes = bytes.slice(..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        left -= bytes.len() as u64;
        if !bytes.is_empty() {
            held.exchange.record().down(bytes.len());
            first.push_back(bytes);
        }
    };
    // What hyper has decoded already is there at once.
    let cx = &mut Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut incoming).poll_frame(cx) {
        frame.into_data().into_iter().for_each(&mut take);
    }
    let (wire, ahead) = connection.into_wire();
    take(ahead);
    let slot = held.exchange.client.raw.clone();
    let source = match wire {
        BackendWire::Plain(socket) if left > 0 => {
            Some(Box::new(RawSource { socket, left, rest: Vec::new(), held, place }))
        }
        // The whole answer is there; what may follow it is not looked at.
        BackendWire::Plain(_) | BackendWire::Tls(_) => {
            held.exchange.close(RequestOutcome::Ok);
            None
        }
    };
    AnswerBody::Raw(Box::new(RawBody { first, source, slot }))
}

/// Drops what a connection leaves behind in its slot: the source knows the connection, which knows the slot.
#[derive(Debug)]
pub struct RawGuard(pub RawSlot);

impl Drop for RawGuard {
    fn drop(&mut self) {
        self.0.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_sent_holds_no_buffer() {
        let buffer = Bytes::from(vec![0; 8 << 10]);
        let mut chunk = Chunk::Bytes(buffer.slice(..256));
        chunk.advance(200);
        assert!(!buffer.is_unique());
        chunk.advance(56);
        assert!(buffer.is_unique() && !chunk.has_remaining());
    }

    #[test]
    fn raw_pieces_are_known_wherever_they_are_cut() {
        let mut chunk = Chunk::Raw(200 << 10);
        assert_eq!(chunk.remaining(), 200 << 10);
        while chunk.has_remaining() {
            assert!(is_raw(chunk.chunk()) && is_raw(&chunk.chunk()[chunk.chunk().len() - 1..]));
            chunk.advance(chunk.chunk().len().min(50_001));
        }
        assert!(
            !is_raw(chunk.chunk()) && !is_raw(b"other") && !is_raw(Chunk::Bytes(Bytes::from("x")).chunk())
        );
    }
}

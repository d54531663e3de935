//! Bytes that go to the backend first: the hello, and whether another backend may get it when this one ends
//! without an answer.
//!
//! A backend that accepts and then ends before its first byte has done nothing that the client could have
//! seen. As long as the client has sent only its hello, that hello may be replayed to another backend, and
//! the client notices no more than a pause.

use crate::account::error::ConnError;
use crate::account::outcome::{Finished, How, Side};
use crate::alert;
use crate::memory::Memory;
use crate::socket::Socket;
use crate::stop::ConnHandle;
use std::io;
use weir_pool::HelloReplay;

/// Whether the hello may go to another backend after this end of a silent one.
pub(super) fn covers(replay: HelloReplay, no_reply: NoReply) -> bool {
    match (replay, no_reply) {
        (HelloReplay::Never, _) => false,
        (HelloReplay::OnAnyEnd, _) => true,
        // A reset after a FIN: the FIN was the backend's answer; the reset only means that its socket is
        // closed.
        (HelloReplay::OnReset, NoReply::Fin | NoReply::Broke(io::ErrorKind::BrokenPipe)) => false,
        (HelloReplay::OnReset, NoReply::Broke(_)) => true,
    }
}

/// Bytes for a backend, and whether another one may get them after it.
#[derive(Debug)]
pub struct Prefix {
    pub(super) bytes: Vec<u8>,
    pub(super) replay: HelloReplay,
    /// The number of bytes already counted for an earlier backend: the client has sent them once, so they
    /// count once, however many backends get them.
    pub(super) counted: usize,
}

impl Prefix {
    /// Bytes that no backend has received yet. Use [`HelloReplay::Never`] for everything but a hello that
    /// [may be replayed](crate::hello::Hello::may_be_replayed).
    pub fn new(bytes: Vec<u8>, replay: HelloReplay) -> Self {
        Self { bytes, replay, counted: 0 }
    }

    /// Whether it contains bytes that may go to another backend.
    pub(super) fn is_replayable(&self) -> bool {
        self.replay != HelloReplay::Never && !self.bytes.is_empty()
    }
}

/// The result of a relay that began with a hello.
#[derive(Debug)]
pub enum Relayed {
    /// The connection is over; both sides have been told.
    Ended(Result<Finished, ConnError>),
    /// The backend is gone, and the client has noticed nothing: since then no byte has come from it, or gone
    /// to it.
    Unanswered(Unanswered),
}

/// A hello without an answer from a backend.
#[derive(Debug)]
pub struct Unanswered {
    /// The hello, whole, for the relay with the next backend.
    pub prefix: Prefix,
    /// How the backend ended.
    pub no_reply: NoReply,
}

/// How a backend ended before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// By a FIN.
    Fin,
    /// By a reset, or its connection broke.
    Broke(io::ErrorKind),
}

impl NoReply {
    /// How it ended on the wire.
    pub fn how(self) -> How {
        match self {
            Self::Fin => How::Fin,
            Self::Broke(_) => self.error().end().how,
        }
    }

    /// Ends the client as the backend ended, when no other backend is left: a reset for a reset, a FIN for a
    /// FIN. After a FIN, further input of the client is discarded for at most a second, because it has no
    /// receiver.
    ///
    /// # Errors
    /// The backend's error, for the record.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub async fn pass_on(
        self,
        client: Socket,
        memory: &Memory,
        handle: &ConnHandle,
    ) -> Result<Finished, ConnError> {
        match self {
            Self::Fin => {
                alert::close_gently(client, memory, handle).await;
                Ok(Finished { first: Side::Backend, how: How::Fin })
            }
            Self::Broke(_) => {
                client.reset();
                Err(self.error())
            }
        }
    }

    /// The same for the record, if the client gets a reset.
    pub(super) fn error(self) -> ConnError {
        let kind = match self {
            Self::Fin => io::ErrorKind::UnexpectedEof,
            Self::Broke(kind) => kind,
        };
        ConnError::Broken(Side::Backend, kind)
    }
}

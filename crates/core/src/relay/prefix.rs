//! What goes to the backend before anything is read: the hello, and whether it may go to another backend when
//! this one ends without an answer.
//!
//! A backend that has accepted and then ends before its first byte has done nothing that the client could have
//! seen. As long as the client has sent nothing but its hello, that hello may be replayed to another backend,
//! and the client notices no more than a pause.

use crate::account::error::ConnError;
use crate::account::outcome::{Finished, How, Side};
use crate::alert;
use crate::memory::Memory;
use crate::socket;
use crate::stop::ConnHandle;
use std::io;
use tokio::net::TcpStream;
use weir_pool::HelloReplay;

/// Whether this end of a silent backend is one after which the hello may go to another.
pub(super) fn covers(replay: HelloReplay, silence: NoReply) -> bool {
    match (replay, silence) {
        (HelloReplay::Never, _) => false,
        (HelloReplay::OnAnyEnd, _) => true,
        // A reset behind a FIN: the FIN was the backend's word, the reset only says that it has closed.
        (HelloReplay::OnReset, NoReply::Fin | NoReply::Broke(io::ErrorKind::BrokenPipe)) => false,
        (HelloReplay::OnReset, NoReply::Broke(_)) => true,
    }
}

/// Bytes for a backend, and whether another one may get them after it.
#[derive(Debug)]
pub struct Prefix {
    pub(super) bytes: Vec<u8>,
    pub(super) replay: HelloReplay,
    /// So many of them have been counted when they went to an earlier backend: the client has sent them once, so
    /// they count once, however many backends get them.
    pub(super) counted: usize,
}

impl Prefix {
    /// Bytes that no backend has had yet. [`HelloReplay::Never`] is for everything but a hello that
    /// [may be replayed](crate::hello::Hello::may_be_replayed).
    pub fn new(bytes: Vec<u8>, replay: HelloReplay) -> Self {
        Self { bytes, replay, counted: 0 }
    }

    /// There is something that may go to another backend.
    pub(super) fn is_replayable(&self) -> bool {
        self.replay != HelloReplay::Never && !self.bytes.is_empty()
    }
}

/// What a relay that began with a hello came to.
#[derive(Debug)]
pub enum Relayed {
    /// The connection is over; both sides have been told.
    Ended(Result<Finished, ConnError>),
    /// The backend is gone, and the client has noticed nothing: not a byte has come from it since, or gone to it.
    Unanswered(Unanswered),
}

/// A hello that a backend did not answer.
#[derive(Debug)]
pub struct Unanswered {
    /// The hello, whole, for the relay with the next backend.
    pub ahead: Prefix,
    /// How the backend ended.
    pub silence: NoReply,
}

/// How a backend ended that had not sent a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// By a FIN.
    Fin,
    /// By a reset, or its connection broke.
    Broke(io::ErrorKind),
}

impl NoReply {
    /// How that looked on the wire.
    pub fn how(self) -> How {
        match self {
            Self::Fin => How::Fin,
            Self::Broke(_) => self.error().end().how,
        }
    }

    /// Ends the client as the backend ended, where no other backend is left: a reset for a reset. A FIN is
    /// answered with a FIN, and what the client still sends is discarded for at most a second, as nobody is there
    /// to take it.
    ///
    /// # Errors
    /// A backend that broke, for the record.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub async fn pass_on(
        self,
        client: TcpStream,
        memory: &Memory,
        handle: &ConnHandle,
    ) -> Result<Finished, ConnError> {
        match self {
            Self::Fin => {
                alert::close_gently(client, memory, handle).await;
                Ok(Finished { first: Side::Backend, how: How::Fin })
            }
            Self::Broke(_) => {
                socket::reset(&client);
                Err(self.error())
            }
        }
    }

    /// The same for the record, where the client is told by a reset.
    pub(super) fn error(self) -> ConnError {
        let kind = match self {
            Self::Fin => io::ErrorKind::UnexpectedEof,
            Self::Broke(kind) => kind,
        };
        ConnError::Broken(Side::Backend, kind)
    }
}

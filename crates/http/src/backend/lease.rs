//! One request's hold on a connection to a backend.

use super::h1::H1;
use super::h2::Stream;
use super::keep::Place;
use crate::body::upload::UploadBody;
use crate::worker::HttpWorker;
use hyper::Request;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::task::Context;
use weir_core::account::request::RequestOutcome;

/// A request's hold on a connection. Dropping it closes an HTTP/1.1 connection, and resets an HTTP/2 stream.
#[derive(Debug)]
pub enum Lease {
    /// A connection of its own.
    H1 {
        /// The connection.
        connection: Box<H1>,
        /// Where it is kept afterwards.
        place: Place,
        /// The worker that keeps it.
        worker: Rc<HttpWorker>,
    },
    /// A stream of a shared one.
    H2(Stream),
}

/// A request could not be sent, or not be answered.
#[derive(Debug)]
pub struct SendError {
    /// How much of the request the backend may have seen.
    pub sent: Sent,
    /// Why.
    pub error: Failure,
}

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Over HTTP/1.1.
    #[error("{0}")]
    H1(#[from] hyper::Error),
    /// Over HTTP/2.
    #[error("{0}")]
    H2(#[from] h2::Error),
    /// Interim answers (1xx) without end.
    #[error("too many interim answers")]
    TooManyInterim,
}

impl Failure {
    /// What the request ends as.
    pub fn outcome(&self) -> RequestOutcome {
        let malformed = match self {
            Self::H1(error) => error.is_parse(),
            Self::H2(error) => error.is_library(),
            Self::TooManyInterim => true,
        };
        if malformed { RequestOutcome::BadResponse } else { RequestOutcome::BackendReset }
    }

    /// Whether the backend's system has reset the connection. A system does so when it closes a socket with unread bytes
    /// (RFC 1122 §4.2.2.13), also if the backend has never accepted it.
    pub fn is_reset(&self) -> bool {
        let io = match self {
            Self::H1(error) => error.source().and_then(|cause| cause.downcast_ref::<io::Error>()),
            Self::H2(error) => error.get_io(),
            Self::TooManyInterim => None,
        };
        io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }
}

/// How much of a request a backend may have seen.
#[derive(Debug)]
pub enum Sent {
    /// Nothing; the request, if it was given back.
    Nothing(Option<Box<Request<UploadBody>>>),
    /// All of it perhaps, but the backend has said that it did not look at it (RFC 9113 §8.7).
    Unprocessed,
    /// Some of it, but the connection ended before any byte of an answer, and it was used before or was reset.
    Unanswered,
    /// Some of it.
    Some,
}

impl Lease {
    /// Whether the connection carried a request before this one.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::H1 { connection, .. } => connection.is_reused(),
            Self::H2(stream) => stream.is_reused(),
        }
    }

    /// Whether it speaks HTTP/2.
    pub fn is_h2(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Moves what can be moved on a connection of its own; a shared one has a task.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::H1 { connection, .. } = self {
            connection.drive(cx);
        }
    }

    /// As [`Self::drive`], and acknowledges what has come of an answer.
    pub fn drive_on(&mut self, cx: &mut Context<'_>) {
        if let Self::H1 { connection, .. } = self {
            connection.drive_on(cx);
        }
    }

    /// The exchange is complete: the connection may carry another one.
    pub fn give_back(self) {
        if let Self::H1 { connection, place, worker } = self {
            worker.keep.put(place, connection, worker.clock.now());
        }
    }
}

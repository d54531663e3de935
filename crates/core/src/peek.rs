//! Reads the first bytes of a client, under a byte ceiling and one deadline, and keeps them for replay.
//!
//! It reads instead of peeking: a poll with `MSG_PEEK` wakes at once for the same partial hello and spins.

use crate::account::error::ConnError;
use crate::account::outcome::How;
use crate::hello::{Assembler, Hello, HelloError, Progress};
use crate::memory::Memory;
use crate::socket::Socket;
use tokio::time::{Instant, timeout_at};
use weir_metrics::ListenerMetrics;
use weir_metrics::labels::HelloOutcome;

/// The first bytes of a client, and the hello in them.
#[derive(Debug)]
pub struct Peeked {
    /// The parsed hello.
    pub hello: Box<Hello>,
    /// All bytes read: the unchanged hello, and any bytes after it.
    pub bytes: Vec<u8>,
}

/// The first bytes of a client that sent no hello.
#[derive(Debug)]
pub struct NotAHello {
    /// Why the connection ends here.
    pub error: ConnError,
    /// All bytes read.
    pub bytes: Vec<u8>,
}

/// How a hello is read.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Most handshake bytes.
    pub ceiling: usize,
    /// Covers the whole hello, not each read.
    pub deadline: Instant,
    /// Whether its JA4 is wanted.
    pub ja4: bool,
}

/// Reads until the hello is complete, or can no longer become one.
///
/// # Errors
/// Why it is no hello, with the bytes, because some listeners accept them.
///
/// # Cancel safety
/// Not cancel safe: dropping the future loses the bytes that were read.
pub async fn client_hello(
    client: &mut Socket,
    terms: Terms,
    memory: &Memory,
    metrics: &ListenerMetrics,
) -> Result<Peeked, NotAHello> {
    let mut bytes = Vec::new();
    let mut segments = 0;
    let read = read_hello(client, terms, memory, &mut bytes, &mut segments);
    let end = timeout_at(terms.deadline, read).await.unwrap_or(Err(ConnError::HelloTimeout));
    metrics.hello(outcome(&end));
    match end {
        Ok(hello) => {
            metrics.hello_shape(hello.length, hello.records, segments);
            Ok(Peeked { hello, bytes })
        }
        Err(error) => Err(NotAHello { error, bytes }),
    }
}

async fn read_hello(
    client: &mut Socket,
    terms: Terms,
    memory: &Memory,
    bytes: &mut Vec<u8>,
    segments: &mut u32,
) -> Result<Box<Hello>, ConnError> {
    let mut assembler = Assembler::new(terms.ceiling);
    let mut counted = None;
    loop {
        match memory.read(client, assembler.raw_ceiling(), |new| bytes.extend_from_slice(new)).await {
            Ok((0, ())) => return Err(ConnError::ClientGone(How::Fin)),
            Ok(_) => *segments += 1,
            Err(_) => return Err(ConnError::ClientGone(How::Rst)),
        }
        match assembler.advance(bytes) {
            // The bytes of a slow hello count as kept: if they are many, the worker's flows keep less.
            Progress::Partial => {
                drop(counted.take());
                counted = Some(memory.tls.ledger.enter(bytes.len()));
            }
            Progress::Hello(mut hello) => {
                if terms.ja4 {
                    hello.ja4 = assembler.ja4();
                }
                return Ok(hello);
            }
            Progress::Refused(fault) => return Err(ConnError::Hello(fault)),
        }
    }
}

/// The `outcome` label of `weir_client_hello_total`.
fn outcome(end: &Result<Box<Hello>, ConnError>) -> HelloOutcome {
    match end {
        Ok(hello) if hello.sni.is_some() => HelloOutcome::Complete,
        Ok(_) => HelloOutcome::NoSni,
        Err(error) => failed(error),
    }
}

/// The same for a client that sent no hello.
pub(crate) fn failed(error: &ConnError) -> HelloOutcome {
    match error {
        ConnError::Hello(HelloError::NotTls) | ConnError::PlainWords(_) => HelloOutcome::NotTls,
        ConnError::Hello(HelloError::BadSni) => HelloOutcome::BadSni,
        ConnError::Hello(HelloError::Malformed) => HelloOutcome::Malformed,
        ConnError::Hello(HelloError::TooLarge) => HelloOutcome::TooLarge,
        ConnError::HelloTimeout => HelloOutcome::Timeout,
        _ => HelloOutcome::Eof,
    }
}

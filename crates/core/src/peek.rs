//! Reads the first bytes of a client, under a byte ceiling and one deadline, and keeps them for replay.
//!
//! The bytes are read, not peeked at: a poll with `MSG_PEEK` wakes at once on the same partial hello and spins.

use crate::account::error::ConnError;
use crate::account::outcome::How;
use crate::hello::{Assembler, Hello, HelloError, Progress};
use crate::memory::Memory;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use weir_metrics::ListenerMetrics;

/// The first bytes of a client, and what they say.
#[derive(Debug)]
pub struct Peeked {
    /// What the client asks for.
    pub hello: Box<Hello>,
    /// Everything that was read: the hello as it came, and what came behind it.
    pub bytes: Vec<u8>,
}

/// The first bytes where they are no hello.
#[derive(Debug)]
pub struct NotAHello {
    /// Why the connection ends here.
    pub error: ConnError,
    /// Everything that was read.
    pub bytes: Vec<u8>,
}

/// Reads until the hello is complete, or cannot become one.
///
/// `ceiling` is the most handshake bytes; `deadline` counts for all of it, not for a read.
///
/// # Errors
/// What the bytes are instead, with the bytes: some listeners let them pass.
///
/// # Cancel safety
/// Not cancel safe: dropping the future loses the bytes that were read.
pub async fn client_hello(
    client: &mut TcpStream,
    ceiling: usize,
    deadline: Instant,
    memory: &Memory,
    metrics: &ListenerMetrics,
) -> Result<Peeked, NotAHello> {
    let mut bytes = Vec::new();
    let mut segments = 0;
    let read = read_hello(client, ceiling, memory, &mut bytes, &mut segments);
    let end = timeout_at(deadline, read).await.unwrap_or(Err(ConnError::HelloTimeout));
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
    client: &mut TcpStream,
    ceiling: usize,
    memory: &Memory,
    bytes: &mut Vec<u8>,
    segments: &mut u32,
) -> Result<Box<Hello>, ConnError> {
    let mut assembler = Assembler::new(ceiling);
    let mut counted = None;
    loop {
        match memory.read(client, assembler.raw_ceiling(), |new| bytes.extend_from_slice(new)).await {
            Ok((0, ())) => return Err(ConnError::ClientGone(How::Fin)),
            Ok(_) => *segments += 1,
            Err(_) => return Err(ConnError::ClientGone(How::Rst)),
        }
        match assembler.advance(bytes) {
            // What a slow hello keeps waits as other bytes do: where that is much, the worker's flows keep less.
            Progress::Partial => {
                drop(counted.take());
                counted = Some(memory.tls.ledger.enter(bytes.len()));
            }
            Progress::Hello(hello) => return Ok(hello),
            Progress::Refused(fault) => return Err(ConnError::Hello(fault)),
        }
    }
}

/// The `outcome` label of `weir_client_hello_total`.
fn outcome(end: &Result<Box<Hello>, ConnError>) -> &'static str {
    match end {
        Ok(hello) if hello.sni.is_some() => "complete",
        Ok(_) => "no_sni",
        Err(ConnError::Hello(HelloError::NotTls)) => "not_tls",
        Err(ConnError::Hello(HelloError::BadSni)) => "bad_sni",
        Err(ConnError::Hello(HelloError::Malformed)) => "malformed",
        Err(ConnError::Hello(HelloError::TooLarge)) => "too_large",
        Err(ConnError::HelloTimeout) => "timeout",
        Err(_) => "eof",
    }
}

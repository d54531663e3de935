//! What a backend does with a connection.

use super::backend::Notes;
use crate::digest::Noise;
use crate::stream::{End, Stream};
use crate::upgrade::{self, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One behaviour; the bad ones have one vice each.
#[derive(Debug, Clone)]
pub enum Role {
    /// Sends back what it gets, and ends when the client has ended.
    Echo,
    /// Sends its name and a newline first, then echoes: tells backends apart.
    Named(String),
    /// Speaks first, then echoes.
    Greeter(&'static str),
    /// Reads to the end, then answers with this and ends.
    AnswerAtEnd(Vec<u8>),
    /// Sends this and ends its direction at once, then reads to the end.
    EndFirst(Vec<u8>),
    /// Sends so many bytes of [`Noise`] with seed 2 while it reads to the end.
    Bulk(usize),
    /// Sends so many bytes as fast as it can, and does not look at the bytes it reads: a peer that is faster
    /// than weir, for scenarios about how bytes move.
    Torrent(usize),
    /// Answers one HTTP request with 200 and this body.
    Http(&'static str),
    /// Answers an HTTP request with 200 while it is well, else with 503. Any other client gets its name and a
    /// newline, then an echo, well or not: so checks and clients may find different things.
    Checked {
        /// The name for clients.
        name: String,
        /// The answer for checks.
        well: Arc<AtomicBool>,
    },
    /// Resets as soon as it has so many bytes; 0: soon after the connection is made.
    ResetAfter(usize),
    /// Echoes so many bytes, then resets without a word.
    EchoThenReset(usize),
    /// Sends until the peer has read nothing for a second, then resets.
    FillThenReset,
    /// Ends at once, cleanly, without a byte, and reads on.
    CloseAtOnce,
    /// Sends this, then FIN without close_notify (TLS) and closes.
    Truncate(Vec<u8>),
    /// Changes the protocol at the first request, as [`upgrade::ask`] wants it, and then behaves so.
    Upgraded(Version, Box<Self>),
    /// Accepts the connection and does nothing with it, not even a TLS handshake.
    Silent,
}

impl Role {
    /// Whether a TLS backend does its handshake before the role begins.
    pub(super) fn shakes_hands(&self) -> bool {
        !matches!(self, Self::Silent | Self::ResetAfter(0))
    }

    pub(super) async fn play(self, mut stream: Stream, notes: &Notes) -> std::io::Result<End> {
        match self {
            Self::Echo => echo(&mut stream, notes).await,
            Self::Named(name) => {
                stream.send(format!("{name}\n").as_bytes()).await?;
                echo(&mut stream, notes).await
            }
            Self::Greeter(greeting) => {
                stream.send(greeting.as_bytes()).await?;
                echo(&mut stream, notes).await
            }
            Self::AnswerAtEnd(answer) => {
                let end = take_all(&mut stream, notes).await;
                stream.send(&answer).await?;
                stream.shutdown().await?;
                Ok(end)
            }
            Self::EndFirst(bytes) => {
                stream.send(&bytes).await?;
                stream.shutdown().await?;
                Ok(take_all(&mut stream, notes).await)
            }
            Self::Bulk(count) => bulk(stream, count, notes).await,
            Self::Torrent(count) => torrent(stream, count).await,
            Self::Http(body) => http(stream, "200 OK", body, notes).await,
            Self::Checked { name, well } => checked(stream, &name, &well, notes).await,
            Self::ResetAfter(count) => {
                // Not at once, otherwise connecting itself could fail.
                tokio::time::sleep(Duration::from_millis(50)).await;
                take(&mut stream, count, notes).await?;
                stream.reset();
                Ok(End::Clean)
            }
            Self::EchoThenReset(count) => {
                let bytes = take(&mut stream, count, notes).await?;
                stream.send(&bytes).await?;
                // Let the bytes leave: a reset drops bytes still queued here, and the scenarios do not test
                // that.
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.reset();
                Ok(End::Clean)
            }
            Self::FillThenReset => {
                let chunk = Noise::new(2).bytes(64 * 1024);
                while let Ok(sent) = tokio::time::timeout(STUCK, stream.write_all(&chunk)).await {
                    sent?;
                }
                stream.reset();
                Ok(End::Clean)
            }
            Self::CloseAtOnce => {
                stream.shutdown().await?;
                Ok(take_all(&mut stream, notes).await)
            }
            Self::Truncate(bytes) => {
                stream.send(&bytes).await?;
                stream.truncate();
                Ok(take_all(&mut stream, notes).await)
            }
            Self::Upgraded(version, role) => match upgrade::answer(stream, version).await? {
                Some(stream) => Box::pin(role.play(stream, notes)).await,
                None => Ok(End::Clean),
            },
            Self::Silent => std::future::pending().await,
        }
    }
}

/// How long a write waits before the peer counts as not reading.
const STUCK: Duration = Duration::from_secs(1);

async fn take_all(stream: &mut Stream, notes: &Notes) -> End {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return End::Clean,
            Ok(count) => notes.got(&buffer[..count]),
            Err(error) => return End::of(&error),
        }
    }
}

async fn take(stream: &mut Stream, count: usize, notes: &Notes) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        let got = stream.read(&mut bytes[filled..]).await?;
        if got == 0 {
            break;
        }
        notes.got(&bytes[filled..filled + got]);
        filled += got;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

async fn echo(stream: &mut Stream, notes: &Notes) -> std::io::Result<End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => {
                stream.shutdown().await?;
                return Ok(End::Clean);
            }
            Ok(count) => {
                notes.got(&buffer[..count]);
                stream.send(&buffer[..count]).await?;
            }
            Err(error) => return Ok(End::of(&error)),
        }
    }
}

async fn bulk(stream: Stream, count: usize, notes: &Notes) -> std::io::Result<End> {
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        let mut noise = Noise::new(2);
        let mut left = count;
        while left > 0 {
            let chunk = noise.bytes(left.min(64 * 1024));
            to.write_all(&chunk).await?;
            left -= chunk.len();
        }
        to.shutdown().await
    };
    let receive = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) => return End::Clean,
                Ok(count) => notes.got(&buffer[..count]),
                Err(error) => return End::of(&error),
            }
        }
    };
    let (sent, end) = tokio::join!(send, receive);
    sent.map(|()| end)
}

async fn torrent(stream: Stream, count: usize) -> std::io::Result<End> {
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        let chunk = vec![7; count.min(AT_ONCE)];
        let mut left = count;
        while left > 0 {
            let n = left.min(AT_ONCE);
            to.write_all(&chunk[..n]).await?;
            left -= n;
        }
        to.shutdown().await
    };
    let receive = async {
        let mut buffer = vec![0; AT_ONCE];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) => return End::Clean,
                Ok(_) => {}
                Err(error) => return End::of(&error),
            }
        }
    };
    let (sent, end) = tokio::join!(send, receive);
    sent.map(|()| end)
}

/// The size of a torrent's writes and reads.
const AT_ONCE: usize = 1 << 20;

async fn checked(mut stream: Stream, name: &str, well: &AtomicBool, notes: &Notes) -> std::io::Result<End> {
    match take(&mut stream, 1, notes).await?.first() {
        None => Ok(End::Clean),
        Some(b'G') => {
            let status = if well.load(Ordering::Relaxed) { "200 OK" } else { "503 Service Unavailable" };
            http(stream, status, "", notes).await
        }
        Some(_) => {
            stream.send(format!("{name}\n").as_bytes()).await?;
            echo(&mut stream, notes).await
        }
    }
}

async fn http(mut stream: Stream, status: &str, body: &str, notes: &Notes) -> std::io::Result<End> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(End::Clean);
        }
        notes.got(&buffer[..count]);
        head.extend_from_slice(&buffer[..count]);
    }
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.send(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(take_all(&mut stream, notes).await)
}

//! The plain words in front of TLS: those of the client, and those for a backend.

use super::Conn;
use crate::account::error::{ConnError, ConnectError};
use crate::account::outcome::How;
use crate::peek;
use crate::plan::{Kind, Listener, ModeName};
use crate::socket::Socket;
use crate::starttls::{LONGEST, MOST, StartTls, ToBackend, ToClient, Wish, WordError};
use rustix::net::RecvFlags;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::time::timeout_at;

impl Conn {
    /// Speaks with the client in plain words until it begins TLS, within the deadline of its hello.
    ///
    /// # Errors
    /// The client leaves, breaks the rules, does not want TLS, or takes too long.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future loses words of the client.
    pub(super) async fn plain_words(
        &mut self,
        protocol: StartTls,
        listener: &Listener,
    ) -> Result<(), ConnError> {
        let Kind::Stream(stream) = &listener.kind;
        let deadline = self.record.opened() + stream.settings.timeouts.client_hello;
        let (host, mut heard) = (self.own_name(), false);
        let end = {
            let talk = pin!(timeout_at(deadline, talk(self.client.bare(), protocol, &host, &mut heard)));
            self.handle.run_until_cancelled(talk).await?
        };
        if heard {
            self.record.hears();
        }
        let end = end.unwrap_or(Err(ConnError::HelloTimeout));
        if let Err(error) = &end {
            listener.metrics.hello(peek::failed(error));
        }
        end
    }

    /// What weir says to a backend in plain words; `None` if nothing.
    pub(super) fn words_for(&self, protocol: Option<StartTls>) -> Option<Words> {
        let protocol = protocol?;
        let wants_tls = self.record.mode() != ModeName::Offload;
        Some(Words { protocol, wants_tls, host: self.own_name() })
    }

    /// The name by which weir introduces itself: the address literal (RFC 5321 §4.1.3) that the client reached.
    fn own_name(&self) -> String {
        match self.record.opening().local.socket().ip() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        }
    }
}

async fn talk(
    client: &mut Socket,
    protocol: StartTls,
    host: &str,
    heard: &mut bool,
) -> Result<(), ConnError> {
    say(client, &protocol.greeting(host)).await?;
    let mut pending = Vec::new();
    let mut words = 0;
    loop {
        // A hello without words before it stays in the socket, for the stage that reads it.
        if pending.is_empty() && first(client).await?.is_some_and(|byte| protocol.is_hello(byte)) {
            return Ok(());
        }
        let mut some = [0; READ];
        match client.read(&mut some).await {
            Ok(0) => return Err(ConnError::ClientGone(How::Fin)),
            Ok(n) => pending.extend_from_slice(some.get(..n).unwrap_or_default()),
            Err(_broken) => return Err(ConnError::ClientGone(How::Rst)),
        }
        *heard = true;
        while !pending.is_empty() {
            let (taken, answer) = match protocol.hear(&pending, host).map_err(ConnError::PlainWords)? {
                ToClient::More => break,
                ToClient::Say(taken, answer) => (taken, answer),
                ToClient::Begin(_, answer) => return say(client, &answer).await,
                ToClient::End(answer) => {
                    say(client, &answer).await?;
                    return Err(ConnError::ClientGone(How::Fin));
                }
                ToClient::Refuse(answer) => {
                    say(client, &answer).await?;
                    return Err(ConnError::PlainWords(WordError::Missing));
                }
            };
            words += 1;
            if words > MOST {
                return Err(ConnError::PlainWords(WordError::Missing));
            }
            pending.drain(..taken.min(pending.len()));
            say(client, &answer).await?;
        }
    }
}

async fn say(client: &mut Socket, words: &[u8]) -> Result<(), ConnError> {
    client.write_all(words).await.map_err(|_broken| ConnError::ClientGone(How::Rst))
}

/// The first byte that waits, which stays; `None` at the end.
async fn first(client: &Socket) -> Result<Option<u8>, ConnError> {
    let gone = |_broken: io::Error| ConnError::ClientGone(How::Rst);
    loop {
        poll_fn(|cx| client.poll_read_ready(cx)).await.map_err(gone)?;
        let mut byte = [0];
        match client.try_io(Interest::READABLE, || client.receive(&mut byte, RecvFlags::PEEK)) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(byte.first().copied()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(gone(error)),
        }
    }
}

/// What weir says to a backend before TLS, or before the client's bytes.
#[derive(Debug)]
pub(super) struct Words {
    protocol: StartTls,
    /// Whether TLS begins behind them.
    wants_tls: bool,
    host: String,
}

impl Words {
    /// Says them on a new connection, and hears the answers. Without TLS it only hears the greeting, because the client has
    /// had one.
    ///
    /// # Errors
    /// The backend declines, breaks the rules, or ends.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future loses words of the backend.
    pub(super) async fn say(&self, backend: &mut Socket) -> Result<(), ConnectError> {
        if !self.wants_tls && !self.protocol.server_begins() {
            return Ok(());
        }
        let (mut wish, first) = Wish::new(self.protocol);
        backend.write_all(&first).await.map_err(ConnectError::Failed)?;
        let (mut pending, mut some) = (Vec::new(), [0; READ]);
        loop {
            match backend.read(&mut some).await {
                Ok(0) => return Err(ConnectError::Failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => pending.extend_from_slice(some.get(..n).unwrap_or_default()),
                Err(error) => return Err(ConnectError::Failed(error)),
            }
            match wish.hear(&pending, &self.host).map_err(ConnectError::PlainWords)? {
                ToBackend::More => {}
                ToBackend::Say(..) if !self.wants_tls => return Ok(()),
                ToBackend::Say(taken, more) => {
                    pending.drain(..taken.min(pending.len()));
                    backend.write_all(&more).await.map_err(ConnectError::Failed)?;
                }
                ToBackend::Granted(_) => return Ok(()),
            }
        }
    }
}

/// Bytes that are read in one piece: words are short.
const READ: usize = LONGEST / 8;

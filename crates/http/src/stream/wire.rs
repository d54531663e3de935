//! What a stream of hyper's is made from: a bare socket, or a TLS session with a client or a backend.

use super::LARGE;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use weir_core::local::Local;
use weir_core::relay::{Finish, Tls, Wire};
use weir_core::socket::Socket;
use weir_tls::{AsClient, LEAST_ROOM, Role, Transport};

/// What a stream of hyper's is made from.
pub trait HyperWire: Unpin {
    /// The least room that a read needs.
    fn least_room(&self) -> usize;
    /// The bytes that a write takes at once.
    fn takes(&self, _: &Local) -> usize {
        usize::MAX
    }
    /// Reads into `buf`; 0 is the end, [`io::ErrorKind::UnexpectedEof`] an end that TLS did not announce.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], local: &Local) -> Poll<io::Result<usize>>;
    /// Writes a part of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], local: &Local) -> Poll<io::Result<usize>>;
    /// Writes a part of `bufs`, in as few calls and records as is sensible.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        local: &Local,
    ) -> Poll<io::Result<usize>>;
    /// Sends a delayed acknowledgement at once (RFC 9293 §3.8.6.3).
    fn acknowledge(&self) {}
    /// Sends what is held back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Flushes, then ends the write half: with a FIN, over TLS after close_notify.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Has the close of its socket reset the connection.
    fn reset(&self);
}

impl HyperWire for Socket {
    fn least_room(&self) -> usize {
        1
    }

    fn acknowledge(&self) {
        Transport::acknowledge(self);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], local: &Local) -> Poll<io::Result<usize>> {
        Wire::poll_read(self, cx, buf, &local.memory)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], local: &Local) -> Poll<io::Result<usize>> {
        Wire::poll_write(self, cx, bytes, None, &local.memory)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        _: &Local,
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(Pin::new(self), cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Wire::poll_flush(self, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx, Finish::Clean, false)
    }

    fn reset(&self) {
        Self::reset(self);
    }
}

impl<S: Role> HyperWire for Tls<S> {
    fn least_room(&self) -> usize {
        LEAST_ROOM
    }

    fn takes(&self, local: &Local) -> usize {
        self.0.takes(&local.memory.tls)
    }

    fn acknowledge(&self) {
        Transport::acknowledge(self.socket());
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], local: &Local) -> Poll<io::Result<usize>> {
        Wire::poll_read(self, cx, buf, &local.memory)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], local: &Local) -> Poll<io::Result<usize>> {
        Wire::poll_write(self, cx, bytes, None, &local.memory)
    }

    /// Joins small pieces, so that they become one record. A large piece goes alone: joining would copy it.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        local: &Local,
    ) -> Poll<io::Result<usize>> {
        let mut joined = local.memory.buffer();
        let mut filled = 0;
        for piece in bufs.iter().filter(|piece| !piece.is_empty()) {
            let room = joined.get_mut(filled..filled + piece.len()).filter(|_| piece.len() < LARGE);
            let Some(room) = room else { break };
            room.copy_from_slice(piece);
            filled += piece.len();
        }
        let joined = joined.get(..filled).filter(|joined| !joined.is_empty());
        let first = || bufs.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        HyperWire::poll_write(self, cx, joined.unwrap_or_else(first), local)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Wire::poll_flush(self, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx, Finish::Clean, false)
    }

    fn reset(&self) {
        self.socket().reset();
    }
}

/// A connection to a backend, with or without TLS.
#[derive(Debug)]
pub enum BackendWire {
    /// Plaintext.
    Plain(Socket),
    /// TLS.
    Tls(Tls<AsClient>),
}

macro_rules! either {
    ($wire:expr, $inner:ident => $call:expr) => {
        match $wire {
            BackendWire::Plain($inner) => $call,
            BackendWire::Tls($inner) => $call,
        }
    };
}

impl HyperWire for BackendWire {
    fn least_room(&self) -> usize {
        either!(self, wire => wire.least_room())
    }

    fn acknowledge(&self) {
        either!(self, wire => HyperWire::acknowledge(wire));
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], local: &Local) -> Poll<io::Result<usize>> {
        either!(self, wire => HyperWire::poll_read(wire, cx, buf, local))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], local: &Local) -> Poll<io::Result<usize>> {
        either!(self, wire => HyperWire::poll_write(wire, cx, bytes, local))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        local: &Local,
    ) -> Poll<io::Result<usize>> {
        either!(self, wire => HyperWire::poll_write_vectored(wire, cx, bufs, local))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, wire => HyperWire::poll_flush(wire, cx))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, wire => HyperWire::poll_shutdown(wire, cx))
    }

    fn reset(&self) {
        either!(self, wire => HyperWire::reset(wire));
    }
}

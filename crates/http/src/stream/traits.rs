//! The traits by which hyper and h2 read and write.

use super::{HyperStream, HyperWire};
use crate::body::raw::is_raw;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

impl<W: HyperWire> Read for HyperStream<W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = to.remaining();
        self.get_mut().poll_into(cx, room, |bytes| to.put_slice(bytes))
    }
}

impl<W: HyperWire> AsyncRead for HyperStream<W> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = to.remaining();
        self.get_mut().poll_into(cx, room, |bytes| to.put_slice(bytes))
    }
}

impl<W: HyperWire> Write for HyperStream<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ends() {
            return this.poll_ended(cx).map(Err);
        }
        if is_raw(bytes) {
            return this.poll_raw(cx);
        }
        if this.counts.flood.get().is_some() {
            return this.poll_last_words(cx, bytes);
        }
        let wrote = this.in_turn(cx, bytes.len(), |wire, cx, local| wire.poll_write(cx, bytes, local));
        this.follow(&wrote, &[IoSlice::new(bytes)]);
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ends() {
            return this.poll_ended(cx).map(Err);
        }
        // Bytes in front of a piece that is not there yet go first.
        let there = bufs.iter().position(|piece| is_raw(piece)).unwrap_or(bufs.len());
        if there < bufs.len() && bufs.iter().take(there).all(|piece| piece.is_empty()) {
            return this.poll_raw(cx);
        }
        let bufs = bufs.get(..there).unwrap_or_default();
        if this.counts.flood.get().is_some() {
            let first = bufs.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
            return this.poll_last_words(cx, first);
        }
        let bytes = bufs.iter().map(|piece| piece.len()).sum();
        let wrote = this.in_turn(cx, bytes, |wire, cx, local| wire.poll_write_vectored(cx, bufs, local));
        this.follow(&wrote, bufs);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ends() {
            return this.poll_ended(cx).map(Err);
        }
        this.poll_gone(cx)?;
        let flushed = this.wire.poll_flush(cx);
        this.counts.blocked.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(cx)
    }
}

impl<W: HyperWire> AsyncWrite for HyperStream<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Write::poll_write(self, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Write::poll_write_vectored(self, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(self, cx)
    }
}

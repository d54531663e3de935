//! The content of a socket's send queue: the number of bytes that the peer has not acknowledged, and how many
//! of them have not been sent yet (tcp(7), `SIOCOUTQ` and `SIOCOUTQNSD`).
//!
//! The one `unsafe` block of weir: no safe wrapper of these ioctls exists, and without them a reset would
//! have to be passed on blindly, dropping earlier bytes, and a client that reads slowly would count as idle.
#![allow(unsafe_code, reason = "ioctl(2) has no safe form for SIOCOUTQ")]

use rustix::ioctl::{Getter, Opcode, ioctl};
use std::io;
use tokio::net::TcpStream;

/// `SIOCOUTQ` of linux/sockios.h; the same number as `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;
/// `SIOCOUTQNSD` of linux/sockios.h.
const SIOCOUTQNSD: Opcode = 0x894B;

/// Bytes in the send queue of `stream`, including bytes sent but not acknowledged, and a FIN as one byte.
/// After a reset by the peer, the number at that moment.
///
/// # Errors
/// When the descriptor is no TCP socket, or listens.
pub(super) fn unacknowledged(stream: &TcpStream) -> io::Result<usize> {
    ask::<SIOCOUTQ>(stream)
}

/// The part of [`unacknowledged`] that was never sent, because the peer's window was full.
///
/// # Errors
/// As for [`unacknowledged`].
pub(super) fn unsent(stream: &TcpStream) -> io::Result<usize> {
    ask::<SIOCOUTQNSD>(stream)
}

fn ask<const WHAT: Opcode>(stream: &TcpStream) -> io::Result<usize> {
    // SAFETY: both ioctls write one C int through their pointer argument (tcp(7)), and `Getter` of `i32`
    // provides one; the descriptor is borrowed from `stream` and so open for the length of the call.
    let bytes = unsafe { ioctl(stream, Getter::<WHAT, i32>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

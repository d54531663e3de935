//! What a socket's send queue holds: how many bytes the peer has not acknowledged, and how many have not been sent yet
//! (tcp(7), `SIOCOUTQ` and `SIOCOUTQNSD`).
//!
//! The one `unsafe` block of weir: no safe wrapper of these ioctls exists, and without them a reset would have to
//! be passed on blindly, dropping what was received before it, and a client that reads slowly would count as idle.
#![allow(unsafe_code, reason = "ioctl(2) has no safe form for SIOCOUTQ")]

use super::wire::Wire;
use rustix::ioctl::{Getter, Opcode, ioctl};
use std::io;
use tokio::net::TcpStream;

/// `SIOCOUTQ` of linux/sockios.h; the same number as `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;
/// `SIOCOUTQNSD` of linux/sockios.h.
const SIOCOUTQNSD: Opcode = 0x894B;

/// Bytes in the send queue of `stream`, sent and not acknowledged ones included, and a FIN as one of them. After a reset
/// of the peer's it is what there was at that moment.
///
/// # Errors
/// When the descriptor is no socket of TCP, or listens.
pub(super) fn unacknowledged(stream: &TcpStream) -> io::Result<usize> {
    ask::<SIOCOUTQ>(stream)
}

/// Those of [`unacknowledged`] that have never been sent, as the peer's window had no room for them.
///
/// # Errors
/// As for [`unacknowledged`].
pub(super) fn unsent(stream: &TcpStream) -> io::Result<usize> {
    ask::<SIOCOUTQNSD>(stream)
}

fn ask<const WHAT: Opcode>(stream: &TcpStream) -> io::Result<usize> {
    // SAFETY: both ioctls write one C int through the pointer that they are given (tcp(7)), which is what `Getter` of
    // `i32` provides; the descriptor is borrowed from `stream` and so open for the length of the call.
    let bytes = unsafe { ioctl(stream, Getter::<WHAT, i32>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Bytes that a side took and that its peer has not acknowledged.
pub(super) fn queued<W: Wire>(side: &W) -> usize {
    side.inside() + unacknowledged(side.tcp()).unwrap_or(0)
}

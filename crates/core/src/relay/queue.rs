//! How many sent bytes the peer has not acknowledged yet (tcp(7), `SIOCOUTQ`).
//!
//! The one `unsafe` block of weir: no safe wrapper of this ioctl exists, and without it a reset would have to
//! be passed on blindly, dropping what was received before it.
#![allow(unsafe_code, reason = "ioctl(2) has no safe form for SIOCOUTQ")]

use rustix::ioctl::{Getter, Opcode, ioctl};
use std::io;
use tokio::net::TcpStream;

/// `SIOCOUTQ` of linux/sockios.h; the same number as `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes in the send queue of `stream`, sent and not acknowledged ones included.
///
/// # Errors
/// When the socket is not connected any more.
pub(super) fn unacknowledged(stream: &TcpStream) -> io::Result<usize> {
    // SAFETY: SIOCOUTQ writes one C int through the pointer it is given (tcp(7)), which is what `Getter` of
    // `i32` provides; the descriptor is borrowed from `stream` and so open for the length of the call.
    let queued = unsafe { ioctl(stream, Getter::<SIOCOUTQ, i32>::new()) }?;
    Ok(usize::try_from(queued).unwrap_or(0))
}

//! Errors of this machine, which say nothing about the other end.

use rustix::io::Errno;
use std::io;

/// Whether this machine lacks something for a connection: a port, a descriptor, memory, a place in epoll. Such an error
/// does not count against the other end.
pub fn is_shortage(error: &io::Error) -> bool {
    let local = [
        Errno::ADDRNOTAVAIL,
        Errno::AGAIN,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        // Of epoll_ctl(2): `fs.epoll.max_user_watches`.
        Errno::NOSPC,
    ];
    error.raw_os_error().is_some_and(|code| local.iter().any(|e| e.raw_os_error() == code))
}

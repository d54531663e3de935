//! Unix sockets to listen on. A file that a dead process left is replaced, a live process's never; weir's own goes with
//! its socket.

use crate::inherited::Inherited;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The file of a Unix socket, removed when dropped: unless another socket has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    file: Identity,
    /// Whether it is this process that removes it.
    owned: AtomicBool,
}

impl SocketFile {
    /// The file at this path, if it is a socket.
    fn at(path: &Path, owned: bool) -> Option<Self> {
        Some(Self { path: path.to_owned(), file: identity(path)?, owned: owned.into() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process removes it. A file of systemd's, or of a predecessor that goes on, stays.
    pub fn is_owned(&self) -> bool {
        self.owned.load(Ordering::Relaxed)
    }

    /// From here on this process removes it, or does not: it belongs to another one.
    pub fn own(&self, owned: bool) {
        self.owned.store(owned, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_owned() || identity(&self.path) != Some(self.file) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove a Unix socket");
        }
    }
}

/// The socket at this path: the one that the process was given, whose file it does not own, or a new one, by [`listen`].
///
/// # Errors
/// As [`listen`].
pub fn open(path: &Path, backlog: i32, inherited: &mut Inherited) -> io::Result<(Socket, SocketFile)> {
    let given = inherited.take_unix(path).and_then(|given| Some((given, SocketFile::at(path, false)?)));
    let Some((given, file)) = given else { return listen(path, backlog) };
    given.listen(backlog)?;
    Ok((given, file))
}

/// Binds and listens at a path, with mode 0660. A socket there to which nobody listens is replaced. Never waits for
/// another process, but 50 ms before it replaces a file.
///
/// # Errors
/// The path is in use, may be in use, or cannot be bound.
pub fn listen(path: &Path, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path, true).ok_or(io::ErrorKind::NotFound)?;
    // Before listen(2): whatever the umask says, nobody else could have connected.
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(backlog)?;
    Ok((socket, file))
}

/// Device and inode, which identify a file under any name.
type Identity = (u64, u64);

/// The identity of the file at this path, if it is a socket.
fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    found.file_type().is_socket().then(|| (found.dev(), found.ino()))
}

/// Removes a socket file that refuses connections: its process is gone. Any other answer, or none, may come from a live
/// process.
fn remove_stale(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        // If the file exists all the same, bind(2) will say what is wrong.
        return Ok(());
    }
    let Some(found) = identity(path) else {
        return Err(error(io::ErrorKind::AlreadyExists, "a file of that name exists and is not a socket"));
    };
    for last in [false, true] {
        let Err(refused) = connect(path) else {
            return Err(error(io::ErrorKind::AddrInUse, "a process listens there already"));
        };
        match refused.kind() {
            io::ErrorKind::NotFound => return Ok(()),
            // Another process may have bound it just now, and be about to listen.
            io::ErrorKind::ConnectionRefused if !last => pause(),
            io::ErrorKind::ConnectionRefused => {}
            // EAGAIN: its backlog is full.
            io::ErrorKind::WouldBlock => {
                return Err(error(
                    io::ErrorKind::AddrInUse,
                    "a process listens there already, and is not answering",
                ));
            }
            kind => {
                let message = format!(
                    "there is a socket that may be in use, and it cannot be asked ({refused}): \
                     if it belongs to no process, remove it"
                );
                return Err(io::Error::new(kind, message));
            }
        }
    }
    // Another process's socket may have taken its place meanwhile.
    if identity(path) == Some(found) { fs::remove_file(path) } else { Ok(()) }
}

/// Connects without blocking: a Unix socket takes a connection at once, or never.
fn connect(path: &Path) -> io::Result<()> {
    Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?.connect(&SockAddr::unix(path)?)
}

#[allow(
    clippy::disallowed_methods,
    reason = "once for each file of a dead process, on the control plane, at a start or a reload"
)]
fn pause() {
    std::thread::sleep(STALE_RETRY);
}

fn error(kind: io::ErrorKind, message: &str) -> io::Error {
    io::Error::new(kind, message)
}

/// Between two attempts at a socket that refuses: longer than a process needs from bind(2) to listen(2).
const STALE_RETRY: Duration = Duration::from_millis(50);
/// Owner and group may read and write.
const MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    fn refused(path: &Path) -> String {
        listen(path, 8).unwrap_err().to_string()
    }

    #[test]
    fn stale_sockets_are_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        drop(UnixListener::bind(&path).unwrap());
        let bound = listen(&path, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(UnixStream::connect(&path).is_ok());
        assert!(refused(&path).contains("listens there already"));
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn live_sockets_are_never_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        let file = |path: &Path| identity(path).unwrap();

        // Its process does not accept, and its backlog is full: a blocking connect(2) would wait for ever.
        let hung = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&hung, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let before = file(&path);
        assert!(refused(&path).contains("is not answering"));
        assert_eq!(file(&path), before);
        drop(hung);
        fs::remove_file(&path).unwrap();

        // A socket of another kind refuses with EPROTOTYPE.
        let datagrams = UnixDatagram::bind(&path).unwrap();
        let before = file(&path);
        assert!(refused(&path).contains("may be in use"));
        assert_eq!(file(&path), before);
        drop(datagrams);
        fs::remove_file(&path).unwrap();

        fs::write(&path, "text").unwrap();
        assert!(refused(&path).contains("is not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        let link = folder.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(refused(&link).contains("is not a socket"));
    }

    #[test]
    fn a_socket_that_was_given_is_taken_over_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        let (socket, file) = listen(&path, 8).unwrap();
        let mut given = Inherited::default();
        // A worker each has a descriptor of it.
        for _ in 0..2 {
            given.add(socket.try_clone().unwrap().into()).unwrap();
        }
        // One that fails leaves the file to its predecessor.
        drop(open(&path, 8, &mut given).unwrap());
        assert!(given.left().is_empty() && UnixStream::connect(&path).is_ok());
        given.add(socket.try_clone().unwrap().into()).unwrap();
        let successor = open(&path, 8, &mut given).unwrap();
        file.own(false);
        drop((socket, file));
        assert!(UnixStream::connect(&path).is_ok(), "the successor listens");
        successor.1.own(true);
        drop(successor);
        assert!(!path.exists(), "the file is its own now");
    }

    #[test]
    fn successors_sockets_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        let first = listen(&path, 8).unwrap();
        fs::remove_file(&path).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "it is another process's now");
        drop(second);
    }
}

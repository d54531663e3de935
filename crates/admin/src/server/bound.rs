//! Binds the admin address, or takes over a socket that the process was given. A Unix socket that a dead process left is
//! replaced, a live one never.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::sleep;
use weir_core::plan::AdminAddress;
use weir_router::bind::server;
use weir_router::inherited::Inherited;

/// A bound admin address. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub enum Bound {
    /// On an IP address; beyond loopback callers must show certificates.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, removed when dropped: unless another socket has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    file: Identity,
    /// A successor has the socket now.
    handed_over: AtomicBool,
}

impl Bound {
    /// The socket belongs to a successor from here on: its file stays when this is dropped.
    pub fn hand_over(&self) {
        if let Self::Unix(_, file) = self {
            file.handed_over.store(true, Ordering::Relaxed);
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl SocketFile {
    fn of(path: &Path, file: Identity) -> Self {
        Self { path: path.to_owned(), file, handed_over: AtomicBool::new(false) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.handed_over.load(Ordering::Relaxed) || identity(&self.path) != Some(self.file) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Binds the address, unless its socket was given. A Unix socket without a listener is replaced; the new one gets mode
/// 0660.
///
/// # Errors
/// If the address is in use, may be in use, or cannot be bound.
///
/// # Cancel safety
/// Cancel safe.
pub async fn bind(address: &AdminAddress, inherited: &mut Inherited) -> io::Result<Bound> {
    match address {
        AdminAddress::Tcp(address) => {
            let bound = server("admin", *address, None, inherited).map_err(|error| error.source)?;
            Ok(Bound::Tcp(TcpListener::from_std(bound)?))
        }
        AdminAddress::Unix(path) => {
            if let Some((given, file)) = inherited.take_unix(path).zip(identity(path)) {
                let file = SocketFile::of(path, file);
                return Ok(Bound::Unix(UnixListener::from_std(given.into())?, file));
            }
            remove_stale(path).await?;
            let listener = UnixListener::bind(path)?;
            let file = SocketFile::of(path, identity(path).ok_or(io::ErrorKind::NotFound)?);
            fs::set_permissions(path, Permissions::from_mode(MODE))?;
            Ok(Bound::Unix(listener, file))
        }
    }
}

/// Device and inode, which identify a file under any name.
type Identity = (u64, u64);

/// The identity of the file at this path, if it is a socket.
fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    found.file_type().is_socket().then(|| (found.dev(), found.ino()))
}

/// Removes a socket file that refuses connections: its process is gone. Any other answer, or none, may come from a live
/// process. Never blocks, because connect(2) of a non-blocking Unix socket does not.
async fn remove_stale(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        // If the file exists all the same, bind(2) will say what is wrong.
        return Ok(());
    }
    let Some(found) = identity(path) else {
        return Err(error(io::ErrorKind::AlreadyExists, "a file of that name exists and is not a socket"));
    };
    for last in [false, true] {
        let Err(refused) = UnixStream::connect(path).await else {
            return Err(error(io::ErrorKind::AddrInUse, "a process listens there already"));
        };
        match refused.kind() {
            io::ErrorKind::NotFound => return Ok(()),
            // Another process may have bound it just now, and be about to listen.
            io::ErrorKind::ConnectionRefused if !last => sleep(STALE_RETRY).await,
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
    use std::os::unix::net::UnixListener as Listening;
    use tokio::time::Instant;

    async fn refused(path: &Path) -> String {
        let began = Instant::now();
        let refused = bind(&AdminAddress::Unix(path.to_owned()), &mut Inherited::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(began.elapsed() < Duration::from_secs(2), "it waited");
        refused
    }

    async fn bound(path: &Path) -> Bound {
        bind(&AdminAddress::Unix(path.to_owned()), &mut Inherited::default()).await.unwrap()
    }

    #[tokio::test]
    async fn stale_sockets_are_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(Listening::bind(&path).unwrap());
        let bound = bound(&path).await;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(refused(&path).await.contains("listens there already"));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn live_sockets_are_never_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let file = |path: &Path| identity(path).unwrap();

        // Its process does not accept, and its backlog is full: a blocking connect(2) would wait for ever.
        let hung = Listening::bind(&path).unwrap();
        rustix::net::listen(&hung, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        let before = file(&path);
        assert!(refused(&path).await.contains("is not answering"));
        assert_eq!(file(&path), before);
        drop((hung, waiting));
        fs::remove_file(&path).unwrap();

        // A socket of another kind refuses with EPROTOTYPE.
        let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let before = file(&path);
        assert!(refused(&path).await.contains("may be in use"));
        assert_eq!(file(&path), before);
        drop(datagrams);
        fs::remove_file(&path).unwrap();

        fs::write(&path, "text").unwrap();
        assert!(refused(&path).await.contains("is not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }

    #[tokio::test]
    async fn a_socket_that_was_given_is_taken_over_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let predecessor = bound(&path).await;
        let mut given = Inherited::default();
        given.add(predecessor.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let successor = bind(&AdminAddress::Unix(path.clone()), &mut given).await.unwrap();
        predecessor.hand_over();
        drop(predecessor);
        assert!(UnixStream::connect(&path).await.is_ok(), "the successor listens");
        drop(successor);
        assert!(!path.exists(), "the file is its own now");
    }

    #[tokio::test]
    async fn successors_sockets_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = bound(&path).await;
        fs::remove_file(&path).unwrap();
        let second = Listening::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "it is another process's now");
        drop(second);
    }
}

//! Binds the admin address. A Unix socket that a dead process left is replaced, a live one never.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::sleep;
use weir_core::plan::AdminAddress;
use weir_router::bind::server;

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
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) != Some(self.file) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Binds the address. A Unix socket without a listener is replaced; the new one gets mode 0660.
///
/// # Errors
/// If the address is in use, may be in use, or cannot be bound.
///
/// # Cancel safety
/// Cancel safe.
pub async fn bind(address: &AdminAddress) -> io::Result<Bound> {
    match address {
        AdminAddress::Tcp(address) => {
            let bound = server("admin", *address, None).map_err(|error| error.source)?;
            Ok(Bound::Tcp(TcpListener::from_std(bound)?))
        }
        AdminAddress::Unix(path) => {
            remove_stale(path).await?;
            let listener = UnixListener::bind(path)?;
            let file = identity(path).ok_or(io::ErrorKind::NotFound)?;
            let file = SocketFile { path: path.clone(), file };
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
        let refused = bind(&AdminAddress::Unix(path.to_owned())).await.unwrap_err().to_string();
        assert!(began.elapsed() < Duration::from_secs(2), "it waited");
        refused
    }

    async fn bound(path: &Path) -> Bound {
        bind(&AdminAddress::Unix(path.to_owned())).await.unwrap()
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

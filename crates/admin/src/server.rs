//! Binds the admin address, accepts, and bounds what a caller can cost.

use crate::answer::Admin;
use crate::origin::Transport;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use weir_router::plan::AdminAddress;

/// A bound admin address. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub enum Bound {
    /// On loopback.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Binds the address. A Unix socket that nobody listens on any more is replaced; it gets mode 0660.
///
/// # Errors
/// When the address is in use, or cannot be had.
pub async fn bind(address: &AdminAddress) -> io::Result<Bound> {
    match address {
        AdminAddress::Tcp(address) => Ok(Bound::Tcp(TcpListener::bind(address).await?)),
        AdminAddress::Unix(path) => {
            remove_stale(path)?;
            let listener = UnixListener::bind(path)?;
            let file = SocketFile(path.clone());
            fs::set_permissions(path, Permissions::from_mode(MODE))?;
            Ok(Bound::Unix(listener, file))
        }
    }
}

/// Answers on `bound` for ever.
///
/// # Cancel safety
/// Dropping the future stops listening; answers under way go on.
pub async fn serve(bound: &Bound, admin: Arc<Admin>, tasks: &TaskTracker) {
    let room = Arc::new(Semaphore::new(CALLERS));
    loop {
        // Never closed, so there is always a permit to wait for.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let admin = Arc::clone(&admin);
        let accepted = match bound {
            Bound::Tcp(listener) => listener
                .accept()
                .await
                .map(|(s, _)| tasks.spawn(held(permit, converse(s, Transport::Tcp, admin)))),
            Bound::Unix(listener, _) => listener
                .accept()
                .await
                .map(|(s, _)| tasks.spawn(held(permit, converse(s, Transport::Unix, admin)))),
        };
        if let Err(error) = accepted {
            tracing::debug!(%error, "cannot accept an admin connection");
            sleep(PAUSE).await;
        }
    }
}

async fn held<T>(permit: T, work: impl Future<Output = ()>) {
    work.await;
    drop(permit);
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, transport: Transport, admin: Arc<Admin>) {
    let service = service_fn(|request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(request, transport).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(REQUEST_MAX);
    match timeout(CONVERSATION, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke"),
        Err(_elapsed) => tracing::debug!("an admin connection took too long"),
    }
}

/// A socket file that refuses connections belongs to a process that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name, and it is no socket",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => fs::remove_file(path),
    }
}

/// Callers at once; more wait.
const CALLERS: usize = 256;
/// A request's head must come within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// One caller's connection, all requests together.
const CONVERSATION: Duration = Duration::from_secs(30);
/// Most bytes of a request's head.
const REQUEST_MAX: usize = 16 * 1024;
/// After an error of accept(2): most likely no descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);
/// Owner and group may read and write.
const MODE: u32 = 0o660;

//! Binds the admin address, accepts, and bounds what a caller can cost.

use crate::answer::Admin;
use crate::change::ANSWERED_WITHIN;
use crate::origin::Transport;
use crate::reply::Answer;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use weir_core::plan::AdminAddress;

/// A bound admin address. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub enum Bound {
    /// On loopback.
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
/// When the address is in use, may be in use, or cannot be had.
///
/// # Cancel safety
/// Cancel safe.
pub async fn bind(address: &AdminAddress) -> io::Result<Bound> {
    match address {
        AdminAddress::Tcp(address) => Ok(Bound::Tcp(TcpListener::bind(address).await?)),
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
        let answering = |transport| {
            move |request| {
                let admin = Arc::clone(&admin);
                async move { admin.answer(request, transport).await }
            }
        };
        let accepted = match bound {
            Bound::Tcp(listener) => listener
                .accept()
                .await
                .map(|(s, _)| tasks.spawn(held(permit, converse(s, answering(Transport::Tcp))))),
            Bound::Unix(listener, _) => listener
                .accept()
                .await
                .map(|(s, _)| tasks.spawn(held(permit, converse(s, answering(Transport::Unix))))),
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

/// Serves one caller's connection: `answer` answers its requests. A change makes the caller wait for weir, so that its
/// connection then lasts longer, within bounds.
async fn converse<A: Future<Output = Answer>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<Incoming>) -> A,
) {
    let begun = Instant::now();
    let over = Mutex::new(begun + CONVERSATION);
    let until = || *over.lock().unwrap_or_else(PoisonError::into_inner);
    let service = service_fn(|request: Request<Incoming>| {
        if request.method() == Method::POST {
            let later = Instant::now() + ANSWERED_WITHIN + CONVERSATION;
            *over.lock().unwrap_or_else(PoisonError::into_inner) = later.min(begun + LONGEST);
        }
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(REQUEST_MAX);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    loop {
        let then = until();
        match timeout_at(then, served.as_mut()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "an admin connection broke"),
            // A change has begun meanwhile.
            Err(_elapsed) if until() > then => {}
            Err(_elapsed) => return tracing::debug!("an admin connection took too long"),
        }
    }
}

/// Device and inode: what a file is, whatever its name.
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
        // Should it exist all the same, bind(2) says why the address cannot be had.
        return Ok(());
    }
    let Some(found) = identity(path) else {
        return Err(error(io::ErrorKind::AlreadyExists, "there is a file of that name, and it is no socket"));
    };
    for last in [false, true] {
        let Err(refused) = UnixStream::connect(path).await else {
            return Err(error(io::ErrorKind::AddrInUse, "a process listens there already"));
        };
        match refused.kind() {
            io::ErrorKind::NotFound => return Ok(()),
            // Another process may have bound it just now, and be about to listen.
            io::ErrorKind::ConnectionRefused if !last => sleep(BETWEEN).await,
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

/// Callers at once; more wait.
const CALLERS: usize = 256;
/// A request's head must come within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// One caller's connection, all requests together; after a change has been asked for, this and the time that the change
/// may take.
const CONVERSATION: Duration = Duration::from_secs(30);
/// The same with all changes that are asked for on it.
const LONGEST: Duration = Duration::from_secs(120);
/// Most bytes of a request's head.
const REQUEST_MAX: usize = 16 * 1024;
/// After an error of accept(2): most likely no descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two questions to a socket that refuses: longer than a process needs from bind(2) to listen(2).
const BETWEEN: Duration = Duration::from_millis(50);
/// Owner and group may read and write.
const MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::text;
    use hyper::StatusCode;
    use std::os::unix::net::UnixListener as Listening;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What a caller hears to a request that takes so long to answer; nothing when it is cut off.
    async fn heard(method: &str, takes: Duration) -> String {
        let (mut caller, stream) = tokio::io::duplex(4096);
        let request = format!("{method} / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        caller.write_all(request.as_bytes()).await.unwrap();
        let slow = move |_request| async move {
            sleep(takes).await;
            text(StatusCode::OK, "done\n".to_owned())
        };
        let mut heard = String::new();
        let (_, read) = tokio::join!(converse(stream, slow), caller.read_to_string(&mut heard));
        read.unwrap();
        heard
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_change_is_answered_and_no_connection_lasts_for_ever() {
        for takes in [1, 29, 31, 49] {
            let heard = heard("POST", Duration::from_secs(takes)).await;
            assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.ends_with("done\n"), "{takes} s: {heard}");
        }
        let begun = Instant::now();
        assert_eq!(heard("POST", Duration::from_secs(1000)).await, "");
        assert!(begun.elapsed() <= LONGEST, "{:?}", begun.elapsed());
        assert_eq!(heard("GET", Duration::from_secs(31)).await, "");
    }

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
    async fn a_socket_of_a_process_that_is_gone_is_replaced_and_removed_at_the_end() {
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
    async fn a_live_socket_is_never_taken_whatever_it_answers() {
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

        // One of another kind refuses with EPROTOTYPE.
        let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let before = file(&path);
        assert!(refused(&path).await.contains("may be in use"));
        assert_eq!(file(&path), before);
        drop(datagrams);
        fs::remove_file(&path).unwrap();

        fs::write(&path, "text").unwrap();
        assert!(refused(&path).await.contains("it is no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }

    #[tokio::test]
    async fn a_socket_that_has_taken_its_place_is_left_alone() {
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

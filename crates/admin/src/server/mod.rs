//! Accepts callers of the admin server, and bounds what they can cost. `bound` binds its address, `conversation` serves
//! one connection, `crowd` makes room, and `metrics` is the server of metrics and probes.

mod bound;
mod conversation;
mod crowd;
mod metrics;

pub use bound::{Bound, bind};
pub use metrics::serve_metrics;

use crate::answer::Admin;
use crate::origin::Transport;
use conversation::converse;
use crowd::{Crowd, Place};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use weir_tls::{HandshakeError, HttpStream, ServerProfile};

/// The admin server's callers and what each needs.
struct Callers {
    admin: Arc<Admin>,
    room: Arc<Semaphore>,
    /// Those that have not shown who they are.
    handshakes: Arc<Crowd>,
    tasks: TaskTracker,
}

/// Answers on `bound`. Never returns.
///
/// # Cancel safety
/// Dropping the future stops listening; answers under way go on.
pub async fn serve(bound: &Bound, admin: Arc<Admin>, tasks: &TaskTracker) {
    let callers = Arc::new(Callers {
        admin,
        room: Arc::new(Semaphore::new(MAX_CALLERS)),
        handshakes: Crowd::of(MAX_HANDSHAKES),
        tasks: tasks.clone(),
    });
    loop {
        let accepted = match bound {
            Bound::Tcp(listener) if callers.admin.control.servers().admin_tls().is_some() => {
                // Accepted at once: a caller with a slow handshake must not block others.
                listener.accept().await.map(|(stream, _)| callers.take(stream, None))
            }
            Bound::Tcp(listener) => {
                let Some(permit) = callers.permit().await else { return };
                listener.accept().await.map(|(stream, _)| callers.take(stream, Some(permit)))
            }
            Bound::Unix(listener, _) => {
                let Some(permit) = callers.permit().await else { return };
                listener.accept().await.map(|(stream, _)| callers.answer(stream, Transport::Unix, permit))
            }
        };
        if let Err(error) = accepted {
            pause_after(&error).await;
        }
    }
}

impl Callers {
    /// `None` never comes: the semaphore is not closed.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Takes a caller over TCP, as the server speaks now.
    fn take(self: &Arc<Self>, stream: TcpStream, permit: Option<OwnedSemaphorePermit>) {
        match self.admin.control.servers().admin_tls() {
            Some(profile) => {
                drop(permit);
                let (callers, place) = (Arc::clone(self), self.handshakes.enter());
                self.tasks.spawn(async move { callers.secure(stream, &profile, place).await });
            }
            None if !is_local(&stream) => {
                tracing::debug!("an admin caller from elsewhere is refused: the server has no TLS");
            }
            None => match permit.or_else(|| Arc::clone(&self.room).try_acquire_owned().ok()) {
                Some(permit) => self.answer(stream, Transport::Loopback { tls: false }, permit),
                None => tracing::debug!("too many admin callers"),
            },
        }
    }

    /// Speaks TLS with a caller, and then serves it.
    async fn secure(self: Arc<Self>, stream: TcpStream, profile: &ServerProfile, place: Place) {
        let local = is_local(&stream);
        let (stream, certified) = match handshake(stream, profile, &place).await {
            Ok(done) => done,
            Err(error) => return tracing::debug!(%error, "an admin caller's TLS handshake failed"),
        };
        drop(place);
        if !certified && !local {
            return tracing::debug!("an admin caller from elsewhere is refused: it has shown no certificate");
        }
        let transport = if certified { Transport::Certified } else { Transport::Loopback { tls: true } };
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => self.answer(stream, transport, permit),
            Err(_full) => tracing::debug!("too many admin callers"),
        }
    }

    fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        transport: Transport,
        permit: OwnedSemaphorePermit,
    ) {
        let admin = Arc::clone(&self.admin);
        self.tasks.spawn(async move {
            let answering = |request| {
                let admin = Arc::clone(&admin);
                async move { admin.answer(request, transport).await }
            };
            converse(stream, answering).await;
            drop(permit);
        });
    }
}

/// Runs a handshake within its deadline, for as long as the caller has its place. True if it has shown a certificate.
async fn handshake(
    stream: TcpStream,
    profile: &ServerProfile,
    place: &Place,
) -> Result<(HttpStream<TcpStream>, bool), HandshakeError> {
    let handshake = timeout(HANDSHAKE_TIMEOUT, Box::pin(profile.accept_http(stream)));
    match place.out.run_until_cancelled(handshake).await {
        Some(Ok(ended)) => ended,
        Some(Err(_)) | None => Err(HandshakeError::timeout()),
    }
}

/// Whether both ends are on this machine's loopback.
fn is_local(stream: &TcpStream) -> bool {
    let is_loopback = |end: io::Result<std::net::SocketAddr>| {
        end.is_ok_and(|address| address.ip().to_canonical().is_loopback())
    };
    is_loopback(stream.local_addr()) && is_loopback(stream.peer_addr())
}

/// accept(2) has failed: most likely no descriptor is free.
async fn pause_after(error: &io::Error) {
    tracing::debug!(%error, "cannot accept a caller");
    sleep(ACCEPT_PAUSE).await;
}

/// Callers at once; more wait.
const MAX_CALLERS: usize = 256;
/// Unfinished TLS handshakes at once; one more closes the oldest. Few enough that the control plane, which takes turns
/// with them, is not held up by a flood.
const MAX_HANDSHAKES: usize = 64;
/// A handshake must be done within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error of accept(2).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

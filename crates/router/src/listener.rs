//! The accept loop of one listening socket on one worker: permits, back-off, spawn.
//!
//! An error of accept(2) never ends it: ECONNABORTED goes on at once; where descriptors or memory are short it
//! pauses, counts, and warns once a second. At a limit nothing is accepted, and connections wait in the
//! kernel's backlog.

use crate::bind::Socket;
use crate::conn::{self, Accepted};
use crate::node::{Phase, Shared};
use crate::worker::Worker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;
use weir_core::access::Opening;
use weir_core::limits::{Pending, Permit, Permits};
use weir_core::socket::canonical;
use weir_metrics::ListenerMetrics;

/// Accepts on `socket` until the node drains; those that wait in the backlog then are accepted still.
///
/// # Cancel safety
/// Dropping the future closes the socket; a connection is either spawned or still in the backlog.
pub(crate) async fn accept(socket: Socket, worker: Rc<Worker>, mut phase: watch::Receiver<Phase>) {
    let Some(shared) = worker.node.lane(&socket.address) else { return };
    #[allow(
        deprecated,
        reason = "its successor is `unsafe`; a socket2::Socket keeps its descriptor open, which is all it asks"
    )]
    let fd = match AsyncFd::new(socket.socket) {
        Ok(fd) => fd,
        Err(error) => {
            tracing::error!(listener = %shared.listener.name, %error, "cannot watch a listening socket");
            return;
        }
    };
    let pending = Rc::new(Pending::new(shared.pending.clone()));
    let lane = Lane { worker, shared, pending, address: socket.address.socket };
    tokio::select! {
        () = lane.accept_on(&fd) => {}
        _ = phase.wait_for(|p| matches!(p, Phase::Draining { .. })) => lane.last_ones(fd.get_ref()),
    }
}

/// Connections accepted before the worker's others have their turn.
const BATCH: usize = 32;

/// Where one socket's connections go.
struct Lane {
    worker: Rc<Worker>,
    shared: Shared,
    pending: Rc<Pending>,
    address: SocketAddr,
}

impl Lane {
    async fn accept_on(&self, fd: &AsyncFd<socket2::Socket>) {
        loop {
            // The runtime's own descriptor is all that can fail here.
            let Ok(mut ready) = fd.readable().await else { return };
            for _ in 0..BATCH {
                let permits = match self.permits_now() {
                    Some(permits) => permits,
                    None if !somebody_waits(fd.get_ref()) => {
                        ready.clear_ready();
                        break;
                    }
                    None => self.permits().await,
                };
                match ready.try_io(|fd| take(fd.get_ref())) {
                    Ok(Ok((stream, client))) => self.spawn(stream, client, permits),
                    Ok(Err(error)) => wait_out(error, self).await,
                    Err(_would_block) => break,
                }
            }
            yield_now().await;
        }
    }

    /// Closing the socket would reset what waits in its backlog: that is accepted first, as far as there is room.
    fn last_ones(&self, socket: &socket2::Socket) {
        while let Some(permits) = self.permits_now() {
            match take(socket) {
                Ok((stream, client)) => self.spawn(stream, client, permits),
                // One that went away while it waited says nothing of those behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    fn metrics(&self) -> &ListenerMetrics {
        &self.shared.listener.metrics
    }

    /// Room in the limits of the listener and of the process, where there is any.
    fn permits_now(&self) -> Option<[Permit; 2]> {
        Some([self.shared.permits.try_take()?, self.worker.node.permits.try_take()?])
    }

    /// Room in the limits of the listener and of the process; waits for it.
    async fn permits(&self) -> [Permit; 2] {
        // The listener's first: one at its limit must not sit on the room of others.
        let mine = self.room(&self.shared.permits, "max_connections").await;
        [mine, self.room(&self.worker.node.permits, "process_connections").await]
    }

    async fn room(&self, permits: &Permits, limit: &str) -> Permit {
        if let Some(permit) = permits.try_take() {
            return permit;
        }
        self.metrics().limited(limit);
        permits.take().await
    }

    fn spawn(&self, stream: TcpStream, client: SocketAddr, permits: [Permit; 2]) {
        let worker = Rc::clone(&self.worker);
        let (number, switch, live) = worker.enter();
        let opening = Opening {
            id: worker.node.connection_id(worker.number, number),
            listener: Arc::clone(&self.shared.listener.name),
            mode: self.shared.listener.mode,
            client,
            local: self.local(&stream),
            generation: worker.node.plan().generation,
        };
        let unfinished = self.pending.enter(number, &switch);
        let listener = Arc::clone(&self.shared.listener);
        let accepted = Accepted { stream, client, listener, switch, unfinished, permits };
        let tasks = worker.tasks.clone();
        tasks.spawn_local(async move {
            let _live = live;
            conn::serve(accepted, opening, worker).await;
        });
    }

    /// The address that the client reached; asked of the kernel only where the plan does not say it and a
    /// record wants it.
    fn local(&self, stream: &TcpStream) -> SocketAddr {
        if self.address.ip().is_unspecified() && self.worker.access.is_some() {
            stream.local_addr().map_or(self.address, canonical)
        } else {
            self.address
        }
    }
}

/// Is there a connection in the backlog?
fn somebody_waits(socket: &socket2::Socket) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(n) if n > 0)
}

/// One connection, in one system call: not blocking, and closed on exec.
fn take(socket: &socket2::Socket) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let stream = TcpStream::from_std(std::net::TcpStream::from(fd))?;
    // Without an address the client reset while it waited: as good as ECONNABORTED.
    let Some(Ok(address)) = address.map(SocketAddr::try_from) else { return Err(Errno::CONNABORTED.into()) };
    Ok((stream, canonical(address)))
}

/// Counts an error of accept(2), and pauses where going on at once would only meet it again.
async fn wait_out(error: io::Error, lane: &Lane) {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (label, pause) = match errno {
        Errno::MFILE => ("EMFILE", true),
        Errno::NFILE => ("ENFILE", true),
        Errno::NOBUFS => ("ENOBUFS", true),
        Errno::NOMEM => ("ENOMEM", true),
        Errno::CONNABORTED => ("ECONNABORTED", false),
        // Errors of the new connection's own network come out here too (accept(2)).
        Errno::NETDOWN | Errno::PROTO | Errno::NOPROTOOPT | Errno::HOSTDOWN | Errno::NONET => {
            ("network", false)
        }
        Errno::HOSTUNREACH | Errno::OPNOTSUPP | Errno::NETUNREACH | Errno::INTR => ("network", false),
        // Whatever else it is, it may stay: a firewall's EPERM, say.
        _ => ("other", true),
    };
    lane.metrics().accept_error(label);
    if !pause {
        return;
    }
    if let Some(times) = lane.worker.node.cannot_accept.now() {
        tracing::warn!(
            listener = %lane.shared.listener.name, error = label, times,
            "cannot accept: raise the limit on open files, or lower runtime.max_connections"
        );
    }
    sleep(PAUSE).await;
}

/// Without a pause the loop would spin on the same connection some million times a second.
const PAUSE: Duration = Duration::from_millis(50);
